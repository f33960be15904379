--! Previous: sha1:91ec3cc119a2d1ccf5da620352813a2b3da12f6a
--! Hash: sha1:afd0d1038cf0061b3bcb7990f50fccaa2678126e
--! Message: identity

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- Before the tables, whose constraints call them.
--! Included text/to_nfc.sql
create or replace function app_private.to_nfc(value text) returns text
  language sql immutable security invoker parallel safe
  -- No search_path, so that the planner can inline it. The check takes a tenth of the time of the change, which few texts need.
  return case when value is nfc normalized then value else normalize(value, nfc) end;

comment on function app_private.to_nfc(text) is 'The text in Unicode form NFC: a letter and its accent are one character where Unicode has one.';
--! EndIncluded text/to_nfc.sql
--! Included text/invisible_characters.sql
create or replace function app_private.invisible_characters() returns text
  language sql immutable security invoker parallel safe
  -- No search_path, so that the planner can inline it.
  return '\u0001-\u0020\u007f-\u00a0\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ue000-\uf8ff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U0010ffff';

comment on function app_private.invisible_characters() is 'For the brackets of a regular expression: blanks, control and format characters, private use, and whatever else Unicode shows as nothing. Written out, because the classes of Postgres depend on the locale.';
--! EndIncluded text/invisible_characters.sql
--! Included text/is_line.sql
create or replace function app_private.is_line(value text, most integer) returns boolean
  language sql immutable security invoker parallel safe
  -- No search_path, so that the planner can inline it. A body of this form is bound to its objects at creation.
  return length(value) <= most and value is nfc normalized
    and value ~ ('[^' || app_private.invisible_characters() || ']')
    and value !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]';

comment on function app_private.is_line(text, integer) is 'Whether a name or a title can be stored: Unicode form NFC, at least one visible character, no line breaks or other control characters, and no more characters than allowed.';
--! EndIncluded text/is_line.sql
--! Included identity/normalize_email.sql
create or replace function app_private.normalize_email(email text) returns text
  language sql immutable strict security invoker parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  -- The collation of ICU, because the database's own may know only ASCII letters or map them as one language does.
  -- Twice to NFC: J with a caron is two characters, and j with a caron is one.
  select normalize(lower(btrim(normalize(normalize_email.email, nfc)) collate "und-x-icu"), nfc)
$$;

comment on function app_private.normalize_email(text) is 'The form in which an e-mail address is stored, looked up and counted: without surrounding blanks, in lower case, Unicode form NFC. The API applies the same rules, and writes the domain in ASCII.';
--! EndIncluded identity/normalize_email.sql
--! Included identity/is_email.sql
create or replace function app_private.is_email(value text) returns boolean
  language plpgsql immutable security invoker parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- RFC 5321: a dot-string, @, and labels of letters, digits and hyphens. RFC 6531: any visible letters before the @.
  return length(value) <= 254
    and value !~ ('[' || app_private.invisible_characters() || ']')
    and value ~ '^[^]["(),:;<>@\\.]+(\.[^]["(),:;<>@\\.]+)*@([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$';
end
$$;

comment on function app_private.is_email(text) is 'Whether a normalised e-mail address is well formed. The domain is in ASCII: the API converts other domains, because a domain in two spellings would be two accounts.';
--! EndIncluded identity/is_email.sql

do $$ begin
  create type app_public.dealer_type as enum ('auto_dealer', 'real_estate_agency', 'machinery_dealer', 'general');
exception when duplicate_object then null; end $$;
comment on type app_public.dealer_type is 'The trade of a dealer.';

do $$ begin
  create type app_public.dealer_role as enum ('owner', 'staff');
exception when duplicate_object then null; end $$;
comment on type app_public.dealer_role is 'The role of a member of a dealer.';

