--! Previous: sha1:19526abdac5ae7db559dbb73b4789b07ff80a052
--! Hash: sha1:ed9bfb26f2c9d4f0197fc4710d51c1ae00ed5376
--! Message: promote listings

set local lock_timeout to '2s';
set local statement_timeout to '60s';

do $$ begin
  create type app_public.promotion_kind as enum ('premium', 'highlight');
exception when duplicate_object then null; end $$;
comment on type app_public.promotion_kind is 'premium: the listing comes first in the order PREMIUM_FIRST. highlight: clients set it off from the others.';

create table if not exists app_public.listing_promotions (
  dealer_id uuid not null,
  listing_id uuid not null,
  id uuid not null,
  kind app_public.promotion_kind not null,
  starts_at timestamptz not null,
  ends_at timestamptz not null,
  constraint listing_promotions_pkey primary key (dealer_id, listing_id, id),
  constraint listing_promotions_ends_after_start check (ends_at > starts_at)
);
comment on table app_public.listing_promotions is 'The promotions of listings. A promotion ends earlier than it says if its listing does. Its rows never change.';
comment on column app_public.listing_promotions.dealer_id is 'The dealer.';
comment on column app_public.listing_promotions.listing_id is 'The listing.';
comment on column app_public.listing_promotions.id is 'Time-ordered. The ledger row that it was charged with has the same id.';
comment on column app_public.listing_promotions.kind is 'What it does to the listing.';
comment on column app_public.listing_promotions.starts_at is 'When it was bought, or the end of the promotion of its kind that was running then.';
comment on column app_public.listing_promotions.ends_at is 'From this moment on it is over.';
select app_private.force_row_security('app_public.listing_promotions');
drop policy if exists select_member on app_public.listing_promotions;
create policy select_member on app_public.listing_promotions for select to forecourt_dealer using (dealer_id = any (app_public.current_dealer_ids()));
drop policy if exists select_admin on app_public.listing_promotions;
create policy select_admin on app_public.listing_promotions for select to forecourt_admin using (true);
grant select on app_public.listing_promotions to forecourt_visitor, forecourt_dealer, forecourt_admin;
create or replace trigger listing_promotions_never_changed before update or delete or truncate on app_public.listing_promotions
  for each statement execute function app_private.refuse_change();

do $$ begin
  create type app_public.promotion_quote as (
    source app_public.consumption_source,
    net_amount numeric,
    vat_rate numeric,
    gross_amount numeric,
    currency text,
    subscription_remaining integer,
    starts_at timestamptz,
    ends_at timestamptz
  );
exception when duplicate_object then null; end $$;
comment on type app_public.promotion_quote is 'The cost of a promotion at this moment, and when it would start and end.';
comment on column app_public.promotion_quote.source is E'@notNull\nWhat would pay for it.';
comment on column app_public.promotion_quote.net_amount is E'@notNull\nWithout VAT.';
comment on column app_public.promotion_quote.vat_rate is E'@notNull\nIn percent: 19.00 is 19 %.';
comment on column app_public.promotion_quote.gross_amount is E'@notNull\nNet amount plus VAT.';
comment on column app_public.promotion_quote.currency is E'@notNull\nISO 4217.';
comment on column app_public.promotion_quote.subscription_remaining is E'@notNull\nPromotions of the kind that are left in running subscriptions; if none runs, those of the pending one that starts next.';
comment on column app_public.promotion_quote.starts_at is E'@notNull\nNow, or the end of the running promotion of the kind.';
comment on column app_public.promotion_quote.ends_at is E'@notNull\nWhen it would end; earlier if the listing does.';

comment on column app_private.publication_decision.takes_slot is 'Whether it takes a slot of a CONCURRENT subscription. False: neither a slot nor quota of listings, because the listing has a slot already, or is promoted. Null: something else pays.';

--! Included promotion/clear_promotions.sql
create or replace function app_private.clear_promotions() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  new.is_premium := false;
  new.premium_until := null;
  new.is_highlighted := false;
  new.highlighted_until := null;
  return new;
end
$$;

