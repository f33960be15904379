select o.kind, o.name,
  format(E'create type %s as enum (\n%s\n)', o.name,
    string_agg('  ' || quote_literal(e.enumlabel), E',\n' order by e.enumsortorder)) as statement
from objects as o
join pg_enum as e on e.enumtypid = o.oid
where o.catalog = 'pg_type'::regclass
group by o.kind, o.name
union all
select o.kind, o.name,
  format(E'create type %s as (\n%s\n)', o.name,
    string_agg(format('  %I %s', a.attname, format_type(a.atttypid, a.atttypmod)), E',\n' order by a.attnum))
from objects as o
join pg_attribute as a on a.attrelid = o.oid and a.attnum > 0 and not a.attisdropped
where o.catalog = 'pg_class'::regclass and o.kind = 'type'
group by o.kind, o.name
union all
select o.kind, o.name,
  concat_ws(' ', 'create domain', o.name, 'as', format_type(t.typbasetype, t.typtypmod),
    'default ' || t.typdefault, case when t.typnotnull then 'not null' end,
    (select string_agg(format('constraint %I %s', c.conname, pg_get_constraintdef(c.oid)), ' ' order by c.conname)
     from pg_constraint as c
     -- a null constraint is a row of its own from Postgres 17 on
     where c.contypid = t.oid and c.contype = 'c'))
from objects as o
join pg_type as t on t.oid = o.oid and t.typtype = 'd'
where o.catalog = 'pg_type'::regclass