create table if not exists app_public.users (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  email text not null constraint users_email_key unique,
  full_name text not null,
  is_admin boolean not null default false,
  dealer_limit integer not null default 5,
  created_at timestamptz not null default clock_timestamp(),
  constraint users_email_form check (app_private.is_email(email)),
  constraint users_email_normalized check (email = app_private.normalize_email(email)),
  constraint users_dealer_limit_not_negative check (dealer_limit >= 0),
  constraint users_full_name_length check (app_private.is_line(full_name, 200))
);
comment on table app_public.users is 'A person with an account.';
comment on column app_public.users.id is 'Time-ordered; the `sub` of the access token.';
comment on column app_public.users.email is 'As normalize_email writes it, with the domain in ASCII; no two users have the same.';
comment on column app_public.users.full_name is 'The name that the person entered.';
comment on column app_public.users.is_admin is 'Whether access tokens of this user have the role `admin`.';
comment on column app_public.users.dealer_limit is 'How many dealers the account may create.';
comment on column app_public.users.created_at is 'When the account was created.';
comment on constraint users_email_form on app_public.users is E'@field email\nPlease enter an e-mail address such as name@example.com.';
comment on constraint users_full_name_length on app_public.users is E'@field fullName\nPlease enter a name of 1 to 200 characters, at least one of them visible, in one line.';

create table if not exists app_public.dealers (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  company_name text not null,
  country text not null,
  dealer_type app_public.dealer_type not null,
  is_active boolean not null default true,
  can_publish boolean not null default true,
  has_free_quota boolean not null default true,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint dealers_company_name_length check (app_private.is_line(company_name, 200)),
  constraint dealers_country_form check (country ~ '^[A-Z]{2}$')
);
comment on table app_public.dealers is 'A company that publishes listings. Every write for a dealer locks its row first.';
comment on column app_public.dealers.id is 'Time-ordered.';
comment on column app_public.dealers.company_name is 'The company''s name as shown on invoices.';
comment on column app_public.dealers.country is 'ISO 3166-1 alpha-2. It decides currency, VAT rate and prices.';
comment on column app_public.dealers.dealer_type is 'The trade of the dealer.';
comment on column app_public.dealers.is_active is 'False: the dealer is closed and can neither publish nor buy.';
comment on column app_public.dealers.can_publish is 'False: publication is suspended.';
comment on column app_public.dealers.has_free_quota is 'False: no listing is free. Of the dealers that an account creates, only the first has free quota.';
comment on column app_public.dealers.created_at is 'When the dealer was created.';
comment on column app_public.dealers.updated_at is 'When the dealer last changed.';
comment on constraint dealers_company_name_length on app_public.dealers is E'@field companyName\nPlease enter a company name of 1 to 200 characters, at least one of them visible, in one line.';
comment on constraint dealers_country_form on app_public.dealers is E'@field country\nPlease enter the country as two capital letters of ISO 3166-1, such as DE.';

create table if not exists app_public.dealer_users (
  dealer_id uuid not null references app_public.dealers,
  user_id uuid not null references app_public.users,
  role app_public.dealer_role not null,
  created_at timestamptz not null default clock_timestamp(),
  primary key (dealer_id, user_id)
);
comment on table app_public.dealer_users is 'Membership: the users who act for a dealer.';
comment on column app_public.dealer_users.dealer_id is 'The dealer.';
comment on column app_public.dealer_users.user_id is 'The member.';
comment on column app_public.dealer_users.role is 'The user who creates a dealer is its owner.';
comment on column app_public.dealer_users.created_at is 'When the user became a member.';
create index if not exists ix_dealer_users_user_id on app_public.dealer_users (user_id) include (dealer_id);

-- Keyed by the user and without a foreign key to the dealer, so that the table can be shared by all shards.
create table if not exists app_private.dealer_creations (
  user_id uuid not null constraint dealer_creations_user references app_public.users,
  number integer not null constraint dealer_creations_number_positive check (number > 0),
  created_id uuid not null,
  idempotency_key uuid,
  payload_hash bytea not null,
  primary key (user_id, number),
  constraint dealer_creations_idempotency_key unique (user_id, idempotency_key)
);
comment on table app_private.dealer_creations is 'The dealers that each account has created, in their order.';
comment on column app_private.dealer_creations.user_id is 'The account.';
comment on column app_private.dealer_creations.number is '1 for the first dealer of the account.';
comment on column app_private.dealer_creations.created_id is 'The dealer.';
comment on column app_private.dealer_creations.idempotency_key is 'Chosen by the client; unique per user. Null: the client sent none.';
comment on column app_private.dealer_creations.payload_hash is 'SHA-256 of the input. It distinguishes a retry from another dealer with the same key.';