comment on function app_private.clear_promotions() is 'Trigger: the promotions of a listing end when it is no longer active, and when it is renewed after its end.';
--! EndIncluded promotion/clear_promotions.sql
--! Included promotion/decide_promotion.sql
create or replace function app_private.decide_promotion(
  listing app_public.listings, kind app_public.promotion_kind, at timestamptz,
  out decision app_private.publication_decision, out starts_at timestamptz, out ends_at timestamptz)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_pricing_type constant app_public.pricing_type := (decide_promotion.kind::text || '_fee')::app_public.pricing_type;
  v_dealer app_public.dealers;
  v_gate app_private.pricing_gate;
  v_price app_public.price_configs;
  v_item app_public.invoice_items;
  v_subscription app_public.dealer_subscriptions;
  v_quota integer;
  v_first app_public.dealer_subscriptions;
  v_running integer;
  v_pending app_public.dealer_subscriptions;
  v_pending_quota integer;
begin
  -- @plpgsql_check_options: extra_warnings = off
  select d.* into v_dealer from app_public.dealers as d where d.id = listing.dealer_id;
  perform app_private.require_publisher(v_dealer);
  if listing.status <> 'active' or listing.expires_at <= at then
    perform app_private.refuse_listing_status(listing.status, 'Only an active listing that has not ended can be promoted.');
  end if;
  v_gate := app_private.pass_pricing_gate(v_dealer.country, 'dealer', v_pricing_type, at);
  -- Also where quota pays: the price has the duration.
  v_price := app_private.find_price(v_dealer.country, 'dealer', v_pricing_type, at);
  foreach v_subscription in array app_private.open_subscriptions(v_dealer.id, at) loop
    v_quota := case decide_promotion.kind
      when 'premium' then v_subscription.included_premium_quota - v_subscription.used_premium_quota
      else v_subscription.included_highlight_quota - v_subscription.used_highlight_quota
    end;
    if v_subscription.start_at <= at then
      v_running := coalesce(v_running, 0) + v_quota;
      if v_quota > 0 and (v_first.id is null or v_subscription.end_at < v_first.end_at) then
        v_first := v_subscription;
      end if;
    elsif v_subscription.status = 'pending' and v_pending.id is null then
      v_pending := v_subscription;
      v_pending_quota := v_quota;
    end if;
  end loop;
  -- Where none runs, the oldest pending one is due to start.
  if v_running is null and v_pending_quota > 0 then
    v_first := v_pending;
    v_running := v_pending_quota;
  end if;
  v_item := app_private.price_item(case when v_first.id is null then v_price.unit_price_net else 0 end, v_gate);
  decision.dealer_id := v_dealer.id;
  decision.country := v_dealer.country;
  decision.at := at;
  decision.source := case when v_first.id is null then 'paid_extra' else 'subscription_quota' end::app_public.consumption_source;
  decision.subscription_id := v_first.id;
  decision.starts_subscription := v_first.status is not distinct from 'pending';
  decision.price_config_id := case when v_first.id is null then v_price.id end;
  decision.price_version := case when v_first.id is null then v_price.price_version end;
  decision.unit_price_net := v_item.unit_price_net;
  decision.net_amount := v_item.net_amount;
  decision.vat_rate := v_item.vat_rate;
  decision.vat_amount := v_item.vat_amount;
  decision.gross_amount := v_item.gross_amount;
  decision.currency := v_item.currency;
  decision.minor_units := v_gate.minor_units::integer;
  decision.subscription_remaining := coalesce(v_running, 0);
  decision.takes_slot := false;
  starts_at := greatest(at, case decide_promotion.kind when 'premium' then listing.premium_until else listing.highlighted_until end);
  ends_at := starts_at + v_price.duration_days * interval '24 hours';
end
$$;

comment on function app_private.decide_promotion(app_public.listings, app_public.promotion_kind, timestamptz) is 'Decides what pays for a promotion of a listing at a moment, and from when to when it lasts: the pricing gate, then quota of its kind in the running subscription that ends first, then the price of its kind. It starts at the end of the running one of its kind, if there is one. Without a running subscription, it decides as if the oldest pending one had been started. Quotes and charges both use it; a charge is exact because its caller holds the locks of the dealer and the listing. Raises FC003 if the dealer may not publish, FC005 and FC006 for missing or ambiguous configuration, FC008 unless the listing is active.';
--! EndIncluded promotion/decide_promotion.sql
--! Included promotion/promote_listing.sql
create or replace function app_public.promote_listing(listing_id uuid, kind app_public.promotion_kind, idempotency_key uuid)
  returns app_public.listing_promotions
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_key constant uuid := app_private.operation_key('promoteListing', idempotency_key);
  v_listing constant app_public.listings := app_private.lock_listing(listing_id);
  v_at constant timestamptz := clock_timestamp();
  v_decided record;
  v_promotion app_public.listing_promotions;
