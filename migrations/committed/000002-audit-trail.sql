--! Previous: sha1:940b486dd91e11ac86c813042fe0090f77b16372
--! Hash: sha1:910b97cc84f86ef602e8fd9d2db59ffda2bf13a5
--! Message: audit trail

set local lock_timeout to '2s';
set local statement_timeout to '60s';

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
comment on table app_public.audit_logs is E'@behavior +query:resource:connection\nAppend-only audit trail of administrative writes, changes of status, failed logins and system runs. Only admins can read it.';
comment on column app_public.audit_logs.id is 'Time-ordered.';
comment on column app_public.audit_logs.action is 'The action, such as SYSTEM_EXPIRE or PAY_INVOICE. Changes of configuration are INSERT, UPDATE, DELETE or TRUNCATE.';
comment on column app_public.audit_logs.resource_type is 'The table of the changed row.';
comment on column app_public.audit_logs.resource_id is 'The id of the changed row; null if the entry covers several rows.';
comment on column app_public.audit_logs.actor is 'The user who acted; null for the system.';
comment on column app_public.audit_logs.old_values is 'The values before; null if there were none.';
comment on column app_public.audit_logs.new_values is 'The values after; for SYSTEM_EXPIRE {"count": n, "ids": [...]}.';
comment on column app_public.audit_logs.ip is E'@behavior -filterBy -orderBy\nThe client''s address; null if there was no client.';
comment on column app_public.audit_logs.created_at is 'When the action took place.';
comment on column app_public.audit_logs.login is E'@behavior -filterBy -orderBy\nThe database login of the session. It identifies DBAs, who are not users of Forecourt.';
-- The only large value is the list of ids of an expiry batch. Compressing it takes a tenth of the batch's time and saves half.
alter table app_public.audit_logs alter column new_values set storage external;
-- Each index ends in the order of the pages of the API, so that a filtered page is read from its index.
create index if not exists ix_audit_logs_id on app_public.audit_logs (id);
create index if not exists ix_audit_logs_action_created_at_id on app_public.audit_logs (action, created_at, id);
create index if not exists ix_audit_logs_resource_type_created_at_id on app_public.audit_logs (resource_type, created_at, id);
create index if not exists ix_audit_logs_resource_id_created_at_id on app_public.audit_logs (resource_id, created_at, id);
create index if not exists ix_audit_logs_actor_created_at_id on app_public.audit_logs (actor, created_at, id);

-- Takes the rows of a month without a partition, so that no write fails however long no worker has created partitions.
create table if not exists app_private.audit_logs_default partition of app_public.audit_logs default;

create table if not exists app_private.operation_settings (
  only_row boolean not null primary key default true constraint operation_settings_one_row check (only_row),
  audit_retention_months integer default 120 constraint operation_settings_audit_retention_months_positive check (audit_retention_months > 0)
);
comment on table app_private.operation_settings is 'Settings of the system that a DBA may update.';
comment on column app_private.operation_settings.only_row is 'Always true: the table has one row.';
comment on column app_private.operation_settings.audit_retention_months is 'How many full months an audit entry is kept after its own month; null: for ever.';
insert into app_private.operation_settings default values on conflict do nothing;

--! Included audit/write_audit_log.sql
create or replace function app_private.write_audit_log(
  action text, resource_type text, resource_id uuid, old_values jsonb, new_values jsonb,
  ip inet default nullif(current_setting('forecourt.client_ip', true), '')::inet
) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- PL/pgSQL keeps the plan. Planning the route to a partition takes longer than the insert.
  insert into app_public.audit_logs (action, resource_type, resource_id, actor, old_values, new_values, ip)
  values (
    write_audit_log.action, write_audit_log.resource_type, write_audit_log.resource_id, app_public.current_user_id(),
    write_audit_log.old_values, write_audit_log.new_values, write_audit_log.ip
  );
end
$$;

