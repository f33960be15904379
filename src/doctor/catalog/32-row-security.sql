select o.kind, o.name, format('alter table %s %s row level security', o.name, s.verb) as statement
from objects as o
join pg_class as c on c.oid = o.oid
cross join lateral (values ('enable', c.relrowsecurity), ('force', c.relforcerowsecurity)) as s (verb, is_on)
where o.catalog = 'pg_class'::regclass and s.is_on
