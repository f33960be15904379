--! Previous: sha1:16cc87cfc88d6512fee8b7fc1f5cd381384a2d52
--! Hash: sha1:ae700cb1920a2d48309333a47ec3c6ce068e971f
--! Message: reconciliation, pricing conflicts, alerts

-- Gives up rather than queue behind a long transaction with everyone else behind it.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

create table if not exists app_private.alerts (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  kind text not null constraint alerts_kind_form check (kind ~ '^[a-z][a-z_]{2,39}$'),
  key text not null constraint alerts_key_length check (length(key) between 1 and 200),
  message text not null constraint alerts_message_length check (length(message) between 1 and 1000),
  details jsonb not null default '{}' constraint alerts_details_object check (jsonb_typeof(details) = 'object'),
  created_at timestamptz not null default clock_timestamp(),
  constraint alerts_kind_key_key unique (kind, key)
);
comment on table app_private.alerts is 'The outbox of alerts: what operators are told, each once. app_private.send_alert writes it, the worker sends it.';
comment on column app_private.alerts.id is 'Time-ordered; the receiver''s idempotency key.';
comment on column app_private.alerts.kind is 'What it is about, such as ledger_broken.';
comment on column app_private.alerts.key is 'Within its kind, what is told once only; often with the hour or the day.';
comment on column app_private.alerts.message is 'A sentence for a person.';
comment on column app_private.alerts.details is 'The facts, an object.';
comment on column app_private.alerts.created_at is 'When it was raised.';

create index if not exists ix_alerts_kind_created_at on app_private.alerts (kind, created_at);

create table if not exists app_private.alert_deliveries (
  alert_id uuid not null references app_private.alerts,
  channel text not null constraint alert_deliveries_channel_known check (channel in ('webhook', 'email')),
  attempts integer not null constraint alert_deliveries_attempts_positive check (attempts > 0),
  delivered_at timestamptz,
  last_error text,
  primary key (alert_id, channel)
);
comment on table app_private.alert_deliveries is 'What became of an alert on each channel; an alert without rows was not yet tried, came in a flood, or no channel is configured.';
comment on column app_private.alert_deliveries.alert_id is 'The alert.';
comment on column app_private.alert_deliveries.channel is 'Where it goes.';
comment on column app_private.alert_deliveries.attempts is 'How often the worker has tried.';
comment on column app_private.alert_deliveries.delivered_at is 'When it was taken; null: not yet.';
comment on column app_private.alert_deliveries.last_error is 'Why the last attempt failed; null: it did not.';

create table if not exists app_private.ledger_checks (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  started_at timestamptz not null,
  finished_at timestamptz not null,
  broken integer not null constraint ledger_checks_broken_not_negative check (broken >= 0),
  findings jsonb not null,
  constraint ledger_checks_finished_after_start check (finished_at >= started_at)
);
comment on table app_private.ledger_checks is 'Results of the nightly reconciliation; the last one says how the books stand.';
comment on column app_private.ledger_checks.id is 'Time-ordered.';
comment on column app_private.ledger_checks.started_at is 'When it began.';
comment on column app_private.ledger_checks.finished_at is 'When it was done.';
comment on column app_private.ledger_checks.broken is 'How many rows break a rule; 0: the books are in order.';
comment on column app_private.ledger_checks.findings is 'The broken rules: [{"rule": …, "broken": n, "examples": [up to five]}].';

create table if not exists app_private.pricing_conflicts (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  country text not null constraint pricing_conflicts_country_form check (country ~ '^[A-Z]{2}$'),
  segment app_public.segment not null,
  pricing_type app_public.pricing_type,
  configuration text not null constraint pricing_conflicts_configuration_known check (configuration in ('currency', 'vat_rate', 'price')),
  code text not null constraint pricing_conflicts_code_known check (code in ('pricing_config_missing', 'pricing_config_ambiguous')),
  count bigint not null constraint pricing_conflicts_count_positive check (count > 0),
  first_seen_at timestamptz not null,
  last_seen_at timestamptz not null,
  constraint pricing_conflicts_key unique nulls not distinct (country, segment, pricing_type, configuration, code),
  constraint pricing_conflicts_seen_in_order check (last_seen_at >= first_seen_at)
);
comment on table app_private.pricing_conflicts is 'What customers were refused for missing or ambiguous configuration (409), added up: their own transaction is rolled back.';
comment on column app_private.pricing_conflicts.id is 'Time-ordered.';
comment on column app_private.pricing_conflicts.country is 'The dealer''s, ISO 3166-1 alpha-2.';
comment on column app_private.pricing_conflicts.segment is 'Who was refused.';
comment on column app_private.pricing_conflicts.pricing_type is 'What was to be paid for; null: a package.';
comment on column app_private.pricing_conflicts.configuration is 'What is missing or ambiguous.';
comment on column app_private.pricing_conflicts.code is 'The code that the customer got.';
comment on column app_private.pricing_conflicts.count is 'How many refusals.';
comment on column app_private.pricing_conflicts.first_seen_at is 'When the first one was recorded.';
comment on column app_private.pricing_conflicts.last_seen_at is 'When the last one was recorded.';

