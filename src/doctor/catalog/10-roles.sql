-- All our roles except the owner of the schemas.
with owners as (
  select n.nspowner as oid from pg_namespace as n where n.nspname = 'app_public'
)
select 'role' as kind, quote_ident(r.rolname) as name,
  concat_ws(' ', 'create role', quote_ident(r.rolname),
    case when r.rolcanlogin then 'login' else 'nologin' end,
    case when r.rolinherit then 'inherit' else 'noinherit' end,
    case when r.rolsuper then 'superuser' end,
    case when r.rolbypassrls then 'bypassrls' end,
    case when r.rolcreaterole then 'createrole' end,
    case when r.rolcreatedb then 'createdb' end,
    case when r.rolreplication then 'replication' end) as statement
from pg_roles as r
where r.rolname like 'forecourt\_%' and r.oid not in (select oid from owners)
union
-- a role may hold the same membership from several grantors
select 'role', quote_ident(m.rolname), format('grant %I to %I', g.rolname, m.rolname)
from pg_auth_members as am
join pg_roles as g on g.oid = am.roleid
join pg_roles as m on m.oid = am.member
where m.rolname like 'forecourt\_%' and m.oid not in (select oid from owners)
