--! Previous: sha1:910b97cc84f86ef602e8fd9d2db59ffda2bf13a5
--! Hash: sha1:91ec3cc119a2d1ccf5da620352813a2b3da12f6a
--! Message: rate limits

set local lock_timeout to '2s';
set local statement_timeout to '60s';

do $$ begin
  create type app_public.rate_limit_subject as enum ('ip', 'user', 'user_or_ip', 'account');
exception when duplicate_object then null; end $$;
comment on type app_public.rate_limit_subject is 'Which requests are counted together. user_or_ip: those of the verified user, otherwise those of the address. account: those for an e-mail address, even without an account.';

do $$ begin
  create type app_public.rate_limit_mode as enum ('enforce', 'shadow', 'off');
exception when duplicate_object then null; end $$;
comment on type app_public.rate_limit_mode is 'enforce: refuse requests over the limit. shadow: count and log them, but allow them. off: do not count.';

do $$ begin
  create type app_public.rate_limit_fallback as enum ('local', 'refuse');
exception when duplicate_object then null; end $$;
comment on type app_public.rate_limit_fallback is 'What to do while the counters cannot be reached. local: each process counts by itself and allows its share of the limit. refuse: every request is refused.';

do $$ begin
  create type app_private.rate_limit_outcome as (used double precision, reset_at double precision, retry_after integer);
exception when duplicate_object then null; end $$;
comment on type app_private.rate_limit_outcome is 'The result of a charge.';
comment on column app_private.rate_limit_outcome.used is 'The used part of the window, including this charge; null: the charge was refused.';
comment on column app_private.rate_limit_outcome.reset_at is 'In Unix seconds: when the running window ends, or when a refused charge would pass.';
comment on column app_private.rate_limit_outcome.retry_after is 'Seconds until a refused charge would pass; null: the charge was taken.';

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
comment on table app_public.rate_limit_policies is E'@behavior +query:resource:connection\nThe rate limits. Every process applies a change within a second. A policy cannot be deleted; set its mode to off.';
comment on column app_public.rate_limit_policies.scope is 'The name of the limit, which a refused client gets to see.';
comment on column app_public.rate_limit_policies.subject is 'Which requests are counted together.';
comment on column app_public.rate_limit_policies.fields is 'Root fields that count, such as Mutation.login. A policy without fields counts rows: those of the queries of users if its subject is user, otherwise those of anonymous requests. auth_account counts failed logins.';
comment on column app_public.rate_limit_policies.max_count is 'The limit: what may be used in a window.';
comment on column app_public.rate_limit_policies.window_seconds is 'Length of the sliding window.';
comment on column app_public.rate_limit_policies.cost is 'How much one request uses.';
comment on column app_public.rate_limit_policies.mode is 'Whether the limit refuses, only counts, or does neither.';
comment on column app_public.rate_limit_policies.fallback is 'What to do while the counters cannot be reached.';
comment on column app_public.rate_limit_policies.updated_by is 'The database login that changed the policy last.';
comment on column app_public.rate_limit_policies.updated_at is 'When the policy last changed.';

-- Before the audit trigger: the defaults are no change of configuration.
insert into app_public.rate_limit_policies (scope, subject, fields, max_count, window_seconds, fallback) values
  ('auth_login', 'ip', '{Mutation.login}', 20, 60, 'local'),
  ('auth_account', 'account', '{}', 5, 900, 'refuse'),
  ('auth_register', 'ip', '{Mutation.register}', 10, 60, 'local'),
  ('listing_create', 'user', '{Mutation.createListing}', 60, 60, 'local'),
  ('checkout_init', 'user', '{Mutation.buyPackage}', 10, 600, 'local'),
  ('pricing_quote', 'user_or_ip', '{Query.quoteListing}', 100, 60, 'local'),
  ('public_read', 'ip', '{}', 100, 60, 'local'),
  ('user_read', 'user', '{}', 1200, 60, 'local')
on conflict (scope) do nothing;

-- Unlogged: counters are not worth the WAL, and may start at zero after a crash. No index but the key's, so that an update
-- stays on its page (HOT). All in double precision, like the clock, so that the hot statement casts nothing.
create unlogged table if not exists app_private.rate_limit_counters (
  key bytea not null primary key,
  window_seconds double precision not null,
  ends_at double precision not null,
  decay double precision not null,
  current double precision not null
) with (fillfactor = 50);
comment on table app_private.rate_limit_counters is 'Sliding window counters, one row per key. The used part is current + decay * (ends_at - now).';
comment on column app_private.rate_limit_counters.key is 'HMAC of scope and subject.';
comment on column app_private.rate_limit_counters.window_seconds is 'Length of the window.';
comment on column app_private.rate_limit_counters.ends_at is 'End of the running window, in Unix seconds. The first window starts with the key''s first hit.';
comment on column app_private.rate_limit_counters.decay is 'Count of the window before, divided by window_seconds: this much leaves the sliding window per second.';
comment on column app_private.rate_limit_counters.current is 'Count of the running window.';

