--! Previous: sha1:78119ac64ab25fb1f1be9c1cfe992c270b6f8566
--! Hash: sha1:2e56c215df5b52689877a24d8a8abc349b68da95
--! Message: pricing

-- Gives up rather than queue behind a long transaction with everyone else behind it.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

do $$ begin
  create type app_public.segment as enum ('dealer', 'individual');
exception when duplicate_object then null; end $$;
comment on type app_public.segment is 'Who publishes.';

do $$ begin
  create type app_public.pricing_type as enum ('pay_per_listing', 'highlight_fee', 'premium_fee');
exception when duplicate_object then null; end $$;
comment on type app_public.pricing_type is 'What a price is for.';

create table if not exists app_public.currencies (
  code text not null primary key constraint currencies_code_form check (code ~ '^[A-Z]{3}$'),
  minor_units smallint not null constraint currencies_minor_units_range check (minor_units between 0 and 4)
);
comment on table app_public.currencies is 'Currencies that are known.';
comment on column app_public.currencies.code is 'ISO 4217.';
comment on column app_public.currencies.minor_units is 'Decimal places of an amount, 2 for EUR.';

create table if not exists app_public.country_currencies (
  country text not null primary key constraint country_currencies_country_form check (country ~ '^[A-Z]{2}$'),
  currency text not null references app_public.currencies,
  constraint country_currencies_country_currency_key unique (country, currency)
);
comment on table app_public.country_currencies is 'The one currency in which a country is billed.';
comment on column app_public.country_currencies.country is 'ISO 3166-1 alpha-2.';
comment on column app_public.country_currencies.currency is 'ISO 4217.';

create table if not exists app_public.vat_rates (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  country text not null constraint vat_rates_country_form check (country ~ '^[A-Z]{2}$'),
  rate numeric(5, 2) not null constraint vat_rates_rate_range check (rate between 0 and 100),
  valid tstzrange not null constraint vat_rates_valid_not_empty check (not isempty(valid)),
  constraint vat_rates_one_at_a_time exclude using gist (country with =, valid with &&)
);
comment on table app_public.vat_rates is 'VAT rate of a country over time; two cannot hold at one moment.';
comment on column app_public.vat_rates.id is 'Time-ordered.';
comment on column app_public.vat_rates.country is 'ISO 3166-1 alpha-2.';
comment on column app_public.vat_rates.rate is 'In percent: 19.00 is 19 %.';
comment on column app_public.vat_rates.valid is 'When the rate holds, its end excluded.';

create table if not exists app_public.price_configs (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  country text not null,
  segment app_public.segment not null,
  pricing_type app_public.pricing_type not null,
  unit_price_net numeric not null constraint price_configs_unit_price_net_range check (unit_price_net >= 0 and unit_price_net < 1000000),
  currency text not null,
  price_version integer not null constraint price_configs_price_version_positive check (price_version > 0),
  valid tstzrange not null constraint price_configs_valid_not_empty check (not isempty(valid)),
  constraint price_configs_currency_of_country foreign key (country, currency) references app_public.country_currencies (country, currency),
  constraint price_configs_version_key unique (country, segment, pricing_type, price_version),
  constraint price_configs_one_at_a_time exclude using gist (country with =, segment with =, pricing_type with =, valid with &&)
);
comment on table app_public.price_configs is 'Prices over time. A price is never edited: app_private.set_price closes it and opens the next version.';
comment on column app_public.price_configs.id is 'Time-ordered.';
comment on column app_public.price_configs.country is 'ISO 3166-1 alpha-2.';
comment on column app_public.price_configs.segment is 'Who pays it.';
comment on column app_public.price_configs.pricing_type is 'What it is for.';
comment on column app_public.price_configs.unit_price_net is 'Without VAT, in whole units of the currency.';
comment on column app_public.price_configs.currency is 'The currency of its country.';
comment on column app_public.price_configs.price_version is 'Counts up from 1.';
comment on column app_public.price_configs.valid is 'When the price holds, its end excluded.';