do $$ begin
  create type app_private.ledger_fault as (rule text, dealer_id uuid, id uuid, detail jsonb);
exception when duplicate_object then null; end $$;
comment on type app_private.ledger_fault is 'A row that breaks an invariant of the books.';
comment on column app_private.ledger_fault.rule is 'The invariant, as a sentence.';
comment on column app_private.ledger_fault.dealer_id is 'Whose books.';
comment on column app_private.ledger_fault.id is 'The row: a listing, a subscription, an invoice or an item, as the rule says.';
comment on column app_private.ledger_fault.detail is 'What stands against what.';

drop function if exists app_private.pass_pricing_gate(text, timestamptz);

--! Included pricing/pass_pricing_gate.sql
create or replace function app_private.pass_pricing_gate(
  country text, segment app_public.segment, pricing_type app_public.pricing_type, at timestamptz
) returns app_private.pricing_gate
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_gate app_private.pricing_gate;
  v_vat_rates integer;
  v_detail constant jsonb := jsonb_strip_nulls(jsonb_build_object(
    'country', pass_pricing_gate.country, 'segment', upper(pass_pricing_gate.segment::text),
    'pricingType', upper(pass_pricing_gate.pricing_type::text), 'at', pass_pricing_gate.at));
begin
  select c.code, c.minor_units into v_gate.currency, v_gate.minor_units
  from app_public.country_currencies as cc
  join app_public.currencies as c on c.code = cc.currency
  where cc.country = pass_pricing_gate.country;
  if not found then
    raise exception using
      errcode = 'FC005',
      message = format('No currency is configured for %s, so nothing can be published or sold there yet. Please contact support.', pass_pricing_gate.country),
      detail = (jsonb_build_object('missing', 'currency') || v_detail)::text,
      hint = 'Insert it into country_currencies.';
  end if;
  select count(*)::integer, max(v.rate) into v_vat_rates, v_gate.vat_rate
  from app_public.vat_rates as v
  where v.country = pass_pricing_gate.country and v.valid @> pass_pricing_gate.at;
  if v_vat_rates = 0 then
    raise exception using
      errcode = 'FC005',
      message = format('No VAT rate is configured for %s, so nothing can be published or sold there yet. Please contact support.', pass_pricing_gate.country),
      detail = (jsonb_build_object('missing', 'vat_rate') || v_detail)::text,
      hint = 'Insert it into vat_rates.';
  elsif v_vat_rates > 1 then
    raise exception using
      errcode = 'FC006',
      message = format('More than one VAT rate applies in %s. Please contact support.', pass_pricing_gate.country),
      detail = (jsonb_build_object('ambiguous', 'vat_rate') || v_detail)::text,
      hint = 'End all but one in vat_rates.';
  end if;
  return v_gate;
end
$$;

comment on function app_private.pass_pricing_gate(text, app_public.segment, app_public.pricing_type, timestamptz) is
  'Currency and VAT rate of a country at a moment. Nothing is published or sold without both, not even what is free. `segment` and `pricing_type` (null: a package) say who wants what, for the error. Raises FC005 where one is missing, FC006 where more than one VAT rate applies.';
--! EndIncluded pricing/pass_pricing_gate.sql
--! Included quota/decide_publication.sql
create or replace function app_private.decide_publication(dealer_id uuid, country text, at timestamptz) returns app_private.publication_decision
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_segment constant app_public.segment := 'dealer'::app_public.segment;
  v_pricing_type constant app_public.pricing_type := 'pay_per_listing'::app_public.pricing_type;
  v_gate app_private.pricing_gate;
  v_decision app_private.publication_decision;
  v_price app_public.price_configs;
  v_unit_price_net numeric := 0.0;
  v_overage_blocked boolean;
