--! Previous: sha1:9c6bfe7dc817233be3e53c358c11b4e61c46de35
--! Hash: sha1:f75cb644396835342bdb4f732932021124ef27fe
--! Message: cancel checkouts and quote packages

set local lock_timeout to '2s';
set local statement_timeout to '60s';

do $$ begin
  create type app_public.checkout_status as enum ('open', 'paid', 'cancelled', 'expired');
exception when duplicate_object then null; end $$;
comment on type app_public.checkout_status is 'open: waits for its payment. paid: its subscription exists. cancelled: voided before the end of the offer. expired: the offer has ended, and the next purchase voids the invoice.';

do $$ begin
  create type app_private.purchase_decision as (package app_public.dealer_packages, item app_public.invoice_items);
exception when duplicate_object then null; end $$;
comment on type app_private.purchase_decision is 'What a dealer buys, and for which amounts.';
comment on column app_private.purchase_decision.package is 'The package as it is on sale.';
comment on column app_private.purchase_decision.item is 'The amounts of its invoice item. buy_package fills in the other columns.';

do $$ begin
  create type app_public.package_quote as (net_amount numeric, vat_rate numeric, vat_amount numeric, gross_amount numeric, currency text);
exception when duplicate_object then null; end $$;
comment on type app_public.package_quote is 'The price of a package for a dealer at this moment.';
comment on column app_public.package_quote.net_amount is E'@notNull\nWithout VAT.';
comment on column app_public.package_quote.vat_rate is E'@notNull\nIn percent: 19.00 is 19 %.';
comment on column app_public.package_quote.vat_amount is E'@notNull\nNet amount times VAT rate, rounded half away from zero to the currency''s minor units.';
comment on column app_public.package_quote.gross_amount is E'@notNull\nNet amount plus VAT: the amount to pay.';
comment on column app_public.package_quote.currency is E'@notNull\nISO 4217.';

--! Included pricing/find_pricing_gate.sql
create or replace function app_private.find_pricing_gate(country text, at timestamptz) returns app_private.pricing_gate
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_gate app_private.pricing_gate;
begin
  select c.code, c.minor_units, max(r.rate) into v_gate
  from app_public.country_currencies as cc
  join app_public.currencies as c on c.code = cc.currency
  join app_public.vat_rates as r on r.country = cc.country and r.valid @> find_pricing_gate.at
  where cc.country = find_pricing_gate.country
  group by c.code
  having count(*) = 1;
  return v_gate;
end
$$;

comment on function app_private.find_pricing_gate(text, timestamptz) is 'Currency and VAT rate of a country at a moment; all columns are null if one is missing or several VAT rates are valid.';
--! EndIncluded pricing/find_pricing_gate.sql
--! Included pricing/pass_pricing_gate.sql
create or replace function app_private.pass_pricing_gate(
  country text, segment app_public.segment, pricing_type app_public.pricing_type, at timestamptz
) returns app_private.pricing_gate
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_gate constant app_private.pricing_gate := app_private.find_pricing_gate(pass_pricing_gate.country, pass_pricing_gate.at);
begin
  if v_gate.currency is not null then
    return v_gate;
  end if;
  perform from app_public.country_currencies as cc where cc.country = pass_pricing_gate.country;
  if not found then
    raise exception using
      errcode = 'FC005',
      message = format('No currency is configured for %s, so nothing can be published or sold there yet. Please contact support.', pass_pricing_gate.country),
      detail = (jsonb_build_object('missing', 'currency') || app_private.pricing_detail(
        pass_pricing_gate.country, pass_pricing_gate.segment, pass_pricing_gate.pricing_type, pass_pricing_gate.at))::text,
      hint = 'Insert it into country_currencies.';
  end if;
  perform from app_public.vat_rates as r where r.country = pass_pricing_gate.country and r.valid @> pass_pricing_gate.at;
  if not found then
    raise exception using
      errcode = 'FC005',
      message = format('No VAT rate is configured for %s, so nothing can be published or sold there yet. Please contact support.', pass_pricing_gate.country),
      detail = (jsonb_build_object('missing', 'vat_rate') || app_private.pricing_detail(
        pass_pricing_gate.country, pass_pricing_gate.segment, pass_pricing_gate.pricing_type, pass_pricing_gate.at))::text,
      hint = 'Insert it into vat_rates.';
  end if;
  raise exception using
    errcode = 'FC006',
    message = format('More than one VAT rate applies in %s. Please contact support.', pass_pricing_gate.country),
    detail = (jsonb_build_object('ambiguous', 'vat_rate') || app_private.pricing_detail(
      pass_pricing_gate.country, pass_pricing_gate.segment, pass_pricing_gate.pricing_type, pass_pricing_gate.at))::text,
    hint = 'End all but one in vat_rates.';
