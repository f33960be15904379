--! Previous: sha1:ae700cb1920a2d48309333a47ec3c6ce068e971f
--! Hash: sha1:978d3fab3fe47707af9682e0f123fcc8d052f9e0
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

--! Included operations/guard_audit_partition.sql
create or replace function app_private.guard_audit_partition(partition regclass) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  execute format('alter table %s enable row level security', partition);
  execute format('alter table %s force row level security', partition);
  execute format('drop policy if exists all_owner on %s', partition);
  execute format('create policy all_owner on %s to current_user using (true) with check (true)', partition);
  -- a trigger for each statement is not handed down
  execute format(
    'create or replace trigger audit_logs_append_only before update or delete or truncate on %s
       for each statement execute function app_private.refuse_change()',
    partition);
end
$$;

comment on function app_private.guard_audit_partition(regclass) is
  'Gives a partition of the audit trail the guards that it does not inherit: row-level security, and the refusal of changes.';
--! EndIncluded operations/guard_audit_partition.sql
--! Included operations/write_audit_log.sql
create or replace function app_private.write_audit_log(
  action text, resource_type text, resource_id uuid, old_values jsonb, new_values jsonb
) returns void
  language sql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  insert into app_public.audit_logs (action, resource_type, resource_id, actor, old_values, new_values, ip)
  values (
    write_audit_log.action, write_audit_log.resource_type, write_audit_log.resource_id, app_public.current_user_id(),
    write_audit_log.old_values, write_audit_log.new_values, nullif(current_setting('forecourt.client_ip', true), '')::inet
  )
$$;

comment on function app_private.write_audit_log(text, text, uuid, jsonb, jsonb) is
  'Writes one row to the audit trail; actor and address are those of the transaction''s settings.';
--! EndIncluded operations/write_audit_log.sql
--! Included operations/make_audit_partition.sql
create or replace function app_private.make_audit_partition(month date) returns boolean
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '2s'
as $$
declare
  v_from constant timestamptz := date_trunc('month', month::timestamp) at time zone 'UTC';
  v_to constant timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') at time zone 'UTC';
  v_name constant text := to_char(month::timestamp, '"app_private.audit_logs_"YYYY_MM');
begin
  if to_regclass(v_name) is not null then
    return false;
  end if;
  execute format('create table %s (like app_public.audit_logs including defaults including constraints)', v_name);
  perform from app_private.audit_logs_default as d where d.created_at >= v_from and d.created_at < v_to limit 1;
  if found then
    -- written while the month had no partition of its own
    alter table app_private.audit_logs_default disable trigger audit_logs_append_only;
    execute format(
      'with moved as (delete from app_private.audit_logs_default where created_at >= %L and created_at < %L returning *)
       insert into %s select * from moved',
      v_from, v_to, v_name);
    alter table app_private.audit_logs_default enable trigger audit_logs_append_only;
  end if;
  execute format('alter table app_public.audit_logs attach partition %s for values from (%L) to (%L)', v_name, v_from, v_to);
  perform app_private.guard_audit_partition(v_name::regclass);
  return true;
end
$$;

comment on function app_private.make_audit_partition(date) is
  'Makes the partition of the audit trail for the month (UTC) of this day, and takes in what the default partition holds of it. False: it is there already.';
--! EndIncluded operations/make_audit_partition.sql
--! Included operations/drop_audit_partition.sql
create or replace function app_private.drop_audit_partition(month date, reason text) returns bigint
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '2s'
as $$
declare
  v_name constant text := to_char(month::timestamp, '"app_private.audit_logs_"YYYY_MM');
  v_count bigint;
