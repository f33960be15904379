--! Previous: sha1:d201d904857cd0d7e0ce6fe70eb345f6aa50c80f
--! Hash: sha1:78119ac64ab25fb1f1be9c1cfe992c270b6f8566
--! Message: identity

-- Gives up rather than queue behind a long transaction with everyone else behind it.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

do $$ begin
  create type app_public.dealer_type as enum ('auto_dealer', 'real_estate_agency', 'machinery_dealer', 'general');
exception when duplicate_object then null; end $$;
comment on type app_public.dealer_type is 'What a dealer deals in.';

do $$ begin
  create type app_public.dealer_role as enum ('owner', 'staff');
exception when duplicate_object then null; end $$;
comment on type app_public.dealer_role is 'What a member may do for its dealer.';

create table if not exists app_public.users (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  email text not null constraint users_email_key unique,
  full_name text not null,
  is_admin boolean not null default false,
  created_at timestamptz not null default clock_timestamp(),
  constraint users_email_form check (email ~ '^[^@[:space:][:cntrl:]]+@[^@[:space:][:cntrl:]]+\.[^@[:space:][:cntrl:]]+$' and length(email) <= 254),
  constraint users_email_normalized check (email = lower(email)),
  constraint users_full_name_length check (full_name ~ '[^\s\u00a0\u200b]' and length(full_name) <= 200)
);
comment on table app_public.users is 'A person with an account.';
comment on column app_public.users.id is 'Time-ordered; the `sub` of the access token.';
comment on column app_public.users.email is 'In lower case; unique over all users.';
comment on column app_public.users.full_name is 'The name that the person gave.';
comment on column app_public.users.is_admin is 'Whether access tokens of this user carry the role `admin`.';
comment on column app_public.users.created_at is 'When the account was made.';
comment on constraint users_email_form on app_public.users is E'@field email\nPlease give an e-mail address such as name@example.com.';
comment on constraint users_full_name_length on app_public.users is E'@field fullName\nThe name needs 1 to 200 characters.';

create table if not exists app_public.dealers (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  company_name text not null,
  country text not null,
  dealer_type app_public.dealer_type not null,
  is_active boolean not null default true,
  can_publish boolean not null default true,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint dealers_company_name_length check (company_name ~ '[^\s\u00a0\u200b]' and length(company_name) <= 200),
  constraint dealers_country_form check (country ~ '^[A-Z]{2}$')
);
comment on table app_public.dealers is 'A company that publishes listings. Its row is the first lock of every write for it.';
comment on column app_public.dealers.id is 'Time-ordered.';
comment on column app_public.dealers.company_name is 'The company''s name, as shown on invoices.';
comment on column app_public.dealers.country is 'ISO 3166-1 alpha-2; decides currency, VAT rate and prices.';
comment on column app_public.dealers.dealer_type is 'What the dealer deals in.';
comment on column app_public.dealers.is_active is 'False: the dealer is closed and can neither publish nor buy.';
comment on column app_public.dealers.can_publish is 'False: publication is suspended.';
comment on column app_public.dealers.created_at is 'When the dealer was made.';
comment on column app_public.dealers.updated_at is 'When the row last changed.';
comment on constraint dealers_company_name_length on app_public.dealers is E'@field companyName\nThe company name needs 1 to 200 characters.';
comment on constraint dealers_country_form on app_public.dealers is E'@field country\nThe country is two capital letters of ISO 3166-1, such as DE.';

create table if not exists app_public.dealer_users (
  dealer_id uuid not null references app_public.dealers,
  user_id uuid not null references app_public.users,
  role app_public.dealer_role not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (dealer_id, user_id)
);
comment on table app_public.dealer_users is 'Membership: which users act for which dealer.';
comment on column app_public.dealer_users.dealer_id is 'The dealer.';
comment on column app_public.dealer_users.user_id is 'The member.';
comment on column app_public.dealer_users.role is 'Who made the dealer is its owner.';
comment on column app_public.dealer_users.created_at is 'Since when.';
create index if not exists ix_dealer_users_user_id on app_public.dealer_users (user_id) include (dealer_id);

create table if not exists app_private.user_passwords (
  user_id uuid not null primary key references app_public.users,
  password_hash text not null constraint user_passwords_argon2id check (password_hash like '$argon2id$%'),
  updated_at timestamptz not null default clock_timestamp()
);
comment on table app_private.user_passwords is 'Password hashes, apart from what any client can read.';
comment on column app_private.user_passwords.user_id is 'Whose password.';
comment on column app_private.user_passwords.password_hash is 'Argon2id in PHC format; hashed in the API, so that no password is ever a parameter of a statement.';
comment on column app_private.user_passwords.updated_at is 'When it was set.';