create table if not exists app_public.free_quota_configs (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  country text not null constraint free_quota_configs_country_form check (country ~ '^[A-Z]{2}$'),
  segment app_public.segment not null,
  quota_amount integer not null constraint free_quota_configs_quota_amount_range check (quota_amount between 0 and 100000),
  period_days integer not null constraint free_quota_configs_period_days_range check (period_days between 1 and 3660),
  valid tstzrange not null constraint free_quota_configs_valid_not_empty check (not isempty(valid)),
  constraint free_quota_configs_one_at_a_time exclude using gist (country with =, segment with =, valid with &&)
);
comment on table app_public.free_quota_configs is 'Free listings of a country over time; none where no row holds.';
comment on column app_public.free_quota_configs.id is 'Time-ordered.';
comment on column app_public.free_quota_configs.country is 'ISO 3166-1 alpha-2.';
comment on column app_public.free_quota_configs.segment is 'Who gets them.';
comment on column app_public.free_quota_configs.quota_amount is 'How many are free in a period.';
comment on column app_public.free_quota_configs.period_days is 'Length of the rolling period, in days of 24 hours.';
comment on column app_public.free_quota_configs.valid is 'When the quota holds, its end excluded.';

do $$ begin
  create type app_private.pricing_gate as (currency text, minor_units smallint, vat_rate numeric);
exception when duplicate_object then null; end $$;
comment on type app_private.pricing_gate is 'What must be known of a country before anything is sold there.';
comment on column app_private.pricing_gate.currency is 'ISO 4217.';
comment on column app_private.pricing_gate.minor_units is 'Decimal places of an amount.';
comment on column app_private.pricing_gate.vat_rate is 'In percent.';

--! Included pricing/minor_units.sql
create or replace function app_private.minor_units(currency text) returns integer
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- of an unknown currency: 0, so that its foreign key is what refuses it
  return coalesce((select c.minor_units::integer from app_public.currencies as c where c.code = minor_units.currency), 0);
end
$$;

comment on function app_private.minor_units(text) is 'Decimal places of a currency, ISO 4217.';
--! EndIncluded pricing/minor_units.sql
--! Included pricing/money.sql
create or replace function app_private.money(amount numeric, minor_units integer) returns numeric
  language plpgsql immutable strict security invoker parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return round(amount, greatest(scale(amount), minor_units));
end
$$;

comment on function app_private.money(numeric, integer) is
  'The same amount, written with at least the decimals of its currency: 5 EUR is 5.00. Rounds nothing away.';
--! EndIncluded pricing/money.sql
--! Included pricing/write_price_as_money.sql
create or replace function app_private.write_price_as_money() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  new.price_net := app_private.money(new.price_net, app_private.minor_units(new.currency));
  return new;
end
$$;

comment on function app_private.write_price_as_money() is
  'Trigger: a package''s price has at least the decimals of its currency, however it was entered.';
--! EndIncluded pricing/write_price_as_money.sql
--! Included pricing/enforce_price_versions.sql
create or replace function app_private.enforce_price_versions() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- closing is the one change: the same row with an earlier end
  if tg_op = 'UPDATE'
    and (to_jsonb(new) - 'valid') = (to_jsonb(old) - 'valid')
    and (lower(new.valid), lower_inc(new.valid)) is not distinct from (lower(old.valid), lower_inc(old.valid))
    and new.valid <@ old.valid
  then
    return new;
  end if;
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = 'a price is never edited or removed',
    hint = 'select app_private.set_price(country, segment, pricing_type, unit_price_net, from)';
end
$$;

comment on function app_private.enforce_price_versions() is
  'Trigger: the only change that a price takes is an earlier end of its validity.';
--! EndIncluded pricing/enforce_price_versions.sql
--! Included pricing/pass_pricing_gate.sql
create or replace function app_private.pass_pricing_gate(country text, at timestamptz) returns app_private.pricing_gate
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_gate app_private.pricing_gate;
  v_vat_rates integer;
begin
  select c.code, c.minor_units into v_gate.currency, v_gate.minor_units
  from app_public.country_currencies as cc
  join app_public.currencies as c on c.code = cc.currency
  where cc.country = pass_pricing_gate.country;
  if not found then
    raise exception using
      errcode = 'FC005',
      message = format('No currency is configured for %s, so nothing can be published or sold there yet. Please contact support.', pass_pricing_gate.country),
      detail = jsonb_build_object('missing', 'currency', 'country', pass_pricing_gate.country, 'at', pass_pricing_gate.at)::text,
      hint = 'Insert it into country_currencies.';
  end if;
  select count(*)::integer, max(v.rate) into v_vat_rates, v_gate.vat_rate
  from app_public.vat_rates as v
  where v.country = pass_pricing_gate.country and v.valid @> pass_pricing_gate.at;
  if v_vat_rates = 0 then
    raise exception using
      errcode = 'FC005',
      message = format('No VAT rate is configured for %s, so nothing can be published or sold there yet. Please contact support.', pass_pricing_gate.country),
      detail = jsonb_build_object('missing', 'vat_rate', 'country', pass_pricing_gate.country, 'at', pass_pricing_gate.at)::text,
      hint = 'Insert it into vat_rates.';
  elsif v_vat_rates > 1 then
    raise exception using
      errcode = 'FC006',
      message = format('More than one VAT rate applies in %s. Please contact support.', pass_pricing_gate.country),
      detail = jsonb_build_object('ambiguous', 'vat_rate', 'country', pass_pricing_gate.country, 'at', pass_pricing_gate.at)::text,
      hint = 'End all but one in vat_rates.';
  end if;
  return v_gate;
