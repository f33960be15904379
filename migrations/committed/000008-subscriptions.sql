--! Previous: sha1:4ce55ee3c76971d14e135dbc024a41d35fad0caf
--! Hash: sha1:69dbef6cc3285558d0766e51bbdd7cd91d03b972
--! Message: subscriptions

set local lock_timeout to '2s';
set local statement_timeout to '60s';

do $$ begin
  create type app_public.subscription_status as enum ('pending', 'active', 'expired', 'cancelled');
exception when duplicate_object then null; end $$;
comment on type app_public.subscription_status is 'pending → active → expired, and pending or active → cancelled.';

-- Before the table, whose constraint calls it.
--! Included subscription/check_dealer_subscription.sql
create or replace function app_private.check_dealer_subscription(
  status app_public.subscription_status, duration_days integer, start_at timestamptz, end_at timestamptz,
  included_listing_quota integer, used_listing_quota integer, included_premium_quota integer, used_premium_quota integer,
  included_highlight_quota integer, used_highlight_quota integer
) returns boolean
  language plpgsql immutable security invoker parallel safe
  -- No search_path, which takes time for each row: only a CHECK calls it, and each name outside pg_catalog has its schema.
as $$
begin
  return case
    when not duration_days > 0
      then app_private.refuse_row('dealer_subscriptions', 'dealer_subscriptions_duration_days_positive',
        format('A subscription cannot last %s days.', duration_days))
    when not end_at > start_at
      then app_private.refuse_row('dealer_subscriptions', 'dealer_subscriptions_ends_after_start', 'A subscription ends after its start.')
    when not case status
        when 'pending' then start_at is null and end_at is null
        when 'cancelled' then (start_at is null) = (end_at is null)
        else start_at is not null and end_at is not null
      end
      then app_private.refuse_row('dealer_subscriptions', 'dealer_subscriptions_started_has_times',
        format('A subscription that is %s has another start or end than its status needs.', status))
    when not (
        used_listing_quota between 0 and included_listing_quota
        and used_premium_quota between 0 and included_premium_quota
        and used_highlight_quota between 0 and included_highlight_quota)
      then app_private.refuse_row('dealer_subscriptions', 'dealer_subscriptions_used_within_included',
        'A used quota is negative or exceeds the included one.')
    else true
  end;
end
$$;

comment on function app_private.check_dealer_subscription(app_public.subscription_status, integer, timestamptz, timestamptz, integer, integer, integer, integer, integer, integer) is 'The rules of a subscription. The first that is broken, in the order of their names, refuses the row; a rule that is null holds.';
--! EndIncluded subscription/check_dealer_subscription.sql

