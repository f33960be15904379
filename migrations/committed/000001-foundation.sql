--! Previous: -
--! Hash: sha1:d201d904857cd0d7e0ce6fe70eb345f6aa50c80f
--! Message: foundation

-- Gives up rather than queue behind a long transaction with everyone else behind it.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- Roles belong to the cluster, not to the database: another database of the same cluster may have made them already, or be
-- making them at this moment.
do $$
declare
  v_role text;
begin
  foreach v_role in array array['forecourt_authenticator', 'forecourt_visitor', 'forecourt_dealer', 'forecourt_admin'] loop
    if to_regrole(v_role) is null then
      begin
        execute format('create role %I %s', v_role,
          case v_role when 'forecourt_authenticator' then 'login noinherit' else 'nologin' end);
      exception when duplicate_object or unique_violation then
        null;
      end;
    end if;
  end loop;
end
$$;

do $$
declare
  v_role text;
begin
  foreach v_role in array array['forecourt_visitor', 'forecourt_dealer', 'forecourt_admin'] loop
    if not pg_has_role('forecourt_authenticator', v_role, 'member') then
      execute format('grant %I to forecourt_authenticator', v_role);
    end if;
  end loop;
end
$$;

-- Only the form without `in schema` takes the default away from public.
alter default privileges revoke execute on functions from public;

create schema if not exists app_public;
create schema if not exists app_private;
comment on schema app_public is 'What the GraphQL API shows, each table behind row-level security and column grants.';
comment on schema app_private is 'What no client reaches: secrets, counters, and the functions that the public ones are built from.';

-- Equality beside && in the exclusion constraints.
create extension if not exists btree_gist with schema app_private;

grant usage on schema app_public to forecourt_authenticator, forecourt_visitor, forecourt_dealer, forecourt_admin;

--! Included operations/time_ordered_uuid.sql
create or replace function app_private.time_ordered_uuid() returns uuid
  language plpgsql volatile security invoker parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  -- 48 bits of milliseconds, then 12 bits of their fraction, as Postgres 18's uuidv7() does
  v_ticks constant text := lpad(to_hex((extract(epoch from clock_timestamp()) * 4096000)::bigint), 15, '0');
begin
  return (substr(v_ticks, 1, 12) || '7' || substr(v_ticks, 13) || substr(gen_random_uuid()::text, 20))::uuid;
end
$$;

comment on function app_private.time_ordered_uuid() is
  'A UUID of version 7 (RFC 9562): its order is the order of time, so that a new row lands at the right edge of its index. Works below Postgres 18 too.';
--! EndIncluded operations/time_ordered_uuid.sql
--! Included operations/refuse_change.sql
create or replace function app_private.refuse_change() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = format('rows of %I.%I are never changed or removed', tg_table_schema, tg_table_name);
end
$$;

comment on function app_private.refuse_change() is
  'Trigger: makes a table append-only for every role, its owner included.';
--! EndIncluded operations/refuse_change.sql

-- Append-only: who did what to which resource.
create table if not exists app_public.audit_logs (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  action text not null constraint audit_logs_action_form check (action ~ '^[A-Z][A-Z_]{2,62}$'),
  resource_type text not null,
  resource_id uuid,
  actor uuid,
  old_values jsonb,
  new_values jsonb,
  ip inet,
  created_at timestamptz not null default clock_timestamp()
);
comment on table app_public.audit_logs is E'@behavior +query:resource:connection\nAppend-only trail of administrative writes and system runs. Only admins read it.';
comment on column app_public.audit_logs.id is 'Time-ordered.';
comment on column app_public.audit_logs.action is 'What was done, such as SYSTEM_EXPIRE or PAY_INVOICE.';
comment on column app_public.audit_logs.resource_type is 'The table whose row it was done to.';
comment on column app_public.audit_logs.resource_id is 'The row; null where one entry tells of many.';
comment on column app_public.audit_logs.actor is 'The user who did it; null for the system.';
comment on column app_public.audit_logs.old_values is 'The values before, where there were any.';
comment on column app_public.audit_logs.new_values is 'The values after; for SYSTEM_EXPIRE {"count": n, "ids": [...]}.';
comment on column app_public.audit_logs.ip is 'The address of the client, where there was one.';
comment on column app_public.audit_logs.created_at is 'When it was done.';

create index if not exists ix_audit_logs_created_at on app_public.audit_logs (created_at);
create index if not exists ix_audit_logs_action_created_at on app_public.audit_logs (action, created_at);
create index if not exists ix_audit_logs_resource_type_resource_id on app_public.audit_logs (resource_type, resource_id);

create or replace trigger audit_logs_append_only before update or delete or truncate on app_public.audit_logs
  for each statement execute function app_private.refuse_change();

grant select on app_public.audit_logs to forecourt_admin;
