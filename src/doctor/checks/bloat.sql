-- bloat: no table or index takes several times the size of its rows
with ours as (
  select c.oid, c.oid::regclass as name, c.relkind, c.relam, c.reltuples, pg_relation_size(c.oid) as size
  from pg_class as c
  where c.relnamespace::regnamespace::text in ('app_public', 'app_private') and c.relkind in ('r', 'i')
    and pg_relation_size(c.oid) > 100 * 1024 * 1024 and (c.relkind = 'i' or has_table_privilege(c.oid, 'select'))
)
select 'WARN' as verdict, format('%s takes %s for rows of about %s', t.name, pg_size_pretty(t.size), pg_size_pretty(t.rows)) as finding,
  'new rows reuse the space; if the disk is short: pg_repack, or vacuum (full) while nobody writes' as remedy
from (
  -- from a sample: row security hides the statistics from an owner to whom it applies. A pointer to each row takes 4 bytes.
  select o.*, (o.reltuples * (4 + (xpath('//size/text()', query_to_xml(
    format('select avg(pg_column_size(t.*)) as size from %s as t tablesample system (1)', o.name), false, false, '')))[1]::text::float8))::bigint as rows
  from ours as o where o.relkind = 'r' and o.reltuples >= 0
) as t
where t.size > 3 * t.rows
union all
-- our widest key takes 60 bytes
select 'WARN', format('%s takes %s, %s bytes for each entry', o.name, pg_size_pretty(o.size), round(o.size / greatest(o.reltuples, 1))),
  format('reindex index concurrently %s', o.name)
from ours as o
where o.relkind = 'i' and o.relam = (select a.oid from pg_am as a where a.amname = 'btree') and o.reltuples >= 0 and o.size > 200 * o.reltuples
