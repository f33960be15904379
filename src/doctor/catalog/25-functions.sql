select o.kind, o.name, rtrim(pg_get_functiondef(o.oid), E'\n') as statement
from objects as o
where o.catalog = 'pg_proc'::regclass
