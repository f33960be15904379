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
  constraint users_full_name_length check (length(btrim(full_name)) between 1 and 200)
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
  constraint dealers_company_name_length check (length(btrim(company_name)) between 1 and 200),
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

--!include identity/normalize_email.sql
--!include identity/current_user_id.sql
--!include identity/current_dealer_ids.sql
--!include identity/require_member.sql
--!include operations/write_audit_log.sql
--!include identity/get_current_user.sql
--!include identity/register_user.sql
--!include identity/begin_login.sql
--!include identity/complete_login.sql
--!include identity/create_dealer.sql

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