create table if not exists app_public.dealer_subscriptions (
  dealer_id uuid not null constraint dealer_subscriptions_dealer references app_public.dealers,
  id uuid not null default app_private.time_ordered_uuid(),
  package_id uuid not null constraint dealer_subscriptions_package references app_public.dealer_packages,
  invoice_id uuid,
  status app_public.subscription_status not null default 'pending',
  duration_days integer not null,
  start_at timestamptz,
  end_at timestamptz,
  overage app_public.overage not null default 'charge',
  included_listing_quota integer not null,
  used_listing_quota integer not null default 0,
  included_premium_quota integer not null default 0,
  used_premium_quota integer not null default 0,
  included_highlight_quota integer not null default 0,
  used_highlight_quota integer not null default 0,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  -- The id comes first, so that the key also finds a subscription by its id alone.
  primary key (id, dealer_id),
  -- The dealer comes last: with statistics of few rows per dealer, a key that begins with it would serve every look-up.
  constraint dealer_subscriptions_invoice_key unique (invoice_id, dealer_id),
  constraint dealer_subscriptions_invoice foreign key (dealer_id, invoice_id) references app_public.invoices (dealer_id, id),
  constraint dealer_subscriptions_valid check (app_private.check_dealer_subscription(
    status, duration_days, start_at, end_at, included_listing_quota, used_listing_quota,
    included_premium_quota, used_premium_quota, included_highlight_quota, used_highlight_quota))
) with (fillfactor = 80);
comment on table app_public.dealer_subscriptions is E'@behavior +query:resource:connection\nA package that a dealer bought, with a snapshot of its quotas.';
comment on column app_public.dealer_subscriptions.dealer_id is 'The dealer.';
comment on column app_public.dealer_subscriptions.id is 'Time-ordered.';
comment on column app_public.dealer_subscriptions.package_id is 'The package.';
comment on column app_public.dealer_subscriptions.invoice_id is 'The paid invoice; null if the subscription was granted without one.';
comment on column app_public.dealer_subscriptions.status is 'pending until it starts: when the one before it ends or has no listing quota left; active; expired after its end has been recorded; cancelled: it keeps its quota until end_at.';
comment on column app_public.dealer_subscriptions.duration_days is 'Days of 24 hours from start to end.';
comment on column app_public.dealer_subscriptions.start_at is 'Null until it starts.';
comment on column app_public.dealer_subscriptions.end_at is 'From this moment on it gives no quota.';
comment on column app_public.dealer_subscriptions.overage is 'How listings beyond the quota are handled.';
comment on column app_public.dealer_subscriptions.included_listing_quota is 'Included listings.';
comment on column app_public.dealer_subscriptions.used_listing_quota is 'Used listings: the number of its ledger rows.';
comment on column app_public.dealer_subscriptions.included_premium_quota is 'Included premium placements.';
comment on column app_public.dealer_subscriptions.used_premium_quota is 'Used premium placements.';
comment on column app_public.dealer_subscriptions.included_highlight_quota is 'Included highlights.';
comment on column app_public.dealer_subscriptions.used_highlight_quota is 'Used highlights.';
comment on column app_public.dealer_subscriptions.created_at is 'When the subscription was created.';
comment on column app_public.dealer_subscriptions.updated_at is 'When the subscription last changed.';
comment on constraint dealer_subscriptions_dealer on app_public.dealer_subscriptions is E'@forwardBehavior +singularRelation:resource:single\n@fieldName dealer\n@forwardDescription The dealer.';
comment on constraint dealer_subscriptions_package on app_public.dealer_subscriptions is E'@forwardBehavior +singularRelation:resource:single\n@fieldName package\n@forwardDescription The package; null if it is no longer on sale.';
create index if not exists ix_dealer_subscriptions_dealer_id_id on app_public.dealer_subscriptions (dealer_id, id);
create index if not exists ix_dealer_subscriptions_status_end_at on app_public.dealer_subscriptions (status, end_at);
create unique index if not exists ux_dealer_subscriptions_one_active on app_public.dealer_subscriptions (dealer_id) where status = 'active';
-- Due and pending subscriptions. Partial, and not by status: under forced row-level security a comparison of enums is not
-- leakproof, so it cannot be an index condition, not even for the owner.
create index if not exists ix_dealer_subscriptions_active_end_at on app_public.dealer_subscriptions (end_at) where status = 'active';
create index if not exists ix_dealer_subscriptions_pending_dealer_id_id on app_public.dealer_subscriptions (dealer_id, id) where status = 'pending';

create table if not exists app_private.expiry_progress (
  only_row boolean not null primary key default true constraint expiry_progress_one_row check (only_row),
  expired_until timestamptz
);
comment on table app_private.expiry_progress is 'The position of expire_subscriptions. Without it each call would walk over the dead index entries of all calls before.';
comment on column app_private.expiry_progress.only_row is 'Always true: the table has one row.';
comment on column app_private.expiry_progress.expired_until is 'The last end_at of the last batch, where the next call starts; null: it starts at the oldest end.';
insert into app_private.expiry_progress default values on conflict do nothing;

--! Included subscription/enforce_subscription_state.sql
create or replace function app_private.enforce_subscription_state() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = format(
      'A subscription cannot change from %s to %s in this way. Allowed are pending → active → expired, and pending or active → cancelled. Its dealer, id and included quotas never change.',
      old.status, new.status);
end
$$;

comment on function app_private.enforce_subscription_state() is 'Trigger: refuses a forbidden change of a subscription, for every role. The rule is in the trigger''s WHEN clause, which costs an allowed change a fraction of a function call.';
--! EndIncluded subscription/enforce_subscription_state.sql
--! Included subscription/schedule_expiry.sql
create or replace function app_private.schedule_expiry(dealer_id uuid, at timestamptz) returns timestamptz
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform from app_public.dealer_subscriptions as s
  where s.dealer_id = schedule_expiry.dealer_id and s.status = 'pending';
  if found then
    perform graphile_worker.add_job(
      'expire_subscriptions', run_at := schedule_expiry.at, job_key := 'expire_subscriptions:' || schedule_expiry.dealer_id);
  end if;
  return schedule_expiry.at;
