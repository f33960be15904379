--! Previous: sha1:afd0d1038cf0061b3bcb7990f50fccaa2678126e
--! Hash: sha1:825ce5b37b5c49e88b805430397f8d16e3dcb091
--! Message: jobs and alerts

set local lock_timeout to '2s';
set local statement_timeout to '60s';

create table if not exists app_private.job_runs (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  task text not null,
  started_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  counted bigint not null default 0,
  error text,
  worker_id text,
  backend_pid integer not null,
  backend_started_at timestamptz not null,
  constraint job_runs_counted_not_negative check (counted >= 0),
  constraint job_runs_error_has_end check (error is null or finished_at is not null)
) with (fillfactor = 50);
comment on table app_private.job_runs is 'Runs of the worker''s long tasks. An open run whose connection is gone was interrupted; the next run closes it.';
comment on column app_private.job_runs.id is 'Time-ordered.';
comment on column app_private.job_runs.task is 'The task''s name in the crontab.';
comment on column app_private.job_runs.started_at is 'When the run started.';
comment on column app_private.job_runs.finished_at is 'When the run ended, successfully or not; null while it runs.';
comment on column app_private.job_runs.counted is 'What the run has done so far, such as the number of expired subscriptions; exact after every batch.';
comment on column app_private.job_runs.error is 'Why the run failed or was stopped; null: it succeeded or still runs.';
comment on column app_private.job_runs.worker_id is 'The worker of graphile-worker that runs it.';
comment on column app_private.job_runs.backend_pid is 'The pid of the run''s connection, as in pg_stat_activity.';
comment on column app_private.job_runs.backend_started_at is 'When that connection started: pids are reused.';
create index if not exists ix_job_runs_task_started_at on app_private.job_runs (task, started_at);
create index if not exists ix_job_runs_unfinished_task on app_private.job_runs (task) where finished_at is null;

create table if not exists app_private.alerts (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  kind text not null constraint alerts_kind_form check (kind ~ '^[a-z][a-z_]{2,39}$'),
  key text not null constraint alerts_key_length check (length(key) between 1 and 200),
  message text not null constraint alerts_message_length check (length(message) between 1 and 1000),
  details jsonb not null default '{}' constraint alerts_details_object check (jsonb_typeof(details) = 'object'),
  created_at timestamptz not null default clock_timestamp(),
  constraint alerts_kind_key_key unique (kind, key)
);
comment on table app_private.alerts is 'The outbox of alerts to operators. app_private.send_alert writes it, and the worker sends each alert once.';
comment on column app_private.alerts.id is 'Time-ordered; the idempotency key for the receiver.';
comment on column app_private.alerts.kind is 'The subject, such as ledger_broken.';
comment on column app_private.alerts.key is 'Identifies the alert within its kind: the same key is sent only once. It often contains the hour or the day.';
comment on column app_private.alerts.message is 'A sentence for people.';
comment on column app_private.alerts.details is 'The facts, as an object for programs.';
comment on column app_private.alerts.created_at is 'When the alert was raised.';
create index if not exists ix_alerts_kind_created_at on app_private.alerts (kind, created_at);

create table if not exists app_private.alert_deliveries (
  alert_id uuid not null references app_private.alerts,
  channel text not null constraint alert_deliveries_channel_known check (channel in ('webhook', 'email')),
  attempts integer not null constraint alert_deliveries_attempts_positive check (attempts > 0),
  delivered_at timestamptz,
  last_error text,
  primary key (alert_id, channel)
);
comment on table app_private.alert_deliveries is 'The delivery of an alert on each channel. An alert without rows was not tried yet, exceeded the limit per hour, or had no configured channel.';
comment on column app_private.alert_deliveries.alert_id is 'The alert.';
comment on column app_private.alert_deliveries.channel is 'The channel.';
comment on column app_private.alert_deliveries.attempts is 'How often the worker has tried.';
comment on column app_private.alert_deliveries.delivered_at is 'When the alert was delivered; null: not yet.';
comment on column app_private.alert_deliveries.last_error is 'Why the last attempt failed; null: it succeeded.';

--! Included jobs/operation_retention.sql
create or replace function app_private.operation_retention() returns interval
  language sql immutable security invoker parallel safe
  -- No search_path, so that the planner can inline it.
  return 90 * interval '24 hours';

comment on function app_private.operation_retention() is 'How long alerts, and runs of jobs that had nothing to do, are kept.';
--! EndIncluded jobs/operation_retention.sql
--! Included jobs/release_dead_workers.sql
create or replace function app_private.release_dead_workers() returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_dead text[];
begin
  with abandoned as (
    update app_private.job_runs as r
    set finished_at = clock_timestamp(), error = 'The worker of this run died.'
    where r.finished_at is null
      and not exists (
        select from pg_stat_activity as a where a.pid = r.backend_pid and a.backend_start = r.backend_started_at)
    returning r.worker_id
  )
  select array_agg(d.worker_id) into v_dead
  from (
    select a.worker_id from abandoned as a where a.worker_id is not null
    union
    -- A worker keeps one listening connection from its start. If none is older than the lock, the worker that locked is dead.
    select j.locked_by from graphile_worker.jobs as j
    where j.locked_by is not null and not exists (
      select from pg_stat_activity as a
      where a.datname = current_database() and a.application_name = 'forecourt worker' and a.backend_start <= j.locked_at)
  ) as d;
  if v_dead is not null then
    -- Without this, the dead worker's job and its queue would stay locked for 4 hours.
    perform graphile_worker.force_unlock_workers(v_dead);
  end if;
