-- owner: this login owns the schemas, and row security holds for it
select 'FAIL' as verdict, format('%s does not own %I', current_user, n.nspname) as finding,
  format('set DATABASE_URL to the login of %s', n.nspowner::regrole) as remedy
from pg_namespace as n
where n.nspname in ('app_public', 'app_private', 'graphile_worker') and n.nspowner <> current_user::regrole
union all
select 'WARN', format('the owner %I is above row security', r.rolname),
  format('alter role %I nosuperuser nobypassrls createrole', r.rolname)
from pg_roles as r
where r.oid = (select n.nspowner from pg_namespace as n where n.nspname = 'app_public') and (r.rolsuper or r.rolbypassrls)
