-- grants: the API writes through functions only, reads nothing private, and creates nothing
with api as (
  select r.oid, r.rolname as name from pg_roles as r
  where r.rolname in ('forecourt_authenticator', 'forecourt_visitor', 'forecourt_dealer', 'forecourt_admin')
)
select 'FAIL' as verdict, format('%s may create in the schema %I', api.name, n.nspname) as finding,
  format('revoke create on schema %I from public, %I', n.nspname, api.name) as remedy
from api cross join pg_namespace as n
where n.nspname !~ '^pg_(toast_)?temp_' and has_schema_privilege(api.oid, n.oid, 'create')
union all
select 'FAIL', format('%s may use the schema %I', api.name, n.nspname),
  format('revoke usage on schema %I from public, %I', n.nspname, api.name)
from api cross join pg_namespace as n
where n.nspname in ('app_private', 'graphile_worker', 'graphile_migrate') and has_schema_privilege(api.oid, n.oid, 'usage')
union all
select 'FAIL', format('%s may write to %s', api.name, c.oid::regclass),
  format('revoke insert, update, delete, truncate on %s from public, %I', c.oid::regclass, api.name)
from api cross join pg_class as c
where c.relkind in ('r', 'p', 'v', 'f') and c.relnamespace::regnamespace::text !~ '^(pg_|information_schema$)'
  and (has_table_privilege(api.oid, c.oid, 'insert, update, delete, truncate')
    or has_any_column_privilege(api.oid, c.oid, 'insert, update'))
union all
select 'FAIL', format('%s has a right to %s', api.name, c.oid::regclass),
  format('revoke all on %s from public, %I', c.oid::regclass, api.name)
from api cross join pg_class as c
where c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relnamespace::regnamespace::text = 'app_private'
  and (has_table_privilege(api.oid, c.oid, 'select, references, trigger') or has_any_column_privilege(api.oid, c.oid, 'select, references'))
union all
select 'FAIL', format('%s may execute %s', api.name, p.oid::regprocedure),
  format('revoke execute on function %s from public, %I', p.oid::regprocedure, api.name)
from api cross join pg_proc as p
where p.pronamespace::regnamespace::text = 'app_private' and has_function_privilege(api.oid, p.oid, 'execute')
  and not exists (select from pg_depend as d where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')
union all
-- the policies of the partitioned table do not apply to a query that names the partition
select 'FAIL', format('%s may read the partition %s', api.name, c.oid::regclass),
  format('revoke select on %s from public, %I', c.oid::regclass, api.name)
from api cross join pg_class as c
where c.relispartition and c.relkind in ('r', 'p') and c.relnamespace::regnamespace::text = 'app_public'
  and has_any_column_privilege(api.oid, c.oid, 'select')
union all
-- before a request switches to its role, it reads only the limits
select 'FAIL', format('%s may read %s as itself', api.name, c.oid::regclass),
  format('revoke select on %s from public, %I', c.oid::regclass, api.name)
from api cross join pg_class as c
where api.name = 'forecourt_authenticator' and c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition
  and c.relnamespace::regnamespace::text = 'app_public' and c.oid::regclass::text <> 'app_public.rate_limit_policies'
  and has_any_column_privilege(api.oid, c.oid, 'select')
union all
-- objects that another role makes later; a function for everybody is Postgres' own default
select 'WARN', format('%s gets %s on the %s that %s makes%s', g.grantee, lower(x.privilege_type), k.objects, d.defaclrole::regrole, k.place),
  format('alter default privileges for role %s%s revoke %s on %s from %s', d.defaclrole::regrole, k.place, x.privilege_type, k.objects, g.grantee)
from pg_default_acl as d
cross join aclexplode(d.defaclacl) as x
cross join lateral (select case x.grantee when 0 then 'public' else x.grantee::regrole::text end) as g (grantee)
cross join lateral (select
  case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'functions' when 'T' then 'types' else 'schemas' end,
  coalesce(' in schema ' || nullif(d.defaclnamespace, 0)::regnamespace::text, '')) as k (objects, place)
where d.defaclrole <> (select n.nspowner from pg_namespace as n where n.nspname = 'app_public')
  and (d.defaclnamespace = 0 or d.defaclnamespace::regnamespace::text in ('app_public', 'app_private', 'graphile_worker'))
  and (g.grantee = 'public' or x.grantee in (select api.oid from api))
  and not (d.defaclnamespace = 0 and g.grantee = 'public' and d.defaclobjtype in ('f', 'T'))
