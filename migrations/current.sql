--! Message: expiry at scale, audit trail
-- Gives up rather than queue behind a long transaction with everyone else behind it.
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
comment on table app_private.job_runs is 'Runs of the worker''s long tasks. One without an end whose connection is gone was cut off; the next run closes it.';
comment on column app_private.job_runs.id is 'Time-ordered.';
comment on column app_private.job_runs.task is 'The task''s name in the crontab.';
comment on column app_private.job_runs.started_at is 'When it began.';
comment on column app_private.job_runs.finished_at is 'When it ended, well or not; null while it runs.';
comment on column app_private.job_runs.counted is 'What it has done so far, such as the subscriptions expired; exact after every batch.';
comment on column app_private.job_runs.error is 'Why it ended before it was done; null: it was done.';
comment on column app_private.job_runs.worker_id is 'Which of graphile-worker''s workers runs it.';
comment on column app_private.job_runs.backend_pid is 'The connection it lives on, as in pg_stat_activity.';
comment on column app_private.job_runs.backend_started_at is 'When that connection began, for a pid is used again.';
create index if not exists ix_job_runs_task_started_at on app_private.job_runs (task, started_at);
create index if not exists ix_job_runs_unfinished_task on app_private.job_runs (task) where finished_at is null;

create table if not exists app_private.operation_settings (
  only_row boolean not null primary key default true constraint operation_settings_one_row check (only_row),
  audit_retention_months integer default 120 constraint operation_settings_audit_retention_months_positive check (audit_retention_months > 0)
);
comment on table app_private.operation_settings is 'What a DBA sets for the running of the system, with an update.';
comment on column app_private.operation_settings.only_row is 'There is one row.';
comment on column app_private.operation_settings.audit_retention_months is 'Whole months for which the audit trail is kept after the month it was written in; null: for ever.';
insert into app_private.operation_settings default values on conflict do nothing;

-- What is due, and what waits. Partial, and not on the status: under forced row-level security the comparison of an enum, which is
-- not leakproof, is no condition of an index, not even for the owner. Each reads the table once, about a second for a million
-- rows, and holds up writes meanwhile.
-- squawk-ignore require-concurrent-index-creation
create index if not exists ix_dealer_subscriptions_active_end_at on app_public.dealer_subscriptions (end_at) where status = 'active';
-- squawk-ignore require-concurrent-index-creation
create index if not exists ix_dealer_subscriptions_pending_dealer_id_id on app_public.dealer_subscriptions (dealer_id, id) where status = 'pending';

-- The audit trail by month: the table as it was becomes the first partition, and no row moves.
do $$
declare
  v_month text;
begin
  if (select c.relkind from pg_class as c where c.oid = 'app_public.audit_logs'::regclass) = 'p' then
    return;
  end if;
  lock table app_public.audit_logs in access exclusive mode;
  select to_char(greatest(max(a.created_at), clock_timestamp()) at time zone 'UTC', 'YYYY_MM') into v_month from app_public.audit_logs as a;
  drop index app_public.ix_audit_logs_created_at, app_public.ix_audit_logs_action_created_at, app_public.ix_audit_logs_resource_type_resource_id;
  drop trigger audit_logs_append_only on app_public.audit_logs;
  drop policy select_admin on app_public.audit_logs;
  revoke select on app_public.audit_logs from forecourt_admin;
  alter table app_public.audit_logs drop constraint audit_logs_pkey, add column login text;
  alter table app_public.audit_logs alter column login set default session_user;
  alter table app_public.audit_logs set schema app_private;
  execute format('alter table app_private.audit_logs rename to audit_logs_%s', v_month);
end
$$;

-- Append-only: who did what to which resource.
create table if not exists app_public.audit_logs (
  id uuid not null default app_private.time_ordered_uuid(),
  action text not null constraint audit_logs_action_form check (action ~ '^[A-Z][A-Z_]{2,62}$'),
  resource_type text not null,
  resource_id uuid,
  actor uuid,
  old_values jsonb,
  new_values jsonb,
  ip inet,
  created_at timestamptz not null default clock_timestamp(),
  login text default session_user,
  primary key (created_at, id)
) partition by range (created_at);
comment on table app_public.audit_logs is E'@behavior +query:resource:connection\nAppend-only trail of administrative writes, changes of state, failed logins and system runs. Only admins read it.';
comment on column app_public.audit_logs.id is 'Time-ordered.';
comment on column app_public.audit_logs.action is 'What was done, such as SYSTEM_EXPIRE or PAY_INVOICE; INSERT, UPDATE, DELETE or TRUNCATE of configuration.';
comment on column app_public.audit_logs.resource_type is 'The table whose row it was done to.';
comment on column app_public.audit_logs.resource_id is 'The row; null where one entry tells of many.';
comment on column app_public.audit_logs.actor is 'The user who did it; null for the system.';
comment on column app_public.audit_logs.old_values is 'The values before, where there were any.';
comment on column app_public.audit_logs.new_values is 'The values after; for SYSTEM_EXPIRE {"count": n, "ids": [...]}.';
comment on column app_public.audit_logs.ip is E'@behavior -filterBy -orderBy\nThe address of the client, where there was one.';
comment on column app_public.audit_logs.created_at is 'When it was done.';
comment on column app_public.audit_logs.login is E'@behavior -filterBy -orderBy\nThe database login that did it: tells DBAs, who are no users, apart.';
-- each ends in the order of the pages, so that a filtered page is read from its index
create index if not exists ix_audit_logs_id on app_public.audit_logs (id);
create index if not exists ix_audit_logs_action_created_at_id on app_public.audit_logs (action, created_at, id);
create index if not exists ix_audit_logs_resource_type_created_at_id on app_public.audit_logs (resource_type, created_at, id);
create index if not exists ix_audit_logs_resource_id_created_at_id on app_public.audit_logs (resource_id, created_at, id);
create index if not exists ix_audit_logs_actor_created_at_id on app_public.audit_logs (actor, created_at, id);
create or replace trigger audit_logs_append_only before update or delete or truncate on app_public.audit_logs
  for each statement execute function app_private.refuse_change();