begin
  if month is null or month >= date_trunc('month', now() at time zone 'UTC') then
    raise exception using errcode = 'FC010', message = 'Only a month that has ended can be dropped.';
  elsif reason is null or reason !~ '\S' then
    raise exception using errcode = 'FC010', message = 'Please say why: the reason is kept.';
  elsif to_regclass(v_name) is null then
    raise exception using errcode = 'FC004', message = format('There is no partition %s.', v_name);
  end if;
  execute format('select count(*) from %s', v_name) into v_count;
  perform app_private.write_audit_log(
    'DROP_AUDIT_LOGS', 'audit_logs', null,
    jsonb_build_object('partition', v_name, 'count', v_count), jsonb_build_object('reason', reason));
  execute format('alter table app_public.audit_logs detach partition %s', v_name);
  execute format('drop table %s', v_name);
  return v_count;
end
$$;

comment on function app_private.drop_audit_partition(date, text) is
  'The one way by which the audit trail loses rows: drops the partition of a month that has ended, returns how many rows it held, and records who did it and why as DROP_AUDIT_LOGS. For the retention, and for the owner who must. Raises FC010 for a month that has not ended or without a reason, FC004 where there is no such partition.';
--! EndIncluded operations/drop_audit_partition.sql
--! Included operations/maintain_audit_logs.sql
create or replace function app_private.maintain_audit_logs(out made integer, out dropped integer)
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_today constant timestamp := now() at time zone 'UTC';
  v_keep constant integer := (select s.audit_retention_months from app_private.operation_settings as s);
  v_months date[];
  v_month date;
begin
  made := 0;
  dropped := 0;
  -- read to the end first: what a loop still reads from cannot be altered
  v_months := array(
    select generate_series(date_trunc('month', v_today), v_today + interval '3 months', interval '1 month')::date
    union
    select date_trunc('month', d.created_at at time zone 'UTC')::date from app_private.audit_logs_default as d
    order by 1);
  foreach v_month in array v_months loop
    made := made + app_private.make_audit_partition(v_month)::integer;
  end loop;
  for v_month in
    select to_date(right(c.relname, 7), 'YYYY_MM')
    from pg_inherits as i
    join pg_class as c on c.oid = i.inhrelid
    where i.inhparent = 'app_public.audit_logs'::regclass and c.relname ~ '_\d{4}_\d{2}$'
      and to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' <= v_today - v_keep * interval '1 month'
    order by 1
  loop
    perform app_private.drop_audit_partition(v_month, format('retention of %s months', v_keep));
    dropped := dropped + 1;
  end loop;
end
$$;

comment on function app_private.maintain_audit_logs() is
  'Makes the audit trail''s partitions for this month and the three that follow, and drops the months that are older than operation_settings.audit_retention_months. Returns how many of each; a second call finds nothing to do.';
--! EndIncluded operations/maintain_audit_logs.sql
--! Included operations/audit_change.sql
create or replace function app_private.audit_change() returns trigger
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  -- what tells of a person is no part of a trail that nobody can edit
  v_withheld constant text[] := array['email', 'full_name'];
  v_old jsonb := to_jsonb(old) - v_withheld;
  v_new jsonb := to_jsonb(new) - v_withheld;
  v_id constant uuid := (coalesce(v_new, v_old) ->> 'id')::uuid;
begin
  if v_old = v_new then
    return null;
  end if;
  if tg_op = 'UPDATE' then
    select jsonb_object_agg(o.key, o.value), jsonb_object_agg(o.key, v_new -> o.key) into v_old, v_new
    from jsonb_each(v_old) as o
    where o.value is distinct from v_new -> o.key or o.key = any (tg_argv);
  end if;
  perform app_private.write_audit_log(tg_op, tg_table_name, v_id, v_old, v_new);
  return null;
end
$$;

comment on function app_private.audit_change() is
  'Trigger: records who inserted, updated, deleted or truncated, with the values before and after; of an update those that changed, and the columns of its arguments: the key, where that is no `id`.';
--! EndIncluded operations/audit_change.sql
--! Included operations/audit_state_change.sql
create or replace function app_private.audit_state_change() returns trigger
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_verb constant text := case new.status::text
    when 'active' then 'START' when 'expired' then 'EXPIRE' when 'cancelled' then 'CANCEL' when 'paid' then 'PAY' when 'void' then 'VOID' end;
