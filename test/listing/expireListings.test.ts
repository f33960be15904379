/** expire_listings(): the machinery of subscriptions, for another table. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { startWorkerRole } from '../../src/worker/role.ts'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import { makeListing } from '../support/listings.ts'
import { recordLog } from '../support/recordedLog.ts'
import { makeCountry, makeDealer, makeSubscription, makeUser, single } from '../support/testData.ts'
import { interleave } from '../support/transactions.ts'
import { until } from '../support/waits.ts'

const EXPIRE = 'select app_private.expire_listings($1) as count'
const WITHDRAW = 'select app_public.withdraw_listing($1)'

let database: TestDatabase
let seller: { userId: string; dealerId: string }

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  const userId = await makeUser(database.owner)
  seller = { userId, dealerId: await makeDealer(database.owner, userId) }
})

afterAll(() => database.drop())

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
  while ((await expire(database.owner)) > 0);
})

async function expire(db: Pick<pg.ClientBase, 'query'> | pg.Pool, size = 1000): Promise<number> {
  return Number((await (db as pg.Pool).query(EXPIRE, [size])).rows[0].count)
}

/** Makes an active listing that ended this long ago. */
async function makeEnded(ago: string): Promise<string> {
  const id = await makeListing(database.owner, seller, 'ACTIVE')
  await database.owner.query(
    "update app_public.listings set published_at = now() - interval '99 days', expires_at = clock_timestamp() - $2::interval where id = $1",
    [id, ago],
  )
  return id
}
const statusOf = (id: string) =>
  single(database.owner, 'select status from app_public.listings where id = $1', [id])
const entries = async () =>
  (
    await database.owner.query(
      "select resource_type, new_values from app_public.audit_logs where action = 'SYSTEM_EXPIRE' order by id",
    )
  ).rows

test('the listing that ended first expires first, each batch writes one audit entry, and no step is recorded row by row', async () => {
  const ids: string[] = []
  for (const days of [3, 2, 1]) ids.push(await makeEnded(`${days} days`))
  const before = (await entries()).length
  expect([
    await expire(database.owner, 2),
    await expire(database.owner, 2),
    await expire(database.owner, 2),
  ]).toEqual([2, 1, 0])
  expect((await entries()).slice(before)).toEqual([
    { resource_type: 'listings', new_values: { count: 2, ids: expect.arrayContaining(ids.slice(0, 2)) } },
    { resource_type: 'listings', new_values: { count: 1, ids: ids.slice(2) } },
  ])
  const { rows } = await database.owner.query(
    "select from app_public.audit_logs where action = 'EXPIRE_LISTING'",
  )
  expect(rows).toHaveLength(0)
})

test('only an active listing that has reached its end expires, and subscriptions are left alone', async () => {
  const [ended, running, pending] = [
    await makeEnded('0 seconds'),
    await makeListing(database.owner, seller, 'ACTIVE'),
    await makeListing(database.owner, seller),
  ]
  const subscription = await makeSubscription(database.owner, seller.dealerId, {
    endAt: "now() - interval '1 hour'",
  })
  const progress = () =>
    single(
      database.owner,
      "select expired_until from app_private.expiry_progress where task = 'expire_subscriptions'",
    )
  const before = await progress()
  expect(await expire(database.owner)).toBe(1)
  expect(await progress()).toEqual(before)
  expect([await statusOf(ended), await statusOf(running), await statusOf(pending)]).toEqual([
    'expired',
    'active',
    'pending',
  ])
  const status = 'select status from app_public.dealer_subscriptions where id = $1'
  expect(await single(database.owner, status, [subscription])).toBe('active')
  await database.owner.query('select app_private.expire_subscriptions()')
})