drop policy if exists select_admin on app_public.audit_logs;
create policy select_admin on app_public.audit_logs for select to forecourt_admin using (true);
grant select on app_public.audit_logs to forecourt_admin;

-- No write ever lacks a place, however long no worker has made partitions.
create table if not exists app_private.audit_logs_default partition of app_public.audit_logs default;

--!include operations/guard_audit_partition.sql
--!include operations/write_audit_log.sql
--!include operations/make_audit_partition.sql
--!include operations/drop_audit_partition.sql
--!include operations/maintain_audit_logs.sql
--!include operations/audit_change.sql
--!include operations/audit_state_change.sql
--!include operations/begin_job_run.sql
--!include operations/finish_job_run.sql
--!include identity/audit_login.sql
--!include identity/begin_login.sql
--!include identity/fail_login.sql
--!include billing/pay_invoice.sql
--!include subscription/activate_pending_subscriptions.sql
--!include subscription/schedule_skipped_expiry.sql
--!include subscription/expire_subscriptions.sql
--!include subscription/count_due_subscriptions.sql
--!include subscription/run_expiry_batch.sql
--!include subscription/schedule_missed_expiry.sql
--!include subscription/start_subscription.sql
--!include subscription/cancel_subscription.sql

do $$
declare
  v_table regclass;
begin
  foreach v_table in array array['app_private.job_runs', 'app_private.operation_settings', 'app_public.audit_logs']::regclass[] loop
    execute format('alter table %s enable row level security', v_table);
    execute format('alter table %s force row level security', v_table);
    execute format('drop policy if exists all_owner on %s', v_table);
    execute format('create policy all_owner on %s to current_user using (true) with check (true)', v_table);
  end loop;
end
$$;

do $$
declare
  v_first regclass;
  v_until timestamptz;
begin
  select c.oid, (to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month') at time zone 'UTC' into v_first, v_until
  from pg_class as c
  where c.relnamespace = 'app_private'::regnamespace and c.relkind = 'r' and c.relname ~ '^audit_logs_\d{4}_\d{2}$' and not c.relispartition;
  if found then
    execute format('alter table app_public.audit_logs attach partition %s for values from (minvalue) to (%L)', v_first, v_until);
    perform app_private.guard_audit_partition(v_first);
  end if;
  perform app_private.guard_audit_partition('app_private.audit_logs_default');
end
$$;
select app_private.maintain_audit_logs();

-- Whatever is configured, whoever does it and with whatever tool.
do $$
declare
  v_table text;
  v_key text;
begin
  for v_table, v_key in values
    ('app_public.currencies', 'code'), ('app_public.country_currencies', 'country'), ('app_public.vat_rates', ''),
    ('app_public.price_configs', ''), ('app_public.free_quota_configs', ''), ('app_public.dealer_packages', ''),
    ('app_public.rate_limit_policies', 'scope'), ('app_private.operation_settings', '')
  loop
    execute format('create or replace trigger %s_audited after insert or update or delete on %s for each row execute function app_private.audit_change(%s)',
      split_part(v_table, '.', 2), v_table, v_key);
    execute format('create or replace trigger %s_truncation_audited after truncate on %s for each statement execute function app_private.audit_change()',
      split_part(v_table, '.', 2), v_table);
  end loop;
end
$$;
create or replace trigger dealers_audited after update or delete on app_public.dealers
  for each row execute function app_private.audit_change();
create or replace trigger users_admin_audited after update of is_admin on app_public.users
  for each row when (old.is_admin <> new.is_admin) execute function app_private.audit_change();
create or replace trigger users_admin_made_audited after insert on app_public.users
  for each row when (new.is_admin) execute function app_private.audit_change();

-- The conditions keep both off the hot path, and off the expiry run, which records its batches itself.
create or replace trigger invoices_state_audited after update of status on app_public.invoices
  for each row when (old.status <> new.status) execute function app_private.audit_state_change('INVOICE');
create or replace trigger dealer_subscriptions_state_audited after update of status on app_public.dealer_subscriptions
  for each row when (
    old.status <> new.status
    and (new.status <> 'expired' or current_setting('forecourt.expires_in_batch', true) is distinct from 'on')
  ) execute function app_private.audit_state_change('SUBSCRIPTION');