create table if not exists app_private.user_passwords (
  user_id uuid not null primary key references app_public.users,
  password_hash text not null constraint user_passwords_argon2id check (password_hash like '$argon2id$%'),
  updated_at timestamptz not null default clock_timestamp()
);
comment on table app_private.user_passwords is 'Password hashes, in a table that no client can read.';
comment on column app_private.user_passwords.user_id is 'The user of the password.';
comment on column app_private.user_passwords.password_hash is 'Argon2id in PHC format. The API computes it, so that no statement has a password as a parameter.';
comment on column app_private.user_passwords.updated_at is 'When the password was set.';

create table if not exists app_private.login_failures (
  email_hash bytea not null primary key,
  failures integer not null constraint login_failures_not_negative check (failures >= 0),
  window_started_at timestamptz not null
) with (fillfactor = 70);
comment on table app_private.login_failures is 'Failed logins of an e-mail address in its current window, even if there is no such account.';
comment on column app_private.login_failures.email_hash is 'HMAC of the normalised e-mail address, or of it and a known client address.';
comment on column app_private.login_failures.failures is 'Failures in the window, including refused attempts.';
comment on column app_private.login_failures.window_started_at is 'When the window''s first failure took place.';

create table if not exists app_private.account_keys (
  id boolean not null primary key default true constraint account_keys_one_row check (id),
  inner_pad bytea not null,
  outer_pad bytea not null
);
comment on table app_private.account_keys is 'This database''s secret for hashing e-mail addresses: the two padded keys of HMAC (RFC 2104).';
comment on column app_private.account_keys.id is 'Always true: the table has one row.';
comment on column app_private.account_keys.inner_pad is 'The secret, each byte xor 0x36; 64 bytes.';
comment on column app_private.account_keys.outer_pad is 'The secret, each byte xor 0x5c; 64 bytes.';

create table if not exists app_private.known_addresses (
  account_key bytea not null,
  address text not null,
  last_login_at timestamptz not null,
  primary key (account_key, address)
);
comment on table app_private.known_addresses is 'Client addresses from which an account has logged in lately. Their failures are counted separately, so that a stranger cannot lock the owner out.';
comment on column app_private.known_addresses.account_key is 'HMAC of the normalised e-mail address.';
comment on column app_private.known_addresses.address is 'An IPv4 address, or the prefix of an IPv6 address.';
comment on column app_private.known_addresses.last_login_at is 'When the last successful login took place.';

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

comment on function app_public.current_dealer_ids() is 'Ids of the dealers of which the current user is a member. Policies compare a row''s own dealer_id with them.';

grant execute on function app_public.current_dealer_ids() to forecourt_dealer;
--! EndIncluded identity/current_dealer_ids.sql
--! Included identity/is_open_dealer.sql
create or replace function app_public.is_open_dealer(dealer_id uuid) returns boolean
  language sql stable security definer parallel safe
  -- No search_path, which would be set for each row. A body of this form is bound to its objects at creation.
  return exists (select from app_public.dealers as d where d.id = is_open_dealer.dealer_id and d.is_active);

comment on function app_public.is_open_dealer(uuid) is 'Whether the dealer is not closed. The policy by which everybody sees active listings calls it with a row''s own dealer_id.';

grant execute on function app_public.is_open_dealer(uuid) to forecourt_visitor, forecourt_dealer;
--! EndIncluded identity/is_open_dealer.sql
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

comment on function app_private.require_member(uuid) is 'Returns the current user, who must be a member of the dealer. Raises FC001 without a user, FC003 if the user is not a member, FC004 if there is no such dealer.';
--! EndIncluded identity/require_member.sql
--! Included identity/require_publisher.sql
create or replace function app_private.require_publisher(dealer app_public.dealers) returns void
  language plpgsql immutable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  if not dealer.is_active or not dealer.can_publish then
    raise exception using
      errcode = 'FC003',
      message = case when dealer.is_active then 'Publication is suspended for this dealer. Please contact support.' else 'This dealer is closed. Please contact support.' end,
      detail = jsonb_build_object('field', 'dealerId')::text;
  end if;
