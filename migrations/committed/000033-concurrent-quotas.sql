--! Previous: sha1:10eae8de044f07be21344630b5741a74fb6f4fb3
--! Hash: sha1:47d4a4f7b854d6812d9754ca05841f02d7555439
--! Message: concurrent quotas

set local lock_timeout to '2s';
set local statement_timeout to '60s';

comment on column app_public.listing_quote.subscription_remaining is E'@notNull\nListings left in running subscriptions, free slots included; if there are none, those of the pending one that starts next.';

do $$ begin
  create type app_public.slot_usage as (used integer, capacity integer);
exception when duplicate_object then null; end $$;
comment on type app_public.slot_usage is 'The slots of a dealer, for the listings of CONCURRENT packages.';
comment on column app_public.slot_usage.used is E'@notNull\nPending and active listings that hold a slot. After a change to a smaller package it can exceed the capacity.';
comment on column app_public.slot_usage.capacity is E'@notNull\nThe included listings of the running CONCURRENT subscription; 0 if there is none. If two run, the larger one counts.';
--! Included quota/slots_of_dealer.sql
create or replace function app_public.slots_of_dealer(dealer_id uuid) returns app_public.slot_usage
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_at constant timestamptz := clock_timestamp();
  v_usage app_public.slot_usage;
begin
  -- A stranger sees the dealer of a listing as null, and a visitor may not read subscriptions.
  if slots_of_dealer.dealer_id is null then
    return null;
  end if;
  select
    d.slots_in_use - (
      select count(*)::integer
      from app_public.listings as l
      where l.dealer_id = d.id and l.holds_slot and l.status = 'active' and l.expires_at <= v_at),
    coalesce((
      select max(s.included_listing_quota)
      from app_public.dealer_subscriptions as s
      where s.dealer_id = d.id and s.status <> 'expired' and s.quota_kind = 'concurrent' and s.start_at <= v_at and v_at < s.end_at), 0)
  into v_usage.used, v_usage.capacity
  from app_public.dealers as d
  where d.id = slots_of_dealer.dealer_id;
  return v_usage;
end
$$;

comment on function app_public.slots_of_dealer(uuid) is 'How many slots a dealer uses and has, with the caller''s own rights: nothing for a stranger. Not a field of GraphQL: `Dealer.slots` calls it.';

grant execute on function app_public.slots_of_dealer(uuid) to forecourt_visitor, forecourt_dealer, forecourt_admin;
--! EndIncluded quota/slots_of_dealer.sql

--! Included identity/try_lock_dealer.sql
create or replace function app_private.try_lock_dealer(dealer_id uuid) returns boolean
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform from app_public.dealers as d where d.id = try_lock_dealer.dealer_id for no key update skip locked;
  return found;
end
$$;

comment on function app_private.try_lock_dealer(uuid) is 'Locks the dealer''s row as lock_dealer does, unless another session has locked it. Returns whether it is locked by this one.';
--! EndIncluded identity/try_lock_dealer.sql
drop function if exists app_private.expirable(text);
--! Included expiry/expirable.sql
create or replace function app_private.expirable(task text, out table_name text, out end_column text, out lock_condition text)
  language sql immutable security invoker parallel safe
  -- No search_path, so that the planner can inline it. A body of this form is bound to its objects at creation.
begin atomic
  select e.table_name, e.end_column, e.lock_condition
  from (values
    ('expire_subscriptions', 'dealer_subscriptions', 'end_at', 'true'),
    -- A listing that expires releases its slot, which is counted in the row of its dealer.
    ('expire_listings', 'listings', 'expires_at', 'not t.holds_slot or app_private.try_lock_dealer(t.dealer_id)')
  ) as e (task, table_name, end_column, lock_condition)
  where e.task = expirable.task;
end;

