-- `owner` stands for the owner of the table.
select o.kind, o.name,
  concat_ws(' ', format('create policy %I on %s', p.polname, o.name),
    case when not p.polpermissive then 'as restrictive' end,
    'for', case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' else 'all' end,
    'to', (
      select string_agg(r.name, ', ' order by r.name collate "C")
      from (
        select case role when 0 then 'public' when o.owner then 'owner' else role::regrole::text end as name
        from unnest(p.polroles) as role
      ) as r),
    'using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
    'with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')') as statement
from objects as o
join pg_policy as p on p.polrelid = o.oid
where o.catalog = 'pg_class'::regclass
