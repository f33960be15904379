-- Without the indexes of constraints, because the constraint is compared.
select o.kind, o.name, pg_get_indexdef(i.indexrelid) as statement
from objects as o
join pg_index as i on i.indrelid = o.oid
where o.catalog = 'pg_class'::regclass
  and not exists (select from pg_constraint as c where c.conindid = i.indexrelid and c.contype in ('p', 'u', 'x'))