begin
  v_gate := app_private.pass_pricing_gate(decide_publication.country, v_segment, v_pricing_type, decide_publication.at);
  v_decision.free_remaining := app_private.free_quota_remaining(
    decide_publication.dealer_id, decide_publication.country, v_segment, decide_publication.at);
  -- a cancelled subscription keeps its quota until its end; what ends first is used first
  select
    coalesce(sum(s.included_listing_quota - s.used_listing_quota), 0)::integer,
    (array_agg(s.id order by s.end_at, s.id) filter (where s.used_listing_quota < s.included_listing_quota))[1],
    bool_and(s.overage = 'block')
  into v_decision.subscription_remaining, v_decision.subscription_id, v_overage_blocked
  from app_public.dealer_subscriptions as s
  where s.dealer_id = decide_publication.dealer_id and s.status in ('active', 'cancelled')
    and s.start_at <= decide_publication.at and decide_publication.at < s.end_at;

  if v_decision.free_remaining > 0 then
    v_decision.source := 'free_quota';
    v_decision.subscription_id := null;
  elsif v_decision.subscription_id is not null then
    v_decision.source := 'subscription_quota';
  elsif v_overage_blocked then
    raise exception using
      errcode = 'FC009',
      message = 'The listing quota of your package is used up, and it allows no more. Please buy another package.',
      detail = jsonb_build_object('country', decide_publication.country, 'segment', upper(v_segment::text))::text;
  else
    v_price := app_private.find_price(decide_publication.country, v_segment, v_pricing_type, decide_publication.at);
    v_decision.source := 'paid_extra';
    v_decision.price := v_price;
    v_unit_price_net := v_price.unit_price_net;
  end if;
  v_decision.charge := app_private.price_item(v_unit_price_net, v_gate);
  return v_decision;
end
$$;

comment on function app_private.decide_publication(uuid, text, timestamptz) is
  'The one decision of what pays for a dealer''s next listing at a moment: the gate, then free quota, subscription, price. Quotes and charges both come from here; a charge is exact because its caller holds the dealer''s locks. Raises FC005 and FC006 for missing or ambiguous configuration, FC009 where the package forbids overage.';
--! EndIncluded quota/decide_publication.sql
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
  v_gate app_private.pricing_gate;
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
  if not v_dealer.is_active then
    raise exception using
      errcode = 'FC003',
      message = 'This dealer is closed. Please contact support.',
      detail = jsonb_build_object('field', 'dealerId')::text;
  end if;
  v_at := clock_timestamp();
  v_gate := app_private.pass_pricing_gate(v_dealer.country, 'dealer', null, v_at);
  v_package := app_private.find_package(buy_package.package_id, v_dealer.country);
  perform app_private.close_expired_checkout(buy_package.dealer_id, v_at);

  v_item := app_private.price_item(v_package.price_net, v_gate);
  insert into app_public.invoices (dealer_id, kind, country, currency, net_total, vat_total, gross_total, created_at, updated_at)
  values (v_dealer.id, 'package', v_dealer.country, v_gate.currency, v_item.net_amount, v_item.vat_amount, v_item.gross_amount, v_at, v_at)
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
    duration_days, listing_limit, premium_quota, highlight_quota, overage, expires_at, created_at)
  values (
    v_dealer.id, v_item.invoice_id, v_package.id, buy_package.idempotency_key, v_payload_hash, 'manual', buy_package.success_url, buy_package.cancel_url,
    v_package.duration_days, v_package.listing_limit, v_package.premium_quota, v_package.highlight_quota, v_package.overage,
    v_at + interval '336 hours', v_at)
  returning * into v_checkout;
  return v_checkout;
end
$$;

comment on function app_public.buy_package(uuid, uuid, uuid, text, text) is
  E'@behavior +mutationField\n@resultFieldName checkout\nBegins the purchase of a package on sale in the dealer''s country: a draft invoice with a snapshot of price and VAT, open for 14 days. The same idempotency key with the same input answers with the same invoice.';