--! Included limits/rate_limit_counter_at.sql
create or replace function app_private.rate_limit_counter_at(
  counter app_private.rate_limit_counters, window_seconds double precision, now double precision
) returns app_private.rate_limit_counters
  language plpgsql immutable security invoker parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_started_at constant double precision := counter.ends_at - counter.window_seconds;
begin
  if now < v_started_at + window_seconds then
    counter.ends_at := v_started_at + window_seconds;
    counter.decay := counter.decay * counter.window_seconds / window_seconds;
  elsif now < v_started_at + 2 * window_seconds then
    counter.ends_at := v_started_at + 2 * window_seconds;
    counter.decay := counter.current / window_seconds;
    counter.current := 0;
  else
    counter.ends_at := now + window_seconds;
    counter.decay := 0;
    counter.current := 0;
  end if;
  counter.window_seconds := window_seconds;
  return counter;
end
$$;

comment on function app_private.rate_limit_counter_at(app_private.rate_limit_counters, double precision, double precision) is 'The counter at the moment `now`, for a window of the given length. A counter whose window has ended is moved to the next window. A new counter, and one that counted nothing for a whole window, starts at zero.';
--! EndIncluded limits/rate_limit_counter_at.sql
--! Included limits/rate_limit_used.sql
create or replace function app_private.rate_limit_used(counter app_private.rate_limit_counters, now double precision)
  returns double precision
  language sql immutable security invoker parallel safe
  -- No search_path, so that the planner can inline it. A body of this form is bound to its objects at creation.
  return counter.current + counter.decay * least(counter.ends_at - now, counter.window_seconds);

comment on function app_private.rate_limit_used(app_private.rate_limit_counters, double precision) is 'The used part of the sliding window: the count of the running window, plus the share of the window before that the sliding window still covers. Exact in the first window, which starts at the key''s first hit. It allows no double burst at the end of a window. Setting the clock back does not increase it.';
--! EndIncluded limits/rate_limit_used.sql
--! Included limits/rate_limit_wait.sql
create or replace function app_private.rate_limit_wait(
  counter app_private.rate_limit_counters, max_count double precision, cost double precision, now double precision
) returns integer
  language plpgsql immutable security invoker parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_room constant double precision := max_count - cost;
  v_passes_at double precision;
begin
  if app_private.rate_limit_used(counter, now) <= v_room then
    return null;
  end if;
  -- In the running window only the share of the previous window shrinks. If the running count alone leaves too little
  -- room, the charge has to wait for the next window.
  v_passes_at := case
    when v_room < 0 then now + counter.window_seconds
    when counter.current <= v_room then counter.ends_at - (v_room - counter.current) / counter.decay
    else counter.ends_at + counter.window_seconds * (1 - v_room / counter.current)
  end;
  return greatest(1, ceil(v_passes_at - now))::integer;
end
$$;

comment on function app_private.rate_limit_wait(app_private.rate_limit_counters, double precision, double precision, double precision) is 'Seconds, at least 1, until the charge passes if no other charge comes: the client''s Retry-After. window_seconds when cost > max_count; null when the charge passes now. The counter is a result of rate_limit_counter_at.';
--! EndIncluded limits/rate_limit_wait.sql
--! Included limits/take_rate_limit_at_edge.sql
create or replace function app_private.take_rate_limit_at_edge(
  key bytea, max_count double precision, window_seconds double precision, cost double precision, now double precision,
  out outcome app_private.rate_limit_outcome
)
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_seen app_private.rate_limit_counters;
  v_counter app_private.rate_limit_counters;
  v_wait integer;