comment on function app_private.expirable(text) is 'The tasks of the expiry: the table of app_public whose active rows a task expires, the column with their end, and a condition on a row `t` that locks what must be locked before it. The condition is false for a row that has to be skipped. Both tables have dealer_id, id, status and updated_at, and an index of active rows by their end.';
--! EndIncluded expiry/expirable.sql
--! Included expiry/expire_rows.sql
create or replace function app_private.expire_rows(tids tid[], task text default 'expire_subscriptions') returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_source constant record := app_private.expirable(task);
  v_ids uuid[];
  v_dealer_ids uuid[];
begin
  -- The condition is a constant of expirable. @plpgsql_check_options: security_warnings = off
  execute format($sql$
    with due as (
      select t.dealer_id, t.ctid
      from app_public.%1$I as t
      -- A ctid is a hint: check the status again. The sub-select hides the number of ctids from the planner, which would
      -- otherwise read a small table in full, or the index of ends, for each batch.
      where t.ctid = any ((select $1)::tid[]) and t.status = 'active' and t.%2$I <= $2 and (%3$s)
      for update skip locked
    ), changed as (
      update app_public.%1$I as t
      -- updated_at after the end tells the audit trigger that this row is in the entry below.
      set status = 'expired', updated_at = $2
      from due
      -- The lock keeps the ctid stable, so no index look-up is needed.
      where t.dealer_id = due.dealer_id and t.ctid = due.ctid
      returning t.dealer_id, t.id
    )
    select array_agg(c.id), array_agg(c.dealer_id) from changed as c
    $sql$, v_source.table_name, v_source.end_column, v_source.lock_condition)
  into v_ids, v_dealer_ids
  using tids, v_now;
  if v_ids is null then
    return 0;
  end if;
  perform app_private.write_audit_log(
    'SYSTEM_EXPIRE', v_source.table_name, null, null, jsonb_build_object('count', cardinality(v_ids), 'ids', to_jsonb(v_ids)));
  if task = 'expire_subscriptions' then
    perform app_private.activate_pending_subscriptions(v_dealer_ids);
  end if;
  return cardinality(v_ids);
end
$$;

comment on function app_private.expire_rows(tid[], text) is 'Expires the active rows with these ctids whose end has passed, except those that another session has locked, or whose slot is counted by a dealer that another session has locked. Starts the subscriptions that waited for them, and writes one SYSTEM_EXPIRE audit row. Returns the number of expired rows.';
--! EndIncluded expiry/expire_rows.sql
--! Included expiry/expire_due.sql
create or replace function app_private.expire_due(task text, batch_size integer) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_source record := app_private.expirable(task);
  v_from timestamptz := coalesce((select p.expired_until from app_private.expiry_progress as p where p.task = expire_due.task), '-infinity');
  v_is_left boolean;
  v_tids tid[];
  v_last_end_at timestamptz;
begin
  -- The condition is a constant of expirable. @plpgsql_check_options: security_warnings = off
  if batch_size is null or batch_size < 1 then
    raise exception using errcode = 'FC010', message = 'The batch size must be at least 1.';
  end if;
  loop
    execute format($sql$
      select array_agg(d.ctid), max(d.ends_at)
      from (
        select t.ctid, t.%2$I as ends_at
        from app_public.%1$I as t
        where t.status = 'active' and t.%2$I >= $1 and t.%2$I <= $2 and (%3$s)
        order by t.%2$I
        limit $3
        for update skip locked
      ) as d
      $sql$, v_source.table_name, v_source.end_column, v_source.lock_condition)
    into v_tids, v_last_end_at using v_from, v_now, batch_size;
    exit when v_tids is not null or v_from = '-infinity';
    -- Restart from -infinity once, for rows that were skipped or got an earlier end. Probe without locks first: the walk over
    -- the dead index entries takes a while.
    execute format($sql$
      select true from app_public.%1$I as t where t.status = 'active' and t.%2$I <= $1 order by t.%2$I limit 1
      $sql$, v_source.table_name, v_source.end_column)
    into v_is_left using v_now;
    exit when v_is_left is null;
    v_from := '-infinity';
  end loop;
  -- SKIP LOCKED: of two calls at once one stores its progress, and neither waits.
  update app_private.expiry_progress as p set expired_until = v_last_end_at
  from (select e.task from app_private.expiry_progress as e where e.task = expire_due.task for update skip locked) as free
  where p.task = free.task;
  if v_tids is null then
    perform app_private.end_expiry(task => expire_due.task);
    return 0;
  end if;
  return app_private.expire_rows(v_tids, task);
