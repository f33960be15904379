--! Previous: sha1:c826239e4f4c17367ee1c0447854bcd117f87559
--! Hash: sha1:3de5ff61a22ba63575a86c36953f0cef856ff981
--! Message: metrics

set local lock_timeout to '2s';
set local statement_timeout to '60s';

--! Included metrics/subscription_metrics.sql
create or replace function app_private.subscription_metrics()
  returns table (metric text, labels jsonb, value double precision)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return query
  select 'subscriptions_due'::text, '{}'::jsonb, count(*)::double precision
  from (
    select from app_public.dealer_subscriptions as s
    where s.status = 'active' and s.end_at <= statement_timestamp()
    limit 100000
  ) as due;
end
$$;

comment on function app_private.subscription_metrics() is 'Number of active subscriptions whose end has passed, counted in the index and up to 100,000. See operation_metrics.';
--! EndIncluded metrics/subscription_metrics.sql
--! Included metrics/expiry_metrics.sql
create or replace function app_private.expiry_metrics()
  returns table (metric text, labels jsonb, value double precision)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return query
  with runs as (
    select max(r.finished_at) filter (where r.error is null) as succeeded_at, sum(r.counted) as expired
    from app_private.job_runs as r
    where r.task = 'expire_subscriptions'
  )
  select 'subscription_expiry_last_success_timestamp_seconds'::text, '{}'::jsonb,
    extract(epoch from r.succeeded_at)::double precision
  from runs as r
  where r.succeeded_at is not null
  union all
  select 'subscriptions_expired_total', '{}', coalesce(r.expired, 0)::double precision from runs as r;
end
$$;

comment on function app_private.expiry_metrics() is 'When an expiry run last succeeded, in Unix seconds (no row before the first one), and how many subscriptions all runs have expired. See operation_metrics.';
--! EndIncluded metrics/expiry_metrics.sql
--! Included metrics/ledger_metrics.sql
create or replace function app_private.ledger_metrics()
  returns table (metric text, labels jsonb, value double precision)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return query
  with last as (
    select c.broken, c.finished_at from app_private.ledger_checks as c order by c.id desc limit 1
  )
  select 'ledger_broken_rows'::text, '{}'::jsonb, l.broken::double precision from last as l
  union all
  select 'ledger_last_check_timestamp_seconds', '{}', extract(epoch from l.finished_at)::double precision from last as l;
end
$$;

comment on function app_private.ledger_metrics() is 'Result and time of the last ledger check; no row before the first one. See operation_metrics.';
--! EndIncluded metrics/ledger_metrics.sql
--! Included metrics/job_metrics.sql
create or replace function app_private.job_metrics()
  returns table (metric text, labels jsonb, value double precision)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return query
  with due as (
    select count(*) as jobs, min(j.run_at) as oldest
    from (
      select d.run_at from graphile_worker.jobs as d
      where d.locked_at is null and d.attempts < d.max_attempts and d.run_at <= statement_timestamp()
      limit 100000
    ) as j
  ), failed as (
    select j.task_identifier, j.attempts >= j.max_attempts as is_given_up, count(*) as jobs
    from (select f.* from graphile_worker.jobs as f where f.last_error is not null limit 100000) as j
    group by 1, 2
  )
  select 'worker_jobs_due'::text, '{}'::jsonb, d.jobs::double precision from due as d
  union all
  select 'worker_oldest_due_job_age_seconds', '{}',
    coalesce(extract(epoch from statement_timestamp() - d.oldest), 0)::double precision
  from due as d
  union all
  select case when f.is_given_up then 'worker_jobs_given_up' else 'worker_jobs_failing' end,
    jsonb_build_object('task', f.task_identifier), f.jobs::double precision
  from failed as f;
end
$$;

comment on function app_private.job_metrics() is 'The worker''s queue: due jobs and the age of the oldest one, failed jobs that will be retried, and jobs that have failed for the last time. Each count stops at 100,000. See operation_metrics.';
--! EndIncluded metrics/job_metrics.sql
--! Included metrics/lock_metrics.sql
create or replace function app_private.lock_metrics()
  returns table (metric text, labels jsonb, value double precision)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return query
  with waiting as (
    select count(distinct l.pid) as sessions, min(l.waitstart) as since
    from pg_locks as l
    join pg_stat_activity as a on a.pid = l.pid
    where not l.granted and a.datname = current_database()
  )
  select 'database_sessions_waiting_for_locks'::text, '{}'::jsonb, w.sessions::double precision from waiting as w
  union all
  select 'database_longest_lock_wait_seconds', '{}',
    coalesce(greatest(0, extract(epoch from clock_timestamp() - w.since)), 0)::double precision
  from waiting as w;
end
$$;

comment on function app_private.lock_metrics() is 'How many sessions of this database wait for a lock, and the longest wait in seconds. See operation_metrics.';
--! EndIncluded metrics/lock_metrics.sql
--! Included metrics/operation_metrics.sql
create or replace function app_public.operation_metrics()
  returns table (metric text, labels jsonb, value double precision)
  language plpgsql stable security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '100ms'
as $$
begin
  return query select m.* from app_private.subscription_metrics() as m;
  return query select m.* from app_private.expiry_metrics() as m;
  return query select m.* from app_private.ledger_metrics() as m;
  return query select m.* from app_private.job_metrics() as m;
  return query select m.* from app_private.lock_metrics() as m;
end
$$;

comment on function app_public.operation_metrics() is 'Metrics from the database: name, labels and value of each one; docs/metrics.md explains them. Cheap at any size: counts stop at 100,000. For the API''s /metrics only, not for GraphQL.';

grant execute on function app_public.operation_metrics() to forecourt_authenticator;
--! EndIncluded metrics/operation_metrics.sql
