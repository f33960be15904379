select o.kind, o.name,
  pg_get_triggerdef(t.oid) || case t.tgenabled when 'O' then '' else format(' /* enabled: %s */', t.tgenabled) end as statement
from objects as o
join pg_trigger as t on t.tgrelid = o.oid
where o.catalog = 'pg_class'::regclass and not t.tgisinternal
