-- grants: the API writes through functions only, and makes nothing
with api as (
  select r.oid, r.rolname as name from pg_roles as r
  where r.rolname in ('forecourt_authenticator', 'forecourt_visitor', 'forecourt_dealer', 'forecourt_admin')
)
select 'FAIL' as verdict, format('%s may create in the schema %I', api.name, n.nspname) as finding,
  format('revoke create on schema %I from public, %I', n.nspname, api.name) as remedy
from api cross join pg_namespace as n
where n.nspname !~ '^pg_' and has_schema_privilege(api.oid, n.oid, 'create')
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