comment on function app_private.write_audit_log(text, text, uuid, jsonb, jsonb, inet) is 'Writes one row to the audit trail. The actor is the current user; the address is that of the transaction''s settings, unless the caller gives another one.';
--! EndIncluded audit/write_audit_log.sql
--! Included audit/guard_audit_partition.sql
create or replace function app_private.guard_audit_partition(partition regclass) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform app_private.force_row_security(partition);
  -- Partitions do not inherit statement-level triggers.
  execute format(
    'create or replace trigger audit_logs_append_only before update or delete or truncate on %s
       for each statement execute function app_private.refuse_change()',
    partition);
end
$$;

comment on function app_private.guard_audit_partition(regclass) is 'Gives a partition of the audit trail the protection that it does not inherit: row-level security, and the trigger that refuses changes.';
--! EndIncluded audit/guard_audit_partition.sql
--! Included audit/make_audit_partition.sql
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
  execute format('create table %s (like app_public.audit_logs including defaults including constraints including storage)', v_name);
  perform from app_private.audit_logs_default as d where d.created_at >= v_from and d.created_at < v_to limit 1;
  if found then
    -- These rows were written while their month had no partition.
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

comment on function app_private.make_audit_partition(date) is 'Creates the audit trail''s partition for the month (UTC) of the given day, and moves that month''s rows out of the default partition. Returns false if the partition exists.';
--! EndIncluded audit/make_audit_partition.sql
--! Included audit/drop_audit_partition.sql
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
    raise exception using errcode = 'FC010', message = 'Please give a reason. It is kept in the audit trail.';
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

comment on function app_private.drop_audit_partition(date, text) is 'The only way to remove rows from the audit trail: drops the partition of a month that has ended, returns the number of its rows, and records the caller and the reason as DROP_AUDIT_LOGS. For the retention job and the database owner. Raises FC010 for a month that has not ended or without a reason, FC004 if there is no such partition.';
--! EndIncluded audit/drop_audit_partition.sql
--! Included audit/maintain_audit_logs.sql
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
  -- Materialise first: DDL fails while a cursor is open on the table.
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

comment on function app_private.maintain_audit_logs() is 'Creates the audit trail''s partitions for this month and the next three, and drops the partitions that are older than operation_settings.audit_retention_months. Returns both counts. A second call changes nothing.';
--! EndIncluded audit/maintain_audit_logs.sql
--! Included audit/audit_change.sql
create or replace function app_private.audit_change() returns trigger
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  -- Personal data must not enter an audit trail that nobody can edit.
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

comment on function app_private.audit_change() is 'Trigger: records an insert, update, delete or truncate with the values before and after. An update records the changed columns, and the columns named by the trigger''s arguments: the key of a table without `id`.';
--! EndIncluded audit/audit_change.sql
--! Included audit/audit_state_change.sql
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

comment on function app_private.audit_state_change() is 'Trigger: records each new status of a subscription or an invoice, such as START_SUBSCRIPTION or PAY_INVOICE. The trigger''s argument is the noun.';
--! EndIncluded audit/audit_state_change.sql

create or replace trigger audit_logs_append_only before update or delete or truncate on app_public.audit_logs
  for each statement execute function app_private.refuse_change();
create or replace trigger operation_settings_audited after insert or update or delete on app_private.operation_settings
  for each row execute function app_private.audit_change();
create or replace trigger operation_settings_truncation_audited after truncate on app_private.operation_settings
  for each statement execute function app_private.audit_change();

select app_private.force_row_security('app_public.audit_logs');
select app_private.force_row_security('app_private.operation_settings');
drop policy if exists select_admin on app_public.audit_logs;
create policy select_admin on app_public.audit_logs for select to forecourt_admin using (true);
grant select on app_public.audit_logs to forecourt_admin;

select app_private.guard_audit_partition('app_private.audit_logs_default');
select app_private.maintain_audit_logs();
