-- To every role but the owner. Rights that Postgres grants by default are written out: execute to public, unless it was revoked.
with entries as (
  select o.kind, o.name, o.owner, null::text as column_name, 0 as position,
    coalesce(n.nspacl, c.relacl, p.proacl,
      acldefault(case o.kind when 'schema' then 'n' when 'sequence' then 's' when 'function' then 'f' when 'procedure' then 'f' else 'r' end::"char", o.owner)) as acl
  from objects as o
  left join pg_namespace as n on o.catalog = 'pg_namespace'::regclass and n.oid = o.oid
  left join pg_class as c on o.catalog = 'pg_class'::regclass and c.oid = o.oid
  left join pg_proc as p on o.catalog = 'pg_proc'::regclass and p.oid = o.oid
  where o.kind <> 'type'
  union all
  select o.kind, o.name, o.owner, quote_ident(a.attname), a.attnum, a.attacl
  from objects as o
  join pg_attribute as a on o.catalog = 'pg_class'::regclass and a.attrelid = o.oid and a.attnum > 0 and not a.attisdropped
)
select e.kind, e.name,
  format('grant %s%s on %s %s to %s%s', lower(x.privilege_type),
    ' (' || string_agg(e.column_name, ', ' order by e.position) || ')',
    case when e.kind = 'view' then 'table' else e.kind end, e.name,
    case x.grantee when 0 then 'public' else x.grantee::regrole::text end,
    case when x.is_grantable then ' with grant option' else '' end) as statement
from entries as e
cross join aclexplode(e.acl) as x
where x.grantee <> e.owner
group by e.kind, e.name, x.privilege_type, x.grantee, x.is_grantable, e.position > 0
