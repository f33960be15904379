--! Previous: sha1:06fadee2e1698d3e03aa78007317ee5ecd0ebab5
--! Hash: sha1:16d09c4f134ce98eedcc3dd24e5bc2525bc8bd0e
--! Message: administration

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- Admins see these columns of users in the view accounts alone: User is also a type of other clients.
comment on column app_public.users.is_admin is E'@behavior -attribute:select -attribute:filterBy -attribute:orderBy\nWhether access tokens of this user have the role `admin`.';
comment on column app_public.users.dealer_limit is E'@behavior -attribute:select -attribute:filterBy -attribute:orderBy\nHow many dealers the account may create.';
comment on column app_public.users.locked_at is E'@behavior -attribute:select -attribute:filterBy -attribute:orderBy\nWhen an admin locked the account; null: it is not locked. A locked user can neither log in nor use a token.';
comment on column app_public.users.deleted_at is E'@behavior -attribute:select -attribute:filterBy -attribute:orderBy\nWhen the user deleted the account. Its e-mail address and name are replaced then; null: the account exists.';
grant select (is_admin, dealer_limit, locked_at, deleted_at) on app_public.users to forecourt_admin;
-- For all, because Dealer is one type; a visitor sees no row of dealers.
grant select (is_trusted) on app_public.dealers to forecourt_visitor, forecourt_dealer, forecourt_admin;

comment on table app_public.price_configs is 'Prices over time. A price is never edited: `setPrice` closes it and opens the next version.';

-- The messages of the mutations of admins.
comment on constraint country_currencies_country_form on app_public.country_currencies is E'@field country\nPlease enter the country as two capital letters of ISO 3166-1, such as DE.';
comment on constraint country_currencies_listing_days_range on app_public.country_currencies is E'@field listingDays\nPlease enter 1 to 3660 days.';
comment on constraint currencies_code_form on app_public.currencies is E'@field currency\nPlease enter the currency as three capital letters of ISO 4217, such as EUR.';
comment on constraint vat_rates_rate_range on app_public.vat_rates is E'@field vatRate\nPlease enter the VAT rate in percent, from 0 to 100.';
comment on constraint vat_rates_rate_scale on app_public.vat_rates is E'@field vatRate\nPlease enter the VAT rate with at most 4 decimal places.';
comment on constraint vat_rates_one_at_a_time on app_public.vat_rates is E'@field validFrom\nThe country has a VAT rate in this period already. Please end that rate first.';
comment on constraint price_configs_unit_price_net_range on app_public.price_configs is E'@field unitPriceNet\nPlease enter a net price from 0 to less than 1000000.';
comment on constraint price_configs_duration_days_range on app_public.price_configs is E'@field durationDays\nPlease enter a duration of 1 to 3660 days.';
comment on constraint price_configs_one_at_a_time on app_public.price_configs is E'@field validFrom\nA later price is scheduled already. Please choose a moment after its start.';
comment on constraint free_quota_configs_quota_amount_range on app_public.free_quota_configs is E'@field quotaAmount\nPlease enter 0 to 100000 free listings.';
comment on constraint free_quota_configs_period_days_range on app_public.free_quota_configs is E'@field periodDays\nPlease enter a period of 1 to 3660 days.';
comment on constraint free_quota_configs_one_at_a_time on app_public.free_quota_configs is E'@field validFrom\nLater free listings are scheduled already. Please choose a moment after their start.';
comment on constraint dealer_packages_key_form on app_public.dealer_packages is E'@field key\nPlease enter a key of 1 to 40 small letters, digits and underscores that begins with a letter, such as basic.';
comment on constraint dealer_packages_country_key_key on app_public.dealer_packages is E'@field key\nThe country has another package with this key. Please choose another key, or change that package by its id.';
comment on constraint dealer_packages_price_net_range on app_public.dealer_packages is E'@field priceNet\nPlease enter a net price from 0 to less than 1000000.';
comment on constraint dealer_packages_duration_days_range on app_public.dealer_packages is E'@field durationDays\nPlease enter a duration of 1 to 3660 days.';
comment on constraint dealer_packages_listing_limit_range on app_public.dealer_packages is E'@field listingLimit\nPlease enter 0 or more listings.';
comment on constraint dealer_packages_premium_quota_range on app_public.dealer_packages is E'@field premiumQuota\nPlease enter 0 or more premium placements.';
comment on constraint dealer_packages_highlight_quota_range on app_public.dealer_packages is E'@field highlightQuota\nPlease enter 0 or more highlights.';
comment on constraint rate_limit_policies_max_count_range on app_public.rate_limit_policies is E'@field maxCount\nPlease enter a limit of 1 to 1000000.';
comment on constraint rate_limit_policies_window_seconds_range on app_public.rate_limit_policies is E'@field windowSeconds\nPlease enter a window of 1 to 86400 seconds.';
comment on constraint rate_limit_policies_cost_within_limit on app_public.rate_limit_policies is E'@field cost\nPlease enter a cost from 1 to the limit.';