end
$$;

comment on function app_private.expire_due(text, integer) is 'Expires up to `batch_size` active rows of a task whose end has passed, oldest end first; expiry_progress stores the position. Rows that another transaction has locked are skipped; the last call adds a job that looks again a few seconds later. Raises FC010 for a batch size below 1.';
--! EndIncluded expiry/expire_due.sql
--! Included listing/expire_listings.sql
create or replace function app_private.expire_listings(batch_size integer default 1000) returns integer
  language sql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select app_private.expire_due('expire_listings', batch_size)
$$;

comment on function app_private.expire_listings(integer) is 'Expires up to `batch_size` active listings whose end has passed, oldest end first. From its end on a listing is not shown anyway; this records it. Locks the dealers of listings that hold a slot before the listings, skips those that are locked, and writes one SYSTEM_EXPIRE audit row. Returns how many it expired; 0 means done. Call it in a loop, each call in a transaction of its own. Raises FC010 for a batch size below 1.';
--! EndIncluded listing/expire_listings.sql

--! Included quota/refuse_overage.sql
create or replace function app_private.refuse_overage(country text) returns void
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  raise exception using
    errcode = 'FC009',
    message = 'The listing quota of your package is used up, and the package allows no further listings. Please buy another package. If yours counts live listings, you can also withdraw one.',
    detail = jsonb_build_object('country', refuse_overage.country, 'segment', 'DEALER')::text;
end
$$;

comment on function app_private.refuse_overage(text) is 'Raises FC009: the quota or the slots are used up, and each running subscription forbids overage.';
--! EndIncluded quota/refuse_overage.sql
--! Included listing/reverse_consumption.sql
create or replace function app_private.reverse_consumption(listing app_public.listings, at timestamptz) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_paid app_public.listing_consumptions;
  v_reversal app_private.publication_decision;
  v_number integer;
begin
  select lc.* into strict v_paid
  from app_public.listing_consumptions as lc
  where lc.dealer_id = listing.dealer_id and lc.listing_id = listing.id and lc.kind in ('publication', 'renewal')
    and not exists (select from app_public.listing_consumptions as r where r.dealer_id = lc.dealer_id and r.reverses = lc.id)
  -- Not by time, because the clock can be set back. A listing with a renewal was published before, and its publication stays.
  order by lc.kind desc, lc.number desc
  limit 1;
  v_reversal.dealer_id := v_paid.dealer_id;
  v_reversal.at := at;
  v_reversal.source := v_paid.source;
  v_reversal.price_config_id := v_paid.price_config_id;
  v_reversal.net_amount := -v_paid.net_amount;
  v_reversal.vat_rate := v_paid.vat_rate;
  v_reversal.vat_amount := -v_paid.vat_amount;
  v_reversal.gross_amount := -v_paid.gross_amount;
  v_reversal.currency := v_paid.currency;
  -- An ended subscription gets nothing back, and its reversal does not name it.
  select s.id, case s.quota_kind when 'concurrent' then false end into v_reversal.subscription_id, v_reversal.takes_slot
  from app_public.dealer_subscriptions as s
  where s.dealer_id = v_paid.dealer_id and s.id = v_paid.subscription_id and s.status <> 'expired' and at < s.end_at;
  -- Nobody owes a void invoice, so its items are not credited.
  select it.country, it.price_version, it.unit_price_net, c.minor_units::integer
  into v_reversal.country, v_reversal.price_version, v_reversal.unit_price_net, v_reversal.minor_units
  from app_public.invoice_items as it
  join app_public.invoices as i on i.dealer_id = it.dealer_id and i.id = it.invoice_id and i.status <> 'void'
  join app_public.currencies as c on c.code = it.currency
  where it.dealer_id = v_paid.dealer_id and it.id = v_paid.invoice_item_id;
  select 1 + count(*)::integer into v_number
  from app_public.listing_consumptions as lc
  where lc.dealer_id = listing.dealer_id and lc.listing_id = listing.id and lc.kind = 'reversal';
  perform app_private.record_consumption(
    v_reversal, listing.id, 'reversal', app_public.current_user_id(), v_number, reverses => v_paid.id);