begin
  -- A plain read decides about a refusal: a refusal writes nothing and waits for no lock.
  select c.* into v_seen from app_private.rate_limit_counters as c where c.key = take_rate_limit_at_edge.key;
  v_counter := app_private.rate_limit_counter_at(v_seen, window_seconds, now);
  v_wait := app_private.rate_limit_wait(v_counter, max_count, cost, now);
  if v_wait is not null then
    outcome := row(null::double precision, now + v_wait, v_wait);
    return;
  end if;
  v_counter.current := v_counter.current + cost;
  -- Written only if the row has not changed since it was read: of many sessions at the end of a window, one starts the next.
  if v_seen.key is null then
    insert into app_private.rate_limit_counters (key, window_seconds, ends_at, decay, current)
    values (take_rate_limit_at_edge.key, v_counter.window_seconds, v_counter.ends_at, v_counter.decay, v_counter.current)
    on conflict do nothing;
  else
    update app_private.rate_limit_counters as c
    set window_seconds = v_counter.window_seconds, ends_at = v_counter.ends_at, decay = v_counter.decay, current = v_counter.current
    where c.key = take_rate_limit_at_edge.key
      and c.window_seconds = v_seen.window_seconds and c.ends_at = v_seen.ends_at and c.current = v_seen.current;
  end if;
  if found then
    outcome := row(app_private.rate_limit_used(v_counter, now), v_counter.ends_at, null::integer);
  end if;
end
$$;

comment on function app_private.take_rate_limit_at_edge(bytea, double precision, double precision, double precision, double precision) is 'Takes a charge that starts a window: the key''s first charge, or the first one after the window has ended or its length has changed. Refuses a charge over the limit without writing. Returns null and writes nothing if another session started the window first.';
--! EndIncluded limits/take_rate_limit_at_edge.sql
--! Included limits/take_rate_limit.sql
create or replace function app_public.take_rate_limit(
  key bytea, max_count double precision, window_seconds double precision, cost double precision,
  now double precision default date_part('epoch', clock_timestamp()), out outcome app_private.rate_limit_outcome
)
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  loop
    -- Nearly every charge falls into a running window and passes. This statement has few operators, because setting
    -- up each one takes longer than running it. A row that does not match is neither locked nor written. The share of
    -- the window before is that of rate_limit_used.
    update app_private.rate_limit_counters as c
    set current = c.current + take_rate_limit.cost
    where c.key = take_rate_limit.key
      and c.window_seconds = take_rate_limit.window_seconds and take_rate_limit.now < c.ends_at
      and c.current + c.decay * (c.ends_at - take_rate_limit.now) + take_rate_limit.cost <= take_rate_limit.max_count
    returning c.current + c.decay * (c.ends_at - take_rate_limit.now), c.ends_at, null::integer into outcome;
    exit when found;
    -- If another session has started the window meanwhile, try the statement above again.
    outcome := app_private.take_rate_limit_at_edge(key, max_count, window_seconds, cost, now);
    -- A null clock has no result, and would repeat the loop for ever. The function is not strict, because the planner would
    -- skip the check of EXECUTE.
    exit when outcome.reset_at is not null or now is null;
  end loop;
end
$$;

comment on function app_public.take_rate_limit(bytea, double precision, double precision, double precision, double precision) is 'Takes one charge, or refuses it without writing. A limit that is not enforced has a max_count of Infinity: it counts and never refuses. `now` is the database''s clock, in Unix seconds. The caller sets lock_timeout. For the API''s limiter only, not for GraphQL.';

grant execute on function app_public.take_rate_limit(bytea, double precision, double precision, double precision, double precision)
  to forecourt_authenticator;
--! EndIncluded limits/take_rate_limit.sql
--! Included limits/take_rate_limit_batch.sql
create or replace function app_public.take_rate_limit_batch(
  keys bytea[], max_counts double precision[], windows double precision[], costs double precision[]
) returns setof app_private.rate_limit_outcome
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant double precision := date_part('epoch', clock_timestamp());
begin
  -- The keys are in ascending order, so that two calls cannot deadlock.
  for v_index in 1 .. cardinality(keys) loop
    return next app_public.take_rate_limit(keys[v_index], max_counts[v_index], windows[v_index], costs[v_index], v_now);
  end loop;
end
$$;

comment on function app_public.take_rate_limit_batch(bytea[], double precision[], double precision[], double precision[]) is 'Takes the charges of several requests, each by itself: a refusal of one does not affect the others. The arrays have one element per request, the keys in ascending order, requests of one key in the order of their arrival. Returns the result of take_rate_limit for each, in this order. The caller sets lock_timeout. For the API''s limiter only, not for GraphQL.';

grant execute on function app_public.take_rate_limit_batch(bytea[], double precision[], double precision[], double precision[])
  to forecourt_authenticator;
