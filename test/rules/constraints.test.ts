/**
 * Each constraint refuses what it is for, whatever the functions do. A planted row breaks one constraint; the other rules of its
 * table are removed meanwhile. A new constraint or nullable column fails the last tests until it is listed here.
 */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { ACCOUNT_CHECKS, PRICING_CHECKS, SYSTEM_CHECKS } from './checks.ts'
import { acceptedChanges, FOREIGN_KEYS, type ForeignKey, refusedChanges, UNIQUE_KEYS } from './keys.ts'
import { LISTING_CHECKS } from './listingChecks.ts'
import { rowRules } from './rowRules.ts'
import { isolate, plant, planting, type Row } from './rows.ts'
import { BILLING_CHECKS, SUBSCRIPTION_CHECKS } from './salesChecks.ts'
import { type Seeded, seedDatabase } from './seed.ts'

const CHECKS = Object.entries({
  ...SYSTEM_CHECKS,
  ...ACCOUNT_CHECKS,
  ...PRICING_CHECKS,
  ...BILLING_CHECKS,
  ...SUBSCRIPTION_CHECKS,
  ...LISTING_CHECKS,
})

/** The columns that may be null. All others must refuse it. */
const NULLABLE: Record<string, string> = {
  'app_private.alert_deliveries': 'delivered_at last_error',
  'app_private.dealer_creations': 'idempotency_key',
  'app_private.expiry_progress': 'expired_until',
  'app_private.job_runs': 'error finished_at worker_id',
  'app_private.mails': 'expires_at sealed_token sent_at',
  'app_private.one_time_tokens': 'used_at user_id',
  'app_private.operation_settings': 'audit_retention_months',
  'app_private.pricing_conflicts': 'pricing_type',
  'app_private.refresh_tokens': 'used_at',
  'app_public.audit_logs': 'actor api_key_id ip login new_values old_values resource_id',
  'app_public.checkouts': 'cancel_url closed_at success_url url',
  'app_public.country_currencies': 'closed_at',
  'app_public.dealer_api_keys': 'expires_at last_used_at revoked_at',
  'app_public.dealer_invitations': 'accepted_at revoked_at',
  'app_public.dealer_subscriptions': 'end_at grant_reason invoice_id start_at',
  'app_public.invoice_items': 'package_id price_config_id price_version',
  'app_public.invoices': 'paid_at period_start',
  'app_public.listing_consumptions':
    'api_key_id idempotency_key invoice_item_id price_config_id reverses subscription_id',
  'app_public.listings':
    'description expires_at external_id highlighted_until moderation_reason moderation_since premium_until published_at rejected_at rejection_reason',
  'app_public.users': 'deleted_at email_verified_at locked_at',
}

const TABLES = `
  select c.oid, c.oid::regclass::text as label from pg_class as c
  where c.relnamespace in ('app_public'::regnamespace, 'app_private'::regnamespace)
    and c.relkind in ('r', 'p') and not c.relispartition`

let seeded: Seeded

beforeAll(async () => {
  seeded = await seedDatabase()
})

afterAll(() => seeded.database.drop())

test.each(CHECKS)('a check refuses values beyond its bounds and accepts those on them: %s', (label, check) =>
  planting(seeded.database, async client => {
    const [table = '', name = ''] = label.split(' ')
    await isolate(client, table, name)
    for (const changes of check.refused) {
      expect([changes, await plant(client, table, changes, check.where)]).toEqual([changes, `23514 ${name}`])
    }
    for (const changes of check.accepted) {
      expect([changes, await plant(client, table, changes, check.where)]).toEqual([changes, 'accepted'])
    }
  }),
)

test.each(UNIQUE_KEYS)('a key refuses a second row with all of its values, and no other: $table $name', key =>
  planting(seeded.database, async client => {
    await isolate(client, key.table, key.name)
    const code = key.name.endsWith('_one_at_a_time') ? '23P01' : '23505'
    for (const changes of refusedChanges(key)) {
      const outcome = await plant(client, key.table, changes, key.where)
      // a partition reports the name of its own index
      expect([changes, outcome.replace(/audit_logs_\w+_pkey/, 'audit_logs_pkey')]).toEqual([
        changes,
        `${code} ${key.name}`,
      ])
    }
    for (const changes of acceptedChanges(key)) {
      expect([changes, await plant(client, key.table, changes, key.where)]).toEqual([changes, 'accepted'])
    }
  }),
)