grant execute on function app_public.buy_package(uuid, uuid, uuid, text, text) to forecourt_dealer, forecourt_admin;
--! EndIncluded billing/buy_package.sql
--! Included operations/send_alert.sql
create or replace function app_private.send_alert(kind text, key text, message text, details jsonb default '{}') returns boolean
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_id uuid;
begin
  insert into app_private.alerts (kind, key, message, details, created_at)
  values (send_alert.kind, send_alert.key, send_alert.message, send_alert.details, v_now)
  on conflict on constraint alerts_kind_key_key do nothing
  returning id into v_id;
  if v_id is null then
    return false;
  end if;
  -- a user can raise some kinds at will, with a dealer in each country: operators get fifty, and word of the rest
  perform from app_private.alerts as a
  where a.kind = send_alert.kind and a.created_at > v_now - interval '1 hour'
  offset 50 limit 1;
  if not found then
    perform graphile_worker.add_job('send_alert', json_build_object('id', v_id), job_key := 'send_alert:' || v_id);
  elsif send_alert.kind <> 'alert_flood' then
    perform app_private.send_alert(
      'alert_flood',
      send_alert.kind || to_char(v_now at time zone 'UTC', ' YYYY-MM-DD"T"HH24"Z"'),
      format('More than 50 alerts of the kind %s within an hour. The others are not sent, see app_private.alerts.', send_alert.kind));
  end if;
  return true;
end
$$;

comment on function app_private.send_alert(text, text, text, jsonb) is
  'Puts an alert in the outbox, and has the worker send it once this transaction is committed. The same kind and key again is the same alert, and is not sent again: a key that names the hour or the day repeats it then. `message` is a sentence for a person, `details` an object for a machine. Of a kind 50 an hour are sent, and one that tells of the rest. Returns whether the alert is new.';
--! EndIncluded operations/send_alert.sql
--! Included operations/record_alert_delivery.sql
create or replace function app_private.record_alert_delivery(alert_id uuid, channel text, error text default null) returns void
  language sql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  insert into app_private.alert_deliveries as d (alert_id, channel, attempts, delivered_at, last_error)
  values (
    record_alert_delivery.alert_id, record_alert_delivery.channel, 1,
    case when record_alert_delivery.error is null then clock_timestamp() end, record_alert_delivery.error)
  on conflict (alert_id, channel) do update set
    attempts = d.attempts + 1,
    delivered_at = coalesce(d.delivered_at, excluded.delivered_at),
    last_error = excluded.last_error
$$;

comment on function app_private.record_alert_delivery(uuid, text, text) is
  'Notes an attempt of the worker to send an alert on a channel: `error` says why it failed; null: it was delivered.';
--! EndIncluded operations/record_alert_delivery.sql
--! Included operations/remove_old_alerts.sql
create or replace function app_private.remove_old_alerts() returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_before constant timestamptz := clock_timestamp() - interval '2160 hours';
  v_removed integer;
begin
  delete from app_private.alert_deliveries as d
  using app_private.alerts as a
  where a.id = d.alert_id and a.created_at < v_before;
  delete from app_private.alerts as a where a.created_at < v_before;
  get diagnostics v_removed = row_count;
  return v_removed;
end
$$;

comment on function app_private.remove_old_alerts() is
  'Removes alerts that were raised more than 90 days ago, sent or not, and returns how many.';
--! EndIncluded operations/remove_old_alerts.sql
--! Included operations/verify_listings.sql
create or replace function app_private.verify_listings() returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  -- both sides come in order from their primary keys alone: the tables are read only where they differ
  with differing as materialized (
    select coalesce(l.dealer_id, lc.dealer_id) as dealer_id, coalesce(l.id, lc.listing_id) as id,
      l.id is not null as is_listing, coalesce(lc.ledger_rows, 0) as ledger_rows
    from app_public.listings as l
    full join (
      select dealer_id, listing_id, count(*) as ledger_rows from app_public.listing_consumptions group by dealer_id, listing_id
    ) as lc on lc.dealer_id = l.dealer_id and lc.listing_id = l.id
    where l.id is null or lc.ledger_rows is distinct from 1
  )
  select 'a listing past draft has not exactly one ledger row', d.dealer_id, d.id, jsonb_build_object('ledger_rows', d.ledger_rows)
  from differing as d
  join app_public.listings as l on l.dealer_id = d.dealer_id and l.id = d.id
  where l.status <> 'draft'
  union all
  select 'a ledger row has no listing past draft', d.dealer_id, d.id, jsonb_build_object('ledger_rows', d.ledger_rows)
  from differing as d
  where not d.is_listing
  union all
  select 'a ledger row has no listing past draft', l.dealer_id, l.id, jsonb_build_object('status', l.status)
  from app_public.listings as l
  join app_public.listing_consumptions as lc on lc.dealer_id = l.dealer_id and lc.listing_id = l.id
  where l.status = 'draft'
