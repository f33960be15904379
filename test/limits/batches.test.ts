/** Charges of concurrent requests share a statement: their order, a locked counter among them, and two processes at once. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { Registry } from 'prom-client'
import { authenticator } from '../../src/database/authenticator.ts'
import { makeBatches } from '../../src/limits/batches.ts'
import type { Charge } from '../../src/limits/charges.ts'
import type { Policy } from '../../src/limits/policies.ts'
import { type Limits, startLimits } from '../../src/limits/startLimits.ts'
import type { ChargeResult } from '../../src/limits/statements.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { recordLog } from '../support/recordedLog.ts'
import { holding } from '../support/waits.ts'

const LIMIT = 50
const INSTANCES = 10
/** Long enough that a busy machine misses no deadline. A locked counter is waited for a third of it. */
const DEADLINE_MS = 6_000
const LOCK_TIMEOUT_MS = 2_000

const policy: Policy = {
  scope: 'public_read',
  subject: 'ip',
  fields: [],
  maxCount: LIMIT,
  windowSeconds: 3_600,
  cost: 1,
  mode: 'enforce',
  fallback: 'local',
}

let database: TestDatabase
const started: Limits[] = []
let keys = 0

beforeAll(async () => {
  database = await cloneDatabase()
})

afterEach(async () => {
  for (const limits of started.splice(0)) await limits.stop()
})

afterAll(() => database.drop())

const makeCharge = (key = `key ${++keys}`): Charge => ({ policy, name: key, key: Buffer.from(key), cost: 1 })

async function startProcess(): Promise<Limits> {
  const { config } = authenticator({ databaseUrl: database.ownerUrl })
  const limits = await startLimits({
    config,
    instances: INSTANCES,
    deadlineMs: DEADLINE_MS,
    prepareStatements: true,
    metrics: { registry: new Registry(), watchPool: () => {} },
    log: recordLog().log,
  })
  started.push(limits)
  return limits
}

/** Takes charges that arrive at the same time: the first is sent alone, the others share the next statement. */
async function takeAtOnce({ counters }: Limits, charges: readonly Charge[]) {
  const startedAt = performance.now()
  return Promise.all(
    charges.map(async charge => {
      const verdict = await counters.take([charge])
      return { allowed: verdict?.allowed, used: verdict?.used, took: performance.now() - startedAt }
    }),
  )
}

/** A pool that answers when the test says so. */
function makeSlowPool() {
  const sent: { keys: string[]; respond: (error?: Error) => void }[] = []
  const client = {
    query: ({ values }: { values: unknown[] }) =>
      new Promise((resolve, reject) => {
        const keys = [values[0]].flat().map(String)
        const rows = keys.map((_, index): ChargeResult => ({ used: index, reset_at: 0, retry_after: null }))
        sent.push({ keys, respond: error => (error ? reject(error) : resolve({ rows })) })
      }),
    release: () => {},
  }
  return { sent, pool: { connect: async () => client } as unknown as pg.Pool }
}

/** Lets everything run that waits for nothing. */
const settle = () => new Promise(resolve => setImmediate(resolve))

test('charges that arrive during a statement share the next one, by key and then in the order of their arrival', async () => {
  const { sent, pool } = makeSlowPool()
  const take = makeBatches(pool, true)
  const taken = ['d', 'c', 'a', 'c', 'b'].map(key => take(makeCharge(key), { expired: false }))
  await settle()
  expect(sent.map(({ keys }) => keys)).toEqual([['d']])
  sent[0]?.respond()
  await settle()
  expect(sent.map(({ keys }) => keys)).toEqual([['d'], ['a', 'b', 'c', 'c']])
  sent[1]?.respond()
  expect((await Promise.all(taken)).map(({ used }) => used)).toEqual([0, 2, 0, 3, 1])
})

test('a charge that has expired is not sent, and a silent statement whose charges have expired stops no other', async () => {
  const { sent, pool } = makeSlowPool()
  const take = makeBatches(pool, true)
  const attempts = ['a', 'b', 'c'].map(key => {
    const attempt: Parameters<typeof take>[1] = { expired: false }
    void take(makeCharge(key), attempt)
    return attempt
  })
  await settle()
  for (const attempt of attempts.slice(0, 2)) {
    attempt.expired = true
    attempt.onExpired?.()
  }
  await settle()
  expect(sent.map(({ keys }) => keys)).toEqual([['a'], ['c']])
})

test('an error of a statement is the error of each of its charges, and is not retried', async () => {
  const { sent, pool } = makeSlowPool()
  const take = makeBatches(pool, true)
  const taken = ['a', 'b', 'c'].map(key => take(makeCharge(key), { expired: false }))
  await settle()
  sent[0]?.respond()
  await settle()
  sent[1]?.respond(Object.assign(new Error('shutdown'), { code: '57P01' }))
  const outcomes = await Promise.allSettled(taken)
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected'])
  expect(sent).toHaveLength(2)
})

test('a locked counter sends only its own charges to the counters of the process, and delays later charges of others not at all', async () => {
  const limits = await startProcess()
  const [locked, ...others] = Array.from({ length: 7 }, () => makeCharge()) as [Charge, ...Charge[]]
  await limits.counters.take([locked])
  const lock = 'select from app_private.rate_limit_counters where key = $1 for update'
  await holding(database, lock, [locked.key], async release => {
    const [first, ofLocked, ...rest] = await takeAtOnce(limits, [makeCharge(), locked, ...others])
    expect(ofLocked).toMatchObject({ allowed: true, used: INSTANCES })
    expect(first).toMatchObject({ allowed: true, used: 1 })
    for (const other of rest) expect(other).toMatchObject({ allowed: true, used: 1 })
    for (const decided of [...rest, ofLocked]) expect(decided?.took).toBeLessThan(DEADLINE_MS)
    const [, ofLockedLater, ...later] = await takeAtOnce(limits, [makeCharge(), locked, ...others])
    for (const other of later) expect(other).toMatchObject({ allowed: true, used: 2 })
    for (const { took } of later) expect(took).toBeLessThan(LOCK_TIMEOUT_MS / 2)
    expect(ofLockedLater).toMatchObject({ allowed: true, used: 2 * INSTANCES })
    await release()
  })
  expect(await limits.counters.take([locked])).toMatchObject({ allowed: true, used: 2 })
})

test('of 120 charges to two processes at once exactly 50 pass, among charges of other counters', async () => {
  const processes = [await startProcess(), await startProcess()]
  const [hot, ...others] = Array.from({ length: 9 }, () => makeCharge()) as [Charge, ...Charge[]]
  const pick = () => others[Math.floor(Math.random() * others.length)] as Charge
  const verdicts = await Promise.all(
    Array.from({ length: 120 }, async (_, index) => {
      const { counters } = processes[index % 2] as Limits
      const [verdict, other] = await Promise.all([counters.take([hot]), counters.take([pick()])])
      return { allowed: verdict?.allowed, other: other?.allowed }
    }),
  )
  expect(verdicts.filter(({ allowed }) => allowed)).toHaveLength(LIMIT)
  expect(verdicts.filter(({ other }) => !other)).toEqual([])
  const { rows } = await database.superuser.query(
    'select current::integer from app_private.rate_limit_counters where key = $1',
    [hot.key],
  )
  expect(rows).toEqual([{ current: LIMIT }])
})