begin
  perform app_private.write_audit_log(
    v_verb || '_' || tg_argv[0], tg_table_name, new.id,
    jsonb_build_object('status', old.status),
    jsonb_strip_nulls(jsonb_build_object('status', new.status, 'grossTotal', to_jsonb(new) -> 'gross_total')));
  return null;
end
$$;

comment on function app_private.audit_state_change() is
  'Trigger: records each new state of a subscription or an invoice as START_SUBSCRIPTION, PAY_INVOICE and so on; the argument is the noun.';
--! EndIncluded operations/audit_state_change.sql
--! Included operations/begin_job_run.sql
create or replace function app_private.begin_job_run(task text, worker_id text default null) returns uuid
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_dead text[];
  v_id uuid;
begin
  with abandoned as (
    update app_private.job_runs as r
    set finished_at = clock_timestamp(), error = 'The worker of this run died.'
    where r.task = begin_job_run.task and r.finished_at is null
      and not exists (
        select from pg_stat_activity as a where a.pid = r.backend_pid and a.backend_start = r.backend_started_at)
    returning r.worker_id
  )
  select array_agg(a.worker_id) into v_dead from abandoned as a where a.worker_id is not null;
  if v_dead is not null then
    -- else its job, and the queue of that, stay locked for 4 hours
    perform graphile_worker.force_unlock_workers(v_dead);
  end if;
  delete from app_private.job_runs as r
  where r.task = begin_job_run.task and r.started_at < clock_timestamp() - 90 * interval '24 hours' and r.finished_at is not null;
  insert into app_private.job_runs (task, worker_id, backend_pid, backend_started_at)
  select begin_job_run.task, begin_job_run.worker_id, a.pid, a.backend_start
  from pg_stat_activity as a
  where a.pid = pg_backend_pid()
  returning id into v_id;
  return v_id;
end
$$;

comment on function app_private.begin_job_run(text, text) is
  'Opens a run of a task and returns its id. Closes those of the task whose connection is gone, gives their jobs free, and forgets runs of more than 90 days ago. The run lives as long as this connection, or until finish_job_run.';
--! EndIncluded operations/begin_job_run.sql
--! Included operations/finish_job_run.sql
create or replace function app_private.finish_job_run(run_id uuid, error text default null) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  update app_private.job_runs as r set finished_at = clock_timestamp(), error = finish_job_run.error
  where r.id = finish_job_run.run_id and r.finished_at is null;
end
$$;

comment on function app_private.finish_job_run(uuid, text) is
  'Closes a run: done, or with the reason why it is not.';
--! EndIncluded operations/finish_job_run.sql
--! Included identity/audit_login.sql
create or replace function app_private.audit_login(action text, normalized_email text, address text) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- whose requests come without an address are counted under a word instead
  perform set_config('forecourt.client_ip', case when address ~ '[.:]' then address else '' end, true);
  perform app_private.write_audit_log(
    audit_login.action, 'users', null, null,
    jsonb_build_object('account', left(encode(app_private.account_key(normalized_email), 'hex'), 16)));
end
$$;

comment on function app_private.audit_login(text, text, text) is
  'Records a login that failed or was blocked: the address of the client, and the account as the beginning of its account_key, which names nobody and is the same whether the account exists or not.';
--! EndIncluded identity/audit_login.sql
-- its result has a column more
drop function if exists app_public.begin_login(text, text);
--! Included identity/begin_login.sql
create or replace function app_public.begin_login(
  email text, address text,
  out user_id uuid, out normalized_email text, out full_name text, out is_admin boolean, out password_hash text,
  out account_key bytea, out max_count integer, out over_limit boolean, out retry_after_seconds integer
)
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_policy app_public.rate_limit_policies;
  v_window interval;
  v_now constant timestamptz := clock_timestamp();
  v_count app_private.login_failures;
