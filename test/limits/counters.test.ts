/** The sliding window in the database: what passes, and what a refusal says. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type CounterDatabase, cloneCounters, newKey } from '../support/counters.ts'

let counters: CounterDatabase

beforeAll(async () => {
  counters = await cloneCounters()
})

afterAll(() => counters.database.drop())

test('exactly as many pass in the first window as the limit says', async () => {
  const key = newKey()
  expect(await counters.takeTimes(9, { key })).toBe(9)
  await counters.pass(key, 59)
  expect(await counters.take([{ key }])).toMatchObject({ allowed: true, used: [10] })
  expect(await counters.takeTimes(5, { key })).toBe(0)
})

/** How many pass of 40 that come at once. */
async function crowd(key: string): Promise<number> {
  const answers = await Promise.allSettled(Array.from({ length: 40 }, () => counters.take([{ key }])))
  return answers.filter(answer => answer.status === 'fulfilled' && answer.value.allowed).length
}

test('exactly as many pass when all come at once, on a new key and where a window begins', async () => {
  const key = newKey()
  expect(await crowd(key)).toBe(10)
  expect((await counters.rowOf(key)).current).toBe(10)
  await counters.pass(key, 90)
  expect(await crowd(key)).toBe(5)
  expect((await counters.rowOf(key)).current).toBe(5)
})

test('there is no second burst where a window ends', async () => {
  const key = newKey()
  expect(await counters.takeTimes(10, { key })).toBe(10)
  await counters.pass(key, 59)
  expect(await counters.takeTimes(10, { key })).toBe(0)
  await counters.pass(key, 2)
  expect(await counters.takeTimes(10, { key })).toBe(0)
  await counters.pass(key, 5)
  expect(await counters.takeTimes(10, { key })).toBe(1)
})

test('the window before weighs as much as it still covers, and nothing once it is left', async () => {
  const half = newKey()
  expect(await counters.takeTimes(10, { key: half })).toBe(10)
  await counters.pass(half, 90)
  expect(await counters.takeTimes(10, { key: half })).toBe(5)
  const none = newKey()
  expect(await counters.takeTimes(10, { key: none })).toBe(10)
  await counters.pass(none, 120)
  expect(await counters.takeTimes(12, { key: none })).toBe(10)
})

test('where the clock has been set back, the window before weighs no more than whole', async () => {
  const key = newKey()
  await counters.put(key, { previous: 9, current: 0, age: -30 })
  expect(await counters.takeTimes(2, { key })).toBe(1)
})

const waits: [number, number, number, number, number][] = [
  [0, 10, 30, 1, 36],
  [10, 0, 0, 1, 6],
  [10, 5, 0, 1, 36],
  [10, 10, 0, 1, 66],
  [10, 5, 10, 5, 50],
  [0, 1, 20, 10, 100],
]

test.each(waits)(
  'after %i and then %i, at second %i, a charge of %i passes in exactly %i seconds',
  async (previous, current, age, cost, seconds) => {
    const key = newKey()
    await counters.put(key, { previous, current, age })
    const now = Math.floor(Date.now() / 1000)
    const refused = await counters.take([{ key, cost }])
    expect(refused).toMatchObject({ allowed: false, retry_after: [seconds] })
    expect(Math.abs(Number(refused.reset_at[0]) - now - seconds)).toBeLessThanOrEqual(2)
    await counters.pass(key, seconds - 1)
    expect(await counters.take([{ key, cost }])).toMatchObject({ allowed: false, retry_after: [1] })
    await counters.pass(key, 1)
    expect((await counters.take([{ key, cost }])).allowed).toBe(true)
  },
)

test('a charge above the limit never passes, on a new key either, and is told a finite time', async () => {
  const key = newKey()
  for (const used of [false, true]) {
    if (used) expect((await counters.take([{ key }])).allowed).toBe(true)
    const { allowed, retry_after } = await counters.take([{ key, cost: 11 }])
    expect(allowed).toBe(false)
    expect(retry_after?.[0]).toBeGreaterThanOrEqual(1)
    expect(retry_after?.[0]).toBeLessThanOrEqual(1200)
  }
  expect((await counters.rowOf(key)).current).toBe(1)
})

test('of several charges all are taken, or none', async () => {
  const [first, second, third] = [newKey(), newKey(), newKey()]
  await counters.takeTimes(10, { key: second })
  const refused = await counters.take([{ key: first }, { key: second }, { key: third }])
  expect(refused.allowed).toBe(false)
  expect(refused.retry_after?.[0] ?? null).toBeNull()
  expect(refused.retry_after?.[1]).toBeGreaterThan(60)
  expect([await counters.rowOf(first), await counters.rowOf(third)]).toEqual([undefined, undefined])
  expect((await counters.take([{ key: first }, { key: third }])).used).toEqual([1, 1])
})

test('a key that fills up while the call waits for it refuses, and gives back what was taken', async () => {
  const first = newKey()
  const second = newKey()
  await counters.put(second, { previous: 0, current: 9, age: 0 })
  const holder = await counters.database.superuser.connect()
  try {
    await holder.query('begin')
    await counters.take([{ key: second }], holder)
    const waiting = counters.take([{ key: first }, { key: second }])
    await sleep(20)
    await holder.query('commit')
    expect(await waiting).toMatchObject({ allowed: false, retry_after: [null, 66] })
  } finally {
    await holder.query('rollback')
    holder.release()
  }
  expect([(await counters.rowOf(first)).current, (await counters.rowOf(second)).current]).toEqual([0, 10])
})

test('what only watches is counted beyond its limit and refuses nobody', async () => {
  const key = newKey()
  expect(await counters.takeTimes(12, { key, enforced: false })).toBe(12)
  expect((await counters.rowOf(key)).current).toBe(12)
})

test('32 connections with three keys each, in ascending order, never lock each other up', async () => {
  const pool = Array.from({ length: 8 }, newKey)
  const taken = new Map<string, number>()
  const codes = new Set<string>()
  await Promise.all(
    Array.from({ length: 32 }, async () => {
      for (let time = 0; time < 40; time++) {
        const chosen = [...pool].sort(() => Math.random() - 0.5).slice(0, 3)
        try {
          const { allowed } = await counters.take(chosen.sort().map(key => ({ key, max: 300 })))
          for (const key of allowed ? chosen : []) taken.set(key, (taken.get(key) ?? 0) + 1)
        } catch (error) {
          codes.add(String((error as { code?: unknown }).code))
        }
      }
    }),
  )
  // a wait that is too long on a busy machine is no deadlock
  codes.delete('55P03')
  expect([...codes]).toEqual([])
  for (const key of pool) {
    const { current } = await counters.rowOf(key)
    expect([key, current]).toEqual([key, taken.get(key)])
    expect(current).toBeLessThanOrEqual(300)
  }
})

test('a window that a DBA shortens or lengthens holds from the next charge on', async () => {
  const [shorter, longer] = [newKey(), newKey()]
  await counters.takeTimes(10, { key: shorter })
  await counters.pass(shorter, 20)
  expect((await counters.take([{ key: shorter }])).allowed).toBe(false)
  expect((await counters.take([{ key: shorter, window: 10 }])).allowed).toBe(true)
  expect((await counters.rowOf(shorter)).window_seconds).toBe(10)
  await counters.takeTimes(10, { key: longer, window: 10 })
  await counters.pass(longer, 20)
  expect(await counters.take([{ key: longer, window: 100 }])).toMatchObject({
    allowed: false,
    retry_after: [90],
  })
  expect((await counters.take([{ key: longer, window: 10 }])).allowed).toBe(true)
})
