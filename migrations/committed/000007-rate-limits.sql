--! Previous: sha1:cb630142e2540a84bbe48f21fa607f5836a527aa
--! Hash: sha1:7f298b2f634df6867aa506f7f95310e6f4c1c7af
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

--! Included limits/rate_limit_used.sql
create or replace function app_private.rate_limit_used(
  counter app_private.rate_limit_counters, window_seconds integer, now double precision
) returns double precision
  language sql immutable security invoker parallel safe
  -- no search_path, which would keep the planner from inlining this on the hottest path: a body of this form is bound to its
  -- objects when it is made
  return case
    when now < counter.started_at + window_seconds then
      counter.current + counter.previous * (1 - greatest(now - counter.started_at, 0) / window_seconds)
    when now < counter.started_at + 2 * window_seconds then
      counter.current * (2 - (now - counter.started_at) / window_seconds)
    else 0
  end;

comment on function app_private.rate_limit_used(app_private.rate_limit_counters, integer, double precision) is
  'How much of a sliding window is used: the running window''s count, and the share of the one before that the window still covers. Exact in the first window, which starts at the key''s first hit; no double burst where one ends. 0 without a counter.';
--! EndIncluded limits/rate_limit_used.sql
--! Included limits/rate_limit_wait.sql
create or replace function app_private.rate_limit_wait(
  counter app_private.rate_limit_counters, max_count integer, window_seconds integer, cost integer, now double precision
) returns integer
  language plpgsql immutable security invoker parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_age double precision := rate_limit_wait.now - counter.started_at;
  v_previous double precision := counter.previous::double precision;
  v_current double precision := counter.current::double precision;
  v_room constant double precision := (rate_limit_wait.max_count - rate_limit_wait.cost)::double precision;
  v_wait double precision := 0::double precision;
begin
  -- in the running window only the share of the one before shrinks; what is too much without it waits for the next one
  if v_current > v_room then
    v_wait := rate_limit_wait.window_seconds - v_age;
    v_age := 0;
    v_previous := v_current;
    v_current := 0;
  end if;
  if v_previous > 0 then
    v_wait := v_wait + greatest(0, rate_limit_wait.window_seconds * (1 - (v_room - v_current) / v_previous) - v_age);
  end if;
  return greatest(1, ceil(v_wait))::integer;
end
$$;

comment on function app_private.rate_limit_wait(app_private.rate_limit_counters, integer, integer, integer, double precision) is
  'Seconds, at least 1, until a refused charge would pass if nothing else came: the Retry-After of a client.';
--! EndIncluded limits/rate_limit_wait.sql
--! Included limits/refused_rate_limits.sql
create or replace function app_private.refused_rate_limits(
  keys bytea[], max_counts integer[], windows integer[], costs integer[], enforced boolean[], now double precision,
  out retry_after integer[], out reset_at bigint[]
)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_counter app_private.rate_limit_counters;
begin
  for v_index in 1 .. cardinality(keys) loop
    continue when not enforced[v_index];
    select c.* into v_counter from app_private.rate_limit_counters as c where c.key = keys[v_index];
    if costs[v_index] > max_counts[v_index]
      or found and app_private.rate_limit_used(v_counter, windows[v_index], refused_rate_limits.now) + costs[v_index] > max_counts[v_index]
    then
      -- from 1 on: a client that reads arrays without their bounds would take the first refusal for the first charge's
      retry_after := coalesce(retry_after, array_fill(null::integer, array[cardinality(keys)]));
      reset_at := coalesce(reset_at, array_fill(null::bigint, array[cardinality(keys)]));
      retry_after[v_index] := coalesce(
        app_private.rate_limit_wait(
          v_counter, max_counts[v_index], windows[v_index], costs[v_index], refused_rate_limits.now),
        windows[v_index]);
      reset_at[v_index] := ceil(refused_rate_limits.now)::bigint + retry_after[v_index];
    end if;
  end loop;
end
$$;

comment on function app_private.refused_rate_limits(bytea[], integer[], integer[], integer[], boolean[], double precision) is
  'Which charges are over their limit, at their index: seconds until they would pass, and that moment in Unix seconds. Writes and locks nothing. Nulls where none is over.';
--! EndIncluded limits/refused_rate_limits.sql
--! Included limits/take_rate_limits.sql
create or replace function app_public.take_rate_limits(
  keys bytea[], max_counts integer[], windows integer[], costs integer[], enforced boolean[],
  out allowed boolean, out used integer[], out reset_at bigint[], out retry_after integer[]
)
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '50ms'
as $$
declare
  v_now constant double precision := extract(epoch from clock_timestamp())::double precision;
  v_counter app_private.rate_limit_counters;
  v_key bytea;
  v_window integer;
  v_cost integer;
  v_limit double precision;
