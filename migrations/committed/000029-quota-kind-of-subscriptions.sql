--! Previous: sha1:7d43334f497593b74a9c7f5befa46bef77eeb5b2
--! Hash: sha1:dc055b71b9b5cffff159008bfa423bc4d72d4ebc
--! Message: quota kind of subscriptions

set local lock_timeout to '2s';
set local statement_timeout to '60s';

select app_private.lock_tables('app_public.dealer_subscriptions');

-- After the lock, because a new connection waits for a type that is being changed.
do $$ begin
  alter type app_private.publication_decision add attribute takes_slot boolean;
exception when duplicate_column then null; end $$;
comment on column app_private.publication_decision.takes_slot is 'Whether it takes a slot of a CONCURRENT subscription. False: no further one, because the listing has one already. Null: something else pays.';
do $$ begin
  alter type app_private.publication_decision add attribute pays_for integer;
exception when duplicate_column then null; end $$;
comment on column app_private.publication_decision.pays_for is 'How many publications in a row it holds for, this one included; null: any number.';

-- Before Postgres 18 a table gets no column with a default while the default of a function's parameter has its row type. So the
-- function is dropped and made again in this transaction. A publication has locked the table before it calls the function: it ends
-- before this transaction, or waits for it and then finds the new function.
drop function if exists app_private.decide_publication(uuid, text, timestamptz, boolean, app_public.dealer_subscriptions[]);
alter table app_public.dealer_subscriptions add column if not exists quota_kind app_public.quota_kind not null default 'per_period';
comment on column app_public.dealer_subscriptions.quota_kind is 'Whether the included listings are counted once they are published, or while they are pending or active.';
comment on column app_public.dealer_subscriptions.status is 'pending until it starts: when the one before it ends or has no listing quota or slot left; active; expired after its end has been recorded; cancelled: it keeps its quota until end_at.';
comment on column app_public.dealer_subscriptions.used_listing_quota is 'Used listings: the number of its ledger rows that were not given back. 0 for a CONCURRENT quota: `Dealer.slots` counts its listings.';
-- Before the function that calls it. No subscription is CONCURRENT yet, so nothing runs it before the migrations that it needs.
--! Included quota/count_free_slots.sql
create or replace function app_private.count_free_slots(subscription app_public.dealer_subscriptions, at timestamptz) returns integer
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_free_slots integer;
begin
  select subscription.included_listing_quota - d.slots_in_use + (
    -- From its end on a listing holds no slot, whether or not its end has been recorded.
    select count(*)::integer
    from app_public.listings as l
    where l.dealer_id = d.id and l.holds_slot and l.status = 'active' and l.expires_at <= count_free_slots.at)
  into v_free_slots
  from app_public.dealers as d
  where d.id = subscription.dealer_id and (subscription.status = 'pending' or not exists (
    select from app_public.dealer_subscriptions as s
    where s.dealer_id = d.id and s.status <> 'expired' and s.quota_kind = 'concurrent'
      and s.start_at <= count_free_slots.at and count_free_slots.at < s.end_at
      and (s.included_listing_quota, s.id) > (subscription.included_listing_quota, subscription.id)));
  return v_free_slots;
end
$$;

comment on function app_private.count_free_slots(app_public.dealer_subscriptions, timestamptz) is 'How many more listings fit into a CONCURRENT subscription at a moment, as if a pending one had been started. Slots belong to the dealer, so all its listings that hold one count. Negative where more do than it includes, such as after a downgrade; null where a larger one runs too, which has the slots of both.';
--! EndIncluded quota/count_free_slots.sql
--! Included quota/decide_publication.sql
create or replace function app_private.decide_publication(
  dealer_id uuid, country text, at timestamptz, has_free_quota boolean default true, subscriptions app_public.dealer_subscriptions[] default null
) returns app_private.publication_decision
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_decision app_private.publication_decision;
  v_vat_rates numeric[];
  v_free_listings integer;
  v_since timestamptz;
  v_subscription app_public.dealer_subscriptions;
  v_first app_public.dealer_subscriptions;
  v_remaining integer;
  v_is_running boolean;
  v_overage_blocked boolean;
  v_price app_public.price_configs;
