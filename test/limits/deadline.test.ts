/** The deadline of a charge, on a clock that the test moves. */
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals'
import { type Attempt, makeDeadline } from '../../src/limits/deadline.ts'

const SILENCE_MS = 75
const LONGEST_MS = 1_000

beforeEach(() => void jest.useFakeTimers())

afterEach(() => void jest.useRealTimers())

/** Starts work that ends when the test says so, and notes its outcome. */
function begin(withDeadline = makeDeadline(SILENCE_MS)) {
  const work = Promise.withResolvers<string>()
  const begun: { outcome?: string; attempt?: Attempt } = {}
  withDeadline(attempt => {
    begun.attempt = attempt
    return work.promise
  }).then(
    value => {
      begun.outcome = value
    },
    error => {
      begun.outcome = String(error.code)
    },
  )
  return { ...work, begun }
}

test('work without a result is rejected at the deadline, and not before', async () => {
  const { begun } = begin()
  await jest.advanceTimersByTimeAsync(SILENCE_MS - 1)
  expect([begun.outcome, begun.attempt?.expired]).toEqual([undefined, false])
  await jest.advanceTimersByTimeAsync(2)
  expect([begun.outcome, begun.attempt?.expired]).toEqual(['ETIMEDOUT', true])
})

test('a result of other work moves the deadline', async () => {
  const withDeadline = makeDeadline(SILENCE_MS)
  const [slow, quick] = [begin(withDeadline), begin(withDeadline)]
  await jest.advanceTimersByTimeAsync(50)
  quick.resolve('done')
  await jest.advanceTimersByTimeAsync(SILENCE_MS - 1)
  expect([quick.begun.outcome, slow.begun.outcome]).toEqual(['done', undefined])
  await jest.advanceTimersByTimeAsync(2)
  expect(slow.begun.outcome).toBe('ETIMEDOUT')
})

test('no work waits longer than a second, however often other work succeeds', async () => {
  const withDeadline = makeDeadline(SILENCE_MS)
  const slow = begin(withDeadline)
  for (let time = 0; time < LONGEST_MS - 25; time += 25) {
    const quick = begin(withDeadline)
    await jest.advanceTimersByTimeAsync(25)
    quick.resolve('done')
  }
  expect(slow.begun.outcome).toBeUndefined()
  await jest.advanceTimersByTimeAsync(26)
  expect(slow.begun.outcome).toBe('ETIMEDOUT')
})

test('a failure of other work moves no deadline', async () => {
  const withDeadline = makeDeadline(SILENCE_MS)
  const [slow, failing] = [begin(withDeadline), begin(withDeadline)]
  await jest.advanceTimersByTimeAsync(50)
  failing.reject(Object.assign(new Error('lock timeout'), { code: '55P03' }))
  await jest.advanceTimersByTimeAsync(SILENCE_MS - 50 + 1)
  expect([failing.begun.outcome, slow.begun.outcome]).toEqual(['55P03', 'ETIMEDOUT'])
})

test('a result that waits in the socket while the process is busy is still in time', async () => {
  const { begun, resolve } = begin()
  // Node runs timers before it reads sockets
  setTimeout(() => resolve('done'), SILENCE_MS)
  await jest.advanceTimersByTimeAsync(SILENCE_MS + 1)
  expect(begun.outcome).toBe('done')
})

test('finished work leaves no timer behind', async () => {
  const { begun, resolve } = begin()
  resolve('done')
  await jest.advanceTimersByTimeAsync(0)
  expect([begun.outcome, jest.getTimerCount()]).toEqual(['done', 0])
})
