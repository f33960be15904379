--! Message: rate limits

-- Gives up rather than queue behind a long transaction with everyone else behind it.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

do $$ begin
  create type app_public.rate_limit_subject as enum ('ip', 'user', 'user_or_ip', 'account');
exception when duplicate_object then null; end $$;
comment on type app_public.rate_limit_subject is 'Whose requests are counted together. user_or_ip: the verified user, else the address. account: an e-mail address, whether an account exists or not.';

do $$ begin
  create type app_public.rate_limit_mode as enum ('enforce', 'shadow', 'off');
exception when duplicate_object then null; end $$;
comment on type app_public.rate_limit_mode is 'enforce: refuse beyond the limit. shadow: count and log, but let through. off: do not count.';

do $$ begin
  create type app_public.rate_limit_fallback as enum ('local', 'refuse');
exception when duplicate_object then null; end $$;
comment on type app_public.rate_limit_fallback is 'What to do while the counters cannot be reached. local: each process counts by itself, its share of the limit. refuse: nothing passes.';

create table if not exists app_public.rate_limit_policies (
  scope text not null primary key constraint rate_limit_policies_scope_form check (scope ~ '^[a-z][a-z_]{2,39}$'),
  subject app_public.rate_limit_subject not null,
  fields text[] not null default '{}',
  max_count integer not null constraint rate_limit_policies_max_count_range check (max_count between 1 and 1000000),
  window_seconds integer not null constraint rate_limit_policies_window_seconds_range check (window_seconds between 1 and 86400),
  cost integer not null default 1,
  mode app_public.rate_limit_mode not null default 'enforce',
  fallback app_public.rate_limit_fallback not null default 'local',
  updated_by text not null default session_user,
  updated_at timestamptz not null default clock_timestamp(),
  constraint rate_limit_policies_cost_within_limit check (cost between 1 and max_count),
  constraint rate_limit_policies_fields_form check (array_position(fields, null) is null and array_to_string(fields, ',') ~ '^((Query|Mutation)\.[A-Za-z_]+(,|$))*$')
);
comment on table app_public.rate_limit_policies is E'@behavior +query:resource:connection\nThe rate limits in force. A change takes effect in every process within a second.';
comment on column app_public.rate_limit_policies.scope is 'The name that a refused client is told.';
comment on column app_public.rate_limit_policies.subject is 'Whose requests are counted together.';
comment on column app_public.rate_limit_policies.fields is 'Root fields that count, such as Mutation.login; none: each anonymous request counts, or for auth_account each failed login.';
comment on column app_public.rate_limit_policies.max_count is 'How many pass in a window.';
comment on column app_public.rate_limit_policies.window_seconds is 'Length of the sliding window.';
comment on column app_public.rate_limit_policies.cost is 'What one of them counts.';
comment on column app_public.rate_limit_policies.mode is 'Whether the limit refuses, only counts, or neither.';
comment on column app_public.rate_limit_policies.fallback is 'What to do while the counters cannot be reached.';
comment on column app_public.rate_limit_policies.updated_by is 'The database login that changed it last.';
comment on column app_public.rate_limit_policies.updated_at is 'When it last changed.';

-- Unlogged: counters are not worth the WAL, and a crash of the server may start them anew. No index but the key's, so that
-- an update stays on its page (HOT).
create unlogged table if not exists app_private.rate_limit_counters (
  key bytea not null primary key,
  window_seconds integer not null,
  started_at double precision not null,
  previous integer not null,
  current integer not null
) with (fillfactor = 50);
comment on table app_private.rate_limit_counters is 'Sliding window counters, one row a key.';
comment on column app_private.rate_limit_counters.key is 'HMAC of scope and subject.';
comment on column app_private.rate_limit_counters.window_seconds is 'Length of the window, for cleaning up.';
comment on column app_private.rate_limit_counters.started_at is 'Start of the running window, in seconds since 1970: the first is the key''s first hit.';
comment on column app_private.rate_limit_counters.previous is 'Count of the window before.';
comment on column app_private.rate_limit_counters.current is 'Count of the running window.';

