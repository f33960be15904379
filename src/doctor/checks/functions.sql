-- functions: each has a safe search path, and public may execute none
with ours as (
  select p.* from pg_proc as p
  where p.pronamespace::regnamespace::text in ('app_public', 'app_private')
    and not exists (select from pg_depend as d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
)
-- Postgres resolves the names of a body without quotes when the function is created, so its search path does not matter
select 'FAIL' as verdict, format('%s has no safe search path', f.oid::regprocedure) as finding,
  format('alter function %s set search_path to pg_catalog, app_public, app_private, pg_temp', f.oid::regprocedure) as remedy
from ours as f
where f.prosqlbody is null and not exists (
  select from unnest(f.proconfig) as setting where setting ~ '^search_path=pg_catalog(, (app_public|app_private))*, pg_temp$')
  -- a CHECK calls it for each row, under the search path of the function that writes the table
  and not (f.proname like 'check\_%' and not f.prosecdef and f.proconfig is null and exists (
    select from pg_depend as d join pg_constraint as c on c.oid = d.objid and c.contype = 'c'
    where d.classid = 'pg_constraint'::regclass and d.refclassid = 'pg_proc'::regclass and d.refobjid = f.oid))
union all
select 'FAIL', format('anyone may execute %s', f.oid::regprocedure),
  format('revoke execute on function %s from public', f.oid::regprocedure)
from ours as f
where exists (select from aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) as entry where entry.grantee = 0)
