select o.kind, o.name, 'create schema ' || o.name as statement
from objects as o
where o.kind = 'schema'
union all
select o.kind, o.name, format('create extension %I with schema %s', e.extname, o.name)
from objects as o
join pg_extension as e on e.extnamespace = o.oid
where o.kind = 'schema'
