--! Previous: sha1:2730ded7c3e14e251924dcdf1b4b933303886a88
--! Hash: sha1:2cdbb143293f366c83201a5c6d49ba6ba7e12199
--! Message: price durations

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- Configuration: few rows, so its rules are checked at once. A constant default does not rewrite the table.
select app_private.lock_tables('app_public.price_configs');
alter table app_public.price_configs add column if not exists duration_days integer not null default 30;
comment on column app_public.price_configs.duration_days is 'How long a promotion at this price lasts, in days of 24 hours. Without meaning for the price of a listing.';
alter table app_public.price_configs drop constraint if exists price_configs_duration_days_range;
alter table app_public.price_configs
  -- squawk-ignore constraint-missing-not-valid
  add constraint price_configs_duration_days_range check (duration_days between 1 and 3660);
comment on constraint price_configs_duration_days_range on app_public.price_configs is 'Please enter a duration of 1 to 3660 days.';
drop function if exists app_private.set_price(text, app_public.segment, app_public.pricing_type, numeric, timestamptz);
--! Included pricing/set_price.sql
create or replace function app_private.set_price(
  country text, segment app_public.segment, pricing_type app_public.pricing_type, unit_price_net numeric, starts_at timestamptz default now(),
  duration_days integer default null
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
  insert into app_public.price_configs (country, segment, pricing_type, unit_price_net, currency, price_version, valid, duration_days)
  values (
    set_price.country, set_price.segment, set_price.pricing_type, set_price.unit_price_net,
    v_currency,
    (select coalesce(max(p.price_version), 0) + 1 from app_public.price_configs as p
     where p.country = set_price.country and p.segment = set_price.segment and p.pricing_type = set_price.pricing_type),
    tstzrange(set_price.starts_at, null, '[)'),
    coalesce(set_price.duration_days, (
      select p.duration_days from app_public.price_configs as p
      where p.country = set_price.country and p.segment = set_price.segment and p.pricing_type = set_price.pricing_type
      order by p.price_version desc limit 1), 30)
  )
  returning * into v_price;
  perform app_private.write_audit_log('SET_PRICE', 'price_configs', v_price.id, null, to_jsonb(v_price));
  return v_price;
end
$$;

comment on function app_private.set_price(text, app_public.segment, app_public.pricing_type, numeric, timestamptz, integer) is 'Opens a new version of a price at `starts_at` and closes the version before it, in one transaction. `duration_days` says how long a promotion at this price lasts; null: as in the version before, or 30. For a DBA.';
--! EndIncluded pricing/set_price.sql
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
      message = case find_price.pricing_type
        when 'pay_per_listing' then format('No price is configured for a listing in %s, and your quotas are used up. Please buy a package or contact support.', find_price.country)
        else format('Promotions of this kind are not sold in %s yet. Please contact support.', find_price.country) end,
      detail = (jsonb_build_object('missing', 'price') || app_private.pricing_detail(
        find_price.country, find_price.segment, find_price.pricing_type, find_price.at))::text,
      hint = 'Set it with app_private.set_price.';
  elsif cardinality(v_prices) > 1 then
    raise exception using
      errcode = 'FC006',
      message = format('More than one price applies in %s. Please contact support.', find_price.country),
      detail = (jsonb_build_object('ambiguous', 'price') || app_private.pricing_detail(
        find_price.country, find_price.segment, find_price.pricing_type, find_price.at))::text,
      hint = 'End all but one in price_configs.';
  end if;
  return v_prices[1];
end
$$;

comment on function app_private.find_price(text, app_public.segment, app_public.pricing_type, timestamptz) is 'Returns the price that is valid at a moment. Raises FC005 if there is none, FC006 if several are valid.';
--! EndIncluded pricing/find_price.sql
