-- roles: the four of the API have the attributes and memberships that the first migration gave them
with expected (name) as (
  values ('forecourt_authenticator'), ('forecourt_visitor'), ('forecourt_dealer'), ('forecourt_admin')
), api as (
  select r.*, r.rolname = 'forecourt_authenticator' as is_login from pg_roles as r join expected as e on e.name = r.rolname
), memberships as (
  select api.rolname as member, m.roleid::regrole::text as role, m.admin_option,
    -- since Postgres 16 each membership has its own inherit option
    coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, api.rolinherit) as inherits,
    coalesce((to_jsonb(m) ->> 'set_option')::boolean, true) as may_become
  from pg_auth_members as m join api on api.oid = m.member
)
select 'FAIL' as verdict, format('the role %s is missing', e.name) as finding,
  format('create role %I %s', e.name, case e.name when 'forecourt_authenticator' then 'login noinherit' else 'nologin' end) as remedy
from expected as e where to_regrole(e.name) is null
union all
select 'FAIL', format('%s has %s', api.rolname, a.attribute), format('alter role %I no%s', api.rolname, a.attribute)
from api
cross join lateral (values
  ('superuser', api.rolsuper), ('bypassrls', api.rolbypassrls), ('createrole', api.rolcreaterole), ('createdb', api.rolcreatedb),
  ('replication', api.rolreplication), ('login', api.rolcanlogin and not api.is_login), ('inherit', api.rolinherit and api.is_login)
) as a (attribute, is_set)
where a.is_set
union all
select 'FAIL', 'forecourt_authenticator may not log in', 'alter role forecourt_authenticator login'
from api where api.is_login and not api.rolcanlogin
union all
select 'FAIL', format('the password of forecourt_authenticator expired at %s', api.rolvaliduntil),
  'alter role forecourt_authenticator valid until ''infinity'''
from api where api.is_login and api.rolvaliduntil < now()
union all
select 'FAIL', format('%s may grant %s to others', m.member, m.role), format('revoke admin option for %s from %I', m.role, m.member)
from memberships as m where m.admin_option
union all
select 'note', format('%s is a member of %s', m.member::regrole, m.roleid::regrole),
  format('revoke %s from %s, unless it is a login of your own', m.roleid::regrole, m.member::regrole)
from pg_auth_members as m
cross join (select n.nspowner as oid from pg_namespace as n where n.nspname = 'app_public') as owner
where (m.roleid = owner.oid or m.roleid in (select oid from api))
  and m.member <> owner.oid and m.member not in (select oid from api)
union all
select 'FAIL', format('%s is a member of %s', m.member, m.role), format('revoke %s from %I', m.role, m.member)
from memberships as m
where m.member <> 'forecourt_authenticator' or m.role not in (select name from expected)
union all
select 'FAIL', format('forecourt_authenticator inherits the rights of %s', m.role),
  format('revoke %s from forecourt_authenticator, then npm run migrate', m.role)
from memberships as m where m.member = 'forecourt_authenticator' and m.inherits and m.role in (select name from expected)
union all
select 'FAIL', format('forecourt_authenticator may not become %s', api.rolname),
  format('grant %I to forecourt_authenticator', api.rolname)
from api
where not api.is_login
  and not exists (select from memberships as m where m.member = 'forecourt_authenticator' and m.role = api.rolname and m.may_become)
union all
select 'FAIL', format('%s owns %s of this database', api.rolname, pg_describe_object(d.classid, d.objid, d.objsubid)),
  format('reassign owned by %I to the owner', api.rolname)
from pg_shdepend as d
join api on api.oid = d.refobjid
where d.refclassid = 'pg_authid'::regclass and d.deptype = 'o'
  and d.dbid = (select oid from pg_database where datname = current_database())
