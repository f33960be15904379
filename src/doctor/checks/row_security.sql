-- row security: enabled and forced on every table, and not bypassed by a view
select 'FAIL' as verdict, format('%s: %s', c.oid::regclass, case when c.relrowsecurity then 'not forced' else 'not enabled' end) as finding,
  format('alter table %s enable row level security, force row level security', c.oid::regclass) as remedy
from pg_class as c
where c.relkind in ('r', 'p') and c.relnamespace::regnamespace::text in ('app_public', 'app_private')
  and not (c.relrowsecurity and c.relforcerowsecurity)
  and not exists (select from pg_depend as d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
union all
-- such a view, and every materialized view, shows the rows that its owner may see, not those of its reader
select 'FAIL', format('%s: reads as its owner', c.oid::regclass),
  case c.relkind when 'v' then format('alter view %s set (security_invoker = true)', c.oid::regclass)
    else format('revoke all on %s from public and the roles of the API, or drop it', c.oid::regclass) end
from pg_class as c
where c.relnamespace::regnamespace::text in ('app_public', 'app_private')
  and (c.relkind = 'm' or c.relkind = 'v' and not coalesce(c.reloptions, '{}') && array['security_invoker=true', 'security_invoker=on'])
  and not exists (select from pg_depend as d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by 2
