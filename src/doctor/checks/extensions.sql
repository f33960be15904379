-- extensions: there, and at the version that the server offers
select 'FAIL' as verdict, 'btree_gist is not installed in app_private' as finding,
  'create extension btree_gist with schema app_private' as remedy
where not exists (
  select from pg_extension as e
  where e.extname = 'btree_gist' and e.extnamespace::regnamespace::text = 'app_private')
union all
select 'WARN', format('%s is %s, the server offers %s', e.extname, e.extversion, a.default_version),
  format('alter extension %I update', e.extname)
from pg_extension as e
join pg_available_extensions as a on a.name = e.extname
where a.default_version <> e.extversion