begin
  if app_private.is_charged(v_listing, v_key) then
    select p.* into strict v_promotion
    from app_public.listing_consumptions as lc
    join app_public.listing_promotions as p on p.dealer_id = lc.dealer_id and p.listing_id = lc.listing_id and p.id = lc.id
    where lc.dealer_id = v_listing.dealer_id and lc.idempotency_key = v_key;
    if v_promotion.kind <> promote_listing.kind then
      raise exception using
        errcode = 'FC007',
        message = 'This idempotency key was used for another kind of promotion. Use a new key for each promotion.',
        detail = jsonb_build_object('field', 'idempotencyKey')::text;
    end if;
    return v_promotion;
  end if;
  v_decided := app_private.decide_promotion(v_listing, promote_listing.kind, v_at);
  perform app_private.record_consumption(
    v_decided.decision, v_listing.id, promote_listing.kind::text::app_public.consumption_kind, app_public.current_user_id(), (
      select 1 + count(*)::integer from app_public.listing_promotions as p
      where p.dealer_id = v_listing.dealer_id and p.listing_id = v_listing.id and p.kind = promote_listing.kind), v_key);
  -- Not in record_consumption, because every publication waits for it.
  update app_public.dealer_subscriptions as s
  set used_premium_quota = s.used_premium_quota + (promote_listing.kind = 'premium')::integer,
    used_highlight_quota = s.used_highlight_quota + (promote_listing.kind = 'highlight')::integer
  where s.dealer_id = v_listing.dealer_id and s.id = (v_decided.decision).subscription_id;
  insert into app_public.listing_promotions (dealer_id, listing_id, id, kind, starts_at, ends_at)
  select lc.dealer_id, lc.listing_id, lc.id, promote_listing.kind, v_decided.starts_at, v_decided.ends_at
  from app_public.listing_consumptions as lc
  where lc.dealer_id = v_listing.dealer_id and lc.idempotency_key = v_key
  returning * into strict v_promotion;
  update app_public.listings as l
  set is_premium = l.is_premium or promote_listing.kind = 'premium',
    premium_until = case promote_listing.kind when 'premium' then v_promotion.ends_at else l.premium_until end,
    is_highlighted = l.is_highlighted or promote_listing.kind = 'highlight',
    highlighted_until = case promote_listing.kind when 'highlight' then v_promotion.ends_at else l.highlighted_until end,
    updated_at = v_at
  where l.dealer_id = v_listing.dealer_id and l.id = v_listing.id;
  return v_promotion;
end
$$;

comment on function app_public.promote_listing(uuid, app_public.promotion_kind, uuid) is E'@behavior +mutationField\n@resultFieldName promotion\nPromotes an active listing: quota of that kind of the running subscription pays for it, otherwise the price of that kind. A second promotion of the kind starts when the running one ends. It ends with the listing, and nothing is given back. The same idempotency key with the same input returns the same promotion.';

