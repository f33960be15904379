/**
 * Each trigger does what it is for: it refuses a change even to the owner, or records it. A new trigger fails the last test until it
 * is listed here.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { refusal } from '../support/database.ts'
import { planting } from './rows.ts'
import { type Seeded, seedDatabase } from './seed.ts'
import { APPEND_ONLY, CONFLICTS, RECORDED, REFUSED, TRUNCATED, WRITING } from './triggerCases.ts'

let seeded: Seeded

beforeAll(async () => {
  seeded = await seedDatabase()
})

afterAll(() => seeded.database.drop())

/** The actions that the statement records for its table. */
async function recorded(client: pg.ClientBase, sql: string, table: string): Promise<string[]> {
  const [{ dealerId }, other] = seeded.sellers
  const { rows: before } = await client.query('select clock_timestamp()::text as at')
  const { rowCount } = await client.query(
    sql.replace('$dealer', `'${dealerId}'`).replace('$other', `'${other.dealerId}'`),
  )
  if (rowCount === 0 && !sql.startsWith('truncate')) throw new Error(`changed no row: ${sql}`)
  const { rows } = await client.query<{ action: string }>(
    'select action from app_public.audit_logs where created_at > $1 and resource_type = $2 order by id',
    [before[0].at, table],
  )
  return rows.map(({ action }) => action)
}

test.each([
  ...Object.entries(REFUSED).map(([label, statements]) => [label, '55000', statements] as const),
  ...Object.entries(CONFLICTS).map(([label, statements]) => [label, 'FC008', statements] as const),
])('a trigger refuses the change, even to a superuser: %s', (_label, code, statements) =>
  planting(seeded.database, async client => {
    for (const role of ['none', 'forecourt_test_owner']) {
      await client.query(`set local role ${role}`)
      for (const sql of statements) expect([sql, await refusal(client, sql)]).toEqual([sql, code])
    }
  }),
)

test.each(Object.entries(RECORDED))('a trigger records the change: %s', (label, statements) =>
  planting(seeded.database, async client => {
    const table = label.replace(/^app_\w+\.| .*/g, '')
    for (const [sql, action] of statements) {
      expect([sql, await recorded(client, sql, table)]).toEqual([sql, action === null ? [] : [action]])
    }
  }),
)

test.each(TRUNCATED)('a trigger records the truncation of %s', table =>
  planting(seeded.database, async client => {
    for (const trigger of APPEND_ONLY) {
      await client.query(
        `alter table app_public.${trigger.replace(/_never_\w+/, '')} disable trigger ${trigger}`,
      )
    }
    expect(await recorded(client, `truncate ${table} cascade`, table.slice(table.indexOf('.') + 1))).toEqual([
      'TRUNCATE',
    ])
  }),
)

test.each(Object.entries(WRITING))('a trigger writes its value: %s', (_label, [sql, value, prepare]) =>
  planting(seeded.database, async client => {
    if (prepare) await client.query(prepare)
    const { rows } = await client.query({ text: sql, rowMode: 'array' })
    expect(String(rows[0]?.[0])).toBe(value)
  }),
)

test('a new invoice is recorded where an admin makes it, and not where its dealer does', () =>
  planting(seeded.database, async client => {
    const { userId, dealerId } = seeded.sellers[0]
    const insert = `insert into app_public.invoices (dealer_id, id, kind, country, currency)
      values ('${dealerId}', gen_random_uuid(), 'package', 'DE', 'EUR')`
    await client.query('grant insert on app_public.invoices to forecourt_admin, forecourt_dealer')
    await client.query('grant usage on schema app_private to forecourt_admin, forecourt_dealer')
    await client.query(
      'grant execute on function app_private.check_invoice, app_private.refuse_row to forecourt_admin, forecourt_dealer',
    )
    await client.query(
      'create policy test on app_public.invoices for insert to forecourt_admin, forecourt_dealer with check (true)',
    )
    for (const [role, action] of [
      ['dealer', []],
      ['admin', ['INSERT']],
    ] as const) {
      await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
      await client.query(`set local role forecourt_${role}`)
      const { rows: before } = await client.query('select clock_timestamp()::text as at')
      await client.query(insert)
      await client.query('reset role')
      const { rows } = await client.query('select action from app_public.audit_logs where created_at > $1', [
        before[0].at,
      ])
      expect([role, rows.map(row => row.action)]).toEqual([role, action])
    }
  }))

test('a new rate limit policy has its author and time, whatever the statement says', () =>
  planting(seeded.database, async client => {
    const { rows } = await client.query(
      `insert into app_public.rate_limit_policies (scope, subject, max_count, window_seconds, updated_by, updated_at)
       values ('new', 'ip', 1, 1, 'nobody', '2001-01-01') returning updated_by = session_user and updated_at >= now() as written`,
    )
    expect(rows).toEqual([{ written: true }])
  }))

test.each([
  ['price_configs', 'price_configs_never_edited'],
  ['rate_limit_policies', 'rate_limit_policies_never_removed'],
])('a deletion is recorded even where the trigger that refuses it is switched off: %s', (table, trigger) =>
  planting(seeded.database, async client => {
    await client.query(`alter table app_public.${table} disable trigger ${trigger}`)
    const remove = `delete from app_public.${table} where ctid in (
      select t.ctid from app_public.${table} as t order by ctid desc limit 1)`
    expect(await recorded(client, remove, table)).toEqual(['DELETE'])
  }),
)

test('an expiry that its run records is not recorded row by row', () =>
  planting(seeded.database, async client => {
    const sql =
      "update app_public.dealer_subscriptions set status = 'expired', updated_at = end_at where dealer_id = $dealer"
    expect(await recorded(client, sql, 'dealer_subscriptions')).toEqual([])
  }))

test('every trigger is tried here', async () => {
  const { rows } = await seeded.database.superuser.query<{ label: string }>(
    `select c.oid::regclass || ' ' || t.tgname as label from pg_trigger as t
     join pg_class as c on c.oid = t.tgrelid and not c.relispartition
     where not t.tgisinternal and c.relnamespace in ('app_public'::regnamespace, 'app_private'::regnamespace)`,
  )
  const tried = [
    ...Object.keys({ ...REFUSED, ...CONFLICTS, ...RECORDED, ...WRITING }),
    ...TRUNCATED.map(table => `${table} ${table.slice(table.indexOf('.') + 1)}_truncation_audited`),
  ]
  expect(rows.map(({ label }) => label).sort()).toEqual(tried.sort())
})