end
$$;

comment on function app_private.require_publisher(app_public.dealers) is 'Raises FC003 if the dealer is closed or its publication is suspended.';
--! EndIncluded identity/require_publisher.sql
--! Included identity/lock_dealer.sql
create or replace function app_private.lock_dealer(dealer_id uuid) returns app_public.dealers
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_dealer app_public.dealers;
begin
  -- create_listing takes the same locks in its own statements: change both.
  -- FOR NO KEY UPDATE, so that inserts that reference the dealer are not blocked.
  select d.* into v_dealer from app_public.dealers as d where d.id = lock_dealer.dealer_id for no key update;
  -- In the order of ids, as every other lock of several subscriptions: two transactions cannot deadlock.
  -- `<>` cannot use the index by status, which looks cheap as long as there are no statistics and then reads all dealers' rows.
  perform from app_public.dealer_subscriptions as s
  where s.dealer_id = lock_dealer.dealer_id and s.status <> 'expired'
    and (s.end_at is null or s.status = 'active' or s.end_at > now())
  order by s.id
  for update;
  return v_dealer;
end
$$;

comment on function app_private.lock_dealer(uuid) is 'The first step of every write for a dealer: locks the dealer''s row, then its running and pending subscriptions. The caller must read again all that it read before, including the clock.';
--! EndIncluded identity/lock_dealer.sql
--! Included identity/get_current_user.sql
create or replace function app_public.get_current_user() returns app_public.users
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select u.id, u.email, u.full_name, null::boolean, null::integer, u.created_at
  from app_public.users as u
  where u.id = app_public.current_user_id()
$$;

comment on function app_public.get_current_user() is E'@behavior +queryField\n@name currentUser\nThe user of the access token. Without a token the field fails with `unauthenticated`.';

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
  values (app_private.normalize_email(register_user.email), app_private.to_nfc(btrim(register_user.full_name)))
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

comment on function app_public.register_user(text, text, text) is 'Creates an account and returns it as stored. `password_hash` is Argon2id in PHC format. Raises FC008 if the e-mail address is already registered. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.register_user(text, text, text) to forecourt_authenticator;
--! EndIncluded identity/register_user.sql
--! Included identity/account_key.sql
create or replace function app_private.account_key(normalized_email text, address text default null) returns bytea
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  -- The length before each part keeps any two pairs apart. A separator alone could be part of an e-mail address.
  v_message constant bytea := convert_to(
    length(normalized_email) || ':' || normalized_email || coalesce(length(address) || ':' || address, ''), 'UTF8');
begin
  -- HMAC-SHA256 (RFC 2104).
  return (select sha256(k.outer_pad || sha256(k.inner_pad || v_message)) from app_private.account_keys as k);
end
$$;

comment on function app_private.account_key(text, text) is 'The key under which the failed logins of an account are counted; with an address, those from that known client address. It is an HMAC, so the counters do not reveal e-mail addresses.';
--! EndIncluded identity/account_key.sql
--! Included identity/known_address_lifetime.sql
create or replace function app_private.known_address_lifetime() returns interval
  language sql immutable security invoker parallel safe
  -- No search_path, so that the planner can inline it.
  return 30 * interval '24 hours';

comment on function app_private.known_address_lifetime() is 'How long after its last successful login an address counts as known for an account.';
--! EndIncluded identity/known_address_lifetime.sql
--! Included identity/audit_login.sql
create or replace function app_private.audit_login(action text, normalized_email text, address text) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- The address is 'unknown' when express has none.
  perform app_private.write_audit_log(
    audit_login.action, 'users', null, null,
    jsonb_build_object('account', left(encode(app_private.account_key(normalized_email), 'hex'), 16)),
    case when address ~ '[.:]' then address::inet end);
end
$$;

