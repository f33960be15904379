--! Previous: sha1:825ce5b37b5c49e88b805430397f8d16e3dcb091
--! Hash: sha1:f3d684d9bf03a1e11787d428c0572604a0ab53a0
--! Message: pricing

set local lock_timeout to '2s';
set local statement_timeout to '60s';

do $$ begin
  create type app_public.segment as enum ('dealer', 'individual');
exception when duplicate_object then null; end $$;
comment on type app_public.segment is 'The kind of publisher.';

do $$ begin
  create type app_public.pricing_type as enum ('pay_per_listing', 'highlight_fee', 'premium_fee');
exception when duplicate_object then null; end $$;
comment on type app_public.pricing_type is 'The service that a price is for.';

create table if not exists app_public.currencies (
  code text not null primary key constraint currencies_code_form check (code ~ '^[A-Z]{3}$'),
  minor_units smallint not null constraint currencies_minor_units_range check (minor_units between 0 and 4)
);
comment on table app_public.currencies is 'The known currencies.';
comment on column app_public.currencies.code is 'ISO 4217.';
comment on column app_public.currencies.minor_units is 'Decimal places of an amount: 2 for EUR.';
comment on constraint currencies_code_form on app_public.currencies is 'Please enter the currency as three capital letters of ISO 4217, such as EUR.';

create table if not exists app_public.country_currencies (
  country text not null primary key constraint country_currencies_country_form check (country ~ '^[A-Z]{2}$'),
  currency text not null references app_public.currencies,
  closed_at timestamptz,
  constraint country_currencies_country_currency_key unique (country, currency)
);
comment on table app_public.country_currencies is 'The countries in which Forecourt sells, each with the currency of its prices and invoices.';
comment on column app_public.country_currencies.country is 'ISO 3166-1 alpha-2.';
comment on column app_public.country_currencies.currency is 'ISO 4217.';
comment on column app_public.country_currencies.closed_at is 'Since when no dealer can be created there; null: the country is open.';
comment on constraint country_currencies_country_form on app_public.country_currencies is 'Please enter the country as two capital letters of ISO 3166-1, such as DE.';

create table if not exists app_public.vat_rates (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  country text not null constraint vat_rates_country_form check (country ~ '^[A-Z]{2}$'),
  rate numeric not null constraint vat_rates_rate_range check (rate between 0 and 100)
    constraint vat_rates_rate_scale check (scale(rate) <= 4),
  valid tstzrange not null constraint vat_rates_valid_not_empty check (not isempty(valid)),
  constraint vat_rates_one_at_a_time exclude using gist (country with =, valid with &&)
);
comment on table app_public.vat_rates is 'VAT rates of each country over time. A country has at most one rate at any moment.';
comment on column app_public.vat_rates.id is 'Time-ordered.';
comment on column app_public.vat_rates.country is 'ISO 3166-1 alpha-2.';
comment on column app_public.vat_rates.rate is 'In percent, with 2 to 4 decimal places: 19.00 is 19 %.';
comment on column app_public.vat_rates.valid is 'When the rate is valid; its end is excluded.';
comment on constraint vat_rates_rate_range on app_public.vat_rates is 'Please enter the VAT rate in percent, from 0 to 100.';
comment on constraint vat_rates_rate_scale on app_public.vat_rates is 'Please enter the VAT rate with at most 4 decimal places.';
comment on constraint vat_rates_one_at_a_time on app_public.vat_rates is 'The country has a VAT rate in this period already. Please end that rate first.';

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
comment on column app_public.price_configs.segment is 'The kind of publisher that pays it.';
comment on column app_public.price_configs.pricing_type is 'The service that the price is for.';
comment on column app_public.price_configs.unit_price_net is 'Without VAT, in whole units of the currency.';
comment on column app_public.price_configs.currency is 'The currency of the country.';
comment on column app_public.price_configs.price_version is 'The number of the version, from 1.';
comment on column app_public.price_configs.valid is 'When the price is valid; its end is excluded.';
comment on constraint price_configs_unit_price_net_range on app_public.price_configs is 'Please enter a net price from 0 to less than 1000000.';

