--! Previous: sha1:413815c4f5d118836375667ffd8b0f0624fa00df
--! Hash: sha1:2d95835d7373634dbe8add1d2234e853cec2e71d
--! Message: publication by fewer statements

set local lock_timeout to '2s';
set local statement_timeout to '60s';

--! Included limits/take_rate_limit.sql
create or replace function app_public.take_rate_limit(
  key bytea, max_count integer, window_seconds integer, cost integer, enforced boolean,
  out allowed boolean, out used integer, out reset_at bigint, out retry_after integer
)
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant double precision := date_part('epoch', clock_timestamp());
begin
  -- nearly every charge falls into a running window and passes: one short statement. What does not match is neither locked
  -- nor written, and is looked at again below. The share of the window before is that of rate_limit_used.
  update app_private.rate_limit_counters as c
  set current = c.current + take_rate_limit.cost
  where c.key = take_rate_limit.key
    and c.window_seconds = take_rate_limit.window_seconds and v_now < c.started_at + c.window_seconds
    and (c.current + c.previous * (1 - (v_now - c.started_at) / c.window_seconds) + take_rate_limit.cost <= take_rate_limit.max_count
      or not take_rate_limit.enforced)
  returning
    ceil(c.current + c.previous * (1 - (v_now - c.started_at) / c.window_seconds))::integer,
    ceil(c.started_at + c.window_seconds)::bigint
  into used, reset_at;
  allowed := found;
  if allowed then
    return;
  end if;
  select t.used, t.reset_at into take_rate_limit.used, take_rate_limit.reset_at
  from app_private.take_rate_limit_at_edge(
    key, case when enforced then max_count::double precision else 'Infinity' end, window_seconds, cost, v_now) as t;
  allowed := used is not null;
  if not allowed then
    select r.retry_after[1], r.reset_at[1] into take_rate_limit.retry_after, take_rate_limit.reset_at
    from app_private.refused_rate_limits(
      array[key], array[max_count], array[window_seconds], array[cost], array[enforced], v_now) as r;
  end if;
end
$$;

comment on function app_public.take_rate_limit(bytea, integer, integer, integer, boolean) is
  'Takes one charge, or refuses it and writes nothing: `used` of the window after it, `reset_at` in Unix seconds, `retry_after` in seconds where it is over its limit. What is not enforced is counted and never refused. The caller sets lock_timeout. For the API''s limiter alone, not for GraphQL.';

grant execute on function app_public.take_rate_limit(bytea, integer, integer, integer, boolean) to forecourt_authenticator;
--! EndIncluded limits/take_rate_limit.sql
--! Included limits/take_rate_limits.sql
create or replace function app_public.take_rate_limits(
  keys bytea[], max_counts integer[], windows integer[], costs integer[], enforced boolean[],
  out allowed boolean, out used integer[], out reset_at bigint[], out retry_after integer[]
)
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant double precision := date_part('epoch', clock_timestamp());
  v_used integer;
  v_reset_at bigint;
begin
  select r.retry_after is null into allowed
  from app_private.refused_rate_limits(keys, max_counts, windows, costs, enforced, v_now) as r;
  -- keys come in ascending order, so that two calls never wait for each other
  for v_index in 1 .. cardinality(keys) loop
    exit when not allowed;
    select t.allowed, t.used, t.reset_at into take_rate_limits.allowed, v_used, v_reset_at
    from app_public.take_rate_limit(
      keys[v_index], max_counts[v_index], windows[v_index], costs[v_index], enforced[v_index]) as t;
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
  'Takes several charges of a request, or none: the arrays have one element a charge, keys in ascending order. By index what take_rate_limit gives for one. The caller sets lock_timeout. For the API''s limiter alone, not for GraphQL.';

grant execute on function app_public.take_rate_limits(bytea[], integer[], integer[], integer[], boolean[]) to forecourt_authenticator;
--! EndIncluded limits/take_rate_limits.sql
--! Included operations/time_ordered_uuid.sql
create or replace function app_private.time_ordered_uuid() returns uuid
  language sql volatile security invoker parallel safe
  -- no search_path, which would keep the planner from inlining this into every insert: a body of this form is bound to its
  -- objects when it is made. 48 bits of milliseconds, then 12 bits of their fraction, as Postgres 18's uuidv7() does
  return (
    overlay(lpad(to_hex((extract(epoch from clock_timestamp()) * 4096000)::bigint), 15, '0') placing '7' from 13 for 0)
    || substr(gen_random_uuid()::text, 20)
  )::uuid;

comment on function app_private.time_ordered_uuid() is
  'A UUID of version 7 (RFC 9562): its order is the order of time, so that a new row lands at the right edge of its index. Works below Postgres 18 too.';