end
$$;

comment on function app_private.reverse_consumption(app_public.listings, timestamptz) is 'Gives back what paid for a listing last: a free listing, a listing of a PER_PERIOD subscription that still runs, or a price, as an item of negative quantity on the open draft invoice of the month. A price on a void invoice gets no item. A slot is released by the rejection, not by the reversal. A unique key lets it happen once. The caller holds the locks of the dealer and the listing.';
--! EndIncluded listing/reverse_consumption.sql
drop function if exists app_private.charge_listing(app_public.listings, app_public.consumption_kind, uuid, timestamptz);
--! Included listing/charge_listing.sql
create or replace function app_private.charge_listing(
  listing app_public.listings, action app_public.consumption_kind, idempotency_key uuid, at timestamptz
) returns boolean
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_dealer app_public.dealers;
  v_number integer;
  v_subscription app_public.dealer_subscriptions;
  v_open app_public.dealer_subscriptions[];
  v_kept app_public.dealer_subscriptions[];
  v_is_kept boolean;
  v_decision app_private.publication_decision;
begin
  select d.* into v_dealer from app_public.dealers as d where d.id = listing.dealer_id;
  perform app_private.require_publisher(v_dealer);
  -- A publication that was not given back is not counted: its number is then taken, and the key refuses a second one.
  select 1 + count(*)::integer into v_number
  from app_public.listing_consumptions as lc
  where lc.dealer_id = listing.dealer_id and lc.listing_id = listing.id and lc.kind = action
    and (action <> 'publication' or exists (
      select from app_public.listing_consumptions as r where r.dealer_id = lc.dealer_id and r.reverses = lc.id));
  if listing.holds_slot then
    foreach v_subscription in array app_private.open_subscriptions(listing.dealer_id, charge_listing.at) loop
      if v_subscription.quota_kind = 'concurrent' then
        v_is_kept := v_subscription.start_at <= charge_listing.at and charge_listing.at < v_subscription.end_at
          and app_private.count_free_slots(v_subscription, charge_listing.at) >= 0;
        -- Its own slot counts as free.
        v_subscription.included_listing_quota := v_subscription.included_listing_quota + 1;
        -- It keeps its slot and costs nothing, unless more slots are in use than the package includes.
        v_kept := case when v_is_kept then array[v_subscription] else v_kept end;
      end if;
      v_open := v_open || v_subscription;
    end loop;
  end if;
  v_decision := app_private.decide_publication(
    v_dealer.id, v_dealer.country, charge_listing.at, v_dealer.has_free_quota and v_kept is null, coalesce(v_kept, v_open));
  if listing.holds_slot and v_decision.takes_slot then
    v_decision.takes_slot := false;
  end if;
  perform app_private.record_consumption(
    v_decision, listing.id, action, app_public.current_user_id(), v_number, charge_listing.idempotency_key);
  return v_decision.takes_slot is not null;
end
$$;

comment on function app_private.charge_listing(app_public.listings, app_public.consumption_kind, uuid, timestamptz) is 'Charges the publication or renewal of an existing listing as create_listing charges a new one: one function decides both. A listing that holds a slot keeps it at no cost while no more slots are in use than its package includes. Returns whether the listing holds a slot from now on; the caller writes that. The caller holds the locks of the dealer and the listing. Raises what decide_publication and require_publisher raise.';
--! EndIncluded listing/charge_listing.sql
--! Included listing/resubmit_listing.sql
create or replace function app_public.resubmit_listing(listing_id uuid, idempotency_key uuid) returns app_public.listings
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_key constant uuid := app_private.operation_key('resubmitListing', idempotency_key);
  v_listing app_public.listings := app_private.lock_listing(listing_id);
  v_at constant timestamptz := clock_timestamp();
  v_holds_slot boolean;
