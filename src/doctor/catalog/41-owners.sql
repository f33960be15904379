-- Only objects that the owner of the schema does not own: a function with `security definer` runs as its owner.
select o.kind, o.name, format('alter %s %s owner to %s', o.kind, o.name, o.owner::regrole) as statement
from objects as o
join pg_namespace as n on n.oid = o.schema
where o.owner <> n.nspowner