begin
  select decide_publication.dealer_id, cc.country, decide_publication.at, c.code, c.minor_units::integer, 0, 0, q.quota_amount, decide_publication.at - q.period_days * interval '24 hours',
    array(select r.rate from app_public.vat_rates as r where r.country = cc.country and r.valid @> decide_publication.at)
  into v_decision.dealer_id, v_decision.country, v_decision.at, v_decision.currency, v_decision.minor_units, v_decision.free_remaining, v_decision.subscription_remaining, v_free_listings, v_since, v_vat_rates
  from app_public.country_currencies as cc join app_public.currencies as c on c.code = cc.currency
  left join app_public.free_quota_configs as q on q.country = cc.country and q.segment = 'dealer' and q.valid @> decide_publication.at
  where cc.country = decide_publication.country;
  if cardinality(v_vat_rates) is distinct from 1 then
    perform app_private.pass_pricing_gate(decide_publication.country, 'dealer', 'pay_per_listing', decide_publication.at);
  end if;
  if v_free_listings > 0 and decide_publication.has_free_quota then
    select greatest(v_free_listings - coalesce(sum(case when lc.reverses is null then 1 else -(
      select count(*)::integer from app_public.listing_consumptions as o where o.id = lc.reverses and o.dealer_id = lc.dealer_id and o.created_at > v_since) end), 0)::integer, 0)
    into v_decision.free_remaining from app_public.listing_consumptions as lc where lc.dealer_id = decide_publication.dealer_id and lc.source = 'free_quota' and lc.created_at > v_since;
  end if;
  foreach v_subscription in array coalesce(decide_publication.subscriptions, app_private.open_subscriptions(decide_publication.dealer_id, decide_publication.at)) loop
    v_remaining := case v_subscription.quota_kind when 'per_period' then v_subscription.included_listing_quota - v_subscription.used_listing_quota
      else greatest(app_private.count_free_slots(v_subscription, decide_publication.at), 0) end;
    v_is_running := v_subscription.start_at <= decide_publication.at and decide_publication.at < v_subscription.end_at;
    if v_is_running then
      v_decision.subscription_remaining := v_decision.subscription_remaining + v_remaining;
      v_overage_blocked := v_subscription.overage = 'block' and coalesce(v_overage_blocked, true);
    end if;
    if v_remaining > 0 and (v_is_running and coalesce(v_subscription.end_at < v_first.end_at, true) or v_subscription.status = 'pending' and v_first.id is null) then
      v_first := v_subscription;
      v_decision.pays_for := v_remaining;
    end if;
  end loop;
  v_decision.subscription_remaining := case v_first.status when 'pending' then v_decision.pays_for else v_decision.subscription_remaining end;
  if v_decision.free_remaining > 0 then
    v_decision.source := 'free_quota';
    v_decision.pays_for := v_decision.free_remaining;
  elsif v_first.id is not null then
    v_decision.source := 'subscription_quota';
    v_decision.subscription_id := v_first.id;
    v_decision.takes_slot := case v_first.quota_kind when 'concurrent' then true end;
  elsif v_overage_blocked then
    perform app_private.refuse_overage(decide_publication.country);
  else
    v_decision.source := 'paid_extra';
    v_price := app_private.find_price(decide_publication.country, 'dealer', 'pay_per_listing', decide_publication.at);
    v_decision.price_config_id := v_price.id;
    v_decision.price_version := v_price.price_version;
  end if;
  v_decision.starts_subscription := v_decision.source = 'subscription_quota' and v_first.status = 'pending';
  v_decision.unit_price_net := app_private.money(coalesce(v_price.unit_price_net, 0.0), v_decision.minor_units);
  v_decision.net_amount := round(v_decision.unit_price_net, v_decision.minor_units);
  v_decision.vat_rate := v_vat_rates[1];
  v_decision.vat_amount := app_private.vat_amount(v_decision.net_amount, v_decision.vat_rate, v_decision.minor_units);
  v_decision.gross_amount := v_decision.net_amount + v_decision.vat_amount;
  return v_decision;
end
$$;

comment on function app_private.decide_publication(uuid, text, timestamptz, boolean, app_public.dealer_subscriptions[]) is 'Decides what pays for a dealer''s next publication or renewal at a moment: the pricing gate, then free quota, subscription, price. A free row that was given back does not count, and neither does its reversal, even if only the reversal lies in the period. Of the subscriptions that run, cancelled ones included, the one that ends first is used first; a CONCURRENT one has as many listings left as it has free slots. `pays_for` says how many publications in a row it holds for. If no running subscription has quota left, it decides as if the oldest pending one with quota had been started. Quotes and charges both use it; a charge is exact because its caller holds the dealer''s locks and passes the subscriptions that it has locked (null: they are read). Raises FC005 and FC006 for missing or ambiguous configuration, FC009 if the package forbids overage.';
--! EndIncluded quota/decide_publication.sql

--! Included subscription/enforce_subscription_state.sql
create or replace function app_private.enforce_subscription_state() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = format(
      'A subscription cannot change from %s to %s in this way. Allowed are pending → active → expired, and pending or active → cancelled. Its dealer, id, quota kind and included quotas never change.',
      old.status, new.status);
end
$$;

comment on function app_private.enforce_subscription_state() is 'Trigger: refuses a forbidden change of a subscription, for every role. The rule is in the trigger''s WHEN clause, which costs an allowed change a fraction of a function call.';
--! EndIncluded subscription/enforce_subscription_state.sql
create or replace trigger dealer_subscriptions_state
  before update of dealer_id, id, status, quota_kind, included_listing_quota, included_premium_quota, included_highlight_quota
  on app_public.dealer_subscriptions
  for each row when (
    (old.dealer_id, old.id, old.quota_kind, old.included_listing_quota, old.included_premium_quota, old.included_highlight_quota)
    is distinct from
    (new.dealer_id, new.id, new.quota_kind, new.included_listing_quota, new.included_premium_quota, new.included_highlight_quota)
    or old.status <> new.status and not (
      old.status = 'pending' and new.status in ('active', 'cancelled')
      or old.status = 'active' and new.status in ('expired', 'cancelled'))
  ) execute function app_private.enforce_subscription_state();
