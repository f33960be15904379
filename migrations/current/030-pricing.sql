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

--!include pricing/enforce_price_versions.sql
--!include pricing/pass_pricing_gate.sql
--!include pricing/find_price.sql
--!include pricing/set_price.sql

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
