-- owner: this login owns the schemas, and row security applies to it
select 'FAIL' as verdict, format('%s does not own %I', current_user, n.nspname) as finding,
  format('set DATABASE_URL to the login of %s', n.nspowner::regrole) as remedy
from pg_namespace as n
where n.nspname in ('app_public', 'app_private', 'graphile_worker') and n.nspowner <> current_user::regrole
union all
select 'WARN', format('the owner %I has %s', r.rolname, a.attribute), format('alter role %I no%s createrole', r.rolname, a.attribute)
from pg_roles as r
cross join lateral (values
  ('superuser', r.rolsuper), ('bypassrls', r.rolbypassrls), ('createdb', r.rolcreatedb), ('replication', r.rolreplication)
) as a (attribute, is_set)
where r.oid = (select n.nspowner from pg_namespace as n where n.nspname = 'app_public') and a.is_set