test('a run does not wait for a listing that is being withdrawn, and looks again later', async () => {
  const [held, free] = [await makeEnded('2 days'), await makeEnded('1 day')]
  await interleave(database, { member: { dealer: seller.userId }, run: 'owner' }, async ({ member, run }) => {
    await member.query(WITHDRAW, [held])
    await run.query("set local lock_timeout to '1s'")
    for (const count of [1, 0]) expect((await run.query(EXPIRE, [10])).rows).toEqual([{ count }])
    const { rows } = await run.query(
      "select task_identifier from graphile_worker.jobs where key = 'expire_listings:skipped'",
    )
    expect(rows).toEqual([{ task_identifier: 'expire_listings' }])
    await run.commit()
    await member.commit()
  })
  expect([await statusOf(held), await statusOf(free)]).toEqual(['withdrawn', 'expired'])
})

test('a batch of a run does not wait for a listing that is being withdrawn', async () => {
  await makeEnded('2 days')
  const held = await makeEnded('1 day')
  await interleave(database, { member: { dealer: seller.userId }, run: 'owner' }, async ({ member, run }) => {
    await member.query(WITHDRAW, [held])
    await run.query("set local lock_timeout to '1s'")
    const batch =
      "select app_private.expire_rows(array(select ctid from app_public.listings), 'expire_listings') as count"
    expect((await run.query(batch)).rows).toEqual([{ count: 1 }])
    await run.commit()
    await member.commit()
  })
  expect(await statusOf(held)).toBe('withdrawn')
})

test('a renewal against the expiry run: the renewed listing stays active', async () => {
  const id = await makeEnded('1 minute')
  await interleave(database, { member: { dealer: seller.userId }, run: 'owner' }, async ({ member, run }) => {
    await member.query('select app_public.renew_listing($1, gen_random_uuid())', [id])
    expect((await run.query(EXPIRE, [10])).rows).toEqual([{ count: 0 }])
    await member.commit()
    await run.commit()
  })
  expect(await expire(database.owner)).toBe(0)
  expect(await statusOf(id)).toBe('active')
})

test('a renewal that waits for the expiry run renews the expired listing', async () => {
  const id = await makeEnded('1 minute')
  await interleave(database, { member: { dealer: seller.userId }, run: 'owner' }, async ({ member, run }) => {
    expect((await run.query(EXPIRE, [10])).rows).toEqual([{ count: 1 }])
    const { result } = await member.startBlocked('select app_public.renew_listing($1, gen_random_uuid())', [
      id,
    ])
    await run.commit()
    await result
    await member.commit()
  })
  expect(await statusOf(id)).toBe('active')
  const { rows } = await database.owner.query(
    "select old_values from app_public.audit_logs where resource_id = $1 and action = 'RENEW_LISTING'",
    [id],
  )
  expect(rows).toEqual([{ old_values: { status: 'expired' } }])
})

test('a batch size below one is refused, and no role of the API can run it', () =>
  rolledBack(database, async client => {
    for (const size of [0, -1, null]) expect(await refusal(client, EXPIRE, [size])).toBe('FC010')
    for (const as of [
      'visitor',
      'authenticator',
      { dealer: seller.userId },
      { admin: seller.userId },
    ] as const) {
      await become(client, as)
      expect(await refusal(client, EXPIRE, [1])).toBe('42501')
    }
  }))

test('a starting worker expires what is due and records its run, and the metrics show both', async () => {
  const id = await makeEnded('1 day')
  const metrics = async () =>
    Object.fromEntries(
      (
        await database.owner.query(
          "select metric, value from app_public.operation_metrics() where metric like 'listing%'",
        )
      ).rows.map(({ metric, value }) => [metric, value]),
    )
  // the job that another test has left would expire the listing too
  await database.owner.query("select graphile_worker.remove_job('expire_listings:skipped')")
  const before = await metrics()
  expect(before).toEqual({ listings_due: 1, listings_expired_total: expect.any(Number) })
  const worker = await startWorkerRole({ databaseUrl: database.ownerUrl, log: recordLog('info').log })
  await until('the listing has expired', async () => (await statusOf(id)) === 'expired')
  await until(
    'the run has ended',
    async () => 'listing_expiry_last_success_timestamp_seconds' in (await metrics()),
  )
  await worker.stop()
  expect(await metrics()).toMatchObject({
    listings_due: 0,
    listings_expired_total: before.listings_expired_total + 1,
  })
})
