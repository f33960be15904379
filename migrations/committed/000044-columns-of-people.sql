--! Previous: sha1:ff14a04a9b457926e7cc6001f3689b02bb423cff
--! Hash: sha1:fd656e60f57de7a4f7b5032e7816802e372893ba
--! Message: columns of people

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- None of these columns rewrites the table: the default is a constant.
select app_private.lock_tables('app_public.users');
alter table app_public.users
  add column if not exists locale text not null default 'en',
  add column if not exists email_verified_at timestamptz,
  add column if not exists locked_at timestamptz,
  add column if not exists deleted_at timestamptz;
alter table app_public.users drop constraint if exists users_locale_known;
alter table app_public.users add constraint users_locale_known check (locale in ('en', 'de')) not valid;
comment on column app_public.users.locale is 'The language of mails to this user: en or de.';
comment on column app_public.users.email_verified_at is 'When the user proved that it reads the mail of its present address; null: not yet.';
comment on column app_public.users.locked_at is 'When an admin locked the account; null: it is not locked. A locked user can neither log in nor use a token.';
comment on column app_public.users.deleted_at is 'When the user deleted the account. Its e-mail address and name are replaced then; null: the account exists.';
comment on constraint users_locale_known on app_public.users is E'@field locale\nPlease choose one of the languages en and de.';
grant select (locale, email_verified_at) on app_public.users to forecourt_dealer, forecourt_admin;

--! Included identity/get_current_user.sql
create or replace function app_public.get_current_user() returns app_public.users
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select u.id, u.email, u.full_name, null::boolean, null::integer, u.created_at, u.locale, u.email_verified_at, null::timestamptz, null::timestamptz
  from app_public.users as u
  where u.id = app_public.current_user_id()
$$;

comment on function app_public.get_current_user() is E'@behavior +queryField\n@name currentUser\nThe user of the access token. Without a token the field fails with `unauthenticated`.';

grant execute on function app_public.get_current_user() to forecourt_dealer, forecourt_admin;
--! EndIncluded identity/get_current_user.sql
--! Included identity/is_admin.sql
create or replace function app_public.is_admin() returns boolean
  language plpgsql stable security definer parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform from app_public.users as u
  where u.id = app_public.current_user_id() and u.is_admin and u.locked_at is null and u.deleted_at is null;
  return found;
end
$$;

comment on function app_public.is_admin() is 'Whether the current user is an admin now, whatever its access token says.';

grant execute on function app_public.is_admin() to forecourt_admin;
--! EndIncluded identity/is_admin.sql
--! Included identity/require_admin.sql
create or replace function app_private.require_admin() returns uuid
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  if not app_public.is_admin() then
    raise exception using
      errcode = 'FC003',
      message = 'Only admins may do this. Please log in with the account of an admin.';
  end if;
  return app_public.current_user_id();
end
$$;

comment on function app_private.require_admin() is 'Returns the current user, who must be an admin now, whatever its access token says. Raises FC003.';
--! EndIncluded identity/require_admin.sql