create table if not exists app_private.login_failures (
  email_hash bytea not null primary key,
  failures integer not null constraint login_failures_not_negative check (failures >= 0),
  window_started_at timestamptz not null
) with (fillfactor = 70);
comment on table app_private.login_failures is 'Failed logins of an e-mail address in its current window, whether an account exists or not.';
comment on column app_private.login_failures.email_hash is 'SHA-256 of the normalised address.';
comment on column app_private.login_failures.failures is 'Failures in the window, refused attempts included.';
comment on column app_private.login_failures.window_started_at is 'The first failure of the window.';

--! Included identity/normalize_email.sql
create or replace function app_private.normalize_email(email text) returns text
  language sql immutable strict security invoker parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select lower(btrim(normalize(normalize_email.email, nfc)))
$$;

comment on function app_private.normalize_email(text) is
  'The one form in which an e-mail address is stored, looked up and counted.';
--! EndIncluded identity/normalize_email.sql
--! Included identity/current_user_id.sql
create or replace function app_public.current_user_id() returns uuid
  language plpgsql stable security invoker parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return nullif(current_setting('forecourt.user_id', true), '')::uuid;
end
$$;

comment on function app_public.current_user_id() is
  'The verified user of this transaction, null for a visitor. The API sets `forecourt.user_id` from the access token.';

grant execute on function app_public.current_user_id() to forecourt_visitor, forecourt_dealer, forecourt_admin;
--! EndIncluded identity/current_user_id.sql
--! Included identity/current_dealer_ids.sql
create or replace function app_public.current_dealer_ids() returns uuid[]
  language plpgsql stable security definer parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return array(
    select du.dealer_id from app_public.dealer_users as du where du.user_id = app_public.current_user_id()
  );
end
$$;

comment on function app_public.current_dealer_ids() is
  'The dealers of which the current user is a member. Policies compare a row''s own dealer_id with it.';

grant execute on function app_public.current_dealer_ids() to forecourt_dealer;
--! EndIncluded identity/current_dealer_ids.sql
--! Included identity/require_member.sql
create or replace function app_private.require_member(dealer_id uuid) returns uuid
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_user_id constant uuid := app_public.current_user_id();
begin
  if v_user_id is null then
    raise exception using
      errcode = 'FC001',
      message = 'Please log in and send the access token.';
  end if;
  perform from app_public.dealer_users as du
  where du.dealer_id = require_member.dealer_id and du.user_id = v_user_id;
  if found then
    return v_user_id;
  end if;
  perform from app_public.dealers as d where d.id = require_member.dealer_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no dealer with this id. Please check it.',
      detail = jsonb_build_object('field', 'dealerId')::text;
  end if;
  raise exception using
    errcode = 'FC003',
    message = 'You are not a member of this dealer. Ask its owner to add you.',
    detail = jsonb_build_object('field', 'dealerId')::text;
end
$$;

comment on function app_private.require_member(uuid) is
  'The current user, who must be a member of the dealer. Raises FC001 without a user, FC003 for somebody else''s dealer, FC004 for none.';
--! EndIncluded identity/require_member.sql
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
--! Included identity/get_current_user.sql
create or replace function app_public.get_current_user() returns app_public.users
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select u.id, u.email, u.full_name, null::boolean, u.created_at
  from app_public.users as u
  where u.id = app_public.current_user_id()
$$;

comment on function app_public.get_current_user() is
  E'@behavior +queryField\n@name currentUser\nThe user of the access token; without one an error `unauthenticated`.';

grant execute on function app_public.get_current_user() to forecourt_dealer, forecourt_admin;
--! EndIncluded identity/get_current_user.sql
--! Included identity/register_user.sql
create or replace function app_public.register_user(
  email text, full_name text, password_hash text,
  out user_id uuid, out normalized_email text, out trimmed_full_name text
)
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  insert into app_public.users as u (email, full_name)
  values (app_private.normalize_email(register_user.email), btrim(register_user.full_name))
  on conflict on constraint users_email_key do nothing
  returning u.id, u.email, u.full_name into user_id, normalized_email, trimmed_full_name;
  if user_id is null then
    raise exception using
      errcode = 'FC008',
      message = 'This e-mail address is already registered. Please log in instead.',
      detail = jsonb_build_object('field', 'email')::text;
  end if;
  insert into app_private.user_passwords (user_id, password_hash)
  values (register_user.user_id, register_user.password_hash);
end
$$;

comment on function app_public.register_user(text, text, text) is
  'Makes an account and returns it as stored. `password_hash` is Argon2id in PHC format. Raises FC008 when the address is taken. For the API''s identity code alone, not for GraphQL.';

