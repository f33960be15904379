/** The life of a listing a microsecond before, at and after each bound. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { around, atEach, cloneFrozen, freeze, NOON } from '../support/frozenClock.ts'
import {
  makeAdminUser,
  makeCountry,
  makeDealer,
  makeSubscription,
  publish,
  single,
} from '../support/testData.ts'

const APPROVE = "select app_public.moderate_listing($1, 'approve')"
const REJECT = "select app_public.moderate_listing($1, 'reject', 'No car.')"
const RENEW = 'select app_public.renew_listing($1, gen_random_uuid())'
const later = (days: number) => `${NOON} + ${days} * interval '24 hours'`

let database: TestDatabase
let userId: string
let dealerId: string

beforeAll(async () => {
  database = await cloneFrozen()
  await makeCountry(database.owner, { freeListings: 1 })
  userId = await makeAdminUser(database.owner)
  dealerId = await makeDealer(database.owner, userId)
})

afterAll(() => database.drop())

/** Runs `work` at each moment around `moment`, with a listing that was published at noon and went through these statements then. */
const withListing = <Value>(
  moment: string,
  path: string[],
  work: (client: pg.PoolClient, id: string) => Promise<Value>,
  prepare: (client: pg.PoolClient) => Promise<unknown> = async () => {},
) =>
  atEach(database, moment, async client => {
    await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
    const now = await single(client, "select current_setting('forecourt.frozen_now')")
    await freeze(client, NOON)
    await prepare(client)
    const id = await publish(client, dealerId)
    for (const sql of path) await client.query(sql, [id])
    await freeze(client, `timestamptz '${now}'`)
    return work(client, id)
  })

/** The SQLSTATE of the refusal, or `ok`. */
const outcome = (client: pg.PoolClient, sql: string, id: string) =>
  refusal(client, sql, [id]).catch(() => 'ok')

test('a rejected listing is submitted again until a microsecond before 30 days have passed', async () => {
  const resubmit = 'select app_public.resubmit_listing($1, gen_random_uuid())'
  expect(await withListing(later(30), [REJECT], (client, id) => outcome(client, resubmit, id))).toEqual([
    'ok',
    'FC008',
    'FC008',
  ])
})

test.each([
  [90, 60],
  [20, 0],
  [30, 0],
])('a listing of %d days is renewed exactly from %d days after its publication on', async (days, from) => {
  const short = `update app_public.listings set listing_days = ${days} where id = $1`
  expect(
    await withListing(later(from), [short, APPROVE], (client, id) => outcome(client, RENEW, id)),
  ).toEqual(['FC008', 'ok', 'ok'])
})

test('a listing that is renewed exactly at its end starts then', async () => {
  const isNew = await withListing(later(90), [APPROVE], async (client, id) => {
    await client.query(RENEW, [id])
    const sql = 'select published_at = app_private.frozen_now() from app_public.listings where id = $1'
    return single(client, sql, [id])
  })
  expect(isNew).toEqual([false, true, true])
})

test('a listing is renewed until a microsecond before 180 days after its end', async () => {
  const outcomes = await withListing(later(270), [APPROVE], (client, id) => outcome(client, RENEW, id))
  expect(outcomes).toEqual(['ok', 'FC008', 'FC008'])
})

test.each([
  ['expire_listings', 'select app_private.expire_listings()'],
  [
    'a batch',
    "select app_private.expire_rows(array(select ctid from app_public.listings), 'expire_listings')",
  ],
])('a listing expires exactly at its end: %s', async (_by, sql) => {
  const statuses = await withListing(later(90), [APPROVE], async (client, id) => {
    await client.query(sql)
    return single(client, 'select status from app_public.listings where id = $1', [id])
  })
  expect(statuses).toEqual(['active', 'expired', 'expired'])
})

test('the metric counts a listing as due exactly from its end on', async () => {
  const due = await withListing(later(90), [APPROVE], client =>
    single(client, 'select value from app_private.listing_metrics() where metric = $1', ['listings_due']),
  )
  expect(due).toEqual([0, 1, 1])
})

test('a listing that is taken down after its end keeps its end', async () => {
  const kept = await withListing(later(90), [APPROVE], async (client, id) => {
    await client.query(REJECT, [id])
    const sql = `select (expires_at - (${NOON}))::text from app_public.listings where id = $1`
    return single(client, sql, [id])
  })
  expect(kept).toEqual(['89 days 23:59:59.999999', '90 days', '90 days'])
})

test('the public sees a listing until a microsecond before its end', () =>
  rolledBack(database, async client => {
    await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
    const id = await publish(client, dealerId)
    await client.query(APPROVE, [id])
    const seen: number[] = []
    // the policy reads now(), which stands still within a transaction
    for (const end of around('now()')) {
      await become(client, 'owner')
      const set = `update app_public.listings set published_at = now() - interval '1 day', expires_at = ${end} where id = $1`
      await client.query(set, [id])
      await become(client, 'visitor')
      seen.push((await client.query('select id from app_public.listings')).rows.length)
    }
    expect(seen).toEqual([0, 0, 1])
  }))

test('a rejection gives a subscription its quota back until a microsecond before its end', async () => {
  const used = await withListing(
    later(30),
    [],
    async (client, id) => {
      await client.query(REJECT, [id])
      return single(client, 'select used_listing_quota from app_public.dealer_subscriptions')
    },
    async client => {
      await publish(client, dealerId)
      await makeSubscription(client, dealerId, { startAt: NOON, endAt: later(30) })
    },
  )
  expect(used).toEqual([0, 1, 1])
})

test('a free listing that was given back frees no more than itself, exactly until it leaves the period and after', async () => {
  const remaining = await withListing(later(30), [], async (client, id) => {
    const now = await single(client, "select current_setting('forecourt.frozen_now')")
    await freeze(client, later(1))
    await client.query(REJECT, [id])
    await freeze(client, `timestamptz '${now}'`)
    const decide =
      "select free_remaining from app_private.decide_publication($1, 'DE', app_private.frozen_now())"
    return single(client, decide, [dealerId])
  })
  expect(remaining).toEqual([1, 1, 1])
})