begin
  if app_private.is_charged(v_listing, v_key) then
    return v_listing;
  end if;
  perform app_private.require_listing_step(v_listing.status, 'pending');
  if v_listing.rejected_at + interval '720 hours' > v_at is not true then
    perform app_private.refuse_listing_status(v_listing.status, 'More than 30 days have passed since. Please publish it as a new listing.');
  end if;
  -- The publication of a listing that was taken down stays in the ledger, so its second time is a renewal.
  v_holds_slot := app_private.charge_listing(
    v_listing, case when v_listing.published_at is null then 'publication' else 'renewal' end::app_public.consumption_kind, v_key, v_at);
  update app_public.listings as l
  set status = 'pending', holds_slot = v_holds_slot, rejected_at = null, rejection_reason = null, moderation_reason = 'resubmitted', moderation_since = v_at, updated_at = v_at
  where l.dealer_id = v_listing.dealer_id and l.id = v_listing.id
  returning l.* into v_listing;
  return v_listing;
end
$$;

comment on function app_public.resubmit_listing(uuid, uuid) is E'@behavior +mutationField\n@resultFieldName listing\nSubmits a listing again that was rejected in the last 30 days: charges it like a new one, and makes it PENDING. The same idempotency key for the same listing changes nothing.';

grant execute on function app_public.resubmit_listing(uuid, uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/resubmit_listing.sql
--! Included listing/renew_listing.sql
create or replace function app_public.renew_listing(listing_id uuid, idempotency_key uuid) returns app_public.listings
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_key constant uuid := app_private.operation_key('renewListing', idempotency_key);
  v_listing app_public.listings := app_private.lock_listing(listing_id);
  v_at constant timestamptz := clock_timestamp();
  -- An ended listing that no expiry run has recorded yet is expired already.
  v_has_ended constant boolean := v_listing.status = 'expired' or v_listing.status = 'active' and v_listing.expires_at <= v_at;
  v_ends_at constant timestamptz := case when v_has_ended then v_at else v_listing.expires_at end + v_listing.listing_days * interval '24 hours';
  v_holds_slot boolean;
begin
  if app_private.is_charged(v_listing, v_key) then
    return v_listing;
  elsif v_listing.status not in ('active', 'expired') then
    perform app_private.refuse_listing_status(v_listing.status, 'Only an active or expired listing can be renewed.');
  elsif v_has_ended and v_listing.expires_at + interval '4320 hours' > v_at is not true then
    perform app_private.refuse_listing_status(v_listing.status, 'Its end was more than 180 days ago. Please publish it as a new listing.');
  elsif v_has_ended is not true and v_listing.expires_at - least(interval '720 hours', v_listing.listing_days * interval '24 hours') <= v_at is not true then
    perform app_private.refuse_listing_status(v_listing.status, format('It can be renewed in its last %s days.', least(30, v_listing.listing_days)));
  end if;
  if v_has_ended and v_listing.holds_slot then
    -- Its slot is free since its end, and another listing may take it.
    update app_public.listings as l set holds_slot = false
    where l.dealer_id = v_listing.dealer_id and l.id = v_listing.id
    returning l.* into v_listing;
  end if;
  v_holds_slot := app_private.charge_listing(v_listing, 'renewal', v_key, v_at);
  if v_listing.status = 'active' then
    -- The trigger records changes of status only.
    perform app_private.write_audit_log('RENEW_LISTING', 'listings', v_listing.id,
      jsonb_build_object('expiresAt', v_listing.expires_at), jsonb_build_object('expiresAt', v_ends_at));
  end if;
  update app_public.listings as l
  set status = 'active', holds_slot = v_holds_slot, published_at = case when v_has_ended then v_at else l.published_at end,
    expires_at = v_ends_at, updated_at = v_at
  where l.dealer_id = v_listing.dealer_id and l.id = v_listing.id
  returning l.* into v_listing;
  return v_listing;
end
$$;

comment on function app_public.renew_listing(uuid, uuid) is E'@behavior +mutationField\n@resultFieldName listing\nCharges a listing like a new one, and shows it for another period. In its last 30 days (if the period is shorter, in the last period) that is added to its end; within 180 days after its end it starts now, with a new `publishedAt`. The same idempotency key for the same listing changes nothing.';

grant execute on function app_public.renew_listing(uuid, uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/renew_listing.sql
--! Included ledger/verify_subscriptions.sql
create or replace function app_private.verify_subscriptions() returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select
    case
      when s.id is null then 'a ledger row uses a subscription that does not exist'
      when s.used_listing_quota <> counted.ledger_rows then 'the used quota of a subscription is not the number of its ledger rows'
      else 'the used quota of a subscription exceeds its included quota'
    end,
    coalesce(s.dealer_id, lc.dealer_id),
    coalesce(s.id, lc.subscription_id),
    jsonb_build_object('used', s.used_listing_quota, 'included', s.included_listing_quota, 'ledger_rows', counted.ledger_rows)
  from app_public.dealer_subscriptions as s
  full join (
    select dealer_id, subscription_id, sum(case kind when 'reversal' then -1 else 1 end) as ledger_rows
    from app_public.listing_consumptions
    where source = 'subscription_quota' and subscription_id is not null
    group by dealer_id, subscription_id
  ) as lc on lc.dealer_id = s.dealer_id and lc.subscription_id = s.id
  -- The listings of a CONCURRENT subscription are counted as slots.
  cross join lateral (
    select case s.quota_kind when 'concurrent' then 0 else coalesce(lc.ledger_rows, 0) end as ledger_rows
  ) as counted
  where s.id is null
    or s.used_listing_quota <> counted.ledger_rows
    or s.used_listing_quota not between 0 and s.included_listing_quota
$$;

comment on function app_private.verify_subscriptions() is 'Finds subscriptions whose used quota differs from the number of their ledger rows that were not given back (0 for a CONCURRENT one), or exceeds the included quota, and ledger rows whose subscription does not exist. `id` is the subscription''s.';
--! EndIncluded ledger/verify_subscriptions.sql
--! Included ledger/verify_slots.sql
create or replace function app_private.verify_slots() returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select
    case
      when l.holding <> l.live then 'a listing holds a slot although it is neither pending nor active'
      else 'the slots in use of a dealer are not its pending and active listings that hold one'
    end,
    d.id, d.id, jsonb_build_object('slots_in_use', d.slots_in_use, 'listings', coalesce(l.live, 0))
  from app_public.dealers as d
  left join (
    select dealer_id, count(*) as holding, count(*) filter (where status in ('pending', 'active')) as live
    from app_public.listings
    where holds_slot
    group by dealer_id
  ) as l on l.dealer_id = d.id
  where d.slots_in_use <> coalesce(l.live, 0) or l.holding <> l.live
$$;

comment on function app_private.verify_slots() is 'Finds dealers whose slots in use differ from the number of their pending and active listings that hold one, or which have other listings that hold one. `id` is the dealer''s.';
--! EndIncluded ledger/verify_slots.sql
--! Included ledger/verify_ledger.sql
create or replace function app_private.verify_ledger(listings boolean default true) returns setof app_private.ledger_fault
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set work_mem to '64MB'
  set max_parallel_workers_per_gather to 0
as $$
begin
  -- One core and little memory: publications need the rest. Each rule gives its memory back before the next one runs.
  if listings then
    return query select * from app_private.verify_listings();
  end if;
  return query select * from app_private.verify_subscriptions();
  return query select * from app_private.verify_slots();
  return query select * from app_private.verify_reversals();
  return query select * from app_private.verify_paid_extras();
  return query select * from app_private.verify_invoices();
  return query select * from app_private.verify_purchases();
end
$$;

comment on function app_private.verify_ledger(boolean) is 'Checks the rules of the ledger and returns one row per violation; no row means that the ledger is in order. Reads every row once or twice by set operations, in the snapshot of the calling statement, and locks no rows. With `listings` false, verify_listings is left out.';
--! EndIncluded ledger/verify_ledger.sql

-- Last, so that no subscription is CONCURRENT before the functions above know it.
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

comment on function app_private.start_pending_subscription(uuid, uuid, timestamptz) is 'Starts a pending subscription of a dealer whose running ones have ended or have no listing quota or slot left, and the older pending ones before it. A subscription that still runs becomes cancelled and keeps its other quotas until its end. The caller holds the dealer''s lock.';
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
    dealer_id, package_id, invoice_id, duration_days, overage, quota_kind, included_listing_quota, included_premium_quota, included_highlight_quota)
  select c.dealer_id, c.package_id, c.invoice_id, c.duration_days, c.overage, c.quota_kind, c.listing_limit, c.premium_quota, c.highlight_quota
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
--! Included billing/buy_package.sql
create or replace function app_public.buy_package(
  dealer_id uuid, package_id uuid, idempotency_key uuid, success_url text default null, cancel_url text default null
) returns app_public.checkouts
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_payload_hash constant bytea := sha256(convert_to(jsonb_build_array(package_id, success_url, cancel_url)::text, 'UTF8'));
  v_dealer app_public.dealers;
  v_decision app_private.purchase_decision;
  v_package app_public.dealer_packages;
  v_checkout app_public.checkouts;
  v_item app_public.invoice_items;
  v_at timestamptz;
begin
  perform app_private.require_member(buy_package.dealer_id);
  v_dealer := app_private.lock_dealer(buy_package.dealer_id);
  v_checkout := app_private.replay_checkout(buy_package.dealer_id, buy_package.idempotency_key, v_payload_hash);
  if v_checkout.invoice_id is not null then
    return v_checkout;
  end if;
  v_at := clock_timestamp();
  v_decision := app_private.decide_purchase(v_dealer, buy_package.package_id, v_at);
  perform app_private.close_expired_checkout(buy_package.dealer_id, v_at);
  v_package := v_decision.package;
  v_item := v_decision.item;
  insert into app_public.invoices (dealer_id, kind, country, currency, net_total, vat_total, gross_total, created_at, updated_at)
  values (v_dealer.id, 'package', v_dealer.country, v_item.currency, v_item.net_amount, v_item.vat_amount, v_item.gross_amount, v_at, v_at)
  returning id into v_item.invoice_id;
  v_item.id := app_private.time_ordered_uuid();
  v_item.dealer_id := v_dealer.id;
  v_item.description := format('Package %s, %s days', v_package.key, v_package.duration_days);
  v_item.package_id := v_package.id;
  v_item.country := v_dealer.country;
  v_item.created_at := v_at;
  insert into app_public.invoice_items values (v_item.*);
  insert into app_public.checkouts (
    dealer_id, invoice_id, package_id, idempotency_key, payload_hash, provider, success_url, cancel_url,
    duration_days, listing_limit, quota_kind, premium_quota, highlight_quota, overage, expires_at, created_at)
  values (
    v_dealer.id, v_item.invoice_id, v_package.id, buy_package.idempotency_key, v_payload_hash, 'manual', buy_package.success_url, buy_package.cancel_url,
    v_package.duration_days, v_package.listing_limit, v_package.quota_kind, v_package.premium_quota, v_package.highlight_quota, v_package.overage,
    v_at + interval '336 hours', v_at)
  returning * into v_checkout;
  return v_checkout;
end
$$;

comment on function app_public.buy_package(uuid, uuid, uuid, text, text) is E'@behavior +mutationField\n@resultFieldName checkout\nStarts the purchase of a package that is on sale in the dealer''s country: creates a draft invoice with a snapshot of price and VAT. The offer is open for 14 days. The same idempotency key with the same input returns the same checkout.';

grant execute on function app_public.buy_package(uuid, uuid, uuid, text, text) to forecourt_dealer, forecourt_admin;
--! EndIncluded billing/buy_package.sql
