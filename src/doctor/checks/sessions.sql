-- sessions: no long transaction, and none that stays idle
select case when s.age > interval '1 hour' then 'FAIL' else 'WARN' end as verdict,
  format('process %s (%s, %s) has been in a transaction for %s, %s since %s', s.pid, s.usename,
    coalesce(nullif(s.application_name, ''), 'unnamed'), date_trunc('second', s.age), s.state, date_trunc('second', s.still)) as finding,
  format('select pg_terminate_backend(%s)', s.pid) as remedy
from (
  select a.*, clock_timestamp() - a.xact_start as age, clock_timestamp() - a.state_change as still
  from pg_stat_activity as a
  where a.datname = current_database() and a.backend_type = 'client backend' and a.xact_start is not null
    and a.pid <> pg_backend_pid()
) as s
where s.age > interval '5 minutes' or s.state <> 'active' and s.still > interval '1 minute'
union all
select 'note', format('%s sessions of other logins are hidden from %s', count(*), current_user),
  format('grant pg_read_all_stats to %I', current_user)
from pg_stat_activity as a
where a.datname = current_database() and a.query = '<insufficient privilege>'
having count(*) > 0
union all
select case when clock_timestamp() - p.prepared > interval '5 minutes' then 'FAIL' else 'WARN' end,
  format('the prepared transaction %L of %s holds its locks since %s', p.gid, p.owner, p.prepared),
  format('Forecourt prepares no transactions: rollback prepared %L', p.gid)
from pg_prepared_xacts as p where p.database = current_database()
