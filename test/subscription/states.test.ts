/** The states of a subscription: allowed transitions, immutable columns and constraints. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import {
  makeAdminUser,
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  makeUser,
} from '../support/testData.ts'

const STATES = ['pending', 'active', 'expired', 'cancelled'] as const
const ALLOWED = ['pending → active', 'pending → cancelled', 'active → expired', 'active → cancelled']

let database: TestDatabase
let packageId: string
let dealerId: string

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  packageId = await makePackage(database.owner)
  dealerId = await makeDealer(database.owner, await makeUser(database.owner))
})

afterAll(() => database.drop())

/** The SQLSTATE of a refused statement, or 'allowed'. */
async function attempt(client: pg.ClientBase, sql: string, values: unknown[]): Promise<string> {
  return refusal(client, sql, values).catch(error => {
    if (String(error.message).startsWith('was not refused')) return 'allowed'
    throw error
  })
}

const PAIRS = STATES.flatMap(from => STATES.map(to => [from, to] as const))

test.each(PAIRS)('only an allowed state change succeeds, even for a superuser: %s to %s', (from, to) =>
  rolledBack(database, async client => {
    const id = await makeSubscription(client, dealerId, { packageId, status: from })
    const times =
      to === 'pending'
        ? 'start_at = null, end_at = null'
        : "start_at = coalesce(start_at, now()), end_at = coalesce(end_at, now() + interval '1 day')"
    const update = `update app_public.dealer_subscriptions set status = $2, ${times} where id = $1`
    const expected = from === to || ALLOWED.includes(`${from} → ${to}`) ? 'allowed' : '55000'
    for (const role of ['forecourt_test_owner', 'none']) {
      await client.query('savepoint before')
      await client.query(`set local role ${role}`)
      expect(await attempt(client, update, [id, to])).toBe(expected)
      await client.query('rollback to savepoint before')
    }
  }),
)

const CHANGES = [
  'id = gen_random_uuid()',
  'dealer_id = gen_random_uuid()',
  'included_listing_quota = 11',
  'included_premium_quota = 1',
  'included_highlight_quota = 1',
  "included_listing_quota = 11, status = 'expired'",
]

test.each(CHANGES)('the id, the dealer and the included quota of a subscription cannot change: %s', change =>
  rolledBack(database, async client => {
    await makeSubscription(client, dealerId, { packageId })
    const update = `update app_public.dealer_subscriptions set ${change}`
    expect(await refusal(client, update)).toBe('55000')
    await client.query('reset role')
    expect(await refusal(client, update)).toBe('55000')
  }),
)

test('the state trigger names each column of its condition, and no other trigger changes the row after it', async () => {
  const { rows } = await database.superuser.query<{ name: string; columns: string[]; condition: string[] }>(
    `select t.tgname as name,
       array(select a.attname::text from pg_attribute as a where a.attrelid = t.tgrelid and a.attnum = any (t.tgattr) order by 1) as columns,
       array(select distinct m[1] from regexp_matches(pg_get_triggerdef(t.oid), '(?:old|new)\\.(\\w+)', 'g') as m order by 1) as condition
     from pg_trigger as t
     where t.tgrelid = 'app_public.dealer_subscriptions'::regclass and not t.tgisinternal and t.tgtype & 19 = 19`,
  )
  expect(rows).toHaveLength(1)
  expect(rows[0]).toMatchObject({ name: 'dealer_subscriptions_state', columns: rows[0]?.condition })
})

test('a subscription cannot be removed', () =>
  rolledBack(database, async client => {
    await makeSubscription(client, dealerId, { packageId })
    for (const role of ['forecourt_test_owner', 'none']) {
      await client.query(`set local role ${role}`)
      expect(await refusal(client, 'delete from app_public.dealer_subscriptions')).toBe('55000')
      expect(await refusal(client, 'truncate app_public.dealer_subscriptions cascade')).toBe('55000')
    }
  }))

test('a dealer can have only one active subscription, through insert or update', () =>
  rolledBack(database, async client => {
    await makeSubscription(client, dealerId, { packageId })
    const pending = await makeSubscription(client, dealerId, { packageId, status: 'pending' })
    await makeSubscription(client, dealerId, { packageId, status: 'pending' })
    const insert = `insert into app_public.dealer_subscriptions
      (dealer_id, package_id, status, duration_days, included_listing_quota, start_at, end_at)
      values ($1, $2, 'active', 30, 10, now(), now() + interval '1 day')`
    expect(await refusal(client, insert, [dealerId, packageId])).toBe('23505')
    const start = `update app_public.dealer_subscriptions
      set status = 'active', start_at = now(), end_at = now() + interval '1 day' where id = $1`
    expect(await refusal(client, start, [pending])).toBe('23505')
  }))

test('a started subscription must have a start and a later end, and a pending one must have neither', () =>
  rolledBack(database, async client => {
    const insert = `insert into app_public.dealer_subscriptions
      (dealer_id, package_id, duration_days, included_listing_quota, status, start_at, end_at) values ($1, $2, 30, 10, $3, $4, $5)`
    const [sooner, later] = ['2026-01-01Z', '2026-02-01Z']
    const refused: unknown[][] = [
      ['pending', sooner, later],
      ['active', null, null],
      ['active', sooner, null],
      ['active', null, later],
      ['expired', null, null],
      ['cancelled', sooner, null],
      ['active', later, sooner],
      ['active', sooner, sooner],
    ]
    for (const times of refused) {
      expect(await refusal(client, insert, [dealerId, packageId, ...times])).toBe('23514')
    }
  }))

test('an invoice can have only one subscription, which belongs to the same dealer', () =>
  rolledBack(database, async client => {
    const otherId = await makeDealer(client, await makeUser(client))
    const invoiceId = randomUUID()
    await client.query(
      "insert into app_public.invoices (dealer_id, id, kind, country, currency) values ($1, $2, 'package', 'DE', 'EUR')",
      [dealerId, invoiceId],
    )
    const insert = `insert into app_public.dealer_subscriptions
      (dealer_id, package_id, duration_days, included_listing_quota, invoice_id) values ($1, $2, 30, 10, $3)`
    expect(await refusal(client, insert, [otherId, packageId, invoiceId])).toBe('23503')
    await client.query(insert, [dealerId, packageId, invoiceId])
    expect(await refusal(client, insert, [dealerId, packageId, invoiceId])).toBe('23505')
  }))

test('a dealer sees its own subscriptions, an admin sees all, a visitor is refused', () =>
  rolledBack(database, async client => {
    const userId = await makeUser(client)
    await makeSubscription(client, await makeDealer(client, userId), { packageId })
    await makeSubscription(client, dealerId, { packageId })
    const select = 'select from app_public.dealer_subscriptions'
    await become(client, { dealer: userId })
    expect((await client.query(select)).rowCount).toBe(1)
    await become(client, 'owner')
    await become(client, { admin: await makeAdminUser(client) })
    expect((await client.query(select)).rowCount).toBe(2)
    await become(client, 'visitor')
    expect(await refusal(client, select)).toBe('42501')
  }))
