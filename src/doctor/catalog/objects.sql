-- The objects that the snapshot describes: all of the two schemas that no extension created. The other queries read it as `objects`.
select o.*
from (
  select 'pg_namespace'::regclass as catalog, n.oid, 'schema' as kind, quote_ident(n.nspname) as name, n.oid as schema, n.nspowner as owner
  from pg_namespace as n
  union all
  select 'pg_type'::regclass, t.oid, 'type', t.oid::regtype::text, t.typnamespace, t.typowner
  from pg_type as t
  where t.typtype in ('d', 'e')
  union all
  select 'pg_class'::regclass, c.oid,
    case c.relkind when 'c' then 'type' when 'S' then 'sequence' when 'v' then 'view' when 'm' then 'view' else 'table' end,
    c.oid::regclass::text, c.relnamespace, c.relowner
  from pg_class as c
  -- partitions come and go with the months
  where c.relkind in ('r', 'p', 'f', 'v', 'm', 'c', 'S') and not c.relispartition
  union all
  select 'pg_proc'::regclass, p.oid, case p.prokind when 'p' then 'procedure' else 'function' end,
    p.oid::regprocedure::text, p.pronamespace, p.proowner
  from pg_proc as p
  where p.prokind <> 'a'
) as o
where o.schema in (select n.oid from pg_namespace as n where n.nspname in ('app_public', 'app_private'))
  and not exists (
    select from pg_depend as d where d.classid = o.catalog and d.objid = o.oid and d.deptype = 'e')
