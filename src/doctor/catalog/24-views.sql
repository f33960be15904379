-- The columns with their types come first, because readers of the view rely on them.
select o.kind, o.name,
  format(E'create %sview %s (\n%s\n)%s as\n%s', case r.relkind when 'm' then 'materialized ' else '' end, o.name,
    (select string_agg(format('  %I /* %s */', a.attname, format_type(a.atttypid, a.atttypmod)), E',\n' order by a.attnum)
     from pg_attribute as a
     where a.attrelid = o.oid and a.attnum > 0 and not a.attisdropped),
    ' with (' || array_to_string(r.reloptions, ', ') || ')',
    rtrim(pg_get_viewdef(o.oid), ';')) as statement
from objects as o
join pg_class as r on r.oid = o.oid
where o.catalog = 'pg_class'::regclass and o.kind = 'view'