begin
  select p.* into v_policy from app_public.rate_limit_policies as p where p.scope = 'auth_account';
  if not found then
    -- guessing stays limited whatever becomes of the row
    v_policy.max_count := 5;
    v_policy.window_seconds := 900;
    v_policy.mode := 'enforce';
  end if;
  v_window := v_policy.window_seconds * interval '1 second';
  max_count := v_policy.max_count;
  normalized_email := app_private.normalize_email(begin_login.email);
  account_key := app_private.account_key(normalized_email);
  perform from app_private.known_addresses as k
  where k.account_key = begin_login.account_key and k.address = begin_login.address
    and k.last_login_at > v_now - 30 * interval '24 hours';
  if found then
    account_key := app_private.account_key(normalized_email, begin_login.address);
  end if;
  insert into app_private.login_failures as f (email_hash, failures, window_started_at)
  values (account_key, 1, v_now)
  on conflict (email_hash) do update set
    failures = case when f.window_started_at + v_window <= v_now then 1 else f.failures + 1 end,
    window_started_at = case when f.window_started_at + v_window <= v_now then v_now else f.window_started_at end
  returning f.* into v_count;
  over_limit := v_policy.mode <> 'off' and v_count.failures > max_count;
  if v_policy.mode = 'enforce' and over_limit then
    -- the first refusal of the window: one entry, whatever follows
    if v_count.failures = max_count + 1 then
      perform app_private.audit_login('LOGIN_BLOCKED', normalized_email, begin_login.address);
    end if;
    retry_after_seconds := greatest(1, ceil(extract(epoch from v_count.window_started_at + v_window - v_now))::integer);
    return;
  end if;
  select u.id, u.full_name, u.is_admin, p.password_hash
  into begin_login.user_id, begin_login.full_name, begin_login.is_admin, begin_login.password_hash
  from app_public.users as u
  join app_private.user_passwords as p on p.user_id = u.id
  where u.email = normalized_email;
end
$$;

comment on function app_public.begin_login(text, text) is
  'Counts the attempt as failed before the password is looked at, so that parallel guesses cannot slip past the limit auth_account; complete_login takes it back. An address from which the account was logged in to within 30 days has a count of its own. Nulls for an unknown account; over_limit where the limit is passed, also by a policy in shadow mode, which refuses nobody; retry_after_seconds where it refuses. For the API''s identity code alone, not for GraphQL.';

grant execute on function app_public.begin_login(text, text) to forecourt_authenticator;
--! EndIncluded identity/begin_login.sql
--! Included identity/fail_login.sql
create or replace function app_public.fail_login(email text, address text, counted_under bytea, max_count integer) returns void
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
begin
  perform from app_private.login_failures as f
  where f.email_hash = fail_login.counted_under and f.failures <= fail_login.max_count;
  if found then
    perform app_private.audit_login('LOGIN_FAILED', app_private.normalize_email(fail_login.email), fail_login.address);
  end if;
end
$$;

comment on function app_public.fail_login(text, text, bytea, integer) is
  'The password was wrong, or there is no such account: records it as LOGIN_FAILED, the same way for both, and no more often in a window than the limit auth_account lets pass, so that nobody can swell the trail. `counted_under` and `max_count` are those of begin_login. For the API''s identity code alone, not for GraphQL.';

grant execute on function app_public.fail_login(text, text, bytea, integer) to forecourt_authenticator;
--! EndIncluded identity/fail_login.sql
--! Included billing/pay_invoice.sql
create or replace function app_public.pay_invoice(invoice_id uuid) returns app_public.invoices
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_dealer_id uuid;
begin
  select i.dealer_id into v_dealer_id from app_public.invoices as i where i.id = pay_invoice.invoice_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no invoice with this id. Please check it.',
      detail = jsonb_build_object('field', 'invoiceId')::text;
  end if;
  return app_private.settle_invoice(v_dealer_id, pay_invoice.invoice_id);
end
$$;

comment on function app_public.pay_invoice(uuid) is
  E'@behavior +mutationField\n@resultFieldName invoice\nFor admins: marks an invoice that was paid outside as paid, once, and starts or queues the subscription it was for. A second call changes nothing.';

