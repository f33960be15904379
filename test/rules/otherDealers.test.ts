/**
 * A function that takes a dealer, an id or a key reads and writes the rows of that dealer alone. Two dealers have the same rows here,
 * with the same ids and keys: a condition on `dealer_id` that is lost returns or changes a row too many.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, refusal, rolledBack } from '../support/database.ts'
import { interleave } from '../support/transactions.ts'
import { HASH, IDS, KEY, READING, STRANGE, WRITING } from './dealerCalls.ts'
import { BY_ID, SHARED, VERIFYING } from './otherCalls.ts'
import { BYSTANDER, type Seeded, seedDatabase } from './seed.ts'

/** Copied for the second dealer, in the order of their foreign keys. */
const TWINS =
  'invoices invoice_items checkouts dealer_subscriptions listings listing_consumptions listing_promotions dealer_invitations dealer_api_keys'.split(
    ' ',
  )
const TABLES = [...TWINS, 'dealer_users']

let seeded: Seeded

beforeAll(async () => {
  seeded = await seedDatabase()
})

afterAll(() => seeded.database.drop())

const withIds = (sql: string) =>
  Object.entries(IDS).reduce((text, [placeholder, query]) => text.replace(placeholder, query), sql)

/** Makes the second dealer: the rows of the first one with another `dealer_id`. */
async function makeTwin(client: pg.ClientBase, dealerId: string): Promise<void> {
  for (const table of TWINS) {
    const { rowCount } = await client.query(
      `insert into app_public.${table} select (jsonb_populate_record(t, jsonb_build_object('dealer_id', $2::uuid))).*
       from app_public.${table} as t where t.dealer_id = $1`,
      [dealerId, BYSTANDER.dealerId],
    )
    expect([table, rowCount]).not.toEqual([table, 0])
  }
}

/**
 * Gives the dealer quota of each kind that is left, a pending subscription, and rows with the common key, and makes its user a member
 * of the second dealer.
 */
async function prepare(
  client: pg.ClientBase,
  { userId, dealerId }: { userId: string; dealerId: string },
): Promise<void> {
  await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
  await client.query(
    "insert into app_public.dealer_users (dealer_id, user_id, role) values ($1, $2, 'owner')",
    [BYSTANDER.dealerId, userId],
  )
  await client.query("update app_public.free_quota_configs set quota_amount = 10 where country = 'DE'")
  await client.query('update app_public.dealers set has_free_quota = false')
  await client.query(
    `insert into app_public.dealer_subscriptions
       (dealer_id, package_id, duration_days, included_listing_quota, status, start_at, end_at)
     select s.dealer_id, s.package_id, s.duration_days, 10, more.status, s.start_at + more.after, s.end_at + more.after
     from app_public.dealer_subscriptions as s, (values
       ('pending'::app_public.subscription_status, null::interval), ('cancelled', '0')) as more (status, after)
     where s.dealer_id = $1`,
    [dealerId],
  )
  await client.query(
    `update app_public.checkouts set idempotency_key = '${KEY}', payload_hash = ${HASH} where dealer_id = $1 and closed_at is null`,
    [dealerId],
  )
  await client.query(
    `update app_public.listings set idempotency_key = '${KEY}', payload_hash = ${HASH}
     where dealer_id = $1 and id = (select min(id::text)::uuid from app_public.listings where dealer_id = $1)`,
    [dealerId],
  )
}

const read = async (client: pg.ClientBase, sql: string, dealerId: string) =>
  (await client.query(withIds(sql), [dealerId])).rows

/** The rows of the dealer by table, as text. */
async function rowsOf(client: pg.ClientBase, dealerId: string): Promise<Record<string, string>> {
  const contents: Record<string, string> = {}
  for (const table of TABLES) {
    const { rows } = await client.query(
      `select coalesce(string_agg(t::text, ',' order by t::text), '') as content from app_public.${table} as t where dealer_id = $1`,
      [dealerId],
    )
    contents[table] = rows[0].content
  }
  return contents
}

test.each(Object.entries(READING))('a function reads only the rows of its dealer: %s', (_name, sql) =>
  rolledBack(seeded.database, async client => {
    const seller = seeded.sellers[0]
    await prepare(client, seller)
    const alone = await read(client, sql, seller.dealerId)
    expect(alone).toHaveLength(1)
    await makeTwin(client, seller.dealerId)
    expect(await read(client, sql, seller.dealerId)).toEqual(alone)
    const twin = JSON.parse(JSON.stringify(alone).replaceAll(seller.dealerId, BYSTANDER.dealerId))
    expect(await read(client, sql, BYSTANDER.dealerId)).toEqual(twin)
  }),
)

