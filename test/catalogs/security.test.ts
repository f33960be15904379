/** Who may do what, asked of the catalogs. */
import { expect, test } from '@jest/globals'
import { useCatalogs } from './offenders.ts'

const offenders = useCatalogs()

test('row-level security is enabled and forced on every table', async () => {
  expect(await offenders('select label from rules.tables where not is_guarded')).toEqual([])
})

test('a view shows what its reader may see, not what its owner may', async () => {
  const query = `
    select label from rules.relations
    where kind = 'm' or kind = 'v' and 'security_invoker=true' <> all (coalesce(options, '{}'))`
  expect(await offenders(query)).toEqual([])
})

test('the API has no way into the private schemas', async () => {
  const query = `
    select r.name || ': ' || n.nspname
    from rules.api_roles as r
    cross join pg_namespace as n
    where n.nspname in ('app_private', 'graphile_worker', 'graphile_migrate')
      and has_schema_privilege(r.oid, n.oid, 'usage, create')`
  expect(await offenders(query)).toEqual([])
})

test('the API may make nothing in any schema', async () => {
  const query = `
    select r.name || ': ' || n.nspname
    from rules.api_roles as r
    cross join pg_namespace as n
    where n.nspname !~ '^pg_(toast_)?temp_' and has_schema_privilege(r.oid, n.oid, 'create')`
  expect(await offenders(query)).toEqual([])
})

test('the API has no right to anything within app_private', async () => {
  const query = `
    select r.name || ': ' || t.label
    from rules.api_roles as r
    join rules.tables as t on t.schema = 'app_private'
    where has_table_privilege(r.oid, t.oid, 'select, insert, update, delete, truncate, references, trigger')
      or has_any_column_privilege(r.oid, t.oid, 'select, insert, update, references')
    union all
    select r.name || ': ' || f.label
    from rules.api_roles as r
    join rules.functions as f on f.pronamespace = 'app_private'::regnamespace
    where has_function_privilege(r.oid, f.oid, 'execute')`
  expect(await offenders(query)).toEqual([])
})

test('the API writes to no table: it calls functions that do', async () => {
  const query = `
    select r.name || ': ' || c.oid::regclass
    from rules.api_roles as r
    cross join pg_class as c
    join pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'f') and n.nspname !~ '^(pg_|information_schema$)'
      and (has_table_privilege(r.oid, c.oid, 'insert, update, delete, truncate')
        or has_any_column_privilege(r.oid, c.oid, 'insert, update'))`
  expect(await offenders(query)).toEqual([])
})

test('the login of the API reads no table as itself but the limits in force', async () => {
  const query = `
    select t.label from rules.tables as t
    where has_any_column_privilege('forecourt_authenticator', t.oid, 'select')`
  expect(await offenders(query)).toEqual(['app_public.rate_limit_policies'])
})

test('public may execute none of our functions', async () => {
  const query = `
    select f.label
    from rules.functions as f
    cross join aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) as entry
    where entry.grantee = 0`
  expect(await offenders(query)).toEqual([])
})

test('every function sets its search path, with the temporary schema last, unless its body is bound to objects', async () => {
  const query = `
    select f.label from rules.functions as f
    where 'search_path=pg_catalog, app_public, app_private, pg_temp' <> all (coalesce(f.proconfig, '{}'))
      and f.prosqlbody is null`
  expect(await offenders(query)).toEqual([])
})

test('none of our roles is above the rules', async () => {
  const query = `
    select r.rolname from pg_roles as r
    where r.rolname like 'forecourt\\_%'
      and (r.rolsuper or r.rolbypassrls or r.rolcreatedb or r.rolreplication
        or r.rolcreaterole and r.oid in (select oid from rules.api_roles))`
  expect(await offenders(query)).toEqual([])
})

test('only the authenticator logs in, has nothing of the roles that it may become, and may become no other', async () => {
  const logins =
    'select name from rules.api_roles join pg_roles using (oid) where rolcanlogin and not rolinherit'
  expect(await offenders(logins)).toEqual(['forecourt_authenticator'])
  expect(
    await offenders('select name from rules.api_roles join pg_roles using (oid) where rolcanlogin'),
  ).toEqual(['forecourt_authenticator'])
  const memberships = `
    select r.name || ': ' || am.roleid::regrole
    from rules.api_roles as r join pg_auth_members as am on am.member = r.oid
    order by 1`
  expect(await offenders(memberships)).toEqual([
    'forecourt_authenticator: forecourt_admin',
    'forecourt_authenticator: forecourt_dealer',
    'forecourt_authenticator: forecourt_visitor',
  ])
})

test('no role of the API owns anything', async () => {
  const query = `
    select r.name || ': ' || d.classid::regclass || ' ' || d.objid
    from rules.api_roles as r
    join pg_shdepend as d on d.refclassid = 'pg_authid'::regclass and d.refobjid = r.oid and d.deptype = 'o'`
  expect(await offenders(query)).toEqual([])
})