--! EndIncluded operations/time_ordered_uuid.sql
--! Included identity/current_user_id.sql
create or replace function app_public.current_user_id() returns uuid
  language sql stable security invoker parallel safe
  -- no search_path, so that the planner inlines it into policies: a body of this form is bound to its objects when it is made
  return nullif(current_setting('forecourt.user_id', true), '')::uuid;

comment on function app_public.current_user_id() is
  'The verified user of this transaction, null for a visitor. The API sets `forecourt.user_id` from the access token.';

grant execute on function app_public.current_user_id() to forecourt_visitor, forecourt_dealer, forecourt_admin;
--! EndIncluded identity/current_user_id.sql
--! Included pricing/money.sql
create or replace function app_private.money(amount numeric, minor_units integer) returns numeric
  language sql immutable security invoker parallel safe
  -- no search_path, so that the planner inlines it: a body of this form is bound to its objects when it is made
  return round(amount, greatest(scale(amount), minor_units));

comment on function app_private.money(numeric, integer) is
  'The same amount, written with at least the decimals of its currency: 5 EUR is 5.00. Rounds nothing away. Without a currency as it is.';
--! EndIncluded pricing/money.sql
--! Included pricing/pricing_detail.sql
create or replace function app_private.pricing_detail(
  country text, segment app_public.segment, pricing_type app_public.pricing_type, at timestamptz
) returns jsonb
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'country', pricing_detail.country, 'segment', upper(pricing_detail.segment::text),
    'pricingType', upper(pricing_detail.pricing_type::text), 'at', pricing_detail.at))
$$;

comment on function app_private.pricing_detail(text, app_public.segment, app_public.pricing_type, timestamptz) is
  'For whom and when configuration was looked for: the facts of FC005 and FC006. No pricing_type: a package.';
--! EndIncluded pricing/pricing_detail.sql
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
begin
  select c.code, c.minor_units, v.rates, v.rate into v_gate.currency, v_gate.minor_units, v_vat_rates, v_gate.vat_rate
  from app_public.country_currencies as cc
  join app_public.currencies as c on c.code = cc.currency
  cross join lateral (
    select count(*)::integer as rates, max(r.rate) as rate
    from app_public.vat_rates as r
    where r.country = cc.country and r.valid @> pass_pricing_gate.at
  ) as v
  where cc.country = pass_pricing_gate.country;
  if not found then
    raise exception using
      errcode = 'FC005',
      message = format('No currency is configured for %s, so nothing can be published or sold there yet. Please contact support.', pass_pricing_gate.country),
      detail = (jsonb_build_object('missing', 'currency') || app_private.pricing_detail(
        pass_pricing_gate.country, pass_pricing_gate.segment, pass_pricing_gate.pricing_type, pass_pricing_gate.at))::text,
      hint = 'Insert it into country_currencies.';
  end if;
  if v_vat_rates = 0 then
    raise exception using
      errcode = 'FC005',
      message = format('No VAT rate is configured for %s, so nothing can be published or sold there yet. Please contact support.', pass_pricing_gate.country),
      detail = (jsonb_build_object('missing', 'vat_rate') || app_private.pricing_detail(
        pass_pricing_gate.country, pass_pricing_gate.segment, pass_pricing_gate.pricing_type, pass_pricing_gate.at))::text,
      hint = 'Insert it into vat_rates.';
  elsif v_vat_rates > 1 then
    raise exception using
      errcode = 'FC006',
      message = format('More than one VAT rate applies in %s. Please contact support.', pass_pricing_gate.country),
      detail = (jsonb_build_object('ambiguous', 'vat_rate') || app_private.pricing_detail(
        pass_pricing_gate.country, pass_pricing_gate.segment, pass_pricing_gate.pricing_type, pass_pricing_gate.at))::text,
      hint = 'End all but one in vat_rates.';
  end if;
  return v_gate;
end
$$;

comment on function app_private.pass_pricing_gate(text, app_public.segment, app_public.pricing_type, timestamptz) is
  'Currency and VAT rate of a country at a moment. Nothing is published or sold without both, not even what is free. `segment` and `pricing_type` (null: a package) say who wants what, for the error. Raises FC005 where one is missing, FC006 where more than one VAT rate applies.';