test.each(Object.entries(WRITING))('a function writes only the rows of its dealer: %s', (_name, writing) =>
  rolledBack(seeded.database, async client => {
    const seller = seeded.sellers[0]
    await prepare(client, seller)
    if (writing.prepare) await client.query(writing.prepare, [seller.dealerId])
    await makeTwin(client, seller.dealerId)
    const dealers = [seller.dealerId, BYSTANDER.dealerId]
    // each dealer is once the first and once the second in the order of the table
    for (const [own = '', other = ''] of [dealers, dealers.toReversed()]) {
      await client.query('savepoint call')
      const [ownBefore, otherBefore] = [await rowsOf(client, own), await rowsOf(client, other)]
      await client.query(withIds(writing.call), [own])
      const ownAfter = await rowsOf(client, own)
      expect(TABLES.filter(table => ownAfter[table] !== ownBefore[table])).toEqual(
        TABLES.filter(table => writing.changed.includes(table)),
      )
      expect(await rowsOf(client, other)).toEqual(otherBefore)
      await client.query('rollback to savepoint call')
    }
  }),
)

test('a job for the next start is made for the dealer that has a pending subscription, and for no other', () =>
  rolledBack(seeded.database, async client => {
    const [first, second] = seeded.sellers
    await prepare(client, first)
    for (const { dealerId } of [first, second]) {
      await client.query("select app_private.schedule_expiry($1, '2030-01-01')", [dealerId])
    }
    const { rows } = await client.query("select key from graphile_worker.jobs where run_at = '2030-01-01'")
    expect(rows).toEqual([{ key: `expire_subscriptions:${first.dealerId}` }])
  }))

test('an account gets back the dealer that it created with a key, not that of another account', () =>
  rolledBack(seeded.database, async client => {
    await client.query(
      `update app_private.dealer_creations set idempotency_key = '${KEY}', payload_hash = ${HASH}`,
    )
    for (const { userId, dealerId } of seeded.sellers) {
      const { rows } = await client.query(`select id from app_private.replay_dealer($1, '${KEY}', ${HASH})`, [
        userId,
      ])
      expect(rows).toEqual([{ id: dealerId }])
    }
    const { rows } = await client.query(`select id from app_private.replay_dealer($1, '${KEY}', ${HASH})`, [
      BYSTANDER.userId,
    ])
    expect(rows).toEqual([{ id: null }])
  }))

test.each(STRANGE)('a stranger with the ids of a dealer gets %s: %s', (code, sql) =>
  rolledBack(seeded.database, async client => {
    const [{ userId }, victim] = seeded.sellers
    await client.query('reset role')
    await client.query(
      `create temporary table ids as
       select 'subscription' as name, id from app_public.dealer_subscriptions where dealer_id = '${victim.dealerId}'
       union all select 'listing', id from app_public.listings where dealer_id = '${victim.dealerId}' and status = 'active'
       union all select 'invitation', id from app_public.dealer_invitations where dealer_id = '${victim.dealerId}'
       union all select 'key', id from app_public.dealer_api_keys where dealer_id = '${victim.dealerId}'
       union all select 'invoice', id from app_public.invoices where dealer_id = '${victim.dealerId}' and status = 'draft' and kind = 'package'`,
    )
    await client.query('grant select on ids to public')
    await become(client, { dealer: userId })
    expect(await refusal(client, sql, sql.includes('$1') ? [victim.dealerId] : [])).toBe(code)
  }),
)

test('an open checkout refuses the quotes of its own dealer, and of no other dealer', () =>
  rolledBack(seeded.database, async client => {
    const [seller] = seeded.sellers
    await prepare(client, seller)
    const quote = `select gross_amount from app_public.quote_package($1, (select id from app_public.dealer_packages where is_active))`
    expect(await refusal(client, quote, [seller.dealerId])).toBe('FC008')
    expect(await read(client, quote, BYSTANDER.dealerId)).toHaveLength(1)
  }))

test('an owner of another dealer is no other owner', () =>
  rolledBack(seeded.database, async client => {
    const [first, second] = seeded.sellers
    await prepare(client, first)
    const require = 'select app_private.require_other_owner($1, $2)'
    expect(await refusal(client, require, [first.dealerId, first.userId])).toBe('FC008')
    await client.query("insert into app_public.dealer_users values ($1, $2, 'owner')", [
      first.dealerId,
      second.userId,
    ])
    await client.query(require, [first.dealerId, first.userId])
    expect(await refusal(client, require, [BYSTANDER.dealerId, first.userId])).toBe('FC008')
  }))

test('what another dealer owes holds no owner', () =>
  rolledBack(seeded.database, async client => {
    const { dealerId } = seeded.sellers[0]
    await prepare(client, seeded.sellers[0])
    const require = 'select app_private.require_settled_dealer($1, clock_timestamp())'
    expect(await refusal(client, require, [dealerId])).toBe('FC008')
    await client.query(require, [BYSTANDER.dealerId])
  }))