grant execute on function app_public.pay_invoice(uuid) to forecourt_admin;
--! EndIncluded billing/pay_invoice.sql
--! Included subscription/activate_pending_subscriptions.sql
create or replace function app_private.activate_pending_subscriptions(dealer_ids uuid[] default null) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_dealer_ids constant uuid[] := coalesce(
    dealer_ids, array(select distinct p.dealer_id from app_public.dealer_subscriptions as p where p.status = 'pending'));
  v_activated integer;
begin
  with startable as (
    select p.dealer_id, p.id
    from unnest(v_dealer_ids) as d (id)
    join app_public.dealer_subscriptions as p on p.dealer_id = d.id and p.status = 'pending'
    where not exists (
      select from app_public.dealer_subscriptions as other
      where other.dealer_id = p.dealer_id
        and (other.status = 'active'
          or other.status = 'cancelled' and other.end_at > v_now
          or other.status = 'pending' and other.id < p.id))
    order by p.id
    for update of p skip locked
  ), activated as (
    update app_public.dealer_subscriptions as s
    set status = 'active', start_at = v_now, end_at = v_now + s.duration_days * interval '24 hours', updated_at = v_now
    from startable
    where s.dealer_id = startable.dealer_id and s.id = startable.id
    returning s.dealer_id, s.end_at
  )
  select count(app_private.schedule_expiry(a.dealer_id, a.end_at))::integer into v_activated from activated as a;
  return v_activated;
end
$$;

comment on function app_private.activate_pending_subscriptions(uuid[]) is
  'Starts the oldest pending subscription of each of these dealers (null: of all) that has none running, and returns how many. Its paid time counts from that moment.';
--! EndIncluded subscription/activate_pending_subscriptions.sql
--! Included subscription/schedule_skipped_expiry.sql
create or replace function app_private.schedule_skipped_expiry(at timestamptz) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- two questions, each with an index of its own
  perform from app_public.dealer_subscriptions as s
  where s.status = 'active' and s.end_at <= schedule_skipped_expiry.at
  limit 1;
  if not found then
    perform from app_public.dealer_subscriptions as p
    where p.status = 'pending' and not exists (
      select from app_public.dealer_subscriptions as other
      where other.dealer_id = p.dealer_id
        and (other.status = 'active' or other.status = 'cancelled' and other.end_at > schedule_skipped_expiry.at))
    limit 1;
  end if;
  if found then
    perform graphile_worker.add_job(
      'expire_subscriptions', run_at := schedule_skipped_expiry.at + interval '5 seconds', job_key := 'expire_subscriptions:skipped');
  end if;
end
$$;

comment on function app_private.schedule_skipped_expiry(timestamptz) is
  'Where a publication held at the end of a run what had ended by then, or what could start, has the worker look again 5 seconds later.';
--! EndIncluded subscription/schedule_skipped_expiry.sql
--! Included subscription/expire_subscriptions.sql
create or replace function app_private.expire_subscriptions(batch_size integer default 1000) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  -- how far this session has got: the index entries before it are dead, and walking over them again makes a long run quadratic
  v_from constant timestamptz := coalesce(nullif(current_setting('forecourt.expired_until', true), ''), '-infinity')::timestamptz;
  v_until timestamptz;
  v_ids uuid[];
  v_dealer_ids uuid[];
  v_count integer;
