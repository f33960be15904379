/** The sliding window in the database: which charges pass, and the Retry-After of a refusal. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { bytes, type CounterDatabase, cloneCounters, LONG_WINDOW, NOW, newKey } from '../support/counters.ts'
import { untilWaitingForLock } from '../support/waits.ts'

let counters: CounterDatabase

beforeAll(async () => {
  counters = await cloneCounters()
})

afterAll(() => counters.database.drop())

test('exactly as many charges pass in the first window as the limit allows', async () => {
  const key = newKey()
  expect(await counters.takeTimes(9, { key })).toBe(9)
  await counters.pass(key, 59)
  expect(await counters.take([{ key }])).toMatchObject({ allowed: true, used: [10] })
  expect(await counters.takeTimes(5, { key })).toBe(0)
})

/** The number of 40 parallel charges that pass. */
async function takeInParallel(key: string): Promise<number> {
  const results = await Promise.allSettled(Array.from({ length: 40 }, () => counters.take([{ key }])))
  return results.filter(result => result.status === 'fulfilled' && result.value.allowed).length
}

test('exactly as many parallel charges pass as the limit allows, on a new key and at the start of a window', async () => {
  const key = newKey()
  expect(await takeInParallel(key)).toBe(10)
  expect((await counters.rowOf(key)).current).toBe(10)
  await counters.pass(key, 90)
  expect(await takeInParallel(key)).toBe(5)
  expect((await counters.rowOf(key)).current).toBe(5)
})

test('the end of a window allows no second burst', async () => {
  const key = newKey()
  expect(await counters.takeTimes(10, { key })).toBe(10)
  await counters.pass(key, 59)
  expect(await counters.takeTimes(10, { key })).toBe(0)
  await counters.pass(key, 2)
  expect(await counters.takeTimes(10, { key })).toBe(0)
  await counters.pass(key, 5)
  expect(await counters.takeTimes(10, { key })).toBe(1)
})

test('the previous window counts by the share that the sliding window still covers', async () => {
  const half = newKey()
  expect(await counters.takeTimes(10, { key: half })).toBe(10)
  await counters.pass(half, 90)
  expect(await counters.takeTimes(10, { key: half })).toBe(5)
  const none = newKey()
  expect(await counters.takeTimes(10, { key: none })).toBe(10)
  await counters.pass(none, 120)
  expect(await counters.takeTimes(12, { key: none })).toBe(10)
})

test('after the clock was set back, the previous window counts no more than once', async () => {
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
  'with %i used before and %i now, at second %i, a charge of %i passes after exactly %i seconds',
  async (previous, current, age, cost, seconds) => {
    const key = newKey()
    await counters.put(key, { previous, current, age })
    const refused = await counters.take([{ key, cost }])
    expect(refused).toMatchObject({ allowed: false, retry_after: [seconds] })
    expect(refused.reset_at).toEqual([NOW + seconds])
    await counters.pass(key, seconds - 1)
    expect(await counters.take([{ key, cost }])).toMatchObject({ allowed: false, retry_after: [1] })
    await counters.pass(key, 1)
    expect((await counters.take([{ key, cost }])).allowed).toBe(true)
  },
)

test('a charge above the limit never passes, even on a new key, and gets a finite Retry-After', async () => {
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

test('several charges are taken together or not at all', async () => {
  const [first, second, third] = [newKey(), newKey(), newKey()]
  const window = LONG_WINDOW
  await counters.takeTimes(10, { key: second, window })
  const refused = await counters.take([{ key: first }, { key: second, window }, { key: third }])
  expect(refused.allowed).toBe(false)
  expect(refused.retry_after?.[0] ?? null).toBeNull()
  expect(refused.retry_after?.[1]).toBeGreaterThan(window)
  expect([await counters.rowOf(first), await counters.rowOf(third)]).toEqual([undefined, undefined])
  expect((await counters.take([{ key: first }, { key: third }])).used).toEqual([1, 1])
})

test('a call that waits for a key that fills up is refused, and its other charges are undone', async () => {
  const first = newKey()
  const second = newKey()
  const window = LONG_WINDOW
  await counters.put(second, { previous: 0, current: 9, age: 0, window })
  const holder = await counters.database.superuser.connect()
  try {
    await holder.query('begin')
    await counters.take([{ key: second, window }], holder)
    const waiting = counters.take([
      { key: first, window },
      { key: second, window },
    ])
    // connections of the test have no name
    await untilWaitingForLock(counters.database, '')
    await holder.query('commit')
    const { allowed, retry_after, reset_at } = await waiting
    expect([allowed, retry_after]).toEqual([false, [null, expect.any(Number)]])
    // a tenth of the next window, rounded up to a second
    const early = Number(reset_at[1]) - (NOW + 1.1 * window)
    expect([early >= 0, early < 1]).toEqual([true, true])
  } finally {
    await holder.query('rollback')
    holder.release()
  }
  expect([(await counters.rowOf(first)).current, (await counters.rowOf(second)).current]).toEqual([0, 10])
})

test('a charge in shadow mode is counted beyond the limit and never refused', async () => {
  const key = newKey()
  expect(await counters.takeTimes(12, { key, enforced: false })).toBe(12)
  expect((await counters.rowOf(key)).current).toBe(12)
})

test('32 connections that take three keys each in ascending order never deadlock', async () => {
  const pool = Array.from({ length: 8 }, newKey)
  const taken = new Map<string, number>()
  const codes = new Set<string>()
  await Promise.all(
    Array.from({ length: 32 }, async () => {
      for (let time = 0; time < 40; time++) {
        const chosen = [...pool].sort(() => Math.random() - 0.5).slice(0, 3)
        try {
          const { allowed } = await counters.take(
            chosen.sort().map(key => ({ key, max: 300, window: LONG_WINDOW })),
          )
          for (const key of allowed ? chosen : []) taken.set(key, (taken.get(key) ?? 0) + 1)
        } catch (error) {
          codes.add(String((error as { code?: unknown }).code))
        }
      }
    }),
  )
  // on a busy machine a call may wait longer than its lock_timeout, which is no deadlock
  codes.delete('55P03')
  expect([...codes]).toEqual([])
  for (const key of pool) {
    const { current } = await counters.rowOf(key)
    expect([key, current]).toEqual([key, taken.get(key)])
    expect(current).toBeLessThanOrEqual(300)
  }
})

test('a changed window length applies from the next charge on', async () => {
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

test('the charges of several requests in one statement are decided each by itself', async () => {
  const [full, free] = [newKey(), newKey()]
  const window = LONG_WINDOW
  await counters.takeTimes(9, { key: full, window })
  const charges = [full, full, free].map(key => ({ key, window }))
  expect((await counters.takeBatch(charges)).used).toEqual([10, null, 1])
})

test('a refused charge without a clock ends, and takes nothing', async () => {
  const key = newKey()
  const { rows } = await counters.database.superuser.query(
    'select (app_public.take_rate_limit($1, 10, 60, 11, null)).used',
    [bytes(key)],
  )
  expect([rows, await counters.rowOf(key)]).toEqual([[{ used: null }], undefined])
})