test('an invitation that another dealer has revoked stays open', () =>
  rolledBack(seeded.database, async client => {
    const { dealerId } = seeded.sellers[0]
    await makeTwin(client, dealerId)
    // the sender of an open invitation is an owner
    await client.query(
      "insert into app_public.dealer_users (dealer_id, user_id, role) values ($1, $2, 'owner')",
      [BYSTANDER.dealerId, seeded.sellers[0].userId],
    )
    const revoke = 'update app_public.dealer_invitations set revoked_at = now() where dealer_id = $1'
    await client.query(revoke, [dealerId])
    const require = `select app_private.require_open_invitation(d, i.id, u)
      from app_public.dealers as d join app_public.dealer_invitations as i on i.dealer_id = d.id
      cross join (select null::app_public.users as u) as u where d.id = $1`
    expect(await refusal(client, require, [dealerId])).toBe('FC008')
    expect((await client.query(require, [BYSTANDER.dealerId])).rowCount).toBe(1)
  }))

test('a stranger cannot read the consumption of a listing', () =>
  rolledBack(seeded.database, async client => {
    const [{ userId }, victim] = seeded.sellers
    const { rows: listings } = await client.query('select id from app_public.listings where dealer_id = $1', [
      victim.dealerId,
    ])
    for (const [user, count] of [
      [userId, 0],
      [victim.userId, 1],
    ] as const) {
      await client.query('savepoint role')
      await become(client, { dealer: user })
      const { rows } = await client.query('select * from app_public.consumption_of_listing($1, $2)', [
        victim.dealerId,
        listings[0].id,
      ])
      expect(rows).toHaveLength(count)
      await client.query('rollback to savepoint role')
    }
  }))

test('the pending subscription of another dealer cannot be started', () =>
  rolledBack(seeded.database, async client => {
    const [first, second] = seeded.sellers
    await prepare(client, first)
    const start = `select app_private.start_pending_subscription($1, ${IDS.$pending?.replace('$1', '$2')}, now())`
    expect(await refusal(client, start, [second.dealerId, first.dealerId])).toBe('P0002')
  }))

test('the lock of a dealer locks its subscriptions, and those of no other dealer', () =>
  interleave(seeded.database, { locking: 'owner', other: 'owner' }, async ({ locking, other }) => {
    const [first, second] = seeded.sellers
    await locking.query('select app_private.lock_dealer($1)', [first.dealerId])
    const lock = 'select from app_public.dealer_subscriptions where dealer_id = $1 for update skip locked'
    expect((await other.query(lock, [second.dealerId])).rowCount).toBe(1)
    expect((await other.query(lock, [first.dealerId])).rowCount).toBe(0)
  }))

test('the subscriptions of a dealer are locked in the order of their ids', async () => {
  const { dealerId } = seeded.sellers[0]
  const { rows } = await seeded.database.owner.query(
    `insert into app_public.dealer_subscriptions (dealer_id, package_id, duration_days, included_listing_quota)
     select dealer_id, package_id, 30, 1 from app_public.dealer_subscriptions where dealer_id = $1 limit 1 returning id`,
    [dealerId],
  )
  const lock =
    'select from app_public.dealer_subscriptions where dealer_id = $1 and (id = $2) = $3 for update skip locked'
  const roles = { holder: 'owner', locking: 'owner', other: 'owner' } as const
  await interleave(seeded.database, roles, async ({ holder, locking, other }) => {
    await holder.query(lock, [dealerId, rows[0].id, false])
    const { result } = await locking.startBlocked('select app_private.lock_dealer($1)', [dealerId])
    expect((await other.query(lock, [dealerId, rows[0].id, true])).rowCount).toBe(1)
    await other.rollback()
    await holder.rollback()
    await result
  })
})

test('every function that takes an id or a row of a dealer is tried here', async () => {
  const { rows } = await seeded.database.superuser.query<{ name: string }>(
    `select distinct p.proname as name from pg_proc as p, unnest(p.proargtypes) as t (type)
     where p.pronamespace in ('app_public'::regnamespace, 'app_private'::regnamespace)
       and p.provolatile <> 'i' -- an immutable function reads no table
       and not exists (select from pg_depend as d where d.objid = p.oid and d.classid = 'pg_proc'::regclass and d.deptype = 'e')
       and (t.type in ('uuid'::regtype, 'uuid[]'::regtype) or t.type in (
         select c.reltype from pg_class as c join pg_attribute as a on a.attrelid = c.oid and a.attname = 'dealer_id'))`,
  )
  const tried = [...Object.keys(READING), ...Object.keys(WRITING), ...SHARED, ...BY_ID, ...VERIFYING]
  expect(rows.map(({ name }) => name).sort()).toEqual(tried.sort())
})