create table if not exists app_private.account_keys (
  id boolean not null primary key default true constraint account_keys_one_row check (id),
  inner_pad bytea not null,
  outer_pad bytea not null
);
comment on table app_private.account_keys is 'The secret of this database under which e-mail addresses are hashed: the two padded keys of HMAC (RFC 2104).';
comment on column app_private.account_keys.id is 'There is one row.';
comment on column app_private.account_keys.inner_pad is 'The secret, each byte xor 0x36; 64 bytes.';
comment on column app_private.account_keys.outer_pad is 'The secret, each byte xor 0x5c; 64 bytes.';

create table if not exists app_private.known_addresses (
  account_key bytea not null,
  address text not null,
  last_login_at timestamptz not null,
  primary key (account_key, address)
);
comment on table app_private.known_addresses is 'From where an account was logged in to lately. Such an address counts its failures apart, so that a stranger cannot lock the owner out.';
comment on column app_private.known_addresses.account_key is 'HMAC of the normalised e-mail address.';
comment on column app_private.known_addresses.address is 'An IPv4 address, or the prefix of an IPv6 one.';
comment on column app_private.known_addresses.last_login_at is 'The last login that succeeded.';

--!include limits/rate_limit_used.sql
--!include limits/rate_limit_wait.sql
--!include limits/refused_rate_limits.sql
--!include limits/take_rate_limits.sql
--!include limits/announce_rate_limit_policies.sql
--!include limits/remove_idle_rate_limit_counters.sql
--!include limits/account_key.sql
--!include identity/begin_login.sql
--!include identity/complete_login.sql

drop function if exists app_public.begin_login(text);
drop function if exists app_public.complete_login(text);

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

-- counters of an unkeyed hash are of no use any more
truncate app_private.login_failures;
comment on column app_private.login_failures.email_hash is 'HMAC of the normalised address, or of the address and a known client address.';

create or replace trigger rate_limit_policies_announced before insert or update on app_public.rate_limit_policies
  for each row execute function app_private.announce_rate_limit_policies();
create or replace trigger rate_limit_policies_removal_announced after delete on app_public.rate_limit_policies
  for each row execute function app_private.announce_rate_limit_policies();

insert into app_public.rate_limit_policies (scope, subject, fields, max_count, window_seconds, fallback) values
  ('auth_login', 'ip', '{Mutation.login}', 20, 60, 'local'),
  ('auth_account', 'account', '{}', 5, 900, 'refuse'),
  ('auth_register', 'ip', '{Mutation.register}', 10, 60, 'local'),
  ('listing_create', 'user', '{Mutation.createListing}', 60, 60, 'local'),
  ('checkout_init', 'user', '{Mutation.buyPackage}', 10, 600, 'local'),
  ('pricing_quote', 'user_or_ip', '{Query.quoteListing}', 100, 60, 'local'),
  ('public_read', 'ip', '{}', 100, 60, 'local')
on conflict (scope) do nothing;

drop policy if exists select_admin on app_public.rate_limit_policies;
create policy select_admin on app_public.rate_limit_policies for select to forecourt_admin using (true);
drop policy if exists select_authenticator on app_public.rate_limit_policies;
create policy select_authenticator on app_public.rate_limit_policies for select to forecourt_authenticator using (true);
grant select on app_public.rate_limit_policies to forecourt_admin, forecourt_authenticator;

do $$
declare
  v_table regclass;
begin
  foreach v_table in array array[
    'app_public.rate_limit_policies', 'app_private.rate_limit_counters', 'app_private.account_keys', 'app_private.known_addresses']::regclass[]
  loop
    execute format('alter table %s enable row level security', v_table);
    execute format('alter table %s force row level security', v_table);
    execute format('drop policy if exists all_owner on %s', v_table);
    execute format('create policy all_owner on %s to current_user using (true) with check (true)', v_table);
  end loop;
end
$$;