end
$$;

comment on function app_private.pass_pricing_gate(text, app_public.segment, app_public.pricing_type, timestamptz) is 'Returns currency and VAT rate of a country at a moment. Nothing is published or sold without both, not even for free. `segment` and `pricing_type` (null: a package) only describe the request in the error. Raises FC005 if one is missing, FC006 if several VAT rates are valid.';
--! EndIncluded pricing/pass_pricing_gate.sql
--! Included billing/dealer_packages_price_gross.sql
create or replace function app_public.dealer_packages_price_gross(dealer_package app_public.dealer_packages) returns numeric
  language plpgsql stable security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_gate constant app_private.pricing_gate := app_private.find_pricing_gate(dealer_package.country, now());
begin
  -- Null without a gate, as every amount that is computed from nulls.
  return (app_private.price_item(dealer_package.price_net, v_gate)).gross_amount;
end
$$;

comment on function app_public.dealer_packages_price_gross(app_public.dealer_packages) is E'@behavior +typeField\nThe price with VAT, as buyPackage would charge it now. Null if the VAT rate of the country is missing or ambiguous; the package cannot be bought then.';

grant execute on function app_public.dealer_packages_price_gross(app_public.dealer_packages) to forecourt_visitor, forecourt_dealer, forecourt_admin;
--! EndIncluded billing/dealer_packages_price_gross.sql
--! Included billing/dealer_packages_vat_rate.sql
create or replace function app_public.dealer_packages_vat_rate(dealer_package app_public.dealer_packages) returns numeric
  language plpgsql stable security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return (app_private.find_pricing_gate(dealer_package.country, now())).vat_rate;
end
$$;

comment on function app_public.dealer_packages_vat_rate(app_public.dealer_packages) is E'@behavior +typeField\nThe VAT rate of the country now, in percent: 19.00 is 19 %. Null if it is missing or ambiguous; the package cannot be bought then.';

grant execute on function app_public.dealer_packages_vat_rate(app_public.dealer_packages) to forecourt_visitor, forecourt_dealer, forecourt_admin;
--! EndIncluded billing/dealer_packages_vat_rate.sql
--! Included billing/void_checkout.sql
create or replace function app_private.void_checkout(dealer_id uuid, invoice_id uuid, at timestamptz) returns app_public.checkouts
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_checkout app_public.checkouts;
begin
  update app_public.invoices as i set status = 'void', updated_at = void_checkout.at
  where i.dealer_id = void_checkout.dealer_id and i.id = void_checkout.invoice_id;
  update app_public.checkouts as c set closed_at = void_checkout.at
  where c.dealer_id = void_checkout.dealer_id and c.invoice_id = void_checkout.invoice_id
  returning c.* into v_checkout;
  return v_checkout;
end
$$;