end
$$;

comment on function app_private.pass_pricing_gate(text, timestamptz) is
  'Currency and VAT rate of a country at a moment. Nothing is published or sold without both, not even what is free. Raises FC005 where one is missing, FC006 where more than one VAT rate applies.';
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
  v_detail constant jsonb := jsonb_build_object(
    'country', find_price.country, 'segment', upper(find_price.segment::text),
    'pricingType', upper(find_price.pricing_type::text), 'at', find_price.at);
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
      detail = (jsonb_build_object('missing', 'price') || v_detail)::text,
      hint = 'Set it with app_private.set_price.';
  elsif cardinality(v_prices) > 1 then
    raise exception using
      errcode = 'FC006',
      message = format('More than one price applies to a listing in %s. Please contact support.', find_price.country),
      detail = (jsonb_build_object('ambiguous', 'price') || v_detail)::text,
      hint = 'End all but one in price_configs.';
  end if;
  return v_prices[1];
end
$$;

comment on function app_private.find_price(text, app_public.segment, app_public.pricing_type, timestamptz) is
  'The price that holds at a moment. Raises FC005 where there is none, FC006 where more than one applies.';
--! EndIncluded pricing/find_price.sql
--! Included pricing/set_price.sql
create or replace function app_private.set_price(
  country text, segment app_public.segment, pricing_type app_public.pricing_type, unit_price_net numeric, starts_at timestamptz default now()
) returns app_public.price_configs
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_price app_public.price_configs;
begin
  -- the country's row always exists where a price may: two that set a price at once take turns
  perform from app_public.country_currencies as cc where cc.country = set_price.country for no key update;
  update app_public.price_configs as p
  set valid = tstzrange(lower(p.valid), set_price.starts_at, '[)')
  where p.country = set_price.country and p.segment = set_price.segment and p.pricing_type = set_price.pricing_type
    and p.valid @> set_price.starts_at and lower(p.valid) is distinct from set_price.starts_at;
  insert into app_public.price_configs (country, segment, pricing_type, unit_price_net, currency, price_version, valid)
  values (
    set_price.country, set_price.segment, set_price.pricing_type, set_price.unit_price_net,
    (select cc.currency from app_public.country_currencies as cc where cc.country = set_price.country),
    (select coalesce(max(p.price_version), 0) + 1 from app_public.price_configs as p
     where p.country = set_price.country and p.segment = set_price.segment and p.pricing_type = set_price.pricing_type),
    tstzrange(set_price.starts_at, null, '[)')
  )
  returning * into v_price;
  perform app_private.write_audit_log('SET_PRICE', 'price_configs', v_price.id, null, to_jsonb(v_price));
  return v_price;
end
$$;

comment on function app_private.set_price(text, app_public.segment, app_public.pricing_type, numeric, timestamptz) is
  'Opens a new version of a price at `starts_at` and closes the one before it, in one transaction. For a DBA.';
--! EndIncluded pricing/set_price.sql

create or replace trigger price_configs_never_edited before update or delete on app_public.price_configs
  for each row execute function app_private.enforce_price_versions();

do $$
declare
  v_table text;
begin
  foreach v_table in array array['currencies', 'country_currencies', 'vat_rates', 'price_configs', 'free_quota_configs'] loop
    execute format('drop policy if exists select_all on app_public.%I', v_table);
    execute format('create policy select_all on app_public.%I for select to forecourt_visitor, forecourt_dealer, forecourt_admin using (true)', v_table);
    execute format('grant select on app_public.%I to forecourt_visitor, forecourt_dealer, forecourt_admin', v_table);
  end loop;
end
$$;