--! Included pricing/lock_country.sql
create or replace function app_private.lock_country(country text) returns app_public.country_currencies
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_country app_public.country_currencies;
begin
  select cc.* into v_country
  from app_public.country_currencies as cc where cc.country = lock_country.country for no key update;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = format('The country %s was never opened. Please open it first.', coalesce(lock_country.country, 'null')),
      detail = jsonb_build_object('field', 'country', 'country', lock_country.country)::text;
  end if;
  return v_country;
end
$$;

comment on function app_private.lock_country(text) is 'The first step of each change of a country''s prices, VAT rates, free listings and packages: locks the country, so that two changes wait for each other. Raises FC004 for a country that was never opened.';
--! EndIncluded pricing/lock_country.sql
--! Included pricing/require_price.sql
create or replace function app_private.require_price(price numeric, currency text, field text) returns numeric
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_minor_units constant integer := app_private.minor_units(currency);
begin
  if scale(trim_scale(price)) > v_minor_units then
    raise exception using
      errcode = 'FC010',
      message = format('A price in %s has at most %s decimal places. Please round it.', currency, v_minor_units),
      detail = jsonb_build_object('field', field)::text;
  end if;
  return app_private.money(trim_scale(price), v_minor_units);
end
$$;

comment on function app_private.require_price(numeric, text, text) is 'Returns a price with the decimal places of its currency, as it is stored: 6 EUR becomes 6.00. Raises FC010 for one that has more, because invoices would round it.';
--! EndIncluded pricing/require_price.sql
--! Included pricing/set_price.sql
create or replace function app_private.set_price(
  country text, segment app_public.segment, pricing_type app_public.pricing_type, unit_price_net numeric, starts_at timestamptz default now(),
  duration_days integer default null
) returns app_public.price_configs
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_country app_public.country_currencies;
  v_price app_public.price_configs;
