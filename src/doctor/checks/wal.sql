-- write-ahead log: archived, and no slot retains too much of it
select case when held.bytes > 10 * 1024 ^ 3 or s.wal_status in ('unreserved', 'lost') then 'FAIL' else 'WARN' end as verdict,
  format('the slot %s (%s) retains %s of WAL, status %s', s.slot_name, case when s.active then 'in use' else 'unused' end,
    coalesce(pg_size_pretty(held.bytes), 'none'), s.wal_status) as finding,
  format('start its reader again, or select pg_drop_replication_slot(%L)', s.slot_name) as remedy
from pg_replication_slots as s
cross join lateral (
  select pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, s.restart_lsn) as bytes
) as held
where held.bytes > 1024 ^ 3 or s.wal_status in ('unreserved', 'lost') or not s.active
union all
select 'FAIL', format('archiving fails since %s, at %s', a.last_failed_time, a.last_failed_wal),
  'read the server''s log; until archiving works, pg_wal grows and no later moment can be restored'
from pg_stat_archiver as a
where a.last_failed_time > coalesce(a.last_archived_time, '-infinity')
union all
select 'note', 'WAL is not archived: no restore to a point in time', 'docs/operations.md, Backup'
from pg_settings as s where s.name = 'archive_mode' and s.setting = 'off'