--! EndIncluded limits/take_rate_limit_batch.sql
--! Included limits/take_rate_limits.sql
create or replace function app_public.take_rate_limits(
  keys bytea[], max_counts double precision[], windows double precision[], costs double precision[]
) returns setof app_private.rate_limit_outcome
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant double precision := date_part('epoch', clock_timestamp());
  v_counter app_private.rate_limit_counters;
  v_waits integer[];
  v_outcome app_private.rate_limit_outcome;
begin
  -- Plain reads decide about a refusal: a refusal writes nothing and waits for no lock.
  for v_index in 1 .. cardinality(keys) loop
    select c.* into v_counter from app_private.rate_limit_counters as c where c.key = keys[v_index];
    v_counter := app_private.rate_limit_counter_at(v_counter, windows[v_index], v_now);
    v_waits[v_index] := app_private.rate_limit_wait(v_counter, max_counts[v_index], costs[v_index], v_now);
  end loop;
  if num_nonnulls(variadic v_waits) > 0 then
    return query select null::double precision, v_now + wait, wait from unnest(v_waits) as wait;
    return;
  end if;
  -- The keys are in ascending order, so that two calls cannot deadlock.
  for v_index in 1 .. cardinality(keys) loop
    v_outcome := app_public.take_rate_limit(keys[v_index], max_counts[v_index], windows[v_index], costs[v_index], v_now);
    return next v_outcome;
    if v_outcome.used is null then
      -- Other sessions have used up the limit meanwhile: give back the charges taken so far.
      update app_private.rate_limit_counters as c set current = c.current - taken.cost
      from unnest(keys[: v_index - 1], costs[: v_index - 1]) as taken (key, cost)
      where c.key = taken.key;
      return;
    end if;
  end loop;
end
$$;

comment on function app_public.take_rate_limits(bytea[], double precision[], double precision[], double precision[]) is 'Takes all charges of a request, or none. The arrays have one element per charge, the keys in ascending order. Returns the result of take_rate_limit for each charge, in this order. If one charge is refused, none is taken, and the charges after it may have no row. The caller sets lock_timeout. For the API''s limiter only, not for GraphQL.';

grant execute on function app_public.take_rate_limits(bytea[], double precision[], double precision[], double precision[])
  to forecourt_authenticator;
--! EndIncluded limits/take_rate_limits.sql
--! Included limits/announce_rate_limit_policies.sql
create or replace function app_private.announce_rate_limit_policies() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform pg_notify('rate_limit_policies', '');
  new.updated_at := clock_timestamp();
  new.updated_by := session_user::text;
  return new;
end
$$;

comment on function app_private.announce_rate_limit_policies() is 'Trigger: notifies every API process that the limits have changed, and records who changed them.';
--! EndIncluded limits/announce_rate_limit_policies.sql
--! Included limits/keep_rate_limit_policies.sql
create or replace function app_private.keep_rate_limit_policies() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = 'A rate limit policy cannot be deleted or renamed.',
    hint = 'To end a limit: update app_public.rate_limit_policies set mode = ''off'' where scope = ...';
end
$$;

comment on function app_private.keep_rate_limit_policies() is 'Trigger: refuses to delete or rename a rate limit policy, for every role. A limit ends by its mode.';
--! EndIncluded limits/keep_rate_limit_policies.sql

create or replace trigger rate_limit_policies_announced before insert or update on app_public.rate_limit_policies
  for each row execute function app_private.announce_rate_limit_policies();
create or replace trigger rate_limit_policies_never_removed before delete or truncate on app_public.rate_limit_policies
  for each statement execute function app_private.keep_rate_limit_policies();
create or replace trigger rate_limit_policies_never_renamed before update on app_public.rate_limit_policies
  for each row when (old.scope <> new.scope) execute function app_private.keep_rate_limit_policies();
create or replace trigger rate_limit_policies_audited after insert or update or delete on app_public.rate_limit_policies
  for each row execute function app_private.audit_change('scope');
create or replace trigger rate_limit_policies_truncation_audited after truncate on app_public.rate_limit_policies
  for each statement execute function app_private.audit_change();

select app_private.force_row_security('app_public.rate_limit_policies');
select app_private.force_row_security('app_private.rate_limit_counters');
drop policy if exists select_admin on app_public.rate_limit_policies;
create policy select_admin on app_public.rate_limit_policies for select to forecourt_admin using (true);
drop policy if exists select_authenticator on app_public.rate_limit_policies;
create policy select_authenticator on app_public.rate_limit_policies for select to forecourt_authenticator using (true);
grant select on app_public.rate_limit_policies to forecourt_admin, forecourt_authenticator;