comment on function app_private.void_checkout(uuid, uuid, timestamptz) is 'Closes an open checkout without a payment, and voids its invoice. The caller holds the dealer''s lock.';
--! EndIncluded billing/void_checkout.sql
--! Included billing/close_expired_checkout.sql
create or replace function app_private.close_expired_checkout(dealer_id uuid, at timestamptz) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform app_private.void_checkout(c.dealer_id, c.invoice_id, close_expired_checkout.at)
  from app_public.checkouts as c
  where c.dealer_id = close_expired_checkout.dealer_id and c.closed_at is null and c.expires_at <= close_expired_checkout.at;
end
$$;

comment on function app_private.close_expired_checkout(uuid, timestamptz) is 'Voids the dealer''s open checkout if its offer has expired, so that a new purchase can start.';
--! EndIncluded billing/close_expired_checkout.sql
--! Included billing/status_of_checkout.sql
create or replace function app_public.status_of_checkout(dealer_id uuid, invoice_id uuid, at timestamptz default clock_timestamp())
  returns app_public.checkout_status
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_status app_public.checkout_status;
begin
  -- Volatile although it only reads: a stable function would not see the rows that the calling statement has just written.
  -- @plpgsql_check_options: performance_warnings = off
  select case
    when i.status = 'paid' then 'paid'
    when coalesce(c.closed_at, status_of_checkout.at) >= c.expires_at then 'expired'
    when i.status = 'void' then 'cancelled'
    else 'open'
  end::app_public.checkout_status into v_status
  from app_public.checkouts as c
  join app_public.invoices as i on i.dealer_id = c.dealer_id and i.id = c.invoice_id
  where c.dealer_id = status_of_checkout.dealer_id and c.invoice_id = status_of_checkout.invoice_id;
  return v_status;
end
$$;

comment on function app_public.status_of_checkout(uuid, uuid, timestamptz) is 'The status of a checkout at a moment, with the caller''s own rights. Follows from its times and its invoice: one that was voided before the end of its offer was cancelled. Not a field of GraphQL: `Checkout.status` calls it.';

grant execute on function app_public.status_of_checkout(uuid, uuid, timestamptz) to forecourt_dealer, forecourt_admin;
--! EndIncluded billing/status_of_checkout.sql
--! Included billing/cancel_checkout.sql
create or replace function app_public.cancel_checkout(checkout_id uuid) returns app_public.checkouts
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_checkout app_public.checkouts;
  v_status app_public.checkout_status;
  v_at timestamptz;
begin
  -- A checkout has the id of its invoice.
  select c.* into v_checkout from app_public.checkouts as c where c.invoice_id = cancel_checkout.checkout_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no checkout with this id. Please check it.',
      detail = jsonb_build_object('field', 'checkoutId')::text;
  end if;
  perform app_private.require_member(v_checkout.dealer_id);
  perform app_private.lock_dealer(v_checkout.dealer_id);
  v_at := clock_timestamp();
  v_status := app_public.status_of_checkout(v_checkout.dealer_id, v_checkout.invoice_id, v_at);
  if v_status = 'open' then
    return app_private.void_checkout(v_checkout.dealer_id, v_checkout.invoice_id, v_at);
  elsif v_status <> 'cancelled' then
    raise exception using
      errcode = 'FC008',
      message = case v_status
        when 'paid' then 'This checkout is paid, so it cannot be cancelled. You can cancel its subscription.'
        else 'The offer of this checkout has expired. You need not cancel it: please start a new purchase.' end,
      detail = jsonb_build_object('field', 'checkoutId', 'status', upper(v_status::text collate "C"))::text;
  end if;
  select c.* into v_checkout
  from app_public.checkouts as c
  where c.dealer_id = v_checkout.dealer_id and c.invoice_id = v_checkout.invoice_id;
  return v_checkout;
end
$$;

comment on function app_public.cancel_checkout(uuid) is E'@behavior +mutationField\n@resultFieldName checkout\nCancels an open checkout of one of the caller''s dealers and voids its invoice, so that another purchase can start. One that is paid or has expired cannot be cancelled (409). A second call changes nothing.';