/** A value that no row has, and for a key of several columns also the value of a row with another first column. */
async function strangers(client: pg.ClientBase, key: ForeignKey): Promise<Row[]> {
  const { table, columns, target, targetColumns } = key
  const unknown = columns.at(-1) === 'currency' ? 'ZZZ' : randomUUID()
  const changes: Row[] = [{ [columns.at(-1) ?? '']: unknown }]
  if (columns.length === 1) return changes
  const { rows } = await client.query<Row>(
    `select t.${targetColumns[1]} as "${columns[1]}" from ${target} as t, (select * from ${table} where ${columns[1]} is not null limit 1) as o
     where t.${targetColumns[0]} <> o.${columns[0]} and t.${targetColumns[1]}::text <> o.${columns[1]}::text limit 1`,
  )
  expect(rows).toHaveLength(1)
  return [...changes, ...rows]
}

test.each(FOREIGN_KEYS)(
  'a foreign key refuses an unknown row, and that of another dealer or country: $table $name',
  key =>
    planting(seeded.database, async client => {
      await isolate(client, key.table, key.name)
      // the key of a table that refers to itself is still there
      const other = key.target === key.table ? { id: randomUUID() } : {}
      const where = `${key.columns.at(-1)} is not null`
      for (const changes of await strangers(client, key)) {
        expect(await plant(client, key.table, { ...changes, ...other }, where)).toBe(`23503 ${key.name}`)
      }
      expect(await plant(client, key.table, other, where)).toBe('accepted')
      const remove = `delete from ${key.target} where (${key.targetColumns}) in (select ${key.columns} from ${key.table})`
      await client.query(`alter table ${key.target} disable trigger user`)
      if (key.cascades) await client.query(remove)
      else await expect(client.query(remove)).rejects.toMatchObject({ code: '23503' })
    }),
)

test('every column refuses null, except those that are listed as nullable', () =>
  planting(seeded.database, async client => {
    const { rows } = await client.query<{ label: string; columns: string[] }>(
      `select t.label, array(
         select a.attname::text from pg_attribute as a
         where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped order by a.attnum) as columns
       from (${TABLES}) as t order by 1`,
    )
    for (const { label, columns } of rows) {
      await client.query(`alter table ${label} disable trigger user`)
      const nullable = NULLABLE[label]?.split(' ') ?? []
      for (const column of columns.filter(name => !nullable.includes(name))) {
        expect([label, await plant(client, label, { [column]: null })]).toEqual([label, `23502 ${column}`])
      }
    }
    expect(rows.length).toBeGreaterThan(25)
  }))

test('every nullable column is listed', async () => {
  const { rows } = await seeded.database.superuser.query<{ label: string; columns: string }>(
    `select t.label, string_agg(a.attname, ' ' order by a.attname) as columns
     from (${TABLES}) as t
     join pg_attribute as a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped and not a.attnotnull
     group by t.label order by t.label`,
  )
  expect(Object.fromEntries(rows.map(({ label, columns }) => [label, columns]))).toEqual(NULLABLE)
})

test('the rules of a row are evaluated in the order of their names, as Postgres evaluates constraints', async () => {
  const rules = (await rowRules(seeded.database.superuser)).map(({ table, name }) => `${table} ${name}`)
  expect(rules).toEqual([...rules].sort())
  await planting(seeded.database, async client => {
    const changes = { title: '', price: '-1', module: '', images: [[null]], attributes: [] }
    expect(await plant(client, 'app_public.listings', changes)).toBe('23514 listings_attributes_object')
    await client.query('alter table app_public.listings disable trigger user')
    const others = { ...changes, attributes: {}, images: [], idempotency_key: randomUUID() }
    expect(await plant(client, 'app_public.listings', others)).toBe('23514 listings_module_form')
  })
})

test('every constraint of a table or a domain is tried here, and every rule of a row', async () => {
  const { rows } = await seeded.database.superuser.query<{ label: string }>(
    `select t.label || ' ' || c.conname as label from (${TABLES}) as t
     join pg_constraint as c on c.conrelid = t.oid and c.contype in ('c', 'f', 'p', 'u', 'x')
     union
     select t.label || ' ' || c.relname from (${TABLES}) as t
     join pg_index as i on i.indrelid = t.oid and i.indisunique
     join pg_class as c on c.oid = i.indexrelid
     union
     select c.contypid::regtype || ' ' || c.conname from pg_constraint as c
     where c.contypid <> 0 and c.connamespace in ('app_public'::regnamespace, 'app_private'::regnamespace)`,
  )
  const rules = await rowRules(seeded.database.superuser)
  const held = rules.map(({ table, holder }) => `${table} ${holder}`)
  const found = [
    ...rows.map(({ label }) => label).filter(label => !held.includes(label)),
    ...rules.map(({ table, name }) => `${table} ${name}`),
  ]
  const planted = [
    ...CHECKS.map(([label]) => label),
    ...[...UNIQUE_KEYS, ...FOREIGN_KEYS].map(({ table, name }) => `${table} ${name}`),
  ]
  expect(found.sort()).toEqual(planted.sort())
})