begin
  if batch_size is null or batch_size < 1 then
    raise exception using errcode = 'FC010', message = 'The batch size must be at least 1.';
  end if;
  perform set_config('forecourt.expires_in_batch', 'on', true);
  with due as (
    select s.dealer_id, s.ctid
    from app_public.dealer_subscriptions as s
    where s.status = 'active' and s.end_at >= v_from and s.end_at <= v_now
    order by s.end_at
    limit expire_subscriptions.batch_size
    for update skip locked
  ), expired as (
    update app_public.dealer_subscriptions as s
    set status = 'expired', updated_at = v_now
    from due
    -- locked as it is, the row is where it was found; no second look at an index
    where s.dealer_id = due.dealer_id and s.ctid = due.ctid
    returning s.dealer_id, s.id, s.end_at
  )
  select count(*)::integer, array_agg(e.id), array_agg(e.dealer_id), max(e.end_at)
  into v_count, v_ids, v_dealer_ids, v_until
  from expired as e;
  perform set_config('forecourt.expires_in_batch', '', true);
  if v_count > 0 then
    perform app_private.write_audit_log(
      'SYSTEM_EXPIRE', 'dealer_subscriptions', null, null, jsonb_build_object('count', v_count, 'ids', to_jsonb(v_ids)));
    perform app_private.activate_pending_subscriptions(v_dealer_ids);
  end if;
  -- at the end it begins anew, once: for what was skipped, or was given an earlier end meanwhile
  perform set_config('forecourt.expired_until', case when v_count = batch_size then v_until::text else '' end, false);
  if v_count = 0 and v_from > '-infinity' then
    return app_private.expire_subscriptions(batch_size);
  elsif v_count = 0 then
    perform app_private.activate_pending_subscriptions();
    perform app_private.schedule_skipped_expiry(v_now);
  end if;
  return v_count;
end
$$;

comment on function app_private.expire_subscriptions(integer) is
  'Expires up to `batch_size` active subscriptions whose end has come, oldest end first, starts those that waited for them, writes one SYSTEM_EXPIRE audit row, and returns how many expired; 0: done. Rows that a publication holds are left for the next call, which a worker job makes a few seconds after the last. Call it in a loop on one connection, each call a transaction: the session remembers how far it has got. Raises FC010 for a size below 1.';
--! EndIncluded subscription/expire_subscriptions.sql
--! Included subscription/count_due_subscriptions.sql
create or replace function app_private.count_due_subscriptions() returns bigint
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return (
    select count(*) from app_public.dealer_subscriptions as s
    where s.status = 'active' and s.end_at <= clock_timestamp()
      and s.end_at >= coalesce(nullif(current_setting('forecourt.expired_until', true), ''), '-infinity')::timestamptz);
end
$$;

comment on function app_private.count_due_subscriptions() is
  'How many subscriptions are left to expire, from where this session''s run has got to: for its progress.';
--! EndIncluded subscription/count_due_subscriptions.sql
--! Included subscription/run_expiry_batch.sql
create or replace function app_private.run_expiry_batch(run_id uuid, batch_size integer default 1000) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_count integer;
begin
  -- a batch that a crash of the server takes back is made again by the next run: it need not wait for the disk with its rows locked
  perform set_config('synchronous_commit', 'off', true);
  v_count := app_private.expire_subscriptions(run_expiry_batch.batch_size);
  update app_private.job_runs as r set counted = r.counted + v_count
  where r.id = run_expiry_batch.run_id and v_count > 0;
  return v_count;
end
$$;

comment on function app_private.run_expiry_batch(uuid, integer) is
  'One batch of a run, and its count in job_runs, in one transaction: whatever becomes of the worker, the two agree. 0: done.';
--! EndIncluded subscription/run_expiry_batch.sql
--! Included subscription/schedule_missed_expiry.sql
create or replace function app_private.schedule_missed_expiry() returns boolean
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform from app_private.job_runs as r
  where r.task = 'expire_subscriptions' and r.started_at >= date_trunc('day', now(), 'UTC')
    and r.finished_at is not null and r.error is null
  limit 1;
  if found then
    return false;
  end if;
  perform graphile_worker.add_job('expire_subscriptions', job_key := 'expire_subscriptions:missed');
  return true;
end
$$;

comment on function app_private.schedule_missed_expiry() is
  'Has the worker expire subscriptions now, unless a run since 00:00 UTC has come to its end; returns whether it was missing. For the start of a worker, also of the first on a new database: the crontab makes up only for what it knew of. Several workers ask for one run.';