grant execute on function app_public.register_user(text, text, text) to forecourt_authenticator;
--! EndIncluded identity/register_user.sql
--! Included identity/begin_login.sql
create or replace function app_public.begin_login(
  email text, out user_id uuid, out normalized_email text, out full_name text, out is_admin boolean, out password_hash text, out retry_after_seconds integer
)
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  -- contract, section 5: auth_account
  v_limit constant integer := 5;
  v_window constant interval := interval '900 seconds';
  v_now constant timestamptz := clock_timestamp();
  v_count app_private.login_failures;
begin
  normalized_email := app_private.normalize_email(begin_login.email);
  insert into app_private.login_failures as f (email_hash, failures, window_started_at)
  values (sha256(convert_to(normalized_email, 'UTF8')), 1, v_now)
  on conflict (email_hash) do update set
    failures = case when f.window_started_at + v_window <= v_now then 1 else f.failures + 1 end,
    window_started_at = case when f.window_started_at + v_window <= v_now then v_now else f.window_started_at end
  returning f.* into v_count;
  if v_count.failures > v_limit then
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

comment on function app_public.begin_login(text) is
  'Counts the attempt as failed before the password is looked at, so that parallel guesses cannot slip past the limit; complete_login takes it back. Nulls for an unknown address; retry_after_seconds alone when the address has had its five failures in 15 minutes. For the API''s identity code alone, not for GraphQL.';

grant execute on function app_public.begin_login(text) to forecourt_authenticator;
--! EndIncluded identity/begin_login.sql
--! Included identity/complete_login.sql
create or replace function app_public.complete_login(email text) returns void
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
begin
  update app_private.login_failures as f set failures = f.failures - 1
  where f.email_hash = sha256(convert_to(app_private.normalize_email(complete_login.email), 'UTF8')) and f.failures > 0;
end
$$;

comment on function app_public.complete_login(text) is
  'The password was right: takes back the failure that begin_login counted ahead. For the API''s identity code alone, not for GraphQL.';

grant execute on function app_public.complete_login(text) to forecourt_authenticator;
--! EndIncluded identity/complete_login.sql
--! Included identity/create_dealer.sql
create or replace function app_public.create_dealer(company_name text, country text, dealer_type app_public.dealer_type)
  returns app_public.dealers
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_dealer app_public.dealers;
begin
  -- a token outlives its user
  perform from app_public.users as u where u.id = app_public.current_user_id();
  if not found then
    raise exception using
      errcode = 'FC001',
      message = 'There is no such user any more. Please log in again.';
  end if;
  insert into app_public.dealers (company_name, country, dealer_type)
  values (btrim(create_dealer.company_name), create_dealer.country, create_dealer.dealer_type)
  returning * into v_dealer;
  insert into app_public.dealer_users (dealer_id, user_id, role)
  values (v_dealer.id, app_public.current_user_id(), 'owner');
  return v_dealer;
end
$$;

comment on function app_public.create_dealer(text, text, app_public.dealer_type) is
  E'@behavior +mutationField\n@resultFieldName dealer\nMakes a dealer and the caller its owner.';

grant execute on function app_public.create_dealer(text, text, app_public.dealer_type) to forecourt_dealer, forecourt_admin;
--! EndIncluded identity/create_dealer.sql

drop policy if exists select_admin on app_public.audit_logs;
create policy select_admin on app_public.audit_logs for select to forecourt_admin using (true);

drop policy if exists select_self on app_public.users;
create policy select_self on app_public.users for select to forecourt_dealer using (id = app_public.current_user_id());
drop policy if exists select_admin on app_public.users;
create policy select_admin on app_public.users for select to forecourt_admin using (true);
grant select (id, email, full_name, created_at) on app_public.users to forecourt_dealer, forecourt_admin;

drop policy if exists select_member on app_public.dealers;
create policy select_member on app_public.dealers for select to forecourt_dealer using (id = any (app_public.current_dealer_ids()));
drop policy if exists select_admin on app_public.dealers;
create policy select_admin on app_public.dealers for select to forecourt_admin using (true);
grant select on app_public.dealers to forecourt_dealer, forecourt_admin;

drop policy if exists select_member on app_public.dealer_users;
create policy select_member on app_public.dealer_users for select to forecourt_dealer using (dealer_id = any (app_public.current_dealer_ids()));
drop policy if exists select_admin on app_public.dealer_users;
create policy select_admin on app_public.dealer_users for select to forecourt_admin using (true);
grant select on app_public.dealer_users to forecourt_dealer, forecourt_admin;