begin
  allowed := true;
  -- all or none: one charge is looked at by the very statement that takes it
  if cardinality(keys) > 1 then
    select r.retry_after is null into allowed
    from app_private.refused_rate_limits(keys, max_counts, windows, costs, enforced, v_now) as r;
  end if;
  -- keys come in ascending order, so that two calls never wait for each other
  for v_index in 1 .. cardinality(keys) loop
    exit when not allowed;
    v_key := keys[v_index];
    v_window := windows[v_index];
    v_cost := costs[v_index];
    v_limit := case when enforced[v_index] then max_counts[v_index]::double precision else 'Infinity' end;
    -- a plain read decides about a refusal: it writes nothing and waits for nobody
    insert into app_private.rate_limit_counters as c (key, window_seconds, started_at, previous, current)
    select v_key, v_window, v_now, 0, v_cost
    where v_cost <= v_limit and not exists (
      select from app_private.rate_limit_counters as seen
      where seen.key = v_key and app_private.rate_limit_used(seen, v_window, v_now) + v_cost > v_limit)
    on conflict (key) do update set
      window_seconds = v_window,
      started_at = case
        when v_now < c.started_at + v_window then c.started_at
        when v_now < c.started_at + 2 * v_window then c.started_at + v_window
        else v_now end,
      previous = case
        when v_now < c.started_at + v_window then c.previous
        when v_now < c.started_at + 2 * v_window then c.current
        else 0 end,
      current = case when v_now < c.started_at + v_window then c.current else 0 end + v_cost
    where app_private.rate_limit_used(c, v_window, v_now) + v_cost <= v_limit
    returning c.* into v_counter;
    if found then
      used[v_index] := ceil(v_counter.current
        + v_counter.previous * (1 - greatest(v_now - v_counter.started_at, 0) / v_window))::integer;
      reset_at[v_index] := ceil(v_counter.started_at + v_window)::bigint;
    else
      allowed := false;
      -- what this call has taken goes back
      update app_private.rate_limit_counters as c set current = c.current - taken.cost
      from unnest(keys[: v_index - 1], costs[: v_index - 1]) as taken (key, cost)
      where c.key = taken.key;
    end if;
  end loop;
  if not allowed then
    select r.retry_after, r.reset_at into take_rate_limits.retry_after, take_rate_limits.reset_at
    from app_private.refused_rate_limits(keys, max_counts, windows, costs, enforced, v_now) as r;
  end if;
end
$$;

comment on function app_public.take_rate_limits(bytea[], integer[], integer[], integer[], boolean[]) is
  'Takes all charges of a request, or none: the arrays have one element a charge, keys in ascending order. By index: `used` of the window after it, `reset_at` in Unix seconds, `retry_after` in seconds for what is over its limit. What is not enforced is counted and never refuses. For the API''s limiter alone, not for GraphQL.';

grant execute on function app_public.take_rate_limits(bytea[], integer[], integer[], integer[], boolean[]) to forecourt_authenticator;
--! EndIncluded limits/take_rate_limits.sql
--! Included limits/announce_rate_limit_policies.sql
create or replace function app_private.announce_rate_limit_policies() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform pg_notify('rate_limit_policies', '');
  if tg_op = 'DELETE' then
    return old;
  end if;
  new.updated_at := clock_timestamp();
  new.updated_by := session_user::text;
  return new;
end
$$;

comment on function app_private.announce_rate_limit_policies() is
  'Trigger: tells every process that the limits have changed, and notes by whom.';
--! EndIncluded limits/announce_rate_limit_policies.sql
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
    where c.started_at + 2 * c.window_seconds < v_now
    limit remove_idle_rate_limit_counters.batch_size
    for update skip locked
  ), removed as (
    delete from app_private.rate_limit_counters as c using idle where c.key = idle.key returning c.key
  )
  select count(*)::integer into v_removed from removed;
  delete from app_private.known_addresses as k where k.last_login_at < now() - 30 * interval '24 hours';
  delete from app_private.login_failures as f where f.window_started_at < now() - interval '48 hours';
  return v_removed;
end
$$;

comment on function app_private.remove_idle_rate_limit_counters(integer) is
  'Removes up to `batch_size` counters that no window covers any more, and returns how many; 0: done. Call it in a loop, each call a transaction.';
--! EndIncluded limits/remove_idle_rate_limit_counters.sql
--! Included limits/account_key.sql
create or replace function app_private.account_key(normalized_email text, address text default null) returns bytea
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_message constant bytea := convert_to(normalized_email || coalesce(E'\n' || address, ''), 'UTF8');
begin
  -- HMAC-SHA256 (RFC 2104)
  return (select sha256(k.outer_pad || sha256(k.inner_pad || v_message)) from app_private.account_keys as k);
end
$$;

comment on function app_private.account_key(text, text) is
  'The key under which failed logins of an e-mail address are counted, or of one from a known client address: an HMAC, so that the counters name nobody.';
--! EndIncluded limits/account_key.sql
--! Included identity/begin_login.sql
create or replace function app_public.begin_login(
  email text, address text,
  out user_id uuid, out normalized_email text, out full_name text, out is_admin boolean, out password_hash text,
  out account_key bytea, out max_count integer, out retry_after_seconds integer
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
  if v_policy.mode = 'enforce' and v_count.failures > max_count then
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
  'Counts the attempt as failed before the password is looked at, so that parallel guesses cannot slip past the limit auth_account; complete_login takes it back. An address from which the account was logged in to within 30 days has a count of its own. Nulls for an unknown account; retry_after_seconds alone when the limit is reached. For the API''s identity code alone, not for GraphQL.';

grant execute on function app_public.begin_login(text, text) to forecourt_authenticator;
--! EndIncluded identity/begin_login.sql
--! Included identity/complete_login.sql
create or replace function app_public.complete_login(email text, address text, counted_under bytea) returns void
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
begin
  update app_private.login_failures as f set failures = f.failures - 1
  where f.email_hash = complete_login.counted_under and f.failures > 0;
  insert into app_private.known_addresses as k (account_key, address, last_login_at)
  values (app_private.account_key(app_private.normalize_email(complete_login.email)), complete_login.address, clock_timestamp())
  on conflict on constraint known_addresses_pkey do update set last_login_at = excluded.last_login_at;
end
$$;

comment on function app_public.complete_login(text, text, bytea) is
  'The password was right: takes back the failure that begin_login counted ahead under that account_key, and remembers the address. For the API''s identity code alone, not for GraphQL.';

grant execute on function app_public.complete_login(text, text, bytea) to forecourt_authenticator;
--! EndIncluded identity/complete_login.sql

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