--! EndIncluded subscription/schedule_missed_expiry.sql
--! Included subscription/start_subscription.sql
create or replace function app_private.start_subscription(dealer_id uuid, invoice_id uuid, at timestamptz) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_running_until timestamptz;
  v_expired_id uuid;
begin
  update app_public.checkouts as c set closed_at = start_subscription.at
  where c.dealer_id = start_subscription.dealer_id and c.invoice_id = start_subscription.invoice_id;
  insert into app_public.dealer_subscriptions (
    dealer_id, package_id, invoice_id, duration_days, overage, included_listing_quota, included_premium_quota, included_highlight_quota)
  select c.dealer_id, c.package_id, c.invoice_id, c.duration_days, c.overage, c.listing_limit, c.premium_quota, c.highlight_quota
  from app_public.checkouts as c
  where c.dealer_id = start_subscription.dealer_id and c.invoice_id = start_subscription.invoice_id;
  -- one that has ended, and that the nightly run has not seen yet, does not hold up the next
  perform set_config('forecourt.expires_in_batch', 'on', true);
  update app_public.dealer_subscriptions as s set status = 'expired', updated_at = start_subscription.at
  where s.dealer_id = start_subscription.dealer_id and s.status = 'active' and s.end_at <= start_subscription.at
  returning s.id into v_expired_id;
  perform set_config('forecourt.expires_in_batch', '', true);
  if v_expired_id is not null then
    perform app_private.write_audit_log(
      'SYSTEM_EXPIRE', 'dealer_subscriptions', null, null, jsonb_build_object('count', 1, 'ids', jsonb_build_array(v_expired_id)));
  end if;
  if app_private.activate_pending_subscriptions(array[start_subscription.dealer_id]) = 0 then
    select max(s.end_at) into v_running_until
    from app_public.dealer_subscriptions as s
    where s.dealer_id = start_subscription.dealer_id and s.status in ('active', 'cancelled');
    perform app_private.schedule_expiry(start_subscription.dealer_id, v_running_until);
  end if;
end
$$;

comment on function app_private.start_subscription(uuid, uuid, timestamptz) is
  'Makes the subscription of a paid checkout, with the quotas as they were bought: active at once, or pending behind one that runs. The dealer is locked by the caller.';
--! EndIncluded subscription/start_subscription.sql
--! Included subscription/cancel_subscription.sql
create or replace function app_public.cancel_subscription(subscription_id uuid) returns app_public.dealer_subscriptions
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_dealer_id uuid;
  v_subscription app_public.dealer_subscriptions;
begin
  select s.dealer_id into v_dealer_id from app_public.dealer_subscriptions as s where s.id = cancel_subscription.subscription_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no subscription with this id. Please check it.',
      detail = jsonb_build_object('field', 'subscriptionId')::text;
  end if;
  perform app_private.require_member(v_dealer_id);
  perform app_private.lock_dealer(v_dealer_id);
  select s.* into v_subscription
  from app_public.dealer_subscriptions as s
  where s.dealer_id = v_dealer_id and s.id = cancel_subscription.subscription_id;
  if v_subscription.status = 'cancelled' then
    return v_subscription;
  elsif v_subscription.status = 'expired' or v_subscription.end_at <= clock_timestamp() then
    raise exception using
      errcode = 'FC008',
      message = 'This subscription has ended already, there is nothing to cancel.',
      detail = jsonb_build_object('field', 'subscriptionId', 'endAt', v_subscription.end_at)::text;
  end if;
  update app_public.dealer_subscriptions as s
  set status = 'cancelled', updated_at = clock_timestamp()
  where s.dealer_id = v_dealer_id and s.id = cancel_subscription.subscription_id
  returning s.* into v_subscription;
  return v_subscription;
end
$$;

comment on function app_public.cancel_subscription(uuid) is
  E'@behavior +mutationField\n@resultFieldName subscription\nCancels a subscription of a dealer of the caller. It keeps its quota until `endAt`; one that has not started never will. A second call changes nothing.';

grant execute on function app_public.cancel_subscription(uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded subscription/cancel_subscription.sql

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