comment on function app_private.audit_login(text, text, text) is 'Records a failed or blocked login: the client''s address, and the beginning of the account_key. The key identifies nobody, and it is computed the same way for an account that does not exist.';
--! EndIncluded identity/audit_login.sql
--! Included identity/begin_login.sql
create or replace function app_public.begin_login(
  email text, address text,
  out user_id uuid, out normalized_email text, out full_name text, out is_admin boolean, out password_parameters text,
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
  -- STRICT: without its policy every login fails, rather than being unlimited.
  select p.* into strict v_policy from app_public.rate_limit_policies as p where p.scope = 'auth_account';
  v_window := v_policy.window_seconds * interval '1 second';
  max_count := v_policy.max_count;
  normalized_email := app_private.normalize_email(begin_login.email);
  account_key := app_private.account_key(normalized_email);
  perform from app_private.known_addresses as k
  where k.account_key = begin_login.account_key and k.address = begin_login.address
    and k.last_login_at > v_now - app_private.known_address_lifetime();
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
    -- The first refusal of a window writes the only entry.
    if v_count.failures = max_count + 1 then
      perform app_private.audit_login('LOGIN_BLOCKED', normalized_email, begin_login.address);
    end if;
    retry_after_seconds := greatest(1, ceil(extract(epoch from v_count.window_started_at + v_window - v_now))::integer);
    return;
  end if;
  -- The PHC string without its last part, which is the hash.
  select u.id, u.full_name, u.is_admin, regexp_replace(p.password_hash, '\$[^$]*$', '')
  into begin_login.user_id, begin_login.full_name, begin_login.is_admin, begin_login.password_parameters
  from app_public.users as u
  join app_private.user_passwords as p on p.user_id = u.id
  where u.email = normalized_email;
end
$$;

comment on function app_public.begin_login(text, text) is 'Counts the attempt as a failure before the password is checked, so that parallel guesses cannot pass the limit auth_account; complete_login takes the failure back when the password was right. An address from which the account has logged in within known_address_lifetime has a counter of its own. Returns the parameters and the salt of the password''s hash, never the hash, and nulls for an unknown account. over_limit says that the limit is exceeded, also by a policy in shadow mode, which refuses nobody; retry_after_seconds is set when the attempt is refused. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.begin_login(text, text) to forecourt_authenticator;
--! EndIncluded identity/begin_login.sql
--! Included identity/complete_login.sql
create or replace function app_public.complete_login(
  email text, address text, counted_under bytea, max_count integer, password_hash text
) returns boolean
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_email constant text := app_private.normalize_email(complete_login.email);
begin
  perform from app_public.users as u
  join app_private.user_passwords as p on p.user_id = u.id
  where u.email = v_email and p.password_hash = complete_login.password_hash;
  if found then
    update app_private.login_failures as f set failures = f.failures - 1
    where f.email_hash = complete_login.counted_under and f.failures > 0;
    insert into app_private.known_addresses as k (account_key, address, last_login_at)
    values (app_private.account_key(v_email), complete_login.address, clock_timestamp())
    on conflict on constraint known_addresses_pkey do update set last_login_at = excluded.last_login_at;
    return true;
  end if;
  perform from app_private.login_failures as f
  where f.email_hash = complete_login.counted_under and f.failures <= complete_login.max_count;
  if found then
    perform app_private.audit_login('LOGIN_FAILED', v_email, complete_login.address);
  end if;
  return false;
end
$$;

comment on function app_public.complete_login(text, text, bytea, integer, text) is 'Compares the hash that the API has computed with the stored one, which never leaves the database, and returns whether they are equal. If so, it takes back the failure that begin_login counted, and remembers the address. If not, it records LOGIN_FAILED, the same way for an account that does not exist, and at most as often per window as the limit auth_account allows, so that nobody can flood the audit trail. `counted_under` and `max_count` are those of begin_login. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.complete_login(text, text, bytea, integer, text) to forecourt_authenticator;
--! EndIncluded identity/complete_login.sql
--! Included identity/replay_dealer.sql
create or replace function app_private.replay_dealer(user_id uuid, idempotency_key uuid, payload_hash bytea) returns app_public.dealers
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_creation app_private.dealer_creations;
  v_dealer app_public.dealers;
begin
  select c.* into v_creation
  from app_private.dealer_creations as c
  where c.user_id = replay_dealer.user_id and c.idempotency_key = replay_dealer.idempotency_key;
  if v_creation.payload_hash <> replay_dealer.payload_hash then
    raise exception using
      errcode = 'FC007',
      message = 'This idempotency key was used for another dealer. Use a new key for a new dealer.',
      detail = jsonb_build_object('field', 'idempotencyKey')::text;
  end if;
  select d.* into v_dealer from app_public.dealers as d where d.id = v_creation.created_id;
  return v_dealer;
end
$$;

comment on function app_private.replay_dealer(uuid, uuid, bytea) is 'Returns the dealer that the user created with this idempotency key; all columns are null if there is none. Raises FC007 if the key was used with other input.';
--! EndIncluded identity/replay_dealer.sql
--! Included identity/create_dealer.sql
create or replace function app_public.create_dealer(
  company_name text, country text, dealer_type app_public.dealer_type, idempotency_key uuid default null
) returns app_public.dealers
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_payload_hash constant bytea := sha256(convert_to(jsonb_build_array(company_name, country, dealer_type)::text, 'UTF8'));
  v_user app_public.users;
  v_dealer app_public.dealers;
  v_number integer;
begin
  -- The lock makes the count exact. An access token can be valid longer than its user exists.
  select u.* into v_user from app_public.users as u where u.id = app_public.current_user_id() for no key update;
  if not found then
    raise exception using
      errcode = 'FC001',
      message = 'This account no longer exists. Please log in with another one.';
  end if;
  v_dealer := app_private.replay_dealer(v_user.id, create_dealer.idempotency_key, v_payload_hash);
  if v_dealer.id is not null then
    return v_dealer;
  end if;
  select coalesce(max(c.number), 0) + 1 into v_number from app_private.dealer_creations as c where c.user_id = v_user.id;
  if v_number > v_user.dealer_limit then
    raise exception using
      errcode = 'FC008',
      message = format('This account has created %s dealers already, and may create no more. Please contact support.', v_number - 1),
      detail = jsonb_build_object('dealerLimit', v_user.dealer_limit)::text;
  end if;
  perform from app_public.country_currencies as cc where cc.country = create_dealer.country and cc.closed_at is null;
  if not found then
    raise exception using
      errcode = 'FC010',
      message = 'Forecourt is not available in this country. Please enter a country that is open as two capital letters, such as DE.',
      detail = jsonb_build_object('field', 'country')::text;
  end if;
  insert into app_public.dealers (company_name, country, dealer_type, has_free_quota)
  values (app_private.to_nfc(btrim(create_dealer.company_name)), create_dealer.country, create_dealer.dealer_type, v_number = 1)
  returning * into v_dealer;
  insert into app_public.dealer_users (dealer_id, user_id, role) values (v_dealer.id, v_user.id, 'owner');
  insert into app_private.dealer_creations (user_id, number, created_id, idempotency_key, payload_hash)
  values (v_user.id, v_number, v_dealer.id, create_dealer.idempotency_key, v_payload_hash);
  return v_dealer;
end
$$;

comment on function app_public.create_dealer(text, text, app_public.dealer_type, uuid) is E'@behavior +mutationField\n@resultFieldName dealer\nCreates a dealer in an open country and makes the caller its owner. An account creates at most five, and only the first has free listings. The same idempotency key with the same input returns the same dealer.';

grant execute on function app_public.create_dealer(text, text, app_public.dealer_type, uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded identity/create_dealer.sql
--! Included identity/set_admin.sql
create or replace function app_private.set_admin(email text, is_admin boolean) returns boolean
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_user app_public.users;
begin
  select u.* into v_user
  from app_public.users as u where u.email = app_private.normalize_email(set_admin.email) for no key update;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = format('There is no account with the e-mail address %s.', set_admin.email),
      hint = 'Please check it, or register it first: docs/operations.md, "First steps", shows how.';
  end if;
  update app_public.users as u set is_admin = set_admin.is_admin where u.id = v_user.id and u.is_admin <> set_admin.is_admin;
  return found;
end
$$;

comment on function app_private.set_admin(text, boolean) is 'Makes the account of an e-mail address an admin, or takes the right away. Returns false if nothing changes. Raises FC004 if there is no such account. The trigger users_admin_audited records the change. For a DBA.';
--! EndIncluded identity/set_admin.sql
--! Included limits/remove_idle_rate_limit_counters.sql
create or replace function app_private.remove_idle_rate_limit_counters(batch_size integer default 10000) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant double precision := extract(epoch from clock_timestamp())::double precision;
  v_removed integer;
begin
  with idle as (
    select c.key
    from app_private.rate_limit_counters as c
    where c.ends_at + c.window_seconds < v_now
    limit remove_idle_rate_limit_counters.batch_size
    for update skip locked
  ), removed as (
    delete from app_private.rate_limit_counters as c using idle where c.key = idle.key returning c.key
  )
  select count(*)::integer into v_removed from removed;
  delete from app_private.known_addresses as k where k.last_login_at < now() - app_private.known_address_lifetime();
  delete from app_private.login_failures as f where f.window_started_at < now() - interval '48 hours';
  return v_removed;
end
$$;

comment on function app_private.remove_idle_rate_limit_counters(integer) is 'Removes up to `batch_size` counters that no sliding window covers any more, and returns how many; 0 means done. Also removes outdated login failures and known addresses. Call it in a loop, each call in a transaction of its own.';
--! EndIncluded limits/remove_idle_rate_limit_counters.sql

do $$
declare
  v_secret constant bytea := decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex');
  v_inner bytea := decode(repeat('36', 64), 'hex');
  v_outer bytea := decode(repeat('5c', 64), 'hex');
begin
  for v_index in 0 .. length(v_secret) - 1 loop
    v_inner := set_byte(v_inner, v_index, get_byte(v_secret, v_index) # 54);
    v_outer := set_byte(v_outer, v_index, get_byte(v_secret, v_index) # 92);
  end loop;
  insert into app_private.account_keys (inner_pad, outer_pad) values (v_inner, v_outer) on conflict do nothing;
end
$$;

create or replace trigger dealers_audited after update or delete on app_public.dealers
  for each row execute function app_private.audit_change();
create or replace trigger dealer_users_audited after insert or update or delete on app_public.dealer_users
  for each row execute function app_private.audit_change('dealer_id', 'user_id');
create or replace trigger users_admin_made_audited after insert on app_public.users
  for each row when (new.is_admin) execute function app_private.audit_change();
create or replace trigger users_admin_audited after update of is_admin, dealer_limit on app_public.users
  for each row when (old.is_admin <> new.is_admin or old.dealer_limit <> new.dealer_limit) execute function app_private.audit_change();
create or replace trigger users_admin_removed_audited after delete on app_public.users
  for each row when (old.is_admin) execute function app_private.audit_change();

do $$
declare
  v_table regclass;
begin
  foreach v_table in array array[
    'app_public.users', 'app_public.dealers', 'app_public.dealer_users', 'app_private.dealer_creations', 'app_private.user_passwords',
    'app_private.login_failures', 'app_private.account_keys', 'app_private.known_addresses']::regclass[]
  loop
    perform app_private.force_row_security(v_table);
  end loop;
end
$$;

drop policy if exists select_self on app_public.users;
create policy select_self on app_public.users for select to forecourt_dealer using (id = app_public.current_user_id());
drop policy if exists select_admin on app_public.users;
create policy select_admin on app_public.users for select to forecourt_admin using (true);
grant select (id, email, full_name, created_at) on app_public.users to forecourt_dealer, forecourt_admin;

drop policy if exists select_member on app_public.dealers;
create policy select_member on app_public.dealers for select to forecourt_dealer using (id = any (app_public.current_dealer_ids()));
drop policy if exists select_admin on app_public.dealers;
create policy select_admin on app_public.dealers for select to forecourt_admin using (true);
drop policy if exists select_member on app_public.dealer_users;
create policy select_member on app_public.dealer_users for select to forecourt_dealer using (dealer_id = any (app_public.current_dealer_ids()));
drop policy if exists select_admin on app_public.dealer_users;
create policy select_admin on app_public.dealer_users for select to forecourt_admin using (true);
-- A visitor has no policy and sees no row: the dealer of a listing is null, and not an error.
grant select (id, company_name, country, dealer_type, is_active, can_publish, created_at, updated_at) on app_public.dealers
  to forecourt_visitor, forecourt_dealer, forecourt_admin;
grant select on app_public.dealer_users to forecourt_dealer, forecourt_admin;