end
$$;

comment on function app_private.release_dead_workers() is 'Closes the runs whose connection is gone, and unlocks the jobs of dead workers.';
--! EndIncluded jobs/release_dead_workers.sql
--! Included jobs/begin_job_run.sql
create or replace function app_private.begin_job_run(task text, worker_id text default null) returns uuid
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_id uuid;
begin
  perform app_private.release_dead_workers();
  -- Runs that counted something are kept: subscriptions_expired_total sums them and must not fall.
  delete from app_private.job_runs as r
  where r.task = begin_job_run.task and r.counted = 0 and r.finished_at is not null
    and r.started_at < clock_timestamp() - app_private.operation_retention();
  insert into app_private.job_runs (task, worker_id, backend_pid, backend_started_at)
  select begin_job_run.task, begin_job_run.worker_id, a.pid, a.backend_start
  from pg_stat_activity as a
  where a.pid = pg_backend_pid()
  returning id into v_id;
  return v_id;
end
$$;

comment on function app_private.begin_job_run(text, text) is 'Starts a run of a task and returns its id. Releases dead workers, and deletes empty runs that are older than operation_retention. The run ends with finish_job_run, or with this connection.';
--! EndIncluded jobs/begin_job_run.sql
--! Included jobs/finish_job_run.sql
create or replace function app_private.finish_job_run(run_id uuid, error text default null) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  update app_private.job_runs as r set finished_at = clock_timestamp(), error = finish_job_run.error
  where r.id = finish_job_run.run_id and r.finished_at is null;
end
$$;

comment on function app_private.finish_job_run(uuid, text) is 'Ends a run. `error` says why it failed; null: it succeeded.';
--! EndIncluded jobs/finish_job_run.sql
--! Included alerts/send_alert.sql
create or replace function app_private.send_alert(kind text, key text, message text, details jsonb default '{}') returns boolean
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_id uuid;
begin
  insert into app_private.alerts (kind, key, message, details, created_at)
  values (send_alert.kind, send_alert.key, send_alert.message, send_alert.details, v_now)
  on conflict on constraint alerts_kind_key_key do nothing
  returning id into v_id;
  if v_id is null then
    return false;
  end if;
  -- Users can cause some kinds as often as they like, for example with a dealer in each country, so at most 50 of a kind are sent
  -- per hour.
  perform from app_private.alerts as a
  where a.kind = send_alert.kind and a.created_at > v_now - interval '1 hour'
  offset 50 limit 1;
  if not found then
    perform graphile_worker.add_job('send_alert', json_build_object('id', v_id), job_key := 'send_alert:' || v_id);
  elsif send_alert.kind <> 'alert_flood' then
    perform app_private.send_alert(
      'alert_flood',
      send_alert.kind || to_char(v_now at time zone 'UTC', ' YYYY-MM-DD"T"HH24"Z"'),
      format('There were more than 50 alerts of the kind %s within an hour. The others are not sent; please read them in app_private.alerts.', send_alert.kind));
  end if;
  return true;
end
$$;

comment on function app_private.send_alert(text, text, text, jsonb) is 'Writes an alert to the outbox; the worker sends it after this transaction has committed. An alert of the same kind and key is stored and sent only once, so to send it once per hour or day, put the hour or the day into the key. `message` is a sentence for people, `details` an object for programs. At most 50 alerts of a kind are sent per hour, and one more that says so. Returns whether the alert is new.';
--! EndIncluded alerts/send_alert.sql
--! Included alerts/record_alert_delivery.sql
create or replace function app_private.record_alert_delivery(alert_id uuid, channel text, error text default null) returns void
  language sql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  insert into app_private.alert_deliveries as d (alert_id, channel, attempts, delivered_at, last_error)
  values (
    record_alert_delivery.alert_id, record_alert_delivery.channel, 1,
    case when record_alert_delivery.error is null then clock_timestamp() end, record_alert_delivery.error)
  on conflict (alert_id, channel) do update set
    attempts = d.attempts + 1,
    delivered_at = coalesce(d.delivered_at, excluded.delivered_at),
    last_error = excluded.last_error
$$;

comment on function app_private.record_alert_delivery(uuid, text, text) is 'Records the worker''s attempt to send an alert on a channel. `error` says why it failed; null: the alert was delivered.';
--! EndIncluded alerts/record_alert_delivery.sql
--! Included alerts/remove_old_alerts.sql
create or replace function app_private.remove_old_alerts() returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_before constant timestamptz := clock_timestamp() - app_private.operation_retention();
  v_removed integer;
begin
  delete from app_private.alert_deliveries as d
  using app_private.alerts as a
  where a.id = d.alert_id and a.created_at < v_before;
  delete from app_private.alerts as a where a.created_at < v_before;
  get diagnostics v_removed = row_count;
  return v_removed;
end
$$;

comment on function app_private.remove_old_alerts() is 'Removes alerts that are older than operation_retention, delivered or not, and returns how many.';
--! EndIncluded alerts/remove_old_alerts.sql

select app_private.force_row_security('app_private.job_runs');
select app_private.force_row_security('app_private.alerts');
select app_private.force_row_security('app_private.alert_deliveries');