--! EndIncluded pricing/pass_pricing_gate.sql
--! Included pricing/find_price.sql
create or replace function app_private.find_price(
  country text, segment app_public.segment, pricing_type app_public.pricing_type, at timestamptz
) returns app_public.price_configs
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_prices app_public.price_configs[];
begin
  v_prices := array(
    select p from app_public.price_configs as p
    where p.country = find_price.country
      and p.segment = find_price.segment
      and p.pricing_type = find_price.pricing_type
      and p.valid @> find_price.at
  );
  if cardinality(v_prices) = 0 then
    raise exception using
      errcode = 'FC005',
      message = format('No price is configured for a listing in %s, and your quotas are used up. Please buy a package or contact support.', find_price.country),
      detail = (jsonb_build_object('missing', 'price') || app_private.pricing_detail(
        find_price.country, find_price.segment, find_price.pricing_type, find_price.at))::text,
      hint = 'Set it with app_private.set_price.';
  elsif cardinality(v_prices) > 1 then
    raise exception using
      errcode = 'FC006',
      message = format('More than one price applies to a listing in %s. Please contact support.', find_price.country),
      detail = (jsonb_build_object('ambiguous', 'price') || app_private.pricing_detail(
        find_price.country, find_price.segment, find_price.pricing_type, find_price.at))::text,
      hint = 'End all but one in price_configs.';
  end if;
  return v_prices[1];
end
$$;

comment on function app_private.find_price(text, app_public.segment, app_public.pricing_type, timestamptz) is
  'The price that holds at a moment. Raises FC005 where there is none, FC006 where more than one applies.';
--! EndIncluded pricing/find_price.sql
--! Included quota/free_quota_remaining.sql
create or replace function app_private.free_quota_remaining(dealer_id uuid, country text, segment app_public.segment, at timestamptz) returns integer
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_remaining integer;
begin
  select q.quota_amount - (
    select count(*)
    from app_public.listing_consumptions as lc
    where lc.dealer_id = free_quota_remaining.dealer_id
      and lc.source = 'free_quota'
      and lc.created_at > free_quota_remaining.at - q.period_days * interval '24 hours'
  )::integer
  into v_remaining
  from app_public.free_quota_configs as q
  where q.country = free_quota_remaining.country and q.segment = free_quota_remaining.segment
    and q.valid @> free_quota_remaining.at;
  return greatest(v_remaining, 0);
end
$$;

comment on function app_private.free_quota_remaining(uuid, text, app_public.segment, timestamptz) is
  'Free listings that are left to a dealer in the rolling period that ends at a moment, counted in the ledger. Exact while the dealer is locked.';
--! EndIncluded quota/free_quota_remaining.sql
--! Included listing/create_listing.sql
create or replace function app_public.create_listing(
  dealer_id uuid, idempotency_key uuid, title text, module text, price numeric, currency text,
  description text default null, attributes jsonb default null, images text[] default null
) returns app_public.listings
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_payload_hash constant bytea := sha256(convert_to(
    jsonb_build_array(title, module, trim_scale(price), currency, description, attributes, to_jsonb(images))::text, 'UTF8'));
  v_user_id constant uuid := app_private.require_member(create_listing.dealer_id);
  v_dealer constant app_public.dealers := app_private.lock_dealer(create_listing.dealer_id);
  v_listing app_public.listings;
  v_decision app_private.publication_decision;
  v_at timestamptz;
begin
  v_listing := app_private.replay_listing(v_dealer.id, create_listing.idempotency_key, v_payload_hash);
  if v_listing.id is not null then
    return v_listing;
  end if;
  perform app_private.require_publisher(v_dealer);
  -- after the locks: a publication that waited past a subscription's end must not use it
  v_at := clock_timestamp();
  v_decision := app_private.decide_publication(v_dealer.id, v_dealer.country, v_at);
  insert into app_public.listings (
    dealer_id, title, module, price, currency, description, attributes, images,
    idempotency_key, payload_hash, created_by, created_at, updated_at)
  values (
    v_dealer.id, btrim(create_listing.title), create_listing.module,
    -- of an unknown currency as it is, so that its foreign key is what refuses it
    app_private.money(
      create_listing.price,
      (select c.minor_units::integer from app_public.currencies as c where c.code = create_listing.currency)),
    create_listing.currency,
    create_listing.description, coalesce(create_listing.attributes, '{}'), coalesce(create_listing.images, '{}'),
    create_listing.idempotency_key, v_payload_hash, v_user_id, v_at, v_at)
  returning * into v_listing;
  perform app_private.record_consumption(v_listing, v_decision);
  return v_listing;
end
$$;

comment on function app_public.create_listing(uuid, uuid, text, text, numeric, text, text, jsonb, text[]) is
  E'@behavior +mutationField\n@resultFieldName listing\nPublishes a listing: decides what pays for it (free quota, subscription, price), takes that, and makes a PENDING listing, in one transaction. The same idempotency key with the same input answers with the same listing.';

grant execute on function app_public.create_listing(uuid, uuid, text, text, numeric, text, text, jsonb, text[]) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/create_listing.sql