create table if not exists app_public.free_quota_configs (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  country text not null constraint free_quota_configs_country_form check (country ~ '^[A-Z]{2}$'),
  segment app_public.segment not null,
  quota_amount integer not null constraint free_quota_configs_quota_amount_range check (quota_amount between 0 and 100000),
  period_days integer not null constraint free_quota_configs_period_days_range check (period_days between 1 and 3660),
  valid tstzrange not null constraint free_quota_configs_valid_not_empty check (not isempty(valid)),
  constraint free_quota_configs_one_at_a_time exclude using gist (country with =, segment with =, valid with &&)
);
comment on table app_public.free_quota_configs is 'Free listings in each country over time. Without a valid row no listing is free.';
comment on column app_public.free_quota_configs.id is 'Time-ordered.';
comment on column app_public.free_quota_configs.country is 'ISO 3166-1 alpha-2.';
comment on column app_public.free_quota_configs.segment is 'The kind of publisher that gets them.';
comment on column app_public.free_quota_configs.quota_amount is 'Free listings per period.';
comment on column app_public.free_quota_configs.period_days is 'Length of the rolling period, in days of 24 hours.';
comment on column app_public.free_quota_configs.valid is 'When the quota is valid; its end is excluded.';

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
comment on table app_private.pricing_conflicts is 'Counts of requests that were refused (409) because of missing or ambiguous configuration. The API writes them, because the refused transaction is rolled back.';
comment on column app_private.pricing_conflicts.id is 'Time-ordered.';
comment on column app_private.pricing_conflicts.country is 'The dealer''s country, ISO 3166-1 alpha-2.';
comment on column app_private.pricing_conflicts.segment is 'The kind of publisher that was refused.';
comment on column app_private.pricing_conflicts.pricing_type is 'The service that was to be paid for; null: a package.';
comment on column app_private.pricing_conflicts.configuration is 'The missing or ambiguous configuration.';
comment on column app_private.pricing_conflicts.code is 'The error code that the customer got.';
comment on column app_private.pricing_conflicts.count is 'Number of refusals.';
comment on column app_private.pricing_conflicts.first_seen_at is 'When the first refusal was recorded.';
comment on column app_private.pricing_conflicts.last_seen_at is 'When the last refusal was recorded.';

do $$ begin
  create type app_private.pricing_gate as (currency text, minor_units smallint, vat_rate numeric);
exception when duplicate_object then null; end $$;
comment on type app_private.pricing_gate is 'The configuration that a country needs before anything is sold there.';
comment on column app_private.pricing_gate.currency is 'ISO 4217.';
comment on column app_private.pricing_gate.minor_units is 'Decimal places of an amount.';
comment on column app_private.pricing_gate.vat_rate is 'In percent.';

--! Included pricing/minor_units.sql
create or replace function app_private.minor_units(currency text) returns integer
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- Unknown currency: 0; the foreign key refuses the row.
  return coalesce((select c.minor_units::integer from app_public.currencies as c where c.code = minor_units.currency), 0);
end
$$;

comment on function app_private.minor_units(text) is 'Decimal places of a currency, ISO 4217.';
--! EndIncluded pricing/minor_units.sql
--! Included pricing/money.sql
create or replace function app_private.money(amount numeric, minor_units integer) returns numeric
  language sql immutable security invoker parallel safe
  -- No search_path, so that the planner can inline it. A body of this form is bound to its objects at creation.
  return round(amount, greatest(scale(amount), minor_units));

comment on function app_private.money(numeric, integer) is 'The same amount with at least the decimal places of its currency: 5 EUR becomes 5.00. It pads with zeros and never rounds. Without a currency the amount is returned unchanged.';
--! EndIncluded pricing/money.sql
--! Included pricing/vat_amount.sql
create or replace function app_private.vat_amount(net_amount numeric, vat_rate numeric, minor_units integer) returns numeric
  language sql immutable security invoker parallel safe
  -- No search_path, so that the planner can inline it. A body of this form is bound to its objects at creation.
  -- round() of numeric rounds half away from zero.
  return round(net_amount * vat_rate / 100, minor_units);

comment on function app_private.vat_amount(numeric, numeric, integer) is 'The only place where VAT is computed: rounded half away from zero to the currency''s minor units. `vat_rate` is in percent.';
--! EndIncluded pricing/vat_amount.sql
--! Included pricing/write_vat_rate.sql
create or replace function app_private.write_vat_rate() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  new.rate := app_private.money(trim_scale(new.rate), 2);
  return new;
end
$$;