$$;

comment on function app_private.verify_listings() is
  'Listings past draft that have not exactly one row in the ledger, and rows of the ledger without such a listing. `id` is the listing''s.';
--! EndIncluded operations/verify_listings.sql
--! Included operations/verify_subscriptions.sql
create or replace function app_private.verify_subscriptions() returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select
    case
      when s.id is null then 'a ledger row uses a subscription that is not there'
      when s.used_listing_quota <> coalesce(lc.ledger_rows, 0) then 'used quota is not the number of ledger rows'
      else 'used quota is beyond what is included'
    end,
    coalesce(s.dealer_id, lc.dealer_id),
    coalesce(s.id, lc.subscription_id),
    jsonb_build_object('used', s.used_listing_quota, 'included', s.included_listing_quota, 'ledger_rows', coalesce(lc.ledger_rows, 0))
  from app_public.dealer_subscriptions as s
  full join (
    select dealer_id, subscription_id, count(*) as ledger_rows
    from app_public.listing_consumptions
    where source = 'subscription_quota'
    group by dealer_id, subscription_id
  ) as lc on lc.dealer_id = s.dealer_id and lc.subscription_id = s.id
  where s.id is null
    or s.used_listing_quota <> coalesce(lc.ledger_rows, 0)
    or s.used_listing_quota not between 0 and s.included_listing_quota
$$;

comment on function app_private.verify_subscriptions() is
  'Subscriptions whose used quota is not the number of their rows in the ledger, or beyond what is included, and rows of the ledger without their subscription. `id` is the subscription''s.';
--! EndIncluded operations/verify_subscriptions.sql
--! Included operations/verify_paid_extras.sql
create or replace function app_private.verify_paid_extras() returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select
    case
      when lc.listing_id is null then 'an item of a monthly invoice is of no listing, or of several'
      else 'a paid listing has no invoice item of the same amounts'
    end,
    coalesce(lc.dealer_id, it.dealer_id),
    coalesce(lc.listing_id, it.id),
    jsonb_build_object('ledger_gross', lc.gross_amount, 'item_gross', it.gross_amount)
  from (
    select * from app_public.listing_consumptions where source = 'paid_extra'
  ) as lc
  full join (
    select it.*
    from app_public.invoice_items as it
    join app_public.invoices as i on i.dealer_id = it.dealer_id and i.id = it.invoice_id
    where i.kind = 'monthly'
  ) as it on it.dealer_id = lc.dealer_id and it.id = lc.invoice_item_id
  where (lc.net_amount, lc.vat_rate, lc.vat_amount, lc.gross_amount, lc.currency, lc.price_config_id)
    is distinct from (it.net_amount, it.vat_rate, it.vat_amount, it.gross_amount, it.currency, it.price_config_id)
  union all
  select 'an item of a monthly invoice is of no listing, or of several', lc.dealer_id, lc.invoice_item_id,
    jsonb_build_object('ledger_rows', count(*))
  from app_public.listing_consumptions as lc
  where lc.invoice_item_id is not null
  group by lc.dealer_id, lc.invoice_item_id
  having count(*) > 1
$$;

comment on function app_private.verify_paid_extras() is
  'Paid rows of the ledger without exactly one item of the same amounts on a monthly invoice (`id` is the listing''s), and items of monthly invoices without exactly one row in the ledger (`id` is the item''s).';
