/** The audit trail: changes of configuration, states and privileges, each with the old and the new values. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, rolledBack, type TestDatabase } from '../support/database.ts'
import { buy, PAY } from '../support/purchases.ts'
import {
  makeAdminUser,
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  makeUser,
  publish,
} from '../support/testData.ts'

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

type AuditEntry = { action: string; resource_type: string; old_values: unknown; new_values: unknown }

/** The entries that `work` writes, in order. */
async function entriesOf(client: pg.PoolClient, work: () => Promise<unknown>): Promise<AuditEntry[]> {
  const { rows: before } = await client.query('select clock_timestamp()::text as at')
  await work()
  await become(client, 'owner')
  const { rows } = await client.query<AuditEntry>(
    `select action, resource_type, old_values, new_values from app_public.audit_logs
     where created_at >= $1 order by created_at, id`,
    [before[0].at],
  )
  return rows
}

const entry = (
  action: string,
  resource_type: string,
  old_values: unknown,
  new_values: unknown,
): AuditEntry => ({
  action,
  resource_type,
  old_values,
  new_values,
})

test('a manual change of configuration is recorded with the login and the old and new values', () =>
  rolledBack(database, async client => {
    const entries = await entriesOf(client, async () => {
      await client.query("insert into app_public.currencies values ('XXX', 2)")
      await client.query("update app_public.currencies set minor_units = 3 where code = 'XXX'")
      await client.query("update app_public.currencies set minor_units = 3 where code = 'XXX'")
      await client.query("delete from app_public.currencies where code = 'XXX'")
    })
    expect(entries).toEqual([
      entry('INSERT', 'currencies', null, { code: 'XXX', minor_units: 2 }),
      entry('UPDATE', 'currencies', { code: 'XXX', minor_units: 2 }, { code: 'XXX', minor_units: 3 }),
      entry('DELETE', 'currencies', { code: 'XXX', minor_units: 3 }, null),
    ])
    const { rows } = await client.query(
      "select distinct actor, login from app_public.audit_logs where action = 'DELETE'",
    )
    expect(rows).toEqual([{ actor: null, login: 'postgres' }])
  }))

const CONFIGURATION = [
  'currencies',
  'country_currencies',
  'vat_rates',
  'price_configs',
  'free_quota_configs',
  'dealer_packages',
  'rate_limit_policies',
  'operation_settings',
]

test('every configuration table records inserts, updates, deletes and truncates', async () => {
  const { rows } = await database.superuser.query(
    `select tgrelid::regclass::text, bit_or(tgtype)::integer & 60 as events
     from pg_trigger where tgfoid = 'app_private.audit_change'::regproc group by tgrelid`,
  )
  // insert 4, delete 8, update 16, truncate 32
  const complete = rows
    .filter(({ events }) => events === 60)
    .map(({ tgrelid }) => tgrelid.replace(/.*\./, ''))
  expect(complete.sort()).toEqual([...CONFIGURATION].sort())
})

test('a truncate writes one entry', () =>
  rolledBack(database, async client => {
    const entries = await entriesOf(client, () => client.query('truncate app_public.vat_rates'))
    expect(entries).toEqual([entry('TRUNCATE', 'vat_rates', null, null)])
  }))

test('a change of the admin flag is recorded without the name and e-mail address of the user', () =>
  rolledBack(database, async client => {
    const entries = await entriesOf(client, async () => {
      await client.query('update app_public.users set is_admin = true where id = $1', [userId])
      await client.query('update app_public.users set dealer_limit = 9 where id = $1', [userId])
      await client.query("update app_public.users set full_name = 'Renamed' where id = $1", [userId])
      await client.query(
        "insert into app_public.users (email, full_name, is_admin) values ('boss@example.com', 'Boss', true)",
      )
    })
    expect(entries).toEqual([
      entry('UPDATE', 'users', { is_admin: false }, { is_admin: true }),
      entry('UPDATE', 'users', { dealer_limit: 5 }, { dealer_limit: 9 }),
      entry('INSERT', 'users', null, expect.objectContaining({ is_admin: true })),
    ])
    expect(JSON.stringify(entries)).not.toMatch(/boss/i)
  }))

test('suspending a dealer is recorded; creating a dealer is not', () =>
  rolledBack(database, async client => {
    const dealerId = await makeDealer(client, userId)
    const entries = await entriesOf(client, async () => {
      await client.query(
        "insert into app_public.dealers (company_name, country, dealer_type) values ('Other', 'DE', 'general')",
      )
      await client.query('update app_public.dealers set can_publish = false where id = $1', [dealerId])
    })
    expect(entries).toEqual([entry('UPDATE', 'dealers', { can_publish: true }, { can_publish: false })])
  }))