comment on function app_private.write_vat_rate() is 'Trigger: stores a VAT rate with at least 2 decimal places. It never rounds; a check refuses a rate with more than 4.';
--! EndIncluded pricing/write_vat_rate.sql
--! Included pricing/pricing_detail.sql
create or replace function app_private.pricing_detail(
  country text, segment app_public.segment, pricing_type app_public.pricing_type, at timestamptz
) returns jsonb
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'country', pricing_detail.country, 'segment', upper(pricing_detail.segment::text collate "C"),
    'pricingType', upper(pricing_detail.pricing_type::text collate "C"), 'at', pricing_detail.at))
$$;

comment on function app_private.pricing_detail(text, app_public.segment, app_public.pricing_type, timestamptz) is 'The details of FC005 and FC006: the configuration that was searched for, and the moment. A null pricing_type means a package.';
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

comment on function app_private.pass_pricing_gate(text, app_public.segment, app_public.pricing_type, timestamptz) is 'Returns currency and VAT rate of a country at a moment. Nothing is published or sold without both, not even for free. `segment` and `pricing_type` (null: a package) only describe the request in the error. Raises FC005 if one is missing, FC006 if several VAT rates are valid.';
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

comment on function app_private.find_price(text, app_public.segment, app_public.pricing_type, timestamptz) is 'Returns the price that is valid at a moment. Raises FC005 if there is none, FC006 if several are valid.';
--! EndIncluded pricing/find_price.sql
--! Included pricing/enforce_price_versions.sql
create or replace function app_private.enforce_price_versions() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- The only allowed change closes the price: the same row with an earlier end.
  if tg_op = 'UPDATE'
    and (to_jsonb(new) - 'valid') = (to_jsonb(old) - 'valid')
    and (lower(new.valid), lower_inc(new.valid)) is not distinct from (lower(old.valid), lower_inc(old.valid))
    and new.valid <@ old.valid
  then
    return new;
  end if;
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = 'A price cannot be edited or deleted.',
    hint = 'Use app_private.set_price(country, segment, pricing_type, unit_price_net, starts_at).';
end
$$;

comment on function app_private.enforce_price_versions() is 'Trigger: the validity of a price may get an earlier end; every other change is refused.';
--! EndIncluded pricing/enforce_price_versions.sql
--! Included pricing/set_price.sql
create or replace function app_private.set_price(
  country text, segment app_public.segment, pricing_type app_public.pricing_type, unit_price_net numeric, starts_at timestamptz default now()
) returns app_public.price_configs
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_currency text;
  v_price app_public.price_configs;
begin
  -- Every country that can have a price has this row, so two sessions that set a price wait for each other.
  select cc.currency into v_currency
  from app_public.country_currencies as cc where cc.country = set_price.country for no key update;
  if v_currency is null then
    raise exception using
      errcode = 'FC004',
      message = format('The country %s has no currency.', coalesce(set_price.country, 'null')),
      detail = jsonb_build_object('country', set_price.country)::text,
      hint = 'Insert it into country_currencies first.';
  end if;
  update app_public.price_configs as p
  set valid = tstzrange(lower(p.valid), set_price.starts_at, '[)')
  where p.country = set_price.country and p.segment = set_price.segment and p.pricing_type = set_price.pricing_type
    and p.valid @> set_price.starts_at and lower(p.valid) is distinct from set_price.starts_at;
  insert into app_public.price_configs (country, segment, pricing_type, unit_price_net, currency, price_version, valid)
  values (
    set_price.country, set_price.segment, set_price.pricing_type, set_price.unit_price_net,
    v_currency,
    (select coalesce(max(p.price_version), 0) + 1 from app_public.price_configs as p
     where p.country = set_price.country and p.segment = set_price.segment and p.pricing_type = set_price.pricing_type),
    tstzrange(set_price.starts_at, null, '[)')
  )
  returning * into v_price;
  perform app_private.write_audit_log('SET_PRICE', 'price_configs', v_price.id, null, to_jsonb(v_price));
  return v_price;
end
$$;

comment on function app_private.set_price(text, app_public.segment, app_public.pricing_type, numeric, timestamptz) is 'Opens a new version of a price at `starts_at` and closes the version before it, in one transaction. For a DBA.';
--! EndIncluded pricing/set_price.sql
--! Included pricing/iso_minor_units.sql
create or replace function app_private.iso_minor_units(currency text) returns smallint
  language sql immutable security invoker parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select case
    when currency in ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'VND', 'VUV', 'XAF', 'XOF', 'XPF') then 0
    when currency in ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') then 3
    else 2
  end::smallint
$$;

