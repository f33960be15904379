/** The schema can be sharded by dealer: docs/architecture.md explains why. */
import { expect, test } from '@jest/globals'
import { useCatalogs } from './offenders.ts'

const offenders = useCatalogs()

/** Tables that belong to no dealer. Think before you add a new table without `dealer_id` here. */
const SHARED = [
  // accounts
  'app_private.account_keys',
  'app_private.dealer_creations',
  'app_private.known_addresses',
  'app_private.login_failures',
  'app_private.mail_templates',
  'app_private.mails',
  'app_private.one_time_tokens',
  'app_private.refresh_tokens',
  'app_private.revoked_sessions',
  'app_private.sessions',
  'app_private.user_passwords',
  'app_public.users',
  // configuration
  'app_public.country_currencies',
  'app_public.currencies',
  'app_public.dealer_packages',
  'app_public.free_quota_configs',
  'app_public.price_configs',
  'app_public.rate_limit_policies',
  'app_public.vat_rates',
  // the dealer itself: its id is the key of the shards
  'app_public.dealers',
  // the operation of the system
  'app_private.alert_deliveries',
  'app_private.alerts',
  'app_private.expiry_progress',
  'app_private.ledger_checks',
  'app_private.pricing_conflicts',
  'app_private.job_runs',
  'app_private.listing_steps',
  'app_private.operation_settings',
  'app_private.rate_limit_counters',
  'app_public.audit_logs',
]

/** The columns of an index or a constraint, by name. */
const names = (relation: string, columns: string) => `
  (array(select a.attname::text from pg_attribute as a where a.attrelid = ${relation} and a.attnum = any (${columns})))`

test('a table belongs to a dealer, or is listed as shared', async () => {
  const shared = await offenders('select label from rules.tables where not is_dealer_owned order by label')
  expect(shared).toEqual([...SHARED].sort())
})

test('a dealer-owned table has a primary key', async () => {
  const query = `
    select t.label from rules.tables as t
    where t.is_dealer_owned
      and not exists (select from pg_index as i where i.indrelid = t.oid and i.indisprimary)`
  expect(await offenders(query)).toEqual([])
})

test('dealer_id is part of each unique key of a dealer-owned table', async () => {
  const query = `
    select i.indexrelid::regclass::text
    from rules.tables as t
    join pg_index as i on i.indrelid = t.oid
    where t.is_dealer_owned and i.indisunique
      and 'dealer_id' <> all ${names('t.oid', '(i.indkey::int2[])[0:i.indnkeyatts - 1]')}`
  expect(await offenders(query)).toEqual([])
})

test('dealer_id is compared with = in each exclusion constraint of a dealer-owned table', async () => {
  const query = `
    select t.label || ' ' || c.conname
    from rules.tables as t
    join pg_constraint as c on c.conrelid = t.oid
    where t.is_dealer_owned and c.contype = 'x'
      and not exists (
        select from unnest(c.conkey, c.conexclop) as k (attnum, operator)
        join pg_attribute as a on a.attrelid = t.oid and a.attnum = k.attnum and a.attname = 'dealer_id'
        join pg_operator as o on o.oid = k.operator and o.oprname = '=')`
  expect(await offenders(query)).toEqual([])
})

test('a foreign key between dealer-owned tables leads from dealer_id to dealer_id', async () => {
  const query = `
    select source.label || ' ' || c.conname
    from pg_constraint as c
    join rules.tables as source on source.oid = c.conrelid
    join rules.tables as target on target.oid = c.confrelid
    where c.contype = 'f' and source.is_dealer_owned and target.is_dealer_owned
      and not exists (
        select from unnest(c.conkey, c.confkey) as k (near, far)
        join pg_attribute as a on a.attrelid = source.oid and a.attnum = k.near and a.attname = 'dealer_id'
        join pg_attribute as b on b.attrelid = target.oid and b.attnum = k.far and b.attname = 'dealer_id')`
  expect(await offenders(query)).toEqual([])
})

test('a dealer-owned table refers to its dealer by dealer_id', async () => {
  const query = `
    select source.label || ' ' || c.conname
    from pg_constraint as c
    join rules.tables as source on source.oid = c.conrelid
    where c.contype = 'f' and source.is_dealer_owned and c.confrelid = 'app_public.dealers'::regclass
      and ${names('source.oid', 'c.conkey')} <> array['dealer_id']`
  expect(await offenders(query)).toEqual([])
})

test('a shared table refers to no table that a dealer owns', async () => {
  const query = `
    select source.label || ' ' || c.conname
    from pg_constraint as c
    join rules.tables as source on source.oid = c.conrelid
    join rules.tables as target on target.oid = c.confrelid
    where c.contype = 'f' and not source.is_dealer_owned
      and (target.is_dealer_owned or target.label = 'app_public.dealers')`
  expect(await offenders(query)).toEqual([])
})

/** Foreign keys that delete the referring rows. */
const CASCADES = [
  'app_private.refresh_tokens refresh_tokens_session_id_fkey',
  'app_private.sessions sessions_user_id_fkey',
]

test('no foreign key changes or deletes the referring rows, but a session ends with its user', async () => {
  const query = `
    select t.label || ' ' || c.conname
    from pg_constraint as c
    join rules.tables as t on t.oid = c.conrelid
    where c.contype = 'f' and (c.confdeltype not in ('a', 'r') or c.confupdtype not in ('a', 'r'))
    order by 1`
  expect(await offenders(query)).toEqual(CASCADES)
})

test('no policy has a subquery that reads a table', async () => {
  const query = `
    select t.label || ' ' || p.polname
    from pg_policy as p
    join rules.tables as t on t.oid = p.polrelid
    where concat(p.polqual, p.polwithcheck) ~ 'SUBLINK.*:rtable \\('`
  expect(await offenders(query)).toEqual([])
})

test('no function takes an advisory lock', async () => {
  expect(await offenders("select label from rules.functions where prosrc ~* 'pg_(try_)?advisory'")).toEqual(
    [],
  )
})
