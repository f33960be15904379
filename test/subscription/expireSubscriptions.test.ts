/** expire_subscriptions(): which subscriptions expire, in which order, and how runs behave next to other transactions. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { brokenRules, countSources } from '../support/ledger.ts'
import { subscriptionStatuses } from '../support/purchases.ts'
import {
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  makeUser,
  single,
} from '../support/testData.ts'
import { interleave } from '../support/transactions.ts'

const EXPIRE = 'select app_private.expire_subscriptions($1) as count'
const PUBLISH = "select app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 1, 'EUR')"
const AUDIT = `select actor, resource_type, resource_id, old_values, new_values
  from app_public.audit_logs where action = 'SYSTEM_EXPIRE' order by id`

type Queryable = { query(sql: string, values: unknown[]): Promise<pg.QueryResult> }

let database: TestDatabase
let userId: string
let packageId: string

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  packageId = await makePackage(database.owner)
  userId = await makeUser(database.owner)
})

afterAll(() => database.drop())

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
  // the next test must start without due subscriptions
  while ((await expire(database.owner)) > 0);
})

async function expire(db: Queryable, batchSize = 1000): Promise<number> {
  const { rows } = await db.query(EXPIRE, [batchSize])
  return rows[0].count
}

/** Makes a dealer with a subscription that ended this long ago, and returns the id of the subscription. */
async function makeEnded(db: Pick<pg.ClientBase, 'query'>, ago: string): Promise<string> {
  const dealerId = await makeDealer(db, userId)
  const startAt = "now() - interval '90 days'"
  return makeSubscription(db, dealerId, {
    packageId,
    startAt,
    endAt: `clock_timestamp() - interval '${ago}'`,
  })
}

test('the subscription that ended first expires first, and each batch writes one audit entry', () =>
  rolledBack(database, async client => {
    const ids: Record<number, string> = {}
    for (const days of [3, 1, 5, 2, 4]) ids[days] = await makeEnded(client, `${days} days`)
    expect(await expire(client, 2)).toBe(2)
    expect(await expire(client, 2)).toBe(2)
    expect(await expire(client, 2)).toBe(1)
    expect(await expire(client, 2)).toBe(0)
    const { rows } = await client.query(AUDIT)
    const entry = (expected: (string | undefined)[]) => ({
      actor: null,
      resource_type: 'dealer_subscriptions',
      resource_id: null,
      old_values: null,
      new_values: { count: expected.length, ids: expect.arrayContaining(expected) },
    })
    expect(rows).toEqual([entry([ids[5], ids[4]]), entry([ids[3], ids[2]]), entry([ids[1]])])
  }))

test('expiry changes only the status and the update time', () =>
  rolledBack(database, async client => {
    const id = await makeEnded(client, '1 day')
    const read = () => client.query('select * from app_public.dealer_subscriptions where id = $1', [id])
    const before = (await read()).rows[0]
    await client.query("update app_public.dealer_subscriptions set updated_at = now() - interval '9 days'")
    const started = await client.query('select clock_timestamp() as now')
    await expire(client)
    const after = (await read()).rows[0]
    expect(after).toEqual({ ...before, status: 'expired', updated_at: expect.any(Date) })
    expect(after.updated_at >= started.rows[0].now).toBe(true)
  }))

test('only an active subscription that has reached its end expires', () =>
  rolledBack(database, async client => {
    const past = "clock_timestamp() - interval '1 second'"
    const make = async (status: string, endAt: string) =>
      makeSubscription(client, await makeDealer(client, userId), { packageId, status, endAt })
    await make('cancelled', past)
    await make('expired', past)
    await make('active', "clock_timestamp() + interval '1 hour'")
    expect(await expire(client)).toBe(0)
    expect((await client.query(AUDIT)).rows).toEqual([])
    await make('active', 'clock_timestamp()')
    expect(await expire(client)).toBe(1)
  }))

test('a subscription gives quota until a microsecond before its end, but not at its end', () =>
  rolledBack(database, async client => {
    const dealerId = await makeDealer(client, userId)
    const endAt = "now() + interval '1 hour'"
    const id = await makeSubscription(client, dealerId, { packageId, endAt })
    const decide = `select d.source from app_public.dealer_subscriptions as s
      cross join app_private.decide_publication(s.dealer_id, 'DE', s.end_at - $2 * interval '1 microsecond') as d
      where s.id = $1`
    expect(await single(client, decide, [id, 1])).toBe('subscription_quota')
    expect(await single(client, decide, [id, 0])).toBe('paid_extra')
  }))

