-- extensions: at the version that the server offers
select 'WARN' as verdict, format('%s is %s, the server offers %s', e.extname, e.extversion, a.default_version) as finding,
  format('alter extension %I update', e.extname) as remedy
from pg_extension as e
join pg_available_extensions as a on a.name = e.extname
where a.default_version <> e.extversion
