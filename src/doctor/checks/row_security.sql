-- row security: enabled and forced on every table
select 'FAIL' as verdict, format('%s: %s', c.oid::regclass, case when c.relrowsecurity then 'not forced' else 'not enabled' end) as finding,
  format('alter table %s enable row level security, force row level security', c.oid::regclass) as remedy
from pg_class as c
where c.relkind in ('r', 'p') and c.relnamespace::regnamespace::text in ('app_public', 'app_private')
  and not (c.relrowsecurity and c.relforcerowsecurity)
  and not exists (select from pg_depend as d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by 2