test('a run expires a subscription exactly at its end, but not a microsecond before', () =>
  rolledBack(database, async client => {
    const id = await makeSubscription(client, await makeDealer(client, userId), { packageId })
    // replaces the clock in the functions with a setting that the test controls
    await client.query('reset role')
    const { rows } = await client.query(
      `select pg_get_functiondef(f) as text
       from unnest('{app_private.expire_due,app_private.expire_rows}'::regproc[]) as f`,
    )
    for (const { text } of rows) {
      await client.query(text.replaceAll('clock_timestamp()', "current_setting('test.now')::timestamptz"))
    }
    const at = (offset: number) =>
      client.query(
        `select set_config('test.now', (end_at - $2 * interval '1 microsecond')::text, true)
         from app_public.dealer_subscriptions where id = $1`,
        [id, offset],
      )
    await at(1)
    expect(await expire(client)).toBe(0)
    await at(0)
    expect(await expire(client)).toBe(1)
  }))

test('a batch size below one is refused', () =>
  rolledBack(database, async client => {
    for (const size of [0, -1, null]) expect(await refusal(client, EXPIRE, [size])).toBe('FC010')
  }))

test('no role of the API can run the expiry', () =>
  rolledBack(database, async client => {
    for (const as of ['visitor', 'authenticator', { dealer: userId }, { admin: userId }] as const) {
      await become(client, as)
      expect(await refusal(client, EXPIRE, [1])).toBe('42501')
    }
  }))

test('a run does not wait for a subscription that a publication has locked, and a later call expires it', async () => {
  const id = await makeEnded(database.owner, '1 day')
  const freeId = await makeEnded(database.owner, '1 hour')
  const dealerId = await single(
    database.owner,
    'select dealer_id from app_public.dealer_subscriptions where id = $1',
    [id],
  )
  await interleave(
    database,
    { publisher: { dealer: userId }, expiryRun: 'owner' },
    async ({ publisher, expiryRun }) => {
      await publisher.query(PUBLISH, [dealerId])
      await expiryRun.query("set local lock_timeout to '1s'")
      expect(await expire(expiryRun)).toBe(1)
      expect(await expire(expiryRun)).toBe(0)
      await expiryRun.commit()
      await publisher.commit()
    },
  )
  expect(await countSources(database.owner, dealerId)).toEqual({ paid_extra: 1 })
  const status = 'select status from app_public.dealer_subscriptions where id = $1'
  expect(await single(database.owner, status, [freeId])).toBe('expired')
  expect(await single(database.owner, status, [id])).toBe('active')
  expect(await expire(database.owner)).toBe(1)
  expect(await single(database.owner, status, [id])).toBe('expired')
})

test('two concurrent runs share the work without waiting for each other', async () => {
  for (let number = 1; number <= 5; number += 1) await makeEnded(database.owner, `${number} days`)
  await interleave(database, { one: 'owner', other: 'owner' }, async ({ one, other }) => {
    await other.query("set local lock_timeout to '1s'")
    expect(await expire(one, 3)).toBe(3)
    expect(await expire(other, 3)).toBe(2)
    expect(await expire(other, 3)).toBe(0)
    await one.commit()
    await other.commit()
  })
})

test('the batch of an interrupted run is rolled back, and a later call expires it', async () => {
  for (let number = 1; number <= 4; number += 1) await makeEnded(database.owner, `${number} days`)
  const entries = async () => (await database.owner.query(AUDIT)).rowCount ?? 0
  const before = await entries()
  expect(await expire(database.owner, 2)).toBe(2)
  const client = await database.superuser.connect()
  await client.query('begin')
  expect(await expire(client, 1)).toBe(1)
  await database.superuser.query('select pg_terminate_backend($1, 5000)', [
    await single(client, 'select pg_backend_pid()'),
  ])
  client.release(true)
  expect(await expire(database.owner, 2)).toBe(2)
  expect(await expire(database.owner, 2)).toBe(0)
  expect((await entries()) - before).toBe(2)
})

test('a publication that waits for a failing run still uses its quota', async () => {
  const dealerId = await makeDealer(database.owner, userId)
  const endAt = "clock_timestamp() + interval '1 hour'"
  const id = await makeSubscription(database.owner, dealerId, { packageId, endAt })
  await interleave(
    database,
    { expiryRun: 'owner', publisher: { dealer: userId } },
    async ({ expiryRun, publisher }) => {
      // moves the end into the past, visible only to the run
      await expiryRun.query(
        'update app_public.dealer_subscriptions set end_at = clock_timestamp() where id = $1',
        [id],
      )
      expect(await expire(expiryRun)).toBe(1)
      const waiting = await publisher.startBlocked(PUBLISH, [dealerId])
      await expiryRun.rollback()
      await waiting.result
      await publisher.commit()
    },
  )
  expect(await countSources(database.owner, dealerId)).toEqual({ subscription_quota: 1 })
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['active'])
})