test('the payment of a purchase and the start of its subscription are recorded with the acting user', () =>
  rolledBack(database, async client => {
    const dealerId = await makeDealer(client, userId)
    await become(client, { dealer: userId })
    const invoiceId = await buy(client, dealerId, packageId)
    await become(client, 'owner')
    const admin = await makeAdminUser(client)
    const entries = await entriesOf(client, async () => {
      await become(client, { admin })
      await client.query(PAY, [invoiceId])
    })
    expect(entries).toEqual([
      entry('PAY_INVOICE', 'invoices', { status: 'draft' }, { status: 'paid', grossTotal: 58.31 }),
      entry('START_SUBSCRIPTION', 'dealer_subscriptions', { status: 'pending' }, { status: 'active' }),
    ])
    const { rows } = await client.query(
      "select distinct actor from app_public.audit_logs where action in ('PAY_INVOICE', 'START_SUBSCRIPTION') and actor is not null",
    )
    expect(rows).toEqual([{ actor: admin }])
  }))

test('a manual expiry writes one entry for each subscription; an expiry run writes one for each batch', () =>
  rolledBack(database, async client => {
    const ended = async () =>
      makeSubscription(client, await makeDealer(client, userId), { packageId, endAt: 'clock_timestamp()' })
    const id = await ended()
    const byHand = await entriesOf(client, () =>
      client.query("update app_public.dealer_subscriptions set status = 'expired' where id = $1", [id]),
    )
    expect(byHand).toEqual([
      entry('EXPIRE_SUBSCRIPTION', 'dealer_subscriptions', { status: 'active' }, { status: 'expired' }),
    ])
    const ids = [await ended(), await ended()]
    const byRun = await entriesOf(client, () => client.query('select app_private.expire_subscriptions()'))
    expect(byRun).toEqual([
      entry('SYSTEM_EXPIRE', 'dealer_subscriptions', null, { count: 2, ids: expect.arrayContaining(ids) }),
    ])
    const again = await ended()
    const later = await entriesOf(client, () =>
      client.query("update app_public.dealer_subscriptions set status = 'expired' where id = $1", [again]),
    )
    expect(later).toHaveLength(1)
  }))

test('every change of the members of a dealer is recorded, starting with its first owner', () =>
  rolledBack(database, async client => {
    const entries = await entriesOf(client, async () => {
      await become(client, { dealer: userId })
      await client.query("select app_public.create_dealer('A dealer', 'DE', 'general')")
      await become(client, 'owner')
      const newest = 'where dealer_id = (select id from app_public.dealers order by id desc limit 1)'
      await client.query(`update app_public.dealer_users set role = 'staff' ${newest}`)
      await client.query(`delete from app_public.dealer_users ${newest}`)
    })
    const member = { dealer_id: expect.any(String), user_id: userId }
    expect(entries).toEqual([
      entry('INSERT', 'dealer_users', null, expect.objectContaining({ ...member, role: 'owner' })),
      entry('UPDATE', 'dealer_users', { ...member, role: 'owner' }, { ...member, role: 'staff' }),
      entry('DELETE', 'dealer_users', expect.objectContaining({ ...member, role: 'staff' }), null),
    ])
  }))

test('a purchase by an admin is recorded immediately; a purchase by a dealer is not', () =>
  rolledBack(database, async client => {
    const dealers = [await makeDealer(client, userId), await makeDealer(client, userId)]
    const purchase = (as: { admin: string } | { dealer: string }, dealerId = '') =>
      entriesOf(client, async () => {
        await become(client, as)
        await buy(client, dealerId, packageId)
      })
    expect(await purchase({ dealer: userId }, dealers[0])).toEqual([])
    expect(await purchase({ admin: userId }, dealers[1])).toEqual([
      entry('INSERT', 'invoices', null, expect.objectContaining({ dealer_id: dealers[1], status: 'draft' })),
    ])
  }))

test('the removal of an admin is recorded; the removal of another user is not', () =>
  rolledBack(database, async client => {
    const ids = [await makeUser(client), await makeUser(client)]
    await client.query('update app_public.users set is_admin = true where id = $1', [ids[0]])
    const entries = await entriesOf(client, async () => {
      await client.query('delete from app_private.user_passwords where user_id = any ($1)', [ids])
      await client.query('delete from app_public.users where id = any ($1)', [ids])
    })
    expect(entries).toEqual([entry('DELETE', 'users', expect.objectContaining({ id: ids[0] }), null)])
  }))

test('a publication writes no audit entry, whatever its source', () =>
  rolledBack(database, async client => {
    const dealerId = await makeDealer(client, userId)
    await makeSubscription(client, dealerId, { packageId, listings: 1 })
    const entries = await entriesOf(client, async () => {
      await become(client, { dealer: userId })
      for (let number = 1; number <= 3; number += 1) await publish(client, dealerId)
    })
    expect(entries).toEqual([])
  }))
