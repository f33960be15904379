-- jobs: started in time, finished, not given up
with jobs as (
  select j.*, j.task_identifier as task, left(j.last_error, 120) as reason from graphile_worker.jobs as j
)
select case when max(clock_timestamp() - j.run_at) > interval '1 hour' then 'FAIL' else 'WARN' end as verdict,
  format('%s jobs of %s are waiting, the oldest for %s', count(*), j.task, date_trunc('second', max(clock_timestamp() - j.run_at))) as finding,
  'check that npm run worker is running, and read its log' as remedy
from jobs as j
where j.locked_at is null and j.attempts < j.max_attempts and j.run_at < clock_timestamp() - interval '5 minutes'
group by j.task
union all
select 'WARN', format('job %s (%s) has been running on %s since %s', j.id, j.task, j.locked_by, j.locked_at),
  format('if that worker is gone: select graphile_worker.force_unlock_workers(array[%L])', j.locked_by)
from jobs as j where j.locked_at < clock_timestamp() - interval '1 hour'
union all
select 'FAIL', format('job %s (%s) was given up after %s attempts: %s', j.id, j.task, j.attempts, j.reason),
  format('fix the cause, then select graphile_worker.reschedule_jobs(array[%s], run_at := now(), attempts := 0)', j.id)
from jobs as j where j.attempts >= j.max_attempts and j.locked_at is null
union all
select 'WARN', format('job %s (%s) failed %s times: %s', j.id, j.task, j.attempts, j.reason), 'the worker retries it; read its log'
from jobs as j where j.attempts between 5 and j.max_attempts - 1 and j.last_error is not null