comment on function app_private.iso_minor_units(text) is 'Decimal places of a currency by ISO 4217, for currencies that have no row yet: 2, unless the currency is one of the exceptions.';
--! EndIncluded pricing/iso_minor_units.sql
--! Included pricing/open_country.sql
create or replace function app_private.open_country(country text, currency text, vat_rate numeric, unit_price_net numeric)
  returns app_public.currencies
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_currency app_public.currencies;
  v_open app_public.country_currencies;
begin
  insert into app_public.currencies (code, minor_units)
  values (open_country.currency, app_private.iso_minor_units(open_country.currency))
  on conflict on constraint currencies_pkey do nothing;
  -- Of two sessions, the second waits here and finds the country of the first.
  insert into app_public.country_currencies as cc (country, currency) values (open_country.country, open_country.currency)
  on conflict on constraint country_currencies_pkey do nothing;
  if not found then
    select cc.* into v_open from app_public.country_currencies as cc where cc.country = open_country.country;
    raise exception using
      errcode = 'FC008',
      message = case when v_open.closed_at is null
        then format('%s is open already, with prices in %s. Nothing was changed.', v_open.country, v_open.currency)
        else format('%s was closed on %s. Nothing was changed.', v_open.country, (v_open.closed_at at time zone 'UTC')::date) end,
      detail = jsonb_build_object('country', v_open.country)::text,
      hint = case when v_open.closed_at is null
        then 'docs/operations.md, "Prices, VAT, countries, limits", shows how to change a price or a VAT rate.'
        else 'docs/operations.md, "Close a country", shows how to open it again.' end;
  end if;
  insert into app_public.vat_rates (country, rate, valid)
  values (open_country.country, open_country.vat_rate, tstzrange(now(), null));
  perform app_private.set_price(open_country.country, s.segment, 'pay_per_listing', open_country.unit_price_net)
  from unnest(enum_range(null::app_public.segment)) as s (segment);
  select c.* into v_currency from app_public.currencies as c where c.code = open_country.currency;
  return v_currency;
end
$$;

comment on function app_private.open_country(text, text, numeric, numeric) is 'Opens a country from now on: its currency, its VAT rate in percent, and the net price of a listing for every segment, in one transaction. Adds the currency if it is new, and returns it. Raises FC008 and changes nothing if the country has been opened before. The triggers of the tables record each row. For a DBA.';
--! EndIncluded pricing/open_country.sql
--! Included pricing/record_pricing_conflicts.sql
create or replace function app_public.record_pricing_conflicts(conflicts jsonb) returns void
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '2s'
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_conflict app_private.pricing_conflicts;
begin
  -- In a fixed order, so that two processes cannot deadlock.
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

comment on function app_public.record_pricing_conflicts(jsonb) is 'Adds up refusals for missing or ambiguous configuration: an array of {country, segment, pricing_type, configuration, code, count}. Raises one alert per conflict and hour. The API calls it outside of the refused transaction. Not for GraphQL.';

grant execute on function app_public.record_pricing_conflicts(jsonb) to forecourt_authenticator;
--! EndIncluded pricing/record_pricing_conflicts.sql

create or replace trigger vat_rates_written before insert or update of rate on app_public.vat_rates
  for each row execute function app_private.write_vat_rate();
create or replace trigger price_configs_never_edited before update or delete on app_public.price_configs
  for each row execute function app_private.enforce_price_versions();

select app_private.force_row_security('app_private.pricing_conflicts');
do $$
declare
  v_table text;
  v_key text;
begin
  for v_table, v_key in values
    ('currencies', 'code'), ('country_currencies', 'country'), ('vat_rates', ''), ('price_configs', ''), ('free_quota_configs', '')
  loop
    execute format('create or replace trigger %I after insert or update or delete on app_public.%I for each row execute function app_private.audit_change(%s)',
      v_table || '_audited', v_table, v_key);
    execute format('create or replace trigger %I after truncate on app_public.%I for each statement execute function app_private.audit_change()',
      v_table || '_truncation_audited', v_table);
    perform app_private.force_row_security(format('app_public.%I', v_table)::regclass);
    execute format('drop policy if exists select_all on app_public.%I', v_table);
    execute format('create policy select_all on app_public.%I for select to forecourt_visitor, forecourt_dealer, forecourt_admin using (true)', v_table);
    execute format('grant select on app_public.%I to forecourt_visitor, forecourt_dealer, forecourt_admin', v_table);
  end loop;
end
$$;