end
$$;

comment on function app_private.schedule_expiry(uuid, timestamptz) is 'If the dealer has a pending subscription, schedules an expiry run at the end of the running one, so that the next one starts at once and not in the following night.';
--! EndIncluded subscription/schedule_expiry.sql
--! Included subscription/activate_pending_subscriptions.sql
create or replace function app_private.activate_pending_subscriptions(dealer_ids uuid[] default null) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_dealer_ids constant uuid[] := coalesce(
    dealer_ids, array(select distinct p.dealer_id from app_public.dealer_subscriptions as p where p.status = 'pending'));
  v_activated integer;
begin
  with startable as (
    select p.dealer_id, p.id
    from unnest(v_dealer_ids) as d (id)
    join app_public.dealer_subscriptions as p on p.dealer_id = d.id and p.status = 'pending'
    where not exists (
      select from app_public.dealer_subscriptions as other
      -- `<>` as in lock_dealer: without statistics the indexes by status would read the subscriptions of all dealers.
      where other.dealer_id = p.dealer_id and other.status <> 'expired'
        and (other.status <> 'cancelled' or other.end_at > v_now)
        and (other.status <> 'pending' or other.id < p.id))
    order by p.id
    for update of p skip locked
  ), activated as (
    update app_public.dealer_subscriptions as s
    set status = 'active', start_at = v_now, end_at = v_now + s.duration_days * interval '24 hours', updated_at = v_now
    from startable
    where s.dealer_id = startable.dealer_id and s.id = startable.id
    returning s.dealer_id, s.end_at
  )
  select count(app_private.schedule_expiry(a.dealer_id, a.end_at))::integer into v_activated from activated as a;
  return v_activated;
end
$$;

comment on function app_private.activate_pending_subscriptions(uuid[]) is 'Starts the oldest pending subscription of each of these dealers (null: of all) that has no running one, and returns how many. Their paid time starts now.';
--! EndIncluded subscription/activate_pending_subscriptions.sql
--! Included subscription/expire_ended_subscription.sql
create or replace function app_private.expire_ended_subscription(dealer_id uuid, at timestamptz) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_expired_id uuid;
begin
  update app_public.dealer_subscriptions as s set status = 'expired', updated_at = expire_ended_subscription.at
  where s.dealer_id = expire_ended_subscription.dealer_id and s.status = 'active' and s.end_at <= expire_ended_subscription.at
  returning s.id into v_expired_id;
  if v_expired_id is not null then
    perform app_private.write_audit_log(
      'SYSTEM_EXPIRE', 'dealer_subscriptions', null, null, jsonb_build_object('count', 1, 'ids', jsonb_build_array(v_expired_id)));
  end if;
end
$$;

comment on function app_private.expire_ended_subscription(uuid, timestamptz) is 'Expires the dealer''s active subscription if it has ended and no expiry run has recorded that yet, so that it does not delay the next one. Writes one SYSTEM_EXPIRE audit row. The caller holds the dealer''s lock.';
--! EndIncluded subscription/expire_ended_subscription.sql
--! Included subscription/start_pending_subscription.sql
create or replace function app_private.start_pending_subscription(dealer_id uuid, subscription_id uuid, at timestamptz) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_started_id uuid;
begin
  perform app_private.expire_ended_subscription(start_pending_subscription.dealer_id, start_pending_subscription.at);
  -- Oldest first, as in an expiry run: a run whose snapshot still shows the oldest one as pending rechecks it and skips it.
  loop
    update app_public.dealer_subscriptions as s set status = 'cancelled', updated_at = start_pending_subscription.at
    where s.dealer_id = start_pending_subscription.dealer_id and s.status = 'active';
    update app_public.dealer_subscriptions as s
    set status = 'active', start_at = start_pending_subscription.at,
      end_at = start_pending_subscription.at + s.duration_days * interval '24 hours', updated_at = start_pending_subscription.at
    where s.dealer_id = start_pending_subscription.dealer_id and s.id = (
      select p.id from app_public.dealer_subscriptions as p
      where p.dealer_id = start_pending_subscription.dealer_id and p.status = 'pending'
      order by p.id
      limit 1)
    returning s.id into strict v_started_id;
    exit when v_started_id = start_pending_subscription.subscription_id;
  end loop;
  perform app_private.schedule_expiry(
    start_pending_subscription.dealer_id,
    (select max(s.end_at) from app_public.dealer_subscriptions as s
     where s.dealer_id = start_pending_subscription.dealer_id and s.status not in ('pending', 'expired')));
