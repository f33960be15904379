--! Previous: sha1:33d78db6b61e35a70f7a48f651a98ed721763da0
--! Hash: sha1:28d00d07344e653f6d51ce2bf694c4263e38cb3c
--! Message: expiry in two lanes, subscriptions by id

-- Gives up rather than queue behind a long transaction with everyone else behind it.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- The primary key begins with the id: it finds a subscription by its id alone, and the index that did is one less to write. What
-- asks by dealer uses the unique key of the invoice.
do $$
begin
  if to_regclass('app_public.ux_dealer_subscriptions_id_dealer_id') is not null then
    alter table app_public.listing_consumptions drop constraint listing_consumptions_subscription;
    alter table app_public.dealer_subscriptions drop constraint dealer_subscriptions_pkey;
    alter table app_public.dealer_subscriptions
      add constraint dealer_subscriptions_pkey primary key using index ux_dealer_subscriptions_id_dealer_id;
    -- validated by the next migration, which holds up no write
    alter table app_public.listing_consumptions add constraint listing_consumptions_subscription
      foreign key (dealer_id, subscription_id) references app_public.dealer_subscriptions (dealer_id, id) not valid;
  end if;
end
$$;
-- its table is locked for the key as it is
-- squawk-ignore require-concurrent-index-deletion
drop index if exists app_public.ix_dealer_subscriptions_id;

drop function if exists app_private.run_expiry_batch(uuid, integer);
drop function if exists app_private.count_due_subscriptions();
drop function if exists app_private.schedule_skipped_expiry(timestamptz);
--! Included subscription/end_expiry.sql
create or replace function app_private.end_expiry(is_complete boolean default false) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_is_left boolean := false;
begin
  perform app_private.activate_pending_subscriptions();
  if not is_complete then
    -- in the order of its index, which the planner leaves for the table where it expects many
    perform from app_public.dealer_subscriptions as s
    where s.status = 'active' and s.end_at <= v_now
    order by s.end_at
    limit 1;
    v_is_left := found;
  end if;
  if not v_is_left then
    perform from app_public.dealer_subscriptions as p
    where p.status = 'pending' and not exists (
      select from app_public.dealer_subscriptions as other
      where other.dealer_id = p.dealer_id
        and (other.status = 'active' or other.status = 'cancelled' and other.end_at > v_now))
    limit 1;
    v_is_left := found;
  end if;
  if v_is_left then
    perform graphile_worker.add_job(
      'expire_subscriptions', run_at := v_now + interval '5 seconds', job_key := 'expire_subscriptions:skipped');
  end if;
end
$$;

comment on function app_private.end_expiry(boolean) is
  'The end of a run: starts what waits and can start, and where a publication holds what has ended by now, or what could start, has the worker look again 5 seconds later. `is_complete`: all that was due has been expired, and is not looked for: over a million dead index entries that takes a second.';
--! EndIncluded subscription/end_expiry.sql
--! Included subscription/expire_batch.sql
create or replace function app_private.expire_batch(
  batch_size integer, from_at timestamptz, until_at timestamptz,
  out expired integer, out last_end_at timestamptz
)
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_until constant timestamptz := least(until_at, v_now);
  v_ids uuid[];
  v_dealer_ids uuid[];
begin
  perform set_config('forecourt.expires_in_batch', 'on', true);
  with due as (
    select s.dealer_id, s.ctid
    from app_public.dealer_subscriptions as s
    where s.status = 'active' and s.end_at >= from_at and s.end_at <= v_until
    order by s.end_at
    limit expire_batch.batch_size
    for update skip locked
  ), changed as (
    update app_public.dealer_subscriptions as s
    set status = 'expired', updated_at = v_now
    from due
    -- locked as it is, the row is where it was found; no second look at an index
    where s.dealer_id = due.dealer_id and s.ctid = due.ctid
    returning s.dealer_id, s.id, s.end_at
  )
  select count(*)::integer, array_agg(c.id), array_agg(c.dealer_id), max(c.end_at)
  into expired, v_ids, v_dealer_ids, last_end_at
  from changed as c;
  perform set_config('forecourt.expires_in_batch', '', true);
  if expired > 0 then
    perform app_private.write_audit_log(
      'SYSTEM_EXPIRE', 'dealer_subscriptions', null, null, jsonb_build_object('count', expired, 'ids', to_jsonb(v_ids)));
    perform app_private.activate_pending_subscriptions(v_dealer_ids);
  end if;
