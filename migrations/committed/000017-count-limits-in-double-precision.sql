--! Previous: sha1:d1827668543e787061dc7c49e960a33371e1f9ef
--! Hash: sha1:6ecb5d489b72227062c34118a0b554209489b1f2
--! Message: count limits in double precision

set local lock_timeout to '2s';
set local statement_timeout to '60s';

do $$ begin
  create type app_private.rate_limit_outcome as (used double precision, reset_at double precision, retry_after integer);
exception when duplicate_object then null; end $$;
comment on type app_private.rate_limit_outcome is 'What became of a charge.';
comment on column app_private.rate_limit_outcome.used is 'How much of the window is used, this charge included; null: it was not taken.';
comment on column app_private.rate_limit_outcome.reset_at is 'When the running window ends, or what is refused would pass, in Unix seconds.';
comment on column app_private.rate_limit_outcome.retry_after is 'Seconds until what is over its limit would pass.';

-- The counters start anew. The build before no longer finds its functions, and counts in its processes, each its share, until
-- it is replaced.
drop function if exists app_public.take_rate_limit(bytea, integer, integer, integer, boolean);
drop function if exists app_public.take_rate_limits(bytea[], integer[], integer[], integer[], boolean[]);
drop function if exists app_private.take_rate_limit_at_edge(bytea, double precision, integer, integer, double precision);
drop function if exists app_private.refused_rate_limits(bytea[], integer[], integer[], integer[], boolean[], double precision);
-- cascade: the functions that take its row
-- squawk-ignore ban-drop-table
drop table if exists app_private.rate_limit_counters cascade;

-- Unlogged: counters are not worth the WAL, and a crash of the server may start them anew. No index but the key's, so that
-- an update stays on its page (HOT). All in double precision, as is the clock: the hot statement casts nothing.
create unlogged table app_private.rate_limit_counters (
  key bytea not null primary key,
  window_seconds double precision not null,
  ends_at double precision not null,
  decay double precision not null,
  current double precision not null
) with (fillfactor = 50);
comment on table app_private.rate_limit_counters is 'Sliding window counters, one row a key: used is current + decay * (ends_at - now).';
comment on column app_private.rate_limit_counters.key is 'HMAC of scope and subject.';
comment on column app_private.rate_limit_counters.window_seconds is 'Length of the window.';
comment on column app_private.rate_limit_counters.ends_at is 'End of the running window, in Unix seconds: the first begins with the key''s first hit.';
comment on column app_private.rate_limit_counters.decay is 'Count of the window before, per second of the window: so much of it leaves the sliding window each second.';
comment on column app_private.rate_limit_counters.current is 'Count of the running window.';
alter table app_private.rate_limit_counters enable row level security;
alter table app_private.rate_limit_counters force row level security;
create policy all_owner on app_private.rate_limit_counters to current_user using (true) with check (true);

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

comment on function app_private.rate_limit_counter_at(app_private.rate_limit_counters, double precision, double precision) is
  'The counter as it stands at a moment for a window of that length: one whose window has ended is in its next one, and what has counted nothing for a window begins anew, as does what never has.';
--! EndIncluded limits/rate_limit_counter_at.sql
--! Included limits/rate_limit_used.sql
create or replace function app_private.rate_limit_used(counter app_private.rate_limit_counters, now double precision)
  returns double precision
  language sql immutable security invoker parallel safe
  -- no search_path, which would keep the planner from inlining this: a body of this form is bound to its objects when it is made
  return counter.current + counter.decay * least(counter.ends_at - now, counter.window_seconds);

comment on function app_private.rate_limit_used(app_private.rate_limit_counters, double precision) is
  'How much of a sliding window is used, until the counter''s window ends: its count, and the share of the window before that the sliding one still covers. Exact in the first window, which starts at the key''s first hit; no double burst where one ends. A clock that was set back to before its start makes it no larger.';
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
  -- in the running window only the share of the one before shrinks; what is too much without it waits for the next one
  v_passes_at := case
    when v_room < 0 then now + counter.window_seconds
    when counter.current <= v_room then counter.ends_at - (v_room - counter.current) / counter.decay
    else counter.ends_at + counter.window_seconds * (1 - v_room / counter.current)
  end;
  return greatest(1, ceil(v_passes_at - now))::integer;
end
$$;