end
$$;

comment on function app_private.start_pending_subscription(uuid, uuid, timestamptz) is 'Starts a pending subscription of a dealer whose running ones have ended or have no listing quota left, and the older pending ones before it. A subscription that still runs becomes cancelled and keeps its other quotas until its end. The caller holds the dealer''s lock.';
--! EndIncluded subscription/start_pending_subscription.sql
--! Included subscription/start_subscription.sql
create or replace function app_private.start_subscription(dealer_id uuid, invoice_id uuid, at timestamptz) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_running_until timestamptz;
begin
  update app_public.checkouts as c set closed_at = start_subscription.at
  where c.dealer_id = start_subscription.dealer_id and c.invoice_id = start_subscription.invoice_id;
  insert into app_public.dealer_subscriptions (
    dealer_id, package_id, invoice_id, duration_days, overage, included_listing_quota, included_premium_quota, included_highlight_quota)
  select c.dealer_id, c.package_id, c.invoice_id, c.duration_days, c.overage, c.listing_limit, c.premium_quota, c.highlight_quota
  from app_public.checkouts as c
  where c.dealer_id = start_subscription.dealer_id and c.invoice_id = start_subscription.invoice_id;
  perform app_private.expire_ended_subscription(start_subscription.dealer_id, start_subscription.at);
  if app_private.activate_pending_subscriptions(array[start_subscription.dealer_id]) = 0 then
    select max(s.end_at) into v_running_until
    from app_public.dealer_subscriptions as s
    where s.dealer_id = start_subscription.dealer_id and s.status not in ('pending', 'expired');
    perform app_private.schedule_expiry(start_subscription.dealer_id, v_running_until);
  end if;
end
$$;

comment on function app_private.start_subscription(uuid, uuid, timestamptz) is 'Creates the subscription of a paid checkout with the quotas as they were bought: active at once, or pending behind a running one. The caller holds the dealer''s lock.';
--! EndIncluded subscription/start_subscription.sql
--! Included subscription/cancel_subscription.sql
create or replace function app_public.cancel_subscription(subscription_id uuid) returns app_public.dealer_subscriptions
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_dealer_id uuid;
  v_subscription app_public.dealer_subscriptions;
begin
  select s.dealer_id into v_dealer_id from app_public.dealer_subscriptions as s where s.id = cancel_subscription.subscription_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no subscription with this id. Please check it.',
      detail = jsonb_build_object('field', 'subscriptionId')::text;
  end if;
  perform app_private.require_member(v_dealer_id);
  perform app_private.lock_dealer(v_dealer_id);
  select s.* into v_subscription
  from app_public.dealer_subscriptions as s
  where s.dealer_id = v_dealer_id and s.id = cancel_subscription.subscription_id;
  if v_subscription.status = 'cancelled' then
    return v_subscription;
  elsif v_subscription.status = 'expired' or v_subscription.end_at <= clock_timestamp() then
    raise exception using
      errcode = 'FC008',
      message = 'This subscription has already ended, so it cannot be cancelled.',
      detail = jsonb_build_object('field', 'subscriptionId', 'endAt', v_subscription.end_at)::text;
  elsif v_subscription.status = 'pending' and v_subscription.invoice_id is not null then
    raise exception using
      errcode = 'FC008',
      message = 'This subscription is paid and has not started, so it cannot be cancelled. Please contact support if you do not want it.',
      detail = jsonb_build_object('field', 'subscriptionId', 'status', 'PENDING')::text;
  end if;
  update app_public.dealer_subscriptions as s
  set status = 'cancelled', updated_at = clock_timestamp()
  where s.dealer_id = v_dealer_id and s.id = cancel_subscription.subscription_id
  returning s.* into v_subscription;
  return v_subscription;
end
$$;

comment on function app_public.cancel_subscription(uuid) is E'@behavior +mutationField\n@resultFieldName subscription\nCancels a subscription of one of the caller''s dealers. It keeps its quota until `endAt`. A pending one that is paid cannot be cancelled (409); one that was granted never starts. A second call changes nothing.';