grant execute on function app_public.cancel_checkout(uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded billing/cancel_checkout.sql
--! Included billing/decide_purchase.sql
create or replace function app_private.decide_purchase(dealer app_public.dealers, package_id uuid, at timestamptz)
  returns app_private.purchase_decision
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_gate app_private.pricing_gate;
  v_open app_public.checkouts;
  v_decision app_private.purchase_decision;
begin
  if not dealer.is_active then
    raise exception using
      errcode = 'FC003',
      message = 'This dealer is closed. Please contact support.',
      detail = jsonb_build_object('field', 'dealerId')::text;
  end if;
  v_gate := app_private.pass_pricing_gate(dealer.country, 'dealer', null, decide_purchase.at);
  v_decision.package := app_private.find_package(decide_purchase.package_id, dealer.country);
  select c.* into v_open
  from app_public.checkouts as c
  where c.dealer_id = dealer.id and c.closed_at is null and c.expires_at > decide_purchase.at;
  if found then
    raise exception using
      errcode = 'FC008',
      message = 'Another purchase of this dealer is waiting for its payment. Pay that invoice, or cancel that checkout.',
      detail = jsonb_build_object('checkoutId', v_open.invoice_id, 'invoiceId', v_open.invoice_id, 'expiresAt', v_open.expires_at)::text;
  end if;
  v_decision.item := app_private.price_item((v_decision.package).price_net, v_gate);
  return v_decision;
end
$$;

comment on function app_private.decide_purchase(app_public.dealers, uuid, timestamptz) is 'Decides whether a dealer can buy a package at a moment, and for which amounts. Only reads, so quote_package and buy_package both call it and a quote equals its charge. Raises FC003 for a closed dealer, FC005 and FC006 by the pricing gate, FC004 and FC010 for the package, FC008 while another checkout is open.';
--! EndIncluded billing/decide_purchase.sql
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
    duration_days, listing_limit, premium_quota, highlight_quota, overage, expires_at, created_at)
  values (
    v_dealer.id, v_item.invoice_id, v_package.id, buy_package.idempotency_key, v_payload_hash, 'manual', buy_package.success_url, buy_package.cancel_url,
    v_package.duration_days, v_package.listing_limit, v_package.premium_quota, v_package.highlight_quota, v_package.overage,
    v_at + interval '336 hours', v_at)
  returning * into v_checkout;
  return v_checkout;
end
$$;

comment on function app_public.buy_package(uuid, uuid, uuid, text, text) is E'@behavior +mutationField\n@resultFieldName checkout\nStarts the purchase of a package that is on sale in the dealer''s country: creates a draft invoice with a snapshot of price and VAT. The offer is open for 14 days. The same idempotency key with the same input returns the same checkout.';

grant execute on function app_public.buy_package(uuid, uuid, uuid, text, text) to forecourt_dealer, forecourt_admin;
--! EndIncluded billing/buy_package.sql
--! Included billing/quote_package.sql
create or replace function app_public.quote_package(dealer_id uuid, package_id uuid) returns app_public.package_quote
  language plpgsql stable security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_dealer app_public.dealers;
  v_item app_public.invoice_items;
begin
  perform app_private.require_member(quote_package.dealer_id);
  select d.* into v_dealer from app_public.dealers as d where d.id = quote_package.dealer_id;
  v_item := (app_private.decide_purchase(v_dealer, quote_package.package_id, clock_timestamp())).item;
  return (v_item.net_amount, v_item.vat_rate, v_item.vat_amount, v_item.gross_amount, v_item.currency);
end
$$;

comment on function app_public.quote_package(uuid, uuid) is E'@behavior +queryField\nWhat buyPackage would charge the dealer for a package now: its decision without the writes, with the same refusals. For members of the dealer.';

grant execute on function app_public.quote_package(uuid, uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded billing/quote_package.sql

comment on constraint checkouts_package_id_fkey on app_public.checkouts is E'@forwardBehavior +singularRelation:resource:single\n@fieldName package\n@forwardDescription The package; null if it is no longer on sale.';