grant execute on function app_public.promote_listing(uuid, app_public.promotion_kind, uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded promotion/promote_listing.sql
--! Included promotion/quote_promotion.sql
create or replace function app_public.quote_promotion(listing_id uuid, kind app_public.promotion_kind) returns app_public.promotion_quote
  language plpgsql stable security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_listing constant app_public.listings := app_private.find_listing(listing_id);
  v_decided record;
  v_decision app_private.publication_decision;
begin
  perform app_private.require_member(v_listing.dealer_id);
  v_decided := app_private.decide_promotion(v_listing, quote_promotion.kind, clock_timestamp());
  v_decision := v_decided.decision;
  return (
    v_decision.source, v_decision.net_amount, v_decision.vat_rate, v_decision.gross_amount, v_decision.currency,
    v_decision.subscription_remaining, v_decided.starts_at, v_decided.ends_at);
end
$$;

comment on function app_public.quote_promotion(uuid, app_public.promotion_kind) is E'@behavior +queryField\nWhat a promotion of a listing would cost now, and when it would start and end: the decision of promoteListing without its writes. For members of the dealer.';

grant execute on function app_public.quote_promotion(uuid, app_public.promotion_kind) to forecourt_dealer, forecourt_admin;
--! EndIncluded promotion/quote_promotion.sql
--! Included promotion/end_promotions.sql
create or replace function app_private.end_promotions(batch_size integer default 1000) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_ended integer;
begin
  update app_public.listings as l
  set is_premium = coalesce(l.premium_until > v_now, false),
    premium_until = case when l.premium_until > v_now then l.premium_until end,
    is_highlighted = coalesce(l.highlighted_until > v_now, false),
    highlighted_until = case when l.highlighted_until > v_now then l.highlighted_until end,
    updated_at = v_now
  -- By ctid: a join could be planned as a scan of all listings. The locks keep the ctids stable.
  where l.ctid = any (array(
    select p.ctid from app_public.listings as p
    where (p.is_premium or p.is_highlighted) and least(p.premium_until, p.highlighted_until) <= v_now
    order by least(p.premium_until, p.highlighted_until)
    limit batch_size
    for update skip locked));
  get diagnostics v_ended = row_count;
  return v_ended;
end
$$;

comment on function app_private.end_promotions(integer) is 'Takes the flags off up to `batch_size` listings of which a promotion has ended, and returns their number; 0 means done. Listings that another transaction has locked are skipped.';
--! EndIncluded promotion/end_promotions.sql
--! Included metrics/listing_metrics.sql
create or replace function app_private.listing_metrics()
  returns table (metric text, labels jsonb, value double precision)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return query
  select 'listings_due'::text, '{}'::jsonb, count(*)::double precision
  from (
    select from app_public.listings as l
    where l.status = 'active' and l.expires_at <= statement_timestamp()
    limit 100000
  ) as due
  union all
  select 'promotions_due', '{}', count(*)::double precision
  from (
    select from app_public.listings as l
    where (l.is_premium or l.is_highlighted) and least(l.premium_until, l.highlighted_until) <= statement_timestamp()
    limit 100000
  ) as due;
end
$$;

comment on function app_private.listing_metrics() is 'Number of active listings whose end has passed, and of listings with a promotion whose end has passed, counted in the indexes and up to 100,000. See operation_metrics.';
--! EndIncluded metrics/listing_metrics.sql
--! Included listing/find_listing.sql
create or replace function app_private.find_listing(listing_id uuid) returns app_public.listings
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_listing app_public.listings;
begin
  select l.* into v_listing from app_public.listings as l where l.id = find_listing.listing_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no listing with this id. Please check it.',
      detail = jsonb_build_object('field', 'listingId')::text;
  end if;
  return v_listing;
end
$$;

comment on function app_private.find_listing(uuid) is 'The listing with this id. Takes no lock and does not check the caller. Raises FC004 if there is none.';
--! EndIncluded listing/find_listing.sql
--! Included listing/lock_listing.sql
create or replace function app_private.lock_listing(listing_id uuid, by_member boolean default true) returns app_public.listings
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_listing app_public.listings := app_private.find_listing(listing_id);
  v_dealer_id constant uuid := v_listing.dealer_id;
begin
  if by_member then
    perform app_private.require_member(v_dealer_id);
  end if;
  perform app_private.lock_dealer(v_dealer_id);
  -- The dealer's lock keeps off other requests, this one keeps off an expiry run.
  select l.* into v_listing
  from app_public.listings as l
  where l.dealer_id = v_dealer_id and l.id = lock_listing.listing_id
  for update;
  return v_listing;
end
$$;

comment on function app_private.lock_listing(uuid, boolean) is 'The first step of every write for a listing: locks its dealer, then the listing, and returns it as it is under these locks. Raises what find_listing raises, and what require_member raises unless `by_member` is false.';
--! EndIncluded listing/lock_listing.sql
--! Included ledger/verify_promotions.sql
create or replace function app_private.verify_promotions() returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  with charged as materialized (
    select dealer_id, id, listing_id, kind, subscription_id from app_public.listing_consumptions where kind in ('premium', 'highlight')
  )
  select 'a promotion does not belong to exactly one ledger row of its listing and kind',
    coalesce(p.dealer_id, lc.dealer_id), coalesce(p.id, lc.id), jsonb_build_object('promotion', p.kind, 'ledger_row', lc.kind)
  from app_public.listing_promotions as p
  full join charged as lc on lc.dealer_id = p.dealer_id and lc.id = p.id
  where (lc.listing_id, lc.kind::text) is distinct from (p.listing_id, p.kind::text)
  union all
  select 'the used quota of a subscription is not the number of its promotions', s.dealer_id, s.id,
    jsonb_build_object('premium', s.used_premium_quota, 'highlight', s.used_highlight_quota,
      'premium_rows', coalesce(lc.premium, 0), 'highlight_rows', coalesce(lc.highlight, 0))
  from app_public.dealer_subscriptions as s
  left join (
    select dealer_id, subscription_id, count(*) filter (where kind = 'premium') as premium, count(*) filter (where kind = 'highlight') as highlight
    from charged
    group by dealer_id, subscription_id
  ) as lc on lc.dealer_id = s.dealer_id and lc.subscription_id = s.id
  where (s.used_premium_quota, s.used_highlight_quota) <> (coalesce(lc.premium, 0), coalesce(lc.highlight, 0))
  union all
  select 'a listing is shown as promoted without a promotion', l.dealer_id, l.id,
    jsonb_build_object('status', l.status, 'premium_until', l.premium_until, 'highlighted_until', l.highlighted_until)
  from app_public.listings as l
  where (l.is_premium or l.is_highlighted) and (
    l.status <> 'active'
    or l.is_premium and not exists (
      select from app_public.listing_promotions as p
      where p.dealer_id = l.dealer_id and p.listing_id = l.id and p.kind = 'premium' and p.ends_at = l.premium_until)
    or l.is_highlighted and not exists (
      select from app_public.listing_promotions as p
      where p.dealer_id = l.dealer_id and p.listing_id = l.id and p.kind = 'highlight' and p.ends_at = l.highlighted_until))
$$;

comment on function app_private.verify_promotions() is 'Finds promotions without exactly one ledger row of the same listing and kind, and such rows without a promotion (`id` is that of both); subscriptions whose used quota of a kind differs from the number of their ledger rows of that kind (`id` is the subscription''s); and listings that show a promotion but are not active or have none with that end (`id` is the listing''s).';
--! EndIncluded ledger/verify_promotions.sql
--! Included ledger/verify_reversals.sql
create or replace function app_private.verify_reversals() returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select 'a reversal is not the opposite of the row that it gives back', r.dealer_id, r.id, jsonb_build_object('reverses', r.reverses)
  from app_public.listing_consumptions as r
  left join app_public.listing_consumptions as o on o.dealer_id = r.dealer_id and o.id = r.reverses
  where r.reverses is not null and (
    o.kind is null or o.kind not in ('publication', 'renewal') or r.created_at < o.created_at
    or r.subscription_id <> o.subscription_id
    -- Only an ended subscription gets nothing back, and only a price on a void invoice.
    or r.subscription_id is null and exists (
      select from app_public.dealer_subscriptions as s
      where s.dealer_id = o.dealer_id and s.id = o.subscription_id and r.created_at < s.end_at)
    or r.invoice_item_id is null and exists (
      select from app_public.invoice_items as it
      join app_public.invoices as i on i.dealer_id = it.dealer_id and i.id = it.invoice_id
      where it.dealer_id = o.dealer_id and it.id = o.invoice_item_id and i.status <> 'void')
    or (r.listing_id, r.source, r.currency, r.vat_rate, r.net_amount, r.vat_amount, r.gross_amount, r.price_config_id)
      is distinct from (o.listing_id, o.source, o.currency, o.vat_rate, -o.net_amount, -o.vat_amount, -o.gross_amount, o.price_config_id))
  union all
  select 'a renewal was given back, but its listing is not rejected', r.dealer_id, r.id, jsonb_build_object('reverses', r.reverses)
  from app_public.listing_consumptions as r
  join app_public.listing_consumptions as o on o.dealer_id = r.dealer_id and o.id = r.reverses and o.kind = 'renewal'
  join app_public.listings as l on l.dealer_id = r.dealer_id and l.id = r.listing_id and l.status <> 'rejected'
  where r.reverses is not null and not exists (
    select from app_public.listing_consumptions as later
    where later.dealer_id = o.dealer_id and later.listing_id = o.listing_id and later.kind = 'renewal' and later.number > o.number)
  union all
  select 'the charge of a rejected listing was not given back', l.dealer_id, l.id, jsonb_build_object('consumption', lc.id)
  from app_public.listings as l
  join app_public.listing_consumptions as lc on lc.dealer_id = l.dealer_id and lc.listing_id = l.id and lc.kind <> 'reversal'
  where l.status = 'rejected' and l.rejected_at is not null
    -- The end of a listing that was taken down is that moment. A later renewal paid for its resubmission.
    and (l.published_at is null or lc.kind = 'renewal' and lc.created_at > l.expires_at)
    and not exists (select from app_public.listing_consumptions as r where r.dealer_id = lc.dealer_id and r.reverses = lc.id)
$$;

comment on function app_private.verify_reversals() is 'Finds reversals that are not the opposite of the row that they give back, and those of a renewal whose listing is not rejected (`id` is the reversal''s), and listings that were rejected while they were pending and not given back (`id` is the listing''s).';
--! EndIncluded ledger/verify_reversals.sql
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
    where source = 'subscription_quota' and subscription_id is not null and kind not in ('premium', 'highlight')
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

comment on function app_private.verify_subscriptions() is 'Finds subscriptions whose used quota of listings differs from the number of their ledger rows that were not given back (0 for a CONCURRENT one), or exceeds the included quota, and ledger rows whose subscription does not exist. `id` is the subscription''s.';
--! EndIncluded ledger/verify_subscriptions.sql
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
  return query select * from app_private.verify_promotions();
  return query select * from app_private.verify_paid_extras();
  return query select * from app_private.verify_invoices();
  return query select * from app_private.verify_purchases();
end
$$;

comment on function app_private.verify_ledger(boolean) is 'Checks the rules of the ledger and returns one row per violation; no row means that the ledger is in order. Reads every row once or twice by set operations, in the snapshot of the calling statement, and locks no rows. With `listings` false, verify_listings is left out.';
--! EndIncluded ledger/verify_ledger.sql

update app_public.rate_limit_policies
set fields = fields || '{Mutation.promoteListing}'
where scope = 'listing_create' and not fields && '{Mutation.promoteListing}';

-- Everything below is quick, and waits for these locks at one place. They come in the order in which publications take them.
select app_private.lock_tables('app_public.listings', 'app_public.listing_consumptions');
-- The table is new and empty.
alter table app_public.listing_promotions
  drop constraint if exists listing_promotions_listing,
  drop constraint if exists listing_promotions_consumption,
  -- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
  add constraint listing_promotions_listing foreign key (dealer_id, listing_id) references app_public.listings (dealer_id, id),
  -- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
  add constraint listing_promotions_consumption foreign key (dealer_id, id) references app_public.listing_consumptions (dealer_id, id);
comment on constraint listing_promotions_listing on app_public.listing_promotions is E'@backwardBehavior +manyRelation:resource:connection\n@foreignFieldName promotions\n@backwardDescription Its promotions; nothing unless you are a member.';
comment on constraint listing_promotions_consumption on app_public.listing_promotions is E'@forwardBehavior +singularRelation:resource:single\n@fieldName consumption\n@forwardDescription What paid for it.';
-- The next migration checks the rows that exist.
alter table app_public.listings
  drop constraint if exists listings_country_filled,
  add constraint listings_country_filled check (country is not null) not valid;
create or replace trigger listings_promotions_cleared before update of status, published_at on app_public.listings
  for each row when (
    (old.is_premium or old.is_highlighted) and (new.status <> 'active' or new.published_at is distinct from old.published_at)
  ) execute function app_private.clear_promotions();
alter policy select_public on app_public.listings
  -- `is not false` keeps the planner from the index of ends: most listings have not ended.
  using (status = 'active' and (expires_at > now()) is not false and app_public.is_open_dealer(dealer_id));
comment on type app_public.listing_status is 'pending: waits for moderation. active: visible to everybody until its end. rejected: refused or taken down by an admin. withdrawn and sold: ended by the dealer. expired: its time is over.';
comment on type app_public.consumption_source is 'What paid for a listing or a promotion: the free quota, the quota of a subscription, or a price.';
comment on type app_public.invoice_kind is 'package: a purchase. monthly: what a dealer was charged and given back in a month beyond the quotas: listings, renewals and promotions.';
comment on table app_public.listings is E'@behavior +query:resource:connection\nA vehicle or other item that a dealer offers. The ledger has at most one publication of it that was not given back.';
comment on column app_public.listings.created_at is 'When the listing was created.';
comment on column app_public.listings.module is E'@behavior +attribute:filterBy\nThe section of the marketplace that shows it, such as auto.';
comment on column app_public.listings.external_id is E'@behavior +attribute:filterBy\nYour own reference: one line of at most 100 characters, unique among the pending and active listings of a dealer.';
comment on column app_public.listings.currency is E'@behavior +attribute:filterBy\nThe currency of the price, ISO 4217.';
grant select (country, is_premium, is_highlighted) on app_public.listings to forecourt_visitor, forecourt_dealer, forecourt_admin;
