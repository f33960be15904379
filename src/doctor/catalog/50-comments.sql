-- On the object itself, and on its columns, constraints, indexes, triggers and policies.
with parts as (
  select o.kind, o.name, o.catalog, o.oid from objects as o
  union all
  -- `comment on type` puts that of a composite type on the type, not on its relation
  select o.kind, o.name, 'pg_type'::regclass, c.reltype
  from objects as o join pg_class as c on c.oid = o.oid
  where o.catalog = 'pg_class'::regclass and o.kind = 'type'
  union all
  select o.kind, o.name, 'pg_constraint'::regclass, c.oid
  from objects as o join pg_constraint as c on o.oid in (c.conrelid, c.contypid)
  union all
  select o.kind, o.name, 'pg_class'::regclass, i.indexrelid
  from objects as o join pg_index as i on i.indrelid = o.oid
  union all
  select o.kind, o.name, 'pg_trigger'::regclass, t.oid
  from objects as o join pg_trigger as t on t.tgrelid = o.oid
  union all
  select o.kind, o.name, 'pg_policy'::regclass, p.oid
  from objects as o join pg_policy as p on p.polrelid = o.oid
)
select p.kind, p.name,
  format('comment on %s %s is %L',
    case when i.type like '% column' then 'column' when i.type = 'table constraint' then 'constraint' else i.type end,
    case p.catalog when 'pg_proc'::regclass then p.name else i.identity end, d.description) as statement
from parts as p
join pg_description as d on d.classoid = p.catalog and d.objoid = p.oid
cross join pg_identify_object(d.classoid, d.objoid, d.objsubid) as i