comment on function app_private.rate_limit_wait(
  app_private.rate_limit_counters, double precision, double precision, double precision
) is
  'Seconds, at least 1, until a charge passes if nothing else comes: the Retry-After of a client. A window for what never passes; null for what passes now. The counter is that of rate_limit_counter_at.';
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
  -- a plain read decides about a refusal: it writes nothing and waits for nobody
  select c.* into v_seen from app_private.rate_limit_counters as c where c.key = take_rate_limit_at_edge.key;
  v_counter := app_private.rate_limit_counter_at(v_seen, window_seconds, now);
  v_wait := app_private.rate_limit_wait(v_counter, max_count, cost, now);
  if v_wait is not null then
    outcome := row(null::double precision, now + v_wait, v_wait);
    return;
  end if;
  v_counter.current := v_counter.current + cost;
  -- written only if the row is still what was read: where many come to the edge at once, one begins the window
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

comment on function app_private.take_rate_limit_at_edge(
  bytea, double precision, double precision, double precision, double precision
) is
  'Takes a charge where a window begins: the key''s first, or the first after its window has ended or was given another length. What is over the limit is refused here, and writes nothing. Null, and nothing written, where another session was first.';
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
    -- nearly every charge falls into a running window and passes: one statement of few operators, since to set each of them
    -- up takes longer than to run it. What does not match is neither locked nor written. The share of the window before is
    -- that of rate_limit_used.
    update app_private.rate_limit_counters as c
    set current = c.current + take_rate_limit.cost
    where c.key = take_rate_limit.key
      and c.window_seconds = take_rate_limit.window_seconds and take_rate_limit.now < c.ends_at
      and c.current + c.decay * (c.ends_at - take_rate_limit.now) + take_rate_limit.cost <= take_rate_limit.max_count
    returning c.current + c.decay * (c.ends_at - take_rate_limit.now), c.ends_at, null::integer into outcome;
    exit when found;
    -- to the statement above again where another session has begun the window
    outcome := app_private.take_rate_limit_at_edge(key, max_count, window_seconds, cost, now);
    exit when outcome.reset_at is not null;
  end loop;
end
$$;

comment on function app_public.take_rate_limit(bytea, double precision, double precision, double precision, double precision) is
  'Takes one charge, or refuses it and writes nothing. What is not enforced has a max_count of Infinity: it is counted and never refused. The moment is that of the database''s clock, in Unix seconds. The caller sets lock_timeout. For the API''s limiter alone, not for GraphQL.';

grant execute on function app_public.take_rate_limit(bytea, double precision, double precision, double precision, double precision)
  to forecourt_authenticator;
--! EndIncluded limits/take_rate_limit.sql
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
  -- plain reads decide about a refusal: it writes nothing and waits for nobody
  for v_index in 1 .. cardinality(keys) loop
    select c.* into v_counter from app_private.rate_limit_counters as c where c.key = keys[v_index];
    v_counter := app_private.rate_limit_counter_at(v_counter, windows[v_index], v_now);
    v_waits[v_index] := app_private.rate_limit_wait(v_counter, max_counts[v_index], costs[v_index], v_now);
  end loop;
  if num_nonnulls(variadic v_waits) > 0 then
    return query select null::double precision, v_now + wait, wait from unnest(v_waits) as wait;
    return;
  end if;
  -- keys come in ascending order, so that two calls never wait for each other
  for v_index in 1 .. cardinality(keys) loop
    v_outcome := app_public.take_rate_limit(keys[v_index], max_counts[v_index], windows[v_index], costs[v_index], v_now);
    return next v_outcome;
    if v_outcome.used is null then
      -- others have taken what was left, in the meantime: what this call has taken goes back
      update app_private.rate_limit_counters as c set current = c.current - taken.cost
      from unnest(keys[: v_index - 1], costs[: v_index - 1]) as taken (key, cost)
      where c.key = taken.key;
      return;
    end if;
  end loop;
end
$$;

comment on function app_public.take_rate_limits(bytea[], double precision[], double precision[], double precision[]) is
  'Takes several charges of a request, or none: the arrays have one element a charge, keys in ascending order. Gives what take_rate_limit gives for one, a row a charge, in their order. Where one has not been taken, none has, and those after it may have no row. The caller sets lock_timeout. For the API''s limiter alone, not for GraphQL.';

grant execute on function app_public.take_rate_limits(bytea[], double precision[], double precision[], double precision[])
  to forecourt_authenticator;
--! EndIncluded limits/take_rate_limits.sql
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
  delete from app_private.known_addresses as k where k.last_login_at < now() - 30 * interval '24 hours';
  delete from app_private.login_failures as f where f.window_started_at < now() - interval '48 hours';
  return v_removed;
end
$$;

comment on function app_private.remove_idle_rate_limit_counters(integer) is
  'Removes up to `batch_size` counters that no window covers any more, and returns how many; 0: done. Call it in a loop, each call a transaction.';
--! EndIncluded limits/remove_idle_rate_limit_counters.sql
