--! Previous: -
--! Hash: sha1:940b486dd91e11ac86c813042fe0090f77b16372
--! Message: roles and schemas

-- Gives up instead of queueing behind a long transaction, because every other session would queue behind the migration.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- Roles belong to the cluster, not to the database: a migration of another database may have created them, or may be
-- creating them now.
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

-- Without `in schema`: Postgres ignores a per-schema revoke of a default that is granted globally.
alter default privileges revoke execute on functions from public;

create schema if not exists app_public;
create schema if not exists app_private;
comment on schema app_public is 'The objects that the GraphQL API shows. Every table has row-level security and column grants.';
comment on schema app_private is 'Secrets, counters and internal functions. No client has access.';

-- For `=` beside `&&` in exclusion constraints.
create extension if not exists btree_gist with schema app_private;

grant usage on schema app_public to forecourt_authenticator, forecourt_visitor, forecourt_dealer, forecourt_admin;

--! Included database/time_ordered_uuid.sql
create or replace function app_private.time_ordered_uuid() returns uuid
  language sql volatile security invoker parallel safe
  -- No search_path, so that the planner can inline it. A body of this form is bound to its objects at creation.
  -- 48 bits of milliseconds, then 12 bits of their fraction, as in uuidv7() of Postgres 18.
  return (
    overlay(lpad(to_hex((extract(epoch from clock_timestamp()) * 4096000)::bigint), 15, '0') placing '7' from 13 for 0)
    || substr(gen_random_uuid()::text, 20)
  )::uuid;

comment on function app_private.time_ordered_uuid() is 'A UUID of version 7 (RFC 9562). Its order is the order of creation, so new rows go to the right edge of an index. Also works on Postgres before 18.';
--! EndIncluded database/time_ordered_uuid.sql
--! Included database/force_row_security.sql
create or replace function app_private.force_row_security(relation regclass) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  execute format('alter table %s enable row level security', relation);
  execute format('alter table %s force row level security', relation);
  execute format('drop policy if exists all_owner on %s', relation);
  execute format('create policy all_owner on %s to current_user using (true) with check (true)', relation);
end
$$;

comment on function app_private.force_row_security(regclass) is 'Enables row-level security on a table and forces it, so that it also holds for the owner, who gets a policy of its own. Migrations call it for each new table.';
--! EndIncluded database/force_row_security.sql
--! Included database/refuse_change.sql
create or replace function app_private.refuse_change() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = format('Rows of %I.%I cannot be changed or deleted.', tg_table_schema, tg_table_name);
end
$$;

comment on function app_private.refuse_change() is 'Trigger: makes a table append-only for every role, including its owner.';
--! EndIncluded database/refuse_change.sql
--! Included database/refuse_row.sql
create or replace function app_private.refuse_row(
  table_name text, rule text, message text, field text default null
) returns boolean
  language plpgsql stable security invoker parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- Stable: the planner would call an immutable function already while it plans the rules.
  raise exception using
    errcode = 'check_violation',
    schema = 'app_public', table = table_name, constraint = rule,
    message = refuse_row.message,
    detail = jsonb_strip_nulls(jsonb_build_object('field', field));
end
$$;

comment on function app_private.refuse_row(text, text, text, text) is 'Refuses a row of app_public as a constraint with the name of the rule would. With a field, the message is for clients: the API names the field of the input. Without one, only the log gets the message.';
--! EndIncluded database/refuse_row.sql
--! Included database/applied_migrations.sql
create or replace function app_public.applied_migrations() returns text[]
  language plpgsql stable security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return array(select m.hash from graphile_migrate.migrations as m order by m.filename);
end
$$;

comment on function app_public.applied_migrations() is 'Hashes of the migrations that this database has run, in their order. For the API''s readiness check only, not for GraphQL.';

grant execute on function app_public.applied_migrations() to forecourt_authenticator;
--! EndIncluded database/applied_migrations.sql
--! Included database/oldest_release.sql
create or replace function app_public.oldest_release() returns text
  language sql immutable security invoker parallel safe
  -- No search_path, so that the planner can inline it. A body of this form is bound to its objects at creation.
  return '0.2.0';

comment on function app_public.oldest_release() is 'The oldest release that works with this schema. A migration that older releases do not work with replaces it. For the readiness check and the start only, not for GraphQL.';

grant execute on function app_public.oldest_release() to forecourt_authenticator;
--! EndIncluded database/oldest_release.sql
--! Included identity/current_user_id.sql
create or replace function app_public.current_user_id() returns uuid
  language sql stable security invoker parallel safe
  -- No search_path, so that the planner can inline it. A body of this form is bound to its objects at creation.
  return nullif(current_setting('forecourt.user_id', true), '')::uuid;

comment on function app_public.current_user_id() is 'The verified user of this transaction; null for a visitor. The API sets `forecourt.user_id` from the access token.';

grant execute on function app_public.current_user_id() to forecourt_visitor, forecourt_dealer, forecourt_admin;
--! EndIncluded identity/current_user_id.sql
--! Included database/restrict_database.sql
create or replace function app_private.restrict_database() returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- By default every login of the cluster may connect to a database and fill its disk with temporary tables.
  execute format('revoke connect, temporary on database %I from public', current_database());
  execute format('grant connect on database %I to forecourt_authenticator', current_database());
end
$$;

comment on function app_private.restrict_database() is 'Lets only the owner and the API''s login connect to this database, and only the owner make temporary tables. The first migration calls it. Call it again in a database that was restored or cloned, because neither copies these rights.';
--! EndIncluded database/restrict_database.sql

select app_private.restrict_database();