begin
  v_country := app_private.lock_country(set_price.country);
  select p.* into v_price from app_public.price_configs as p
  where p.country = set_price.country and p.segment = set_price.segment and p.pricing_type = set_price.pricing_type
    and p.valid @> set_price.starts_at;
  if v_price.unit_price_net = set_price.unit_price_net and coalesce(set_price.duration_days, v_price.duration_days) = v_price.duration_days then
    return v_price;
  end if;
  update app_public.price_configs as p
  set valid = tstzrange(lower(p.valid), set_price.starts_at, '[)')
  where p.country = set_price.country and p.segment = set_price.segment and p.pricing_type = set_price.pricing_type
    and p.valid @> set_price.starts_at and lower(p.valid) is distinct from set_price.starts_at;
  insert into app_public.price_configs (country, segment, pricing_type, unit_price_net, currency, price_version, valid, duration_days)
  values (
    set_price.country, set_price.segment, set_price.pricing_type,
    app_private.require_price(set_price.unit_price_net, v_country.currency, 'unitPriceNet'), v_country.currency,
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

comment on function app_private.set_price(text, app_public.segment, app_public.pricing_type, numeric, timestamptz, integer) is 'Opens a new version of a price at `starts_at` and closes the version before it, in one transaction. `duration_days` says how long a promotion at this price lasts; null: as in the version before, or 30. A price that is valid then already is returned, and nothing changes. Raises FC010 for a price with more decimal places than its currency. For a DBA.';
--! EndIncluded pricing/set_price.sql
--! Included pricing/set_vat_rate.sql
create or replace function app_private.set_vat_rate(country text, vat_rate numeric, starts_at timestamptz default now()) returns app_public.vat_rates
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_rate app_public.vat_rates;
begin
  perform app_private.lock_country(set_vat_rate.country);
  select v.* into v_rate from app_public.vat_rates as v where v.country = set_vat_rate.country and v.valid @> set_vat_rate.starts_at;
  if v_rate.rate = set_vat_rate.vat_rate then
    return v_rate;
  end if;
  update app_public.vat_rates as v set valid = tstzrange(lower(v.valid), set_vat_rate.starts_at)
  where v.id = v_rate.id and lower(v.valid) is distinct from set_vat_rate.starts_at;
  insert into app_public.vat_rates (country, rate, valid)
  values (set_vat_rate.country, set_vat_rate.vat_rate, tstzrange(set_vat_rate.starts_at, null))
  returning * into v_rate;
  return v_rate;
end
$$;

comment on function app_private.set_vat_rate(text, numeric, timestamptz) is 'Opens a VAT rate of a country, in percent, at `starts_at` and ends the rate before it then. A rate that is valid then already is returned, and nothing changes. For a DBA.';
--! EndIncluded pricing/set_vat_rate.sql
--! Included pricing/has_prices.sql
create or replace function app_private.has_prices(country text, vat_rate numeric, unit_price_net numeric) returns boolean
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  -- Not now(): the caller may have waited for the session that set a price.
  v_at constant timestamptz := clock_timestamp();
begin
  return (has_prices.vat_rate is null or exists (
    select from app_public.vat_rates as v
    where v.country = has_prices.country and v.valid @> v_at and v.rate = has_prices.vat_rate
  )) and (has_prices.unit_price_net is null or not exists (
    select from unnest(enum_range(null::app_public.segment)) as s (segment)
    where not exists (
      select from app_public.price_configs as p
      where p.country = has_prices.country and p.segment = s.segment and p.pricing_type = 'pay_per_listing'
        and p.valid @> v_at and p.unit_price_net = has_prices.unit_price_net)));
end
$$;

comment on function app_private.has_prices(text, numeric, numeric) is 'Whether a country has this VAT rate now, and this net price of a listing for every segment; null is not compared.';
--! EndIncluded pricing/has_prices.sql
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
    select c.* into v_currency from app_public.currencies as c where c.code = open_country.currency;
    if v_open.closed_at is null and v_open.currency = open_country.currency
      and app_private.has_prices(open_country.country, open_country.vat_rate, open_country.unit_price_net)
    then
      return v_currency;
    end if;
    raise exception using
      errcode = 'FC008',
      message = case when v_open.closed_at is null
        then format('%s is open already, with prices in %s. Nothing was changed.', v_open.country, v_open.currency)
        else format('%s was closed on %s. Nothing was changed.', v_open.country, (v_open.closed_at at time zone 'UTC')::date) end,
      detail = jsonb_build_object('field', 'country', 'country', v_open.country)::text,
      hint = case when v_open.closed_at is null
        then 'docs/operations.md, "Prices, VAT, countries, limits", shows how to change a price or a VAT rate.'
        else 'docs/operations.md, "Close a country", shows how to open it again.' end;
  end if;
  perform app_private.set_vat_rate(open_country.country, open_country.vat_rate);
  perform app_private.set_price(open_country.country, s.segment, 'pay_per_listing', open_country.unit_price_net)
  from unnest(enum_range(null::app_public.segment)) as s (segment);
  select c.* into v_currency from app_public.currencies as c where c.code = open_country.currency;
  return v_currency;
end
$$;

comment on function app_private.open_country(text, text, numeric, numeric) is 'Opens a country from now on: its currency, its VAT rate in percent, and the net price of a listing for every segment, in one transaction. Adds the currency if it is new, and returns it. Changes nothing if the country is open with these values; raises FC008 if it was opened before with others. The triggers of the tables record each row. For a DBA.';
--! EndIncluded pricing/open_country.sql
--! Included subscription/start_or_queue.sql
create or replace function app_private.start_or_queue(dealer_id uuid, at timestamptz) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_running_until timestamptz;
begin
  perform app_private.expire_ended_subscription(start_or_queue.dealer_id, start_or_queue.at);
  if app_private.activate_pending_subscriptions(array[start_or_queue.dealer_id]) = 0 then
    select max(s.end_at) into v_running_until
    from app_public.dealer_subscriptions as s
    where s.dealer_id = start_or_queue.dealer_id and s.status not in ('pending', 'expired');
    perform app_private.schedule_expiry(start_or_queue.dealer_id, v_running_until);
  end if;
end
$$;

comment on function app_private.start_or_queue(uuid, timestamptz) is 'Starts a new pending subscription of a dealer, or leaves it pending behind a running one. The caller holds the dealer''s lock.';
--! EndIncluded subscription/start_or_queue.sql
--! Included subscription/start_subscription.sql
create or replace function app_private.start_subscription(dealer_id uuid, invoice_id uuid, at timestamptz) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  update app_public.checkouts as c set closed_at = start_subscription.at
  where c.dealer_id = start_subscription.dealer_id and c.invoice_id = start_subscription.invoice_id;
  insert into app_public.dealer_subscriptions (
    dealer_id, package_id, invoice_id, duration_days, overage, quota_kind, included_listing_quota, included_premium_quota, included_highlight_quota)
  select c.dealer_id, c.package_id, c.invoice_id, c.duration_days, c.overage, c.quota_kind, c.listing_limit, c.premium_quota, c.highlight_quota
  from app_public.checkouts as c
  where c.dealer_id = start_subscription.dealer_id and c.invoice_id = start_subscription.invoice_id;
  perform app_private.start_or_queue(start_subscription.dealer_id, start_subscription.at);
end
$$;

comment on function app_private.start_subscription(uuid, uuid, timestamptz) is 'Creates the subscription of a paid checkout with the quotas as they were bought: active at once, or pending behind a running one. The caller holds the dealer''s lock.';
--! EndIncluded subscription/start_subscription.sql
--! Included ledger/verify_purchases.sql
create or replace function app_private.verify_purchases() returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select
    case
      when i.id is null then 'a subscription does not belong to a package invoice'
      when i.status = 'paid' then 'a paid package does not have exactly one subscription'
      else 'an unpaid package has a subscription'
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
  union all
  select 'a subscription was both granted and bought', s.dealer_id, s.invoice_id, jsonb_build_object('subscription', s.id)
  from app_public.dealer_subscriptions as s
  where s.grant_reason is not null and s.invoice_id is not null
$$;

comment on function app_private.verify_purchases() is 'Finds package invoices that are paid without exactly one subscription or unpaid with a subscription, subscriptions that refer to another kind of invoice, and granted ones that have an invoice. `id` is the invoice''s.';
--! EndIncluded ledger/verify_purchases.sql
--! Included admin/require_future.sql
create or replace function app_private.require_future(valid_from timestamptz) returns timestamptz
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
begin
  if valid_from < v_now then
    raise exception using
      errcode = 'FC010',
      message = 'Please choose a moment in the future, or leave it out to start now. What was charged before does not change.',
      detail = jsonb_build_object('field', 'validFrom')::text;
  end if;
  return coalesce(valid_from, v_now);
end
$$;

comment on function app_private.require_future(timestamptz) is 'Returns the moment from which a price, a VAT rate or a quota is valid; null stands for now. Call it after lock_country: it reads the clock, so a change that waited for the lock starts after the change that it waited for. Raises FC010 for a moment that has passed.';
--! EndIncluded admin/require_future.sql
--! Included admin/accounts.sql
create or replace view app_public.accounts with (security_invoker = true) as
select
  u.id, u.email, u.full_name, u.locale, u.is_admin, u.dealer_limit, u.email_verified_at, u.locked_at, l.is_locked, u.deleted_at, u.created_at
from app_public.users as u
cross join lateral (select u.locked_at is not null as is_locked) as l;

comment on view app_public.accounts is E'@behavior +query:resource:connection\n@connectionField users\n@primaryKey id\nThe accounts of all users. For admins.';
comment on column app_public.accounts.id is E'@notNull\nTime-ordered.';
comment on column app_public.accounts.email is E'@notNull\n@behavior -attribute:orderBy\nNormalised: in lower case.';
comment on column app_public.accounts.full_name is E'@notNull\n@behavior -attribute:filterBy -attribute:orderBy\nThe name that the person entered.';
comment on column app_public.accounts.locale is E'@notNull\n@behavior -attribute:filterBy -attribute:orderBy\nThe language of mails to this user: en or de.';
comment on column app_public.accounts.is_admin is E'@notNull\n@behavior -attribute:orderBy\nWhether the user is an admin.';
comment on column app_public.accounts.dealer_limit is E'@notNull\n@behavior -attribute:filterBy -attribute:orderBy\nHow many dealers the account may create.';
comment on column app_public.accounts.email_verified_at is E'@behavior -attribute:filterBy -attribute:orderBy\nWhen the user proved that it reads the mail of its present address; null: not yet.';
comment on column app_public.accounts.locked_at is E'@behavior -attribute:filterBy -attribute:orderBy\nWhen an admin locked the account; null: it is not locked.';
comment on column app_public.accounts.is_locked is E'@notNull\n@behavior -attribute:orderBy\nWhether an admin locked the account.';
comment on column app_public.accounts.deleted_at is E'@behavior -attribute:filterBy -attribute:orderBy\nWhen the user deleted the account; null: the account exists.';
comment on column app_public.accounts.created_at is E'@notNull\n@behavior -attribute:filterBy -attribute:orderBy\nWhen the account was created.';

grant select on app_public.accounts to forecourt_admin;
--! EndIncluded admin/accounts.sql
--! Included admin/open_country.sql
create or replace function app_public.open_country(
  country text, currency text, vat_rate numeric default null, unit_price_net numeric default null,
  moderation app_public.moderation default null, listing_days integer default null
) returns app_public.country_currencies
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_country app_public.country_currencies;
  v_at timestamptz;
begin
  perform app_private.require_admin();
  select cc.* into v_country from app_public.country_currencies as cc where cc.country = open_country.country for no key update;
  -- Read after the lock: a price that another admin set while this session waited starts after now().
  v_at := clock_timestamp();
  if v_country.closed_at is not null and v_country.currency <> open_country.currency then
    raise exception using
      errcode = 'FC008',
      message = format('%s was closed with prices in %s. Please open it with this currency.', v_country.country, v_country.currency),
      detail = jsonb_build_object('field', 'currency')::text;
  elsif (v_country.country is null or v_country.closed_at is not null)
    and (open_country.vat_rate is null or open_country.unit_price_net is null)
  then
    raise exception using
      errcode = 'FC010',
      message = 'Please give the VAT rate and the price with which the country opens.',
      detail = jsonb_build_object('field', case when open_country.vat_rate is null then 'vatRate' else 'unitPriceNet' end)::text;
  elsif v_country.closed_at is not null then
    update app_public.country_currencies as cc set closed_at = null where cc.country = open_country.country;
    perform app_private.set_vat_rate(open_country.country, open_country.vat_rate, v_at);
    perform app_private.set_price(open_country.country, s.segment, 'pay_per_listing', open_country.unit_price_net, v_at)
    from unnest(enum_range(null::app_public.segment)) as s (segment);
  else
    perform app_private.open_country(open_country.country, open_country.currency, open_country.vat_rate, open_country.unit_price_net);
  end if;
  update app_public.country_currencies as cc
  set moderation = coalesce(open_country.moderation, cc.moderation), listing_days = coalesce(open_country.listing_days, cc.listing_days)
  where cc.country = open_country.country
    and (open_country.moderation <> cc.moderation or open_country.listing_days <> cc.listing_days);
  select cc.* into v_country from app_public.country_currencies as cc where cc.country = open_country.country;
  return v_country;
end
$$;

comment on function app_public.open_country(text, text, numeric, numeric, app_public.moderation, integer) is E'@behavior +mutationField\n@resultFieldName country\nFor admins: opens a country from now on with its currency, its VAT rate and the net price of a listing for every segment. A country that was closed is opened again with the same currency, and its packages stay retired. Then `vatRate` and `unitPriceNet` are required. In a country that is open it changes `moderation` and `listingDays` where they are given; another currency, VAT rate or price is a conflict (409), because `setVatRate` and `setPrice` change them.';

grant execute on function app_public.open_country(text, text, numeric, numeric, app_public.moderation, integer) to forecourt_admin;
--! EndIncluded admin/open_country.sql
--! Included admin/close_country.sql
create or replace function app_public.close_country(country text) returns app_public.country_currencies
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_country app_public.country_currencies;
begin
  perform app_private.require_admin();
  -- The lock comes first: save_package waits for it, and then finds the country closed.
  update app_public.country_currencies as cc set closed_at = now() where cc.country = close_country.country and cc.closed_at is null;
  update app_public.dealer_packages as p set is_active = false where p.country = close_country.country and p.is_active;
  select cc.* into v_country from app_public.country_currencies as cc where cc.country = close_country.country;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'This country was never opened. Please check it.',
      detail = jsonb_build_object('field', 'country')::text;
  end if;
  return v_country;
end
$$;

comment on function app_public.close_country(text) is E'@behavior +mutationField\n@resultFieldName country\nFor admins: accepts no new dealer in the country and takes its packages off sale. Its dealers keep what they have paid for, and publish on. A second call changes nothing.';

grant execute on function app_public.close_country(text) to forecourt_admin;
--! EndIncluded admin/close_country.sql
--! Included admin/set_price.sql
create or replace function app_public.set_price(
  country text, segment app_public.segment, pricing_type app_public.pricing_type, unit_price_net numeric,
  valid_from timestamptz default null, duration_days integer default null
) returns app_public.price_configs
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
begin
  perform app_private.require_admin();
  perform app_private.lock_country(set_price.country);
  return app_private.set_price(
    set_price.country, set_price.segment, set_price.pricing_type, set_price.unit_price_net,
    app_private.require_future(set_price.valid_from), set_price.duration_days);
end
$$;

comment on function app_public.set_price(text, app_public.segment, app_public.pricing_type, numeric, timestamptz, integer) is E'@behavior +mutationField\n@resultFieldName price\nFor admins: sets a price from `validFrom` on, and ends the price before it then. It is a conflict (409) if a later price is scheduled already. The price that is valid then already changes nothing.';

grant execute on function app_public.set_price(text, app_public.segment, app_public.pricing_type, numeric, timestamptz, integer) to forecourt_admin;
--! EndIncluded admin/set_price.sql
--! Included admin/set_vat_rate.sql
create or replace function app_public.set_vat_rate(country text, vat_rate numeric, valid_from timestamptz default null)
  returns app_public.vat_rates
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
begin
  perform app_private.require_admin();
  perform app_private.lock_country(set_vat_rate.country);
  return app_private.set_vat_rate(set_vat_rate.country, set_vat_rate.vat_rate, app_private.require_future(set_vat_rate.valid_from));
end
$$;

comment on function app_public.set_vat_rate(text, numeric, timestamptz) is E'@behavior +mutationField\n@resultFieldName vatRate\nFor admins: sets the VAT rate of a country from `validFrom` on, and ends the rate before it then. It is a conflict (409) if a later rate is scheduled already. The rate that is valid then already changes nothing.';

grant execute on function app_public.set_vat_rate(text, numeric, timestamptz) to forecourt_admin;
--! EndIncluded admin/set_vat_rate.sql
--! Included admin/set_free_quota.sql
create or replace function app_public.set_free_quota(
  country text, segment app_public.segment, quota_amount integer, period_days integer, valid_from timestamptz default null
) returns app_public.free_quota_configs
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_from timestamptz;
  v_quota app_public.free_quota_configs;
begin
  perform app_private.require_admin();
  perform app_private.lock_country(set_free_quota.country);
  v_from := app_private.require_future(set_free_quota.valid_from);
  select q.* into v_quota from app_public.free_quota_configs as q
  where q.country = set_free_quota.country and q.segment = set_free_quota.segment and q.valid @> v_from;
  if (v_quota.quota_amount, v_quota.period_days) = (set_free_quota.quota_amount, set_free_quota.period_days) then
    return v_quota;
  end if;
  update app_public.free_quota_configs as q set valid = tstzrange(lower(q.valid), v_from)
  where q.id = v_quota.id and lower(q.valid) is distinct from v_from;
  insert into app_public.free_quota_configs (country, segment, quota_amount, period_days, valid)
  values (set_free_quota.country, set_free_quota.segment, set_free_quota.quota_amount, set_free_quota.period_days, tstzrange(v_from, null))
  returning * into v_quota;
  return v_quota;
end
$$;

comment on function app_public.set_free_quota(text, app_public.segment, integer, integer, timestamptz) is E'@behavior +mutationField\n@resultFieldName freeQuota\nFor admins: sets how many listings are free in a country from `validFrom` on, and ends the free listings before then. It is a conflict (409) if later ones are scheduled already. The free listings that are valid then already change nothing.';

grant execute on function app_public.set_free_quota(text, app_public.segment, integer, integer, timestamptz) to forecourt_admin;
--! EndIncluded admin/set_free_quota.sql
--! Included admin/require_package_name.sql
create or replace function app_private.require_package_name(name jsonb) returns jsonb
  language plpgsql immutable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_name jsonb;
begin
  if jsonb_typeof(name) = 'object' and name ?& array['en', 'de'] then
    select jsonb_object_agg(n.language, n.text) into v_name
    from (
      select e.key, case jsonb_typeof(e.value) when 'string' then app_private.require_name(e.value #>> '{}', 'name') end
      from jsonb_each(name) as e
    ) as n (language, text)
    having bool_and((n.language ~ '^[a-z]{2}$' and app_private.is_line(n.text, 200)) is true);
  end if;
  if v_name is null then
    raise exception using
      errcode = 'FC010',
      message = 'Please enter the name in English and German, such as {"en": "Basic", "de": "Basis"}: 1 to 200 characters in one line. Other languages are optional, by their code of two letters.',
      detail = jsonb_build_object('field', 'name')::text;
  end if;
  return v_name;
end
$$;

comment on function app_private.require_package_name(jsonb) is 'Returns the name of a package by language as it is stored. `en` and `de`, the languages of mails, are required. Raises FC010 for any other value, and what require_name raises.';
--! EndIncluded admin/require_package_name.sql
--! Included admin/save_package.sql
create or replace function app_public.save_package(
  key text, country text, name jsonb, price_net numeric, duration_days integer, listing_limit integer, id uuid default null,
  quota_kind app_public.quota_kind default null, premium_quota integer default null, highlight_quota integer default null,
  overage app_public.overage default null
) returns app_public.dealer_packages
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_country app_public.country_currencies;
  v_old app_public.dealer_packages;
  v_new app_public.dealer_packages;
begin
  perform app_private.require_admin();
  v_country := app_private.lock_country(save_package.country);
  select p.* into v_old from app_public.dealer_packages as p
  where case when save_package.id is null
    then p.country = save_package.country and p.key = save_package.key
    else p.id = save_package.id and p.country = save_package.country end
  for no key update;
  if v_country.closed_at is not null then
    raise exception using
      errcode = 'FC008',
      message = 'This country is closed, so nothing is sold there. Please open it first.',
      detail = jsonb_build_object('field', 'country')::text;
  elsif v_old.id is null and save_package.id is not null then
    raise exception using
      errcode = 'FC004',
      message = 'There is no package with this id in this country. Please check both.',
      detail = jsonb_build_object('field', 'id')::text;
  end if;
  v_new := row(
    v_old.id, save_package.key, save_package.country, app_private.require_package_name(save_package.name),
    app_private.require_price(save_package.price_net, v_country.currency, 'priceNet'), v_country.currency,
    save_package.duration_days, save_package.listing_limit,
    coalesce(save_package.premium_quota, v_old.premium_quota, 0), coalesce(save_package.highlight_quota, v_old.highlight_quota, 0),
    coalesce(save_package.overage, v_old.overage, 'charge'), true, coalesce(save_package.quota_kind, v_old.quota_kind, 'per_period'));
  if v_new = v_old then
    return v_old;
  elsif save_package.id is null then
    -- A key that another package of the country has is refused here.
    v_new.id := app_private.time_ordered_uuid();
    insert into app_public.dealer_packages values (v_new.*) returning * into v_new;
  else
    update app_public.dealer_packages as p
    set (key, name, price_net, duration_days, listing_limit, premium_quota, highlight_quota, overage, is_active, quota_kind) = (
      v_new.key, v_new.name, v_new.price_net, v_new.duration_days, v_new.listing_limit, v_new.premium_quota, v_new.highlight_quota,
      v_new.overage, v_new.is_active, v_new.quota_kind)
    where p.id = v_new.id
    returning p.* into v_new;
  end if;
  return v_new;
end
$$;

comment on function app_public.save_package(text, text, jsonb, numeric, integer, integer, uuid, app_public.quota_kind, integer, integer, app_public.overage) is E'@behavior +mutationField\n@resultFieldName package\nFor admins: puts a new package on sale, or changes the one with this `id` and puts it on sale again. The `name` is an object by language and needs `en` and `de`. A change is for later purchases: checkouts and subscriptions keep what they were made with. A package stays in its country, whose currency its price has. A new package is a conflict (409) if the country has another one with its `key`. A second call changes nothing.';

grant execute on function app_public.save_package(text, text, jsonb, numeric, integer, integer, uuid, app_public.quota_kind, integer, integer, app_public.overage) to forecourt_admin;
--! EndIncluded admin/save_package.sql
--! Included admin/retire_package.sql
create or replace function app_public.retire_package(package_id uuid) returns app_public.dealer_packages
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_package app_public.dealer_packages;
begin
  perform app_private.require_admin();
  update app_public.dealer_packages as p set is_active = false where p.id = retire_package.package_id and p.is_active;
  select p.* into v_package from app_public.dealer_packages as p where p.id = retire_package.package_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no package with this id. Please check it.',
      detail = jsonb_build_object('field', 'packageId')::text;
  end if;
  return v_package;
end
$$;

comment on function app_public.retire_package(uuid) is E'@behavior +mutationField\n@resultFieldName package\nFor admins: takes a package off sale. Checkouts that are open and subscriptions keep it, and `savePackage` puts it on sale again. A second call changes nothing.';

grant execute on function app_public.retire_package(uuid) to forecourt_admin;
--! EndIncluded admin/retire_package.sql
--! Included admin/set_rate_limit_policy.sql
create or replace function app_public.set_rate_limit_policy(
  scope text, max_count integer default null, window_seconds integer default null, cost integer default null,
  mode app_public.rate_limit_mode default null, fallback app_public.rate_limit_fallback default null
) returns app_public.rate_limit_policies
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_old app_public.rate_limit_policies;
  v_new app_public.rate_limit_policies;
  v_least integer;
begin
  perform app_private.require_admin();
  select p.* into v_old from app_public.rate_limit_policies as p where p.scope = set_rate_limit_policy.scope for no key update;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no rate limit with this scope. Please choose one that rateLimitPolicies lists.',
      detail = jsonb_build_object('field', 'scope')::text;
  end if;
  v_new := v_old;
  v_new.max_count := coalesce(set_rate_limit_policy.max_count, v_old.max_count);
  v_new.window_seconds := coalesce(set_rate_limit_policy.window_seconds, v_old.window_seconds);
  v_new.cost := coalesce(set_rate_limit_policy.cost, v_old.cost);
  v_new.mode := coalesce(set_rate_limit_policy.mode, v_old.mode);
  v_new.fallback := coalesce(set_rate_limit_policy.fallback, v_old.fallback);
  v_least := case when set_rate_limit_policy.cost is null then v_old.cost else 1 end;
  if v_new = v_old then
    return v_old;
  elsif v_new.max_count < v_least then
    -- The constraint would name the cost, which the caller did not give.
    raise exception using
      errcode = 'FC010',
      message = format('Please enter a limit of %s to 1000000.', v_least),
      detail = jsonb_build_object('field', 'maxCount')::text;
  end if;
  update app_public.rate_limit_policies as p
  set (max_count, window_seconds, cost, mode, fallback) = (v_new.max_count, v_new.window_seconds, v_new.cost, v_new.mode, v_new.fallback)
  where p.scope = v_new.scope
  returning p.* into v_new;
  return v_new;
end
$$;

comment on function app_public.set_rate_limit_policy(text, integer, integer, integer, app_public.rate_limit_mode, app_public.rate_limit_fallback) is E'@behavior +mutationField\n@resultFieldName rateLimitPolicy\nFor admins: changes a rate limit. Every process applies it within a second. What is absent stays as it is, and a second call changes nothing.';

grant execute on function app_public.set_rate_limit_policy(text, integer, integer, integer, app_public.rate_limit_mode, app_public.rate_limit_fallback) to forecourt_admin;
--! EndIncluded admin/set_rate_limit_policy.sql
--! Included admin/set_dealer_status.sql
create or replace function app_public.set_dealer_status(
  dealer_id uuid, is_active boolean, can_publish boolean, reason text, is_trusted boolean default null
) returns app_public.dealers
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_reason text;
  v_old app_public.dealers;
  v_new app_public.dealers;
begin
  perform app_private.require_admin();
  v_reason := app_private.require_reason(set_dealer_status.reason);
  v_old := app_private.lock_dealer(set_dealer_status.dealer_id);
  if v_old.id is null then
    raise exception using
      errcode = 'FC004',
      message = 'There is no dealer with this id. Please check it.',
      detail = jsonb_build_object('field', 'dealerId')::text;
  end if;
  if set_dealer_status.is_active and not v_old.is_active and not app_private.has_owner(v_old.id) then
    raise exception using
      errcode = 'FC008',
      message = 'This dealer has no owner who can log in. Please unlock the account of an owner, or ask a DBA to add an owner. Then open the dealer.',
      detail = jsonb_build_object('field', 'dealerId')::text;
  end if;
  update app_public.dealers as d
  set is_active = set_dealer_status.is_active, can_publish = set_dealer_status.can_publish,
    is_trusted = coalesce(set_dealer_status.is_trusted, d.is_trusted), updated_at = clock_timestamp()
  where d.id = v_old.id
    and (d.is_active, d.can_publish, d.is_trusted)
      <> (set_dealer_status.is_active, set_dealer_status.can_publish, coalesce(set_dealer_status.is_trusted, d.is_trusted))
  returning d.* into v_new;
  if not found then
    return v_old;
  end if;
  perform app_private.write_audit_log(
    'SET_DEALER_STATUS', 'dealers', v_old.id,
    jsonb_build_object('is_active', v_old.is_active, 'can_publish', v_old.can_publish, 'is_trusted', v_old.is_trusted),
    jsonb_build_object('is_active', v_new.is_active, 'can_publish', v_new.can_publish, 'is_trusted', v_new.is_trusted, 'reason', v_reason));
  return v_new;
end
$$;

comment on function app_public.set_dealer_status(uuid, boolean, boolean, text, boolean) is E'@behavior +mutationField\n@resultFieldName dealer\nFor admins: closes or opens a dealer, and suspends its publications or allows them. Strangers do not see the listings of a closed dealer, and its members can neither publish nor buy. The listings of a trusted dealer are active at once. A dealer without an owner who can log in stays closed (409). A second call changes nothing.';

grant execute on function app_public.set_dealer_status(uuid, boolean, boolean, text, boolean) to forecourt_admin;
--! EndIncluded admin/set_dealer_status.sql
--! Included admin/lock_user.sql
create or replace function app_public.lock_user(user_id uuid, reason text) returns app_public.accounts
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_admin_id constant uuid := app_private.require_admin();
  v_account app_public.accounts;
begin
  if v_admin_id = lock_user.user_id then
    raise exception using
      errcode = 'FC008',
      message = 'You cannot lock your own account. Please ask another admin.',
      detail = jsonb_build_object('field', 'userId')::text;
  end if;
  -- Two admins who lock each other at once: the second one is no admin any more.
  perform from app_public.users as u where u.id in (v_admin_id, lock_user.user_id) order by u.id for no key update;
  perform app_private.require_admin();
  perform app_private.lock_user(lock_user.user_id, lock_user.reason);
  select a.* into v_account from app_public.accounts as a where a.id = lock_user.user_id;
  return v_account;
end
$$;

comment on function app_public.lock_user(uuid, text) is E'@behavior +mutationField\n@resultFieldName user\nFor admins: locks an account. Its sessions end within a second, and it can neither log in nor use a token. An admin cannot lock its own account (409). A second call changes nothing.';

grant execute on function app_public.lock_user(uuid, text) to forecourt_admin;
--! EndIncluded admin/lock_user.sql
--! Included admin/unlock_user.sql
create or replace function app_public.unlock_user(user_id uuid, reason text) returns app_public.accounts
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_account app_public.accounts;
begin
  perform app_private.require_admin();
  perform app_private.unlock_user(unlock_user.user_id, unlock_user.reason);
  select a.* into v_account from app_public.accounts as a where a.id = unlock_user.user_id;
  return v_account;
end
$$;

comment on function app_public.unlock_user(uuid, text) is E'@behavior +mutationField\n@resultFieldName user\nFor admins: unlocks an account, which can log in again. A second call changes nothing.';

grant execute on function app_public.unlock_user(uuid, text) to forecourt_admin;
--! EndIncluded admin/unlock_user.sql
--! Included admin/grant_subscription.sql
create or replace function app_public.grant_subscription(dealer_id uuid, package_id uuid, reason text) returns app_public.dealer_subscriptions
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_reason text;
  v_dealer app_public.dealers;
  v_at timestamptz;
  v_package app_public.dealer_packages;
  v_subscription app_public.dealer_subscriptions;
begin
  perform app_private.require_admin();
  v_reason := app_private.require_reason(grant_subscription.reason);
  v_dealer := app_private.lock_dealer(grant_subscription.dealer_id);
  if v_dealer.id is null then
    raise exception using
      errcode = 'FC004',
      message = 'There is no dealer with this id. Please check it.',
      detail = jsonb_build_object('field', 'dealerId')::text;
  end if;
  v_at := clock_timestamp();
  select s.* into v_subscription from app_public.dealer_subscriptions as s
  where s.dealer_id = v_dealer.id and s.package_id = grant_subscription.package_id and s.grant_reason = v_reason
    and s.status <> 'expired' and (s.status = 'pending' or s.end_at > v_at)
  limit 1;
  if found then
    return v_subscription;
  elsif not v_dealer.is_active then
    raise exception using
      errcode = 'FC003',
      message = 'This dealer is closed. Please open it first.',
      detail = jsonb_build_object('field', 'dealerId')::text;
  end if;
  v_package := app_private.find_package(grant_subscription.package_id, v_dealer.country);
  insert into app_public.dealer_subscriptions (
    dealer_id, package_id, grant_reason, duration_days, overage, quota_kind, included_listing_quota, included_premium_quota, included_highlight_quota)
  values (
    v_dealer.id, v_package.id, v_reason, v_package.duration_days, v_package.overage, v_package.quota_kind, v_package.listing_limit,
    v_package.premium_quota, v_package.highlight_quota)
  returning id into v_subscription.id;
  perform app_private.start_or_queue(v_dealer.id, v_at);
  select s.* into v_subscription from app_public.dealer_subscriptions as s where s.dealer_id = v_dealer.id and s.id = v_subscription.id;
  perform app_private.write_audit_log(
    'GRANT_SUBSCRIPTION', 'dealer_subscriptions', v_subscription.id, null,
    to_jsonb(v_subscription) - 'grant_reason' || jsonb_build_object('reason', v_reason));
  return v_subscription;
end
$$;

comment on function app_public.grant_subscription(uuid, uuid, text) is E'@behavior +mutationField\n@resultFieldName subscription\nFor admins: gives a dealer a package that is on sale in its country, without an invoice. It starts at once, or waits behind a running subscription as one that was bought. The dealer reads the `reason`. While a grant of the same package with the same `reason` waits or runs, a second call returns it and changes nothing.';

grant execute on function app_public.grant_subscription(uuid, uuid, text) to forecourt_admin;
--! EndIncluded admin/grant_subscription.sql