--! EndIncluded operations/verify_paid_extras.sql
--! Included operations/verify_invoices.sql
create or replace function app_private.verify_invoices() returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select
    case when i.id is null then 'an item stands on no invoice' else 'totals of an invoice are not the sums of its items' end,
    coalesce(i.dealer_id, it.dealer_id),
    coalesce(i.id, it.invoice_id),
    jsonb_build_object('gross_total', i.gross_total, 'items_gross', coalesce(it.gross, 0))
  from app_public.invoices as i
  full join (
    select dealer_id, invoice_id, sum(net_amount) as net, sum(vat_amount) as vat, sum(gross_amount) as gross
    from app_public.invoice_items
    group by dealer_id, invoice_id
  ) as it on it.dealer_id = i.dealer_id and it.invoice_id = i.id
  where i.id is null
    or (i.net_total, i.vat_total, i.gross_total) <> (coalesce(it.net, 0), coalesce(it.vat, 0), coalesce(it.gross, 0))
  union all
  select 'an item is in another currency than its invoice', it.dealer_id, it.id,
    jsonb_build_object('item', it.country || ' ' || it.currency, 'invoice', i.country || ' ' || i.currency)
  from app_public.invoice_items as it
  join app_public.invoices as i on i.dealer_id = it.dealer_id and i.id = it.invoice_id
  where it.currency <> i.currency or it.country <> i.country
$$;

comment on function app_private.verify_invoices() is
  'Invoices whose totals are not the sums of their items, items without their invoice (`id` is the invoice''s), and items in another currency or country than it (`id` is the item''s).';
--! EndIncluded operations/verify_invoices.sql
--! Included operations/verify_purchases.sql
create or replace function app_private.verify_purchases() returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select
    case
      when i.id is null then 'a subscription stems from no purchase'
      when i.status = 'paid' then 'a paid package has not exactly one subscription'
      else 'a package that is not paid has a subscription'
    end,
    coalesce(i.dealer_id, s.dealer_id),
    coalesce(i.id, s.invoice_id),
    jsonb_build_object('status', i.status, 'subscriptions', coalesce(s.subscriptions, 0))
  from (
    select dealer_id, id, status from app_public.invoices where kind = 'package'
  ) as i
  full join (
    select dealer_id, invoice_id, count(*) as subscriptions
    from app_public.dealer_subscriptions
    where invoice_id is not null
    group by dealer_id, invoice_id
  ) as s on s.dealer_id = i.dealer_id and s.invoice_id = i.id
  where i.id is null or coalesce(s.subscriptions, 0) <> case i.status when 'paid' then 1 else 0 end
$$;

comment on function app_private.verify_purchases() is
  'Packages'' invoices that have not exactly one subscription when they are paid, none when they are not, and subscriptions that point at another invoice. `id` is the invoice''s.';
--! EndIncluded operations/verify_purchases.sql
--! Included operations/verify_ledger.sql
create or replace function app_private.verify_ledger() returns setof app_private.ledger_fault
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set work_mem to '64MB'
  set max_parallel_workers_per_gather to 0
as $$
begin
  -- one core and modest memory: publications have the rest; one rule after the other, so that none holds memory for the next
  return query select * from app_private.verify_listings();
  return query select * from app_private.verify_subscriptions();
  return query select * from app_private.verify_paid_extras();
  return query select * from app_private.verify_invoices();
  return query select * from app_private.verify_purchases();
end
$$;

comment on function app_private.verify_ledger() is
  'The invariants of the books: a row for each one that is broken and where, none when all is well. Reads every row once or twice by set operations, on the one snapshot of the calling statement, and takes no lock on rows.';
--! EndIncluded operations/verify_ledger.sql
--! Included operations/check_ledger.sql
create or replace function app_private.check_ledger() returns app_private.ledger_checks
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_check app_private.ledger_checks;
begin
  v_check.id := app_private.time_ordered_uuid();
  v_check.started_at := clock_timestamp();
  select coalesce(sum(r.broken), 0)::integer, coalesce(jsonb_agg(to_jsonb(r) order by r.rule), '[]')
  into v_check.broken, v_check.findings
  from (
    select f.rule, count(*) as broken,
      jsonb_agg(jsonb_build_object('dealer_id', f.dealer_id, 'id', f.id, 'detail', f.detail)) filter (where f.number <= 5) as examples
    from (
      select v.*, row_number() over (partition by v.rule) as number from app_private.verify_ledger() as v
    ) as f
    group by f.rule
  ) as r;
  v_check.finished_at := clock_timestamp();
  insert into app_private.ledger_checks values (v_check.*);
  if v_check.broken > 0 then
    perform app_private.send_alert(
      'ledger_broken', (v_check.started_at at time zone 'UTC')::date::text,
      format('The books are not in order: %s rows break a rule. See app_private.verify_ledger().', v_check.broken),
      jsonb_build_object('broken', v_check.broken, 'findings', v_check.findings));
  end if;
  return v_check;
