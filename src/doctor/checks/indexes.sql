-- indexes: valid, in use, and present for each foreign key by which rows are looked up
with ours as (
  select c.oid from pg_class as c where c.relnamespace::regnamespace::text in ('app_public', 'app_private')
)
select 'FAIL' as verdict, format('%s is invalid: its build was interrupted', i.indexrelid::regclass) as finding,
  format('reindex index concurrently %s; or drop it', i.indexrelid::regclass) as remedy
from pg_index as i
where i.indrelid in (select oid from ours) and not (i.indisvalid and i.indisready)
  and not exists (select from pg_stat_progress_create_index as p where p.index_relid = i.indexrelid)
union all
-- Configuration rows are referenced everywhere and never deleted: an index on such a reference would slow each publication for nothing.
select 'WARN', format('%s on %s has no index that begins with one of its columns', c.conname, c.conrelid::regclass),
  format('create index concurrently on %s (%s)', c.conrelid::regclass, (
    select string_agg(quote_ident(a.attname), ', ' order by k.position)
    from unnest(c.conkey) with ordinality as k (attnum, position)
    join pg_attribute as a on a.attrelid = c.conrelid and a.attnum = k.attnum))
from pg_constraint as c
where c.contype = 'f' and c.conparentid = 0 and c.conrelid in (select oid from ours)
  and (c.confrelid::regclass::text = 'app_public.dealers'
    or exists (select from pg_attribute as a where a.attrelid = c.confrelid and a.attname = 'dealer_id')
    or exists (select from pg_stat_user_tables as s where s.relid = c.confrelid and s.n_tup_del > 0))
  and not exists (
    select from pg_index as i
    where i.indrelid = c.conrelid and i.indisvalid and i.indkey[0] = any (c.conkey)
      and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) ~ '^\(\w+ IS NOT NULL\)$'))
union all
select 'WARN', format('%s (%s) was not used since %s', s.indexrelid::regclass, pg_size_pretty(pg_relation_size(s.indexrelid)),
    coalesce(to_char(d.stats_reset, 'YYYY-MM-DD'), 'statistics began')),
  'check the replicas too, then drop it concurrently in a migration'
from pg_stat_user_indexes as s
join pg_index as i on i.indexrelid = s.indexrelid
join pg_stat_database as d on d.datname = current_database()
where s.relid in (select oid from ours) and s.idx_scan = 0 and pg_relation_size(s.indexrelid) > 10 * 1024 * 1024
  and not i.indisunique and not i.indisexclusion
  -- the contract promises it to DBAs
  and s.indexrelname <> 'ix_dealer_subscriptions_status_end_at'
