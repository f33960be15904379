--! Previous: sha1:7b60c6e2c01c75f50ee17079b345c98f55deb70e
--! Hash: sha1:a631cc77204ad636b9777d69e27b9d2f2a256df0
--! Message: expire batches of neighbours

set local lock_timeout to '2s';
set local statement_timeout to '60s';

drop function if exists app_private.run_expiry_batch(uuid, integer, timestamptz, timestamptz);
drop function if exists app_private.expire_batch(integer, timestamptz, timestamptz);

--! Included subscription/expire_rows.sql
create or replace function app_private.expire_rows(tids tid[]) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
  -- planned for the number of places that it is given, it reads a small table whole for each batch
  set plan_cache_mode to force_generic_plan
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_ids uuid[];
  v_dealer_ids uuid[];
begin
  perform set_config('forecourt.expires_in_batch', 'on', true);
  with due as (
    select s.dealer_id, s.ctid
    from app_public.dealer_subscriptions as s
    -- whatever lies there by now: if it is due, it is expired
    where s.ctid = any (tids) and s.status = 'active' and s.end_at <= v_now
    for update skip locked
  ), changed as (
    update app_public.dealer_subscriptions as s
    set status = 'expired', updated_at = v_now
    from due
    -- locked as it is, the row is where it was found; no look at an index
    where s.dealer_id = due.dealer_id and s.ctid = due.ctid
    returning s.dealer_id, s.id
  )
  select array_agg(c.id), array_agg(c.dealer_id) into v_ids, v_dealer_ids from changed as c;
  perform set_config('forecourt.expires_in_batch', '', true);
  if v_ids is null then
    return 0;
  end if;
  perform app_private.write_audit_log(
    'SYSTEM_EXPIRE', 'dealer_subscriptions', null, null,
    jsonb_build_object('count', cardinality(v_ids), 'ids', to_jsonb(v_ids)));
  perform app_private.activate_pending_subscriptions(v_dealer_ids);
  return cardinality(v_ids);
end
$$;

comment on function app_private.expire_rows(tid[]) is
  'Expires the active subscriptions in these places of the table whose end has come, except those that somebody holds, starts those that waited for them, and writes one SYSTEM_EXPIRE audit row. Returns how many expired.';
--! EndIncluded subscription/expire_rows.sql
--! Included subscription/find_due_batches.sql
create or replace function app_private.find_due_batches(
  from_at timestamptz, until_at timestamptz, batch_size integer, batches integer
) returns table (tids tid[], last_end_at timestamptz)
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
  -- in the order of the index, however few are expected: a sort of all that is due, for each of many calls, is quadratic too
  set enable_sort to off
as $$
  select array_agg(b.tid order by b.tid), max(max(b.end_at)) over ()
  from (
    select d.tid, d.end_at, (row_number() over (order by d.tid) - 1) / batch_size as number
    from (
      select s.ctid as tid, s.end_at
      from app_public.dealer_subscriptions as s
      where s.status = 'active' and s.end_at >= from_at and s.end_at <= until_at
      order by s.end_at
      limit batch_size * batches
    ) as d
  ) as b
  group by b.number
  order by b.number
$$;

comment on function app_private.find_due_batches(timestamptz, timestamptz, integer, integer) is
  'The oldest due subscriptions of a range of ends, as so many batches of places in the table, in their order there: who is neighbours with whom is on the same pages of the table and of most indexes, which the oldest 500 of all are not. And the last end in all of them, from which the next call goes on: before it lie dead index entries, and to walk over them each time makes a long run quadratic.';
--! EndIncluded subscription/find_due_batches.sql
--! Included subscription/run_expiry_batch.sql
create or replace function app_private.run_expiry_batch(
  run_id uuid, tids tid[], out expired integer, out is_publishing boolean
)
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- a batch that a crash of the server takes back is made again by the next run: it need not wait for the disk with its rows locked
  perform set_config('synchronous_commit', 'off', true);
  -- pages that it pushes out of the buffers go to the disk bit by bit: written back in a surge, they hold up the commits of others
  perform set_config('backend_flush_after', '256kB', true);
  expired := app_private.expire_rows(tids);
  update app_private.job_runs as r set counted = r.counted + run_expiry_batch.expired
  where r.id = run_expiry_batch.run_id and run_expiry_batch.expired > 0;
  is_publishing := coalesce(
    (select l.created_at from app_public.listings as l order by l.id desc limit 1) > clock_timestamp() - interval '1 second', false);
end
$$;

comment on function app_private.run_expiry_batch(uuid, tid[]) is
  'One batch of a run, and its count in job_runs, in one transaction: whatever becomes of the worker, the two agree. As expire_rows; and whether a listing was made within the last second, so that the run can step back.';
--! EndIncluded subscription/run_expiry_batch.sql
--! Included subscription/expire_subscriptions.sql
create or replace function app_private.expire_subscriptions(batch_size integer default 1000) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  -- how far this session has got
  v_from constant timestamptz := coalesce(nullif(current_setting('forecourt.expired_until', true), ''), '-infinity')::timestamptz;
  v_now constant timestamptz := clock_timestamp();
  v_tids tid[];
  v_last_end_at timestamptz;
begin
  if batch_size is null or batch_size < 1 then
    raise exception using errcode = 'FC010', message = 'The batch size must be at least 1.';
  end if;
  select array_agg(d.ctid), max(d.end_at) into v_tids, v_last_end_at
  from (
    select s.ctid, s.end_at
    from app_public.dealer_subscriptions as s
    where s.status = 'active' and s.end_at >= v_from and s.end_at <= v_now
    order by s.end_at
    limit batch_size
    for update skip locked
  ) as d;
  perform set_config('forecourt.expired_until', coalesce(v_last_end_at::text, ''), false);
  if v_tids is not null then
    return app_private.expire_rows(v_tids);
  end if;
  if v_from > '-infinity' then
    -- it begins anew, once, for what was skipped, or was given an earlier end meanwhile; without locks first, for the walk over
    -- all that is dead takes a while
    perform from app_public.dealer_subscriptions as s
    where s.status = 'active' and s.end_at <= clock_timestamp()
    order by s.end_at
    limit 1;
    if found then
      return app_private.expire_subscriptions(batch_size);
    end if;
  end if;
  perform app_private.end_expiry();
  return 0;
end
$$;

comment on function app_private.expire_subscriptions(integer) is
  'Expires up to `batch_size` active subscriptions whose end has come, oldest end first, starts those that waited for them, writes one SYSTEM_EXPIRE audit row, and returns how many expired; 0: done. Rows that a publication holds are left for the next call, which a worker job makes a few seconds after the last. Call it in a loop on one connection, each call a transaction: the session remembers how far it has got. Raises FC010 for a size below 1.';
--! EndIncluded subscription/expire_subscriptions.sql