end
$$;

comment on function app_private.check_ledger() is
  'Verifies the books, keeps the result in ledger_checks, and alerts, once a day (UTC), when anything is broken.';
--! EndIncluded operations/check_ledger.sql
--! Included operations/record_pricing_conflicts.sql
create or replace function app_public.record_pricing_conflicts(conflicts jsonb) returns void
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '2s'
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_conflict app_private.pricing_conflicts;
begin
  -- in one order, so that two processes never wait for each other
  for v_conflict in
    select * from jsonb_populate_recordset(null::app_private.pricing_conflicts, conflicts) as c
    order by c.country, c.segment, c.pricing_type, c.configuration, c.code
  loop
    insert into app_private.pricing_conflicts as c (country, segment, pricing_type, configuration, code, count, first_seen_at, last_seen_at)
    values (
      v_conflict.country, v_conflict.segment, v_conflict.pricing_type, v_conflict.configuration, v_conflict.code,
      v_conflict.count, v_now, v_now)
    on conflict on constraint pricing_conflicts_key do update set
      count = c.count + excluded.count,
      last_seen_at = greatest(c.last_seen_at, excluded.last_seen_at)
    returning c.* into v_conflict;
    perform app_private.send_alert(
      'pricing_conflict',
      concat_ws(' ', v_conflict.country, v_conflict.segment, v_conflict.pricing_type, v_conflict.configuration, v_conflict.code,
        to_char(v_now at time zone 'UTC', 'YYYY-MM-DD"T"HH24"Z"')),
      format('Customers in %s are refused: the %s is %s.', v_conflict.country, replace(v_conflict.configuration, '_', ' '),
        replace(v_conflict.code, 'pricing_config_', '')),
      to_jsonb(v_conflict) - 'id');
  end loop;
end
$$;

comment on function app_public.record_pricing_conflicts(jsonb) is
  'Adds up refusals for missing or ambiguous configuration: an array of {country, segment, pricing_type, configuration, code, count}. Alerts once for each of them and hour. For the API alone, outside of the transaction that was refused; not for GraphQL.';

grant execute on function app_public.record_pricing_conflicts(jsonb) to forecourt_authenticator;
--! EndIncluded operations/record_pricing_conflicts.sql
--! Included operations/alert_pricing_gaps.sql
create or replace function app_private.alert_pricing_gaps() returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_today constant date := (clock_timestamp() at time zone 'UTC')::date;
  v_gap record;
  v_alerts integer := 0;
begin
  for v_gap in
    select g.country, g.missing, min(g.starts_at) as starts_at,
      jsonb_agg(jsonb_build_object('starts_at', g.starts_at, 'ends_at', g.ends_at, 'since', g.since) order by g.starts_at) as gaps
    from app_public.pricing_gaps as g
    group by g.country, g.missing
    order by g.country, g.missing
  loop
    v_alerts := v_alerts + app_private.send_alert(
      'pricing_gap',
      concat_ws(' ', v_gap.country, v_gap.missing, v_today),
      format('%s has no %s %s.', v_gap.country, replace(v_gap.missing, '_', ' '),
        case when v_gap.starts_at <= now() then 'now' else 'from ' || to_char(v_gap.starts_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC' end),
      jsonb_build_object('country', v_gap.country, 'missing', v_gap.missing, 'gaps', v_gap.gaps))::integer;
  end loop;
  return v_alerts;
end
$$;

comment on function app_private.alert_pricing_gaps() is
  'Alerts of every country in which something is missing now or within 90 days, once a day (UTC) for each country and what it lacks, and returns how many alerts that made.';
--! EndIncluded operations/alert_pricing_gaps.sql

do $$
declare
  v_table regclass;
begin
  foreach v_table in array array[
    'app_private.alerts', 'app_private.alert_deliveries', 'app_private.ledger_checks', 'app_private.pricing_conflicts']::regclass[]
  loop
    execute format('alter table %s enable row level security', v_table);
    execute format('alter table %s force row level security', v_table);
    execute format('drop policy if exists all_owner on %s', v_table);
    execute format('create policy all_owner on %s to current_user using (true) with check (true)', v_table);
  end loop;
end
$$;
