--! Previous: sha1:7f298b2f634df6867aa506f7f95310e6f4c1c7af
--! Hash: sha1:16cc87cfc88d6512fee8b7fc1f5cd381384a2d52
--! Message: take rate limits by one statement

set local lock_timeout to '2s';
set local statement_timeout to '60s';

--! Included limits/take_rate_limit_at_edge.sql
create or replace function app_private.take_rate_limit_at_edge(
  key bytea, max_count double precision, window_seconds integer, cost integer, now double precision,
  out used integer, out reset_at bigint
)
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- a plain read decides about a refusal: it writes nothing and waits for nobody
  if take_rate_limit_at_edge.cost > take_rate_limit_at_edge.max_count or exists (
    select from app_private.rate_limit_counters as c
    where c.key = take_rate_limit_at_edge.key
      and app_private.rate_limit_used(c, take_rate_limit_at_edge.window_seconds, take_rate_limit_at_edge.now)
        + take_rate_limit_at_edge.cost > take_rate_limit_at_edge.max_count)
  then
    return;
  end if;
  insert into app_private.rate_limit_counters as c (key, window_seconds, started_at, previous, current)
  values (
    take_rate_limit_at_edge.key, take_rate_limit_at_edge.window_seconds, take_rate_limit_at_edge.now, 0,
    take_rate_limit_at_edge.cost)
  on conflict on constraint rate_limit_counters_pkey do update set
    window_seconds = excluded.window_seconds,
    started_at = case
      when excluded.started_at < c.started_at + excluded.window_seconds then c.started_at
      when excluded.started_at < c.started_at + 2 * excluded.window_seconds then c.started_at + excluded.window_seconds
      else excluded.started_at end,
    previous = case
      when excluded.started_at < c.started_at + excluded.window_seconds then c.previous
      when excluded.started_at < c.started_at + 2 * excluded.window_seconds then c.current
      else 0 end,
    current = case when excluded.started_at < c.started_at + excluded.window_seconds then c.current else 0 end + excluded.current
  where app_private.rate_limit_used(c, excluded.window_seconds, excluded.started_at) + excluded.current
    <= take_rate_limit_at_edge.max_count
  returning
    ceil(app_private.rate_limit_used(c, c.window_seconds, take_rate_limit_at_edge.now))::integer,
    ceil(c.started_at + c.window_seconds)::bigint
  into used, reset_at;
end
$$;

comment on function app_private.take_rate_limit_at_edge(bytea, double precision, integer, integer, double precision) is
  'Takes a charge where a window begins: the key''s first, or the first after its window has ended or was given another length. Nulls, and nothing written, where it is over the limit; max_count is Infinity for what never refuses.';
--! EndIncluded limits/take_rate_limit_at_edge.sql
--! Included limits/take_rate_limits.sql
create or replace function app_public.take_rate_limits(
  keys bytea[], max_counts integer[], windows integer[], costs integer[], enforced boolean[],
  out allowed boolean, out used integer[], out reset_at bigint[], out retry_after integer[]
)
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant double precision := extract(epoch from clock_timestamp())::double precision;
  v_key bytea;
  v_window integer;
  v_cost integer;
  v_limit integer;
  v_enforced boolean;
  v_used integer;
  v_reset_at bigint;
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
    v_limit := max_counts[v_index];
    v_enforced := enforced[v_index];
    -- nearly every charge falls into a running window and passes: one short statement. What does not match is neither
    -- locked nor written, and is looked at again below. The share of the window before is that of rate_limit_used.
    update app_private.rate_limit_counters as c
    set current = c.current + v_cost
    where c.key = v_key and c.window_seconds = v_window and v_now < c.started_at + v_window
      and (c.current + c.previous * (1 - (v_now - c.started_at) / v_window) + v_cost <= v_limit or not v_enforced)
    returning
      ceil(c.current + c.previous * (1 - (v_now - c.started_at) / v_window))::integer,
      ceil(c.started_at + v_window)::bigint
    into v_used, v_reset_at;
    if not found then
      select t.used, t.reset_at into v_used, v_reset_at
      from app_private.take_rate_limit_at_edge(
        v_key, case when v_enforced then v_limit::double precision else 'Infinity' end, v_window, v_cost, v_now) as t;
      allowed := v_used is not null;
    end if;
    used[v_index] := v_used;
    reset_at[v_index] := v_reset_at;
    if not allowed then
      -- what this call has taken goes back
      update app_private.rate_limit_counters as c set current = c.current - taken.cost
      from unnest(keys[: v_index - 1], costs[: v_index - 1]) as taken (key, cost)
      where c.key = taken.key;
    end if;
  end loop;
  if not allowed then
    used := null;
    select r.retry_after, r.reset_at into take_rate_limits.retry_after, take_rate_limits.reset_at
    from app_private.refused_rate_limits(keys, max_counts, windows, costs, enforced, v_now) as r;
  end if;
end
$$;

comment on function app_public.take_rate_limits(bytea[], integer[], integer[], integer[], boolean[]) is
  'Takes all charges of a request, or none: the arrays have one element a charge, keys in ascending order. By index: `used` of the window after it, `reset_at` in Unix seconds, `retry_after` in seconds for what is over its limit. What is not enforced is counted and never refuses. The caller sets lock_timeout. For the API''s limiter alone, not for GraphQL.';

grant execute on function app_public.take_rate_limits(bytea[], integer[], integer[], integer[], boolean[]) to forecourt_authenticator;
--! EndIncluded limits/take_rate_limits.sql
