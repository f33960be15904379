-- database: the API's login connects to this database only, and cannot fill the disk with temporary tables or large objects
with api as (
  select r.oid, r.rolname as name from pg_roles as r
  where r.rolname in ('forecourt_authenticator', 'forecourt_visitor', 'forecourt_dealer', 'forecourt_admin')
)
select 'WARN' as verdict, format('%s may make temporary tables', string_agg(api.name, ', ' order by api.name)) as finding,
  'select app_private.restrict_database()' as remedy
from api where has_database_privilege(api.oid, current_database(), 'temporary')
having count(*) > 0
union all
select 'WARN', 'every login of the cluster may connect to this database', 'select app_private.restrict_database()'
from pg_catalog.pg_database as d
cross join aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) as entry
where d.datname = current_database() and entry.grantee = 0 and entry.privilege_type = 'CONNECT'
union all
select 'note', format('%s may connect to %s too', api.name, string_agg(quote_ident(d.datname), ', ' order by d.datname)),
  'as the owner of each: revoke connect on database … from public'
from api
cross join pg_catalog.pg_database as d
where api.name = 'forecourt_authenticator' and d.datallowconn and d.datname <> current_database()
  and has_database_privilege(api.oid, d.oid, 'connect')
group by api.name
union all
-- no role of the API owns a large object, so without these functions there is none that it could write to
select 'note', format('%s may make large objects', string_agg(distinct api.name, ', ' order by api.name)),
  format('as a superuser: revoke execute on function %s from public', string_agg(distinct p.oid::regprocedure::text, ', '))
from api
cross join pg_proc as p
where p.pronamespace = 'pg_catalog'::regnamespace and p.proname in ('lo_creat', 'lo_create', 'lo_from_bytea')
  and has_function_privilege(api.oid, p.oid, 'execute')
having count(*) > 0