end
$$;

comment on function app_private.expire_batch(integer, timestamptz, timestamptz) is
  'Expires up to `batch_size` active subscriptions whose end lies in this range and has come, oldest end first, starts those that waited for them, and writes one SYSTEM_EXPIRE audit row. Returns how many expired, and the last of their ends, from which the next batch goes on: before it lie dead index entries, and to walk over them with each batch makes a long run quadratic.';
--! EndIncluded subscription/expire_batch.sql
--! Included subscription/expire_subscriptions.sql
create or replace function app_private.expire_subscriptions(batch_size integer default 1000) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  -- how far this session has got
  v_from constant timestamptz := coalesce(nullif(current_setting('forecourt.expired_until', true), ''), '-infinity')::timestamptz;
  v_batch record;
begin
  if batch_size is null or batch_size < 1 then
    raise exception using errcode = 'FC010', message = 'The batch size must be at least 1.';
  end if;
  v_batch := app_private.expire_batch(batch_size, v_from, 'infinity');
  perform set_config('forecourt.expired_until', coalesce(v_batch.last_end_at::text, ''), false);
  if v_batch.expired = 0 and v_from > '-infinity' then
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
  if v_batch.expired = 0 then
    perform app_private.end_expiry();
  end if;
  return v_batch.expired;
end
$$;

comment on function app_private.expire_subscriptions(integer) is
  'Expires up to `batch_size` active subscriptions whose end has come, oldest end first, starts those that waited for them, writes one SYSTEM_EXPIRE audit row, and returns how many expired; 0: done. Rows that a publication holds are left for the next call, which a worker job makes a few seconds after the last. Call it in a loop on one connection, each call a transaction: the session remembers how far it has got. Raises FC010 for a size below 1.';
--! EndIncluded subscription/expire_subscriptions.sql
--! Included subscription/plan_expiry.sql
create or replace function app_private.plan_expiry(out due bigint, out middle timestamptz, out until_at timestamptz)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  until_at := clock_timestamp();
  select count(*) into due
  from app_public.dealer_subscriptions as s where s.status = 'active' and s.end_at <= until_at;
  select s.end_at into middle
  from app_public.dealer_subscriptions as s where s.status = 'active' and s.end_at <= until_at
  order by s.end_at
  offset due / 2
  limit 1;
end
$$;

comment on function app_private.plan_expiry() is
  'How many subscriptions are due at `until_at`, which is now, and the end in their middle: as many end before as after it. Null where none is due.';
--! EndIncluded subscription/plan_expiry.sql
--! Included subscription/run_expiry_batch.sql
create or replace function app_private.run_expiry_batch(
  run_id uuid, batch_size integer, from_at timestamptz, until_at timestamptz,
  out expired integer, out last_end_at timestamptz, out is_publishing boolean
)
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- a batch that a crash of the server takes back is made again by the next run: it need not wait for the disk with its rows locked
  perform set_config('synchronous_commit', 'off', true);
  -- pages that it pushes out of the buffers go to the disk bit by bit: written back in a surge, they hold up the commits of others
  perform set_config('backend_flush_after', '256kB', true);
  select b.expired, b.last_end_at into run_expiry_batch.expired, run_expiry_batch.last_end_at
  from app_private.expire_batch(batch_size, from_at, until_at) as b;
  update app_private.job_runs as r set counted = r.counted + run_expiry_batch.expired
  where r.id = run_expiry_batch.run_id and run_expiry_batch.expired > 0;
  is_publishing := coalesce(
    (select l.created_at from app_public.listings as l order by l.id desc limit 1) > clock_timestamp() - interval '1 second', false);
end
$$;

comment on function app_private.run_expiry_batch(uuid, integer, timestamptz, timestamptz) is
  'One batch of a run, and its count in job_runs, in one transaction: whatever becomes of the worker, the two agree. As expire_batch; and whether a listing was made within the last second, so that the run can step back.';
--! EndIncluded subscription/run_expiry_batch.sql