grant execute on function app_public.cancel_subscription(uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded subscription/cancel_subscription.sql
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

comment on function app_private.plan_expiry() is 'How many subscriptions are due at `until_at`, the present time, and the median of their ends; null if none is due.';
--! EndIncluded subscription/plan_expiry.sql
--! Included subscription/find_due_batches.sql
create or replace function app_private.find_due_batches(
  from_at timestamptz, until_at timestamptz, batch_size integer, batches integer
) returns table (tids tid[], last_end_at timestamptz)
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
  -- Read in the order of the index, however few rows the planner expects: a sort on each call would be quadratic.
  set enable_sort to off
  -- enable_sort = off inflates the cost past jit_above_cost (PG <= 17).
  set jit to off
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

comment on function app_private.find_due_batches(timestamptz, timestamptz, integer, integer) is 'Finds active subscriptions whose end is in a range, oldest end first, as at most `batches` arrays of ctids in the order of the table. Neighbours share pages of the table and of most indexes; rows that only share an end do not. last_end_at is the last end of all batches. The next call starts there, because the index entries before it are dead, and walking over them on each call would make a long run quadratic.';
--! EndIncluded subscription/find_due_batches.sql
--! Included subscription/expire_rows.sql
create or replace function app_private.expire_rows(tids tid[]) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
  -- A custom plan, made for the number of ctids, would read a small table in full for each batch.
  set plan_cache_mode to force_generic_plan
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_ids uuid[];
  v_dealer_ids uuid[];
begin
  with due as (
    select s.dealer_id, s.ctid
    from app_public.dealer_subscriptions as s
    -- A ctid is a hint: check the status again.
    where s.ctid = any (tids) and s.status = 'active' and s.end_at <= v_now
    for update skip locked
  ), changed as (
    update app_public.dealer_subscriptions as s
    -- updated_at after the end tells the audit trigger that this row is in the entry below.
    set status = 'expired', updated_at = v_now
    from due
    -- The lock keeps the ctid stable, so no index look-up is needed.
    where s.dealer_id = due.dealer_id and s.ctid = due.ctid
    returning s.dealer_id, s.id
  )
  select array_agg(c.id), array_agg(c.dealer_id) into v_ids, v_dealer_ids from changed as c;
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

comment on function app_private.expire_rows(tid[]) is 'Expires the active subscriptions with these ctids whose end has passed, except those that another session has locked. Starts the subscriptions that waited for them, and writes one SYSTEM_EXPIRE audit row. Returns the number of expired subscriptions.';
--! EndIncluded subscription/expire_rows.sql
--! Included subscription/run_expiry_batch.sql
create or replace function app_private.run_expiry_batch(
  run_id uuid, tids tid[], out expired integer, out is_publishing boolean
)
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- The next run repeats a batch that is lost in a crash, so it need not wait for the disk with its rows locked.
  perform set_config('synchronous_commit', 'off', true);
  -- Write evicted pages back bit by bit: a burst of writes would hold up the commits of others.
  perform set_config('backend_flush_after', '256kB', true);
  expired := app_private.expire_rows(tids);
  update app_private.job_runs as r set counted = r.counted + run_expiry_batch.expired
  where r.id = run_expiry_batch.run_id and run_expiry_batch.expired > 0;
  is_publishing := coalesce(
    (select l.created_at from app_public.listings as l order by l.id desc limit 1) > clock_timestamp() - interval '1 second', false);
end
$$;

comment on function app_private.run_expiry_batch(uuid, tid[]) is 'Expires one batch of a run and counts it in job_runs, in one transaction, so that the count is exact even if the worker dies. Returns how many subscriptions expired, and whether a listing was created within the last second; the run slows down then.';
--! EndIncluded subscription/run_expiry_batch.sql
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
    -- ORDER BY and LIMIT make the planner use the index; without them it reads the table when it expects many rows.
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

comment on function app_private.end_expiry(boolean) is 'Ends an expiry run: starts the pending subscriptions that can start. If a publication still holds a subscription that is due or could start, the worker looks again 5 seconds later. `is_complete`: all due subscriptions were expired, so none is searched for. The search would walk over a million dead index entries, which takes a second.';
--! EndIncluded subscription/end_expiry.sql
--! Included subscription/expire_subscriptions.sql
create or replace function app_private.expire_subscriptions(batch_size integer default 1000) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_from timestamptz := coalesce((select p.expired_until from app_private.expiry_progress as p), '-infinity');
  v_tids tid[];
  v_last_end_at timestamptz;
begin
  if batch_size is null or batch_size < 1 then
    raise exception using errcode = 'FC010', message = 'The batch size must be at least 1.';
  end if;
  loop
    select array_agg(d.ctid), max(d.end_at) into v_tids, v_last_end_at
    from (
      select s.ctid, s.end_at
      from app_public.dealer_subscriptions as s
      where s.status = 'active' and s.end_at >= v_from and s.end_at <= v_now
      order by s.end_at
      limit batch_size
      for update skip locked
    ) as d;
    exit when v_tids is not null or v_from = '-infinity';
    -- Restart from -infinity once, for rows that were skipped or got an earlier end. Probe without locks first: the walk over
    -- the dead index entries takes a while.
    perform from app_public.dealer_subscriptions as s
    where s.status = 'active' and s.end_at <= v_now
    order by s.end_at
    limit 1;
    exit when not found;
    v_from := '-infinity';
  end loop;
  -- SKIP LOCKED: of two calls at once one stores its progress, and neither waits.
  update app_private.expiry_progress as p set expired_until = v_last_end_at
  from (select e.only_row from app_private.expiry_progress as e for update skip locked) as free
  where p.only_row = free.only_row;
  if v_tids is null then
    perform app_private.end_expiry();
    return 0;
  end if;
  return app_private.expire_rows(v_tids);
end
$$;

comment on function app_private.expire_subscriptions(integer) is 'Expires up to `batch_size` active subscriptions whose end has passed, oldest end first. Starts the subscriptions that waited for them and writes one SYSTEM_EXPIRE audit row. Returns how many it expired; 0 means done. Call it in a loop, each call in a transaction of its own; expiry_progress stores the position. Rows that a publication has locked are skipped; the last call adds a job that looks again a few seconds later. Raises FC010 for a batch size below 1.';
--! EndIncluded subscription/expire_subscriptions.sql
--! Included subscription/schedule_missed_expiry.sql
create or replace function app_private.schedule_missed_expiry() returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform app_private.release_dead_workers();
  perform graphile_worker.add_job('expire_subscriptions', job_key := 'expire_subscriptions:missed');
end
$$;

comment on function app_private.schedule_missed_expiry() is 'Unlocks the jobs of dead workers and queues an expiry run. Each worker calls it at its start, whatever has finished since 00:00 UTC: a run may have died since, and the crontab only makes up for tasks that it knew before. Several workers queue one run; a run without due work costs a few index reads.';
--! EndIncluded subscription/schedule_missed_expiry.sql

-- The condition is the rule; the function is called for forbidden changes only. The trigger names the columns of the condition, so that
-- a publication, which changes only the used quota, does not evaluate it.
create or replace trigger dealer_subscriptions_state
  before update of dealer_id, id, status, included_listing_quota, included_premium_quota, included_highlight_quota on app_public.dealer_subscriptions
  for each row when (
    (old.dealer_id, old.id, old.included_listing_quota, old.included_premium_quota, old.included_highlight_quota)
    is distinct from
    (new.dealer_id, new.id, new.included_listing_quota, new.included_premium_quota, new.included_highlight_quota)
    or old.status <> new.status and not (
      old.status = 'pending' and new.status in ('active', 'cancelled')
      or old.status = 'active' and new.status in ('expired', 'cancelled'))
  ) execute function app_private.enforce_subscription_state();
create or replace trigger dealer_subscriptions_never_removed before delete or truncate on app_public.dealer_subscriptions
  for each statement execute function app_private.refuse_change();
-- An expiry run records its batch as one SYSTEM_EXPIRE entry. It sets updated_at to its own time, which is not before end_at.
-- An expiry by hand that leaves updated_at as it is, or comes before the end, is recorded row by row.
create or replace trigger dealer_subscriptions_state_audited after update of status on app_public.dealer_subscriptions
  for each row when (
    old.status <> new.status
    and (new.status <> 'expired' or new.updated_at = old.updated_at or new.updated_at < new.end_at)
  ) execute function app_private.audit_state_change('SUBSCRIPTION');

select app_private.force_row_security('app_public.dealer_subscriptions');
select app_private.force_row_security('app_private.expiry_progress');
drop policy if exists select_member on app_public.dealer_subscriptions;
create policy select_member on app_public.dealer_subscriptions for select to forecourt_dealer using (dealer_id = any (app_public.current_dealer_ids()));
drop policy if exists select_admin on app_public.dealer_subscriptions;
create policy select_admin on app_public.dealer_subscriptions for select to forecourt_admin using (true);
grant select on app_public.dealer_subscriptions to forecourt_dealer, forecourt_admin;
