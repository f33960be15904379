/** The limiter without its database, on a clock that the test moves: deadlines, retries and cached refusals. */
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals'
import type pg from 'pg'
import { Registry } from 'prom-client'
import type { Charge } from '../../src/limits/charges.ts'
import { type Counters, makeCounters, type Verdict } from '../../src/limits/counters.ts'
import { makeLimitMetrics } from '../../src/limits/limitMetrics.ts'
import type { Policy } from '../../src/limits/policies.ts'
import type { ChargeResult } from '../../src/limits/statements.ts'

const DEADLINE_MS = 75
const RETRY_MS = 1_000

const policy: Policy = {
  scope: 'public_read',
  subject: 'ip',
  fields: [],
  maxCount: 6,
  windowSeconds: 60,
  cost: 1,
  mode: 'enforce',
  fallback: 'local',
}

/** Replaces the pool. A test sets how the database responds. */
type Database = {
  respond: () => Promise<ChargeResult>
  connect?: () => Promise<void>
  asked: number
  released: number
}

let database: Database
let counters: Counters
let lastKey = 0

beforeEach(() => {
  jest.useFakeTimers()
  database = { respond: () => Promise.resolve(passes()), asked: 0, released: 0 }
  const client = {
    async query() {
      database.asked += 1
      return { rows: [await database.respond()] }
    },
    release: () => {
      database.released += 1
    },
  }
  const pool = {
    async connect() {
      await database.connect?.()
      return client
    },
  }
  counters = makeCounters({
    pool: pool as unknown as pg.Pool,
    instances: 2,
    deadlineMs: DEADLINE_MS,
    prepareStatements: true,
    metrics: makeLimitMetrics(new Registry()),
  })
})

afterEach(() => {
  counters.stop()
  jest.useRealTimers()
})

const seconds = () => Date.now() / 1000
const passes = (): ChargeResult => ({ used: 1, reset_at: seconds() + 60, retry_after: null })
const refuses = (wait: number): ChargeResult => ({
  used: null,
  reset_at: seconds() + wait,
  retry_after: wait,
})
const fails = () => Promise.reject(Object.assign(new Error('gone'), { code: 'ECONNREFUSED' }))
const isSilent = () => new Promise<never>(() => {})

function makeCharge(changes: Partial<Charge> = {}): Charge {
  lastKey += 1
  return {
    policy,
    name: 'ip:203.0.113.1:public_read',
    key: Buffer.from(String(lastKey)),
    cost: 1,
    ...changes,
  }
}

/** Takes a charge, and moves the clock until the verdict is there. Returns the verdict and the milliseconds that it took. */
async function take(charge = makeCharge()): Promise<{ verdict: Verdict | undefined; took: number }> {
  const startedAt = Date.now()
  let decided: { verdict: Verdict | undefined } | undefined
  counters.take([charge]).then(verdict => {
    decided = { verdict }
  })
  for (let time = 0; time < 10_000 && decided === undefined; time += 1)
    await jest.advanceTimersByTimeAsync(decided === undefined ? 1 : 0)
  if (decided === undefined) throw new Error('the charge was never decided')
  return { verdict: decided.verdict, took: Date.now() - startedAt }
}

async function openBreaker(): Promise<void> {
  database.respond = fails
  for (let time = 0; time < 3; time += 1) await take()
  database.asked = 0
}

test('a charge to a silent database is decided at the deadline by the counters of the process', async () => {
  database.respond = isSilent
  const { verdict, took } = await take()
  expect(verdict).toMatchObject({ allowed: true, used: 2 })
  expect(took).toBeGreaterThanOrEqual(DEADLINE_MS)
  expect(took).toBeLessThanOrEqual(DEADLINE_MS + 2)
})

test('after three failures no charge asks the database for a second', async () => {
  await openBreaker()
  for (let time = 0; time < 100; time += 1) await take()
  expect(database.asked).toBe(0)
})

test('after that second one charge asks the database, and its failure starts another second', async () => {
  await openBreaker()
  await jest.advanceTimersByTimeAsync(RETRY_MS)
  database.respond = isSilent
  const all = Array.from({ length: 50 }, () => counters.take([makeCharge()]))
  await jest.advanceTimersByTimeAsync(DEADLINE_MS + 2)
  expect(await Promise.all(all)).toHaveLength(50)
  expect(database.asked).toBe(1)
  await jest.advanceTimersByTimeAsync(RETRY_MS - 10)
  await take()
  expect(database.asked).toBe(1)
  await jest.advanceTimersByTimeAsync(10)
  await take()
  expect(database.asked).toBe(2)
})

test('one success brings every charge back to the database', async () => {
  await openBreaker()
  await jest.advanceTimersByTimeAsync(RETRY_MS)
  database.respond = async () => passes()
  for (let time = 0; time < 5; time += 1) expect((await take()).verdict).toMatchObject({ used: 1 })
  expect(database.asked).toBe(5)
})

test('a charge whose deadline passes while it waits for a connection never asks the database', async () => {
  const connection = Promise.withResolvers<void>()
  database.connect = () => connection.promise
  expect((await take()).took).toBeLessThanOrEqual(DEADLINE_MS + 2)
  connection.resolve()
  await jest.advanceTimersByTimeAsync(0)
  expect([database.asked, database.released]).toEqual([0, 1])
})

test('a refusal is repeated without the database until its Retry-After has passed', async () => {
  const charge = makeCharge()
  database.respond = async () => refuses(30)
  expect((await take(charge)).verdict).toMatchObject({ allowed: false, retryAfterSeconds: 30 })
  await jest.advanceTimersByTimeAsync(20_000)
  expect((await take(charge)).verdict).toMatchObject({ allowed: false, retryAfterSeconds: 10 })
  expect(database.asked).toBe(1)
  await jest.advanceTimersByTimeAsync(10_000)
  database.respond = async () => passes()
  expect((await take(charge)).verdict).toMatchObject({ allowed: true })
  expect(database.asked).toBe(2)
})

test.each<[string, Partial<Charge>]>([
  ['a smaller cost', { cost: 1 }],
  ['a changed policy', { policy: { ...policy } }],
])('a cached refusal does not refuse %s', async (_, changes) => {
  const charge = makeCharge({ cost: 4 })
  database.respond = async () => refuses(30)
  await take(charge)
  database.respond = async () => passes()
  expect((await take({ ...charge, ...changes })).verdict).toMatchObject({ allowed: true })
  expect(database.asked).toBe(2)
})
