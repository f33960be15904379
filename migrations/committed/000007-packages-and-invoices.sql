--! Previous: sha1:f3d684d9bf03a1e11787d428c0572604a0ab53a0
--! Hash: sha1:4ce55ee3c76971d14e135dbc024a41d35fad0caf
--! Message: packages and invoices

set local lock_timeout to '2s';
set local statement_timeout to '60s';

do $$ begin
  create type app_public.overage as enum ('charge', 'block');
exception when duplicate_object then null; end $$;
comment on type app_public.overage is 'How listings beyond the quota are handled. charge: a price per listing. block: they are refused.';

do $$ begin
  create type app_public.invoice_kind as enum ('package', 'monthly');
exception when duplicate_object then null; end $$;
comment on type app_public.invoice_kind is 'package: a purchase. monthly: a month''s listings beyond the quotas.';

do $$ begin
  create type app_public.invoice_status as enum ('draft', 'paid', 'void');
exception when duplicate_object then null; end $$;
comment on type app_public.invoice_status is 'draft: not paid yet. paid and void are final.';

create table if not exists app_public.dealer_packages (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  key text not null constraint dealer_packages_key_form check (key ~ '^[a-z][a-z0-9_]{0,39}$'),
  country text not null,
  name jsonb not null constraint dealer_packages_name_has_language check (jsonb_typeof(name) = 'object' and name <> '{}'),
  price_net numeric not null constraint dealer_packages_price_net_range check (price_net >= 0 and price_net < 1000000),
  currency text not null,
  duration_days integer not null constraint dealer_packages_duration_days_range check (duration_days between 1 and 3660),
  listing_limit integer not null constraint dealer_packages_listing_limit_range check (listing_limit >= 0),
  premium_quota integer not null default 0 constraint dealer_packages_premium_quota_range check (premium_quota >= 0),
  highlight_quota integer not null default 0 constraint dealer_packages_highlight_quota_range check (highlight_quota >= 0),
  overage app_public.overage not null default 'charge',
  is_active boolean not null default true,
  constraint dealer_packages_country_key_key unique (country, key),
  constraint dealer_packages_currency_of_country foreign key (country, currency) references app_public.country_currencies (country, currency)
);
comment on table app_public.dealer_packages is E'@behavior +query:resource:connection\nThe packages that dealers can buy in each country.';
comment on column app_public.dealer_packages.id is 'Time-ordered.';
comment on column app_public.dealer_packages.key is 'The same for a package in all countries, such as basic.';
comment on column app_public.dealer_packages.country is 'Where it is sold, ISO 3166-1 alpha-2.';
comment on column app_public.dealer_packages.name is 'By language: {"de": "Basis", "en": "Basic"}.';
comment on column app_public.dealer_packages.price_net is 'Without VAT, in whole units of the currency.';
comment on column app_public.dealer_packages.currency is 'The currency of the country.';
comment on column app_public.dealer_packages.duration_days is 'Duration of the subscription, in days of 24 hours.';
comment on column app_public.dealer_packages.listing_limit is 'Included listings.';
comment on column app_public.dealer_packages.premium_quota is 'Included premium placements.';
comment on column app_public.dealer_packages.highlight_quota is 'Included highlights.';
comment on column app_public.dealer_packages.overage is 'How listings beyond the included ones are handled.';
comment on column app_public.dealer_packages.is_active is 'Whether the package is on sale.';

-- Before the tables, whose constraints call them.
--! Included billing/check_invoice.sql
create or replace function app_private.check_invoice(
  kind app_public.invoice_kind, status app_public.invoice_status, period_start date, paid_at timestamptz,
  net_total numeric, vat_total numeric, gross_total numeric
) returns boolean
  language plpgsql immutable security invoker parallel safe
  -- No search_path, which takes time for each row: only a CHECK calls it, and each name outside pg_catalog has its schema.
as $$
begin
  return case
    when not (kind = 'monthly') = (period_start is not null)
      then app_private.refuse_row('invoices', 'invoices_monthly_has_period', 'A monthly invoice, and no other, has a month.')
    when not (status = 'paid') = (paid_at is not null)
      then app_private.refuse_row('invoices', 'invoices_paid_has_time', 'A paid invoice, and no other, has the time of its payment.')
    when not extract(day from period_start) = 1
      then app_private.refuse_row('invoices', 'invoices_period_starts_month', format('%s is not the first day of a month.', period_start))
    when not (gross_total = net_total + vat_total and net_total >= 0 and vat_total >= 0)
      then app_private.refuse_row('invoices', 'invoices_totals_add_up',
        format('The totals are negative or do not add up: %s + %s = %s.', net_total, vat_total, gross_total))
    else true
  end;
end
$$;

comment on function app_private.check_invoice(app_public.invoice_kind, app_public.invoice_status, date, timestamptz, numeric, numeric, numeric) is 'The rules of an invoice. The first that is broken, in the order of their names, refuses the row; a rule that is null holds.';
--! EndIncluded billing/check_invoice.sql
--! Included billing/check_invoice_item.sql
create or replace function app_private.check_invoice_item(
  price_config_id uuid, package_id uuid, price_version integer, unit_price_net numeric, discount numeric,
  net_amount numeric, vat_amount numeric, gross_amount numeric
) returns boolean
  language plpgsql immutable security invoker parallel safe
  -- No search_path, which takes time for each row: only a CHECK calls it, and each name outside pg_catalog has its schema.
as $$
begin
  return case
    when not (gross_amount = net_amount + vat_amount and net_amount >= 0 and vat_amount >= 0)
      then app_private.refuse_row('invoice_items', 'invoice_items_amounts_add_up',
        format('The amounts are negative or do not add up: %s + %s = %s.', net_amount, vat_amount, gross_amount))
    when not discount between 0 and unit_price_net
      then app_private.refuse_row('invoice_items', 'invoice_items_discount_within_price',
        format('The discount %s is not between 0 and the price %s.', discount, unit_price_net))
    when not num_nonnulls(price_config_id, package_id) = 1
      then app_private.refuse_row('invoice_items', 'invoice_items_one_origin', 'An item is either for a price or for a package.')
    when not (price_config_id is null) = (price_version is null)
      then app_private.refuse_row('invoice_items', 'invoice_items_version_of_price', 'A price needs its version, and a version its price.')
    else true
  end;
end
$$;

comment on function app_private.check_invoice_item(uuid, uuid, integer, numeric, numeric, numeric, numeric, numeric) is 'The rules of an invoice item. The first that is broken, in the order of their names, refuses the row; a rule that is null holds.';
--! EndIncluded billing/check_invoice_item.sql

create table if not exists app_public.invoices (
  dealer_id uuid not null constraint invoices_dealer references app_public.dealers,
  id uuid not null default app_private.time_ordered_uuid(),
  kind app_public.invoice_kind not null,
  status app_public.invoice_status not null default 'draft',
  country text not null,
  currency text not null references app_public.currencies,
  period_start date,
  net_total numeric not null default 0,
  vat_total numeric not null default 0,
  gross_total numeric not null default 0,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  paid_at timestamptz,
  primary key (dealer_id, id),
  constraint invoices_valid check (app_private.check_invoice(kind, status, period_start, paid_at, net_total, vat_total, gross_total))
) with (fillfactor = 80);
comment on table app_public.invoices is E'@behavior +query:resource:connection\nAn amount that a dealer owes. The totals are the sums of the items.';
comment on column app_public.invoices.dealer_id is 'The dealer that owes it.';
comment on column app_public.invoices.id is 'Time-ordered.';
comment on column app_public.invoices.kind is 'The purchase of a package, or a month''s listings beyond the quotas.';
comment on column app_public.invoices.status is 'Whether the invoice is paid.';
comment on column app_public.invoices.country is 'The dealer''s country when the invoice was created.';
comment on column app_public.invoices.currency is 'The currency of all its amounts.';
comment on column app_public.invoices.period_start is 'First day of the month (UTC) of a monthly invoice.';
comment on column app_public.invoices.net_total is 'Without VAT.';
comment on column app_public.invoices.vat_total is 'The VAT, rounded for each item.';
comment on column app_public.invoices.gross_total is 'The amount to pay.';
comment on column app_public.invoices.created_at is 'When the invoice was created.';
comment on column app_public.invoices.updated_at is 'When the invoice last changed.';
comment on column app_public.invoices.paid_at is 'When the invoice was paid.';
comment on constraint invoices_dealer on app_public.invoices is E'@forwardBehavior +singularRelation:resource:single\n@fieldName dealer\n@forwardDescription The dealer that owes it.';
-- For look-ups by id alone. Not unique: the server generates the ids.
create index if not exists ix_invoices_id on app_public.invoices (id);
create unique index if not exists ux_invoices_open_month on app_public.invoices (dealer_id, period_start, country, currency)
  where kind = 'monthly' and status = 'draft';

create table if not exists app_public.invoice_items (
  dealer_id uuid not null,
  id uuid not null default app_private.time_ordered_uuid(),
  invoice_id uuid not null,
  description text not null,
  price_config_id uuid references app_public.price_configs,
  package_id uuid references app_public.dealer_packages,
  price_version integer,
  unit_price_net numeric not null,
  discount numeric not null default 0,
  net_amount numeric not null,
  vat_rate numeric not null,
  vat_amount numeric not null,
  gross_amount numeric not null,
  country text not null,
  currency text not null references app_public.currencies,
  created_at timestamptz not null default clock_timestamp(),
  -- `id` first, so that the items of one invoice are never found by a walk over all items of its dealer.
  primary key (id, dealer_id),
  constraint invoice_items_invoice foreign key (dealer_id, invoice_id) references app_public.invoices (dealer_id, id),
  constraint invoice_items_valid check (app_private.check_invoice_item(
    price_config_id, package_id, price_version, unit_price_net, discount, net_amount, vat_amount, gross_amount))
);
comment on table app_public.invoice_items is 'A line of an invoice: a snapshot that never changes.';
comment on column app_public.invoice_items.dealer_id is 'The dealer that owes it.';
comment on column app_public.invoice_items.id is 'Time-ordered.';
comment on column app_public.invoice_items.invoice_id is 'The invoice of the item.';
comment on column app_public.invoice_items.description is 'The item in words, in English.';
comment on column app_public.invoice_items.price_config_id is 'The price of the listing; null for a package.';
comment on column app_public.invoice_items.package_id is 'The package; null for a listing.';
comment on column app_public.invoice_items.price_version is 'The version of the price.';
comment on column app_public.invoice_items.unit_price_net is 'The price without VAT, before the discount.';
comment on column app_public.invoice_items.discount is 'Deducted from the price, without VAT.';
comment on column app_public.invoice_items.net_amount is 'Price minus discount, rounded to the currency''s minor units.';
comment on column app_public.invoice_items.vat_rate is 'In percent.';
comment on column app_public.invoice_items.vat_amount is 'Net amount times VAT rate, rounded half away from zero to the currency''s minor units.';
comment on column app_public.invoice_items.gross_amount is 'Net amount plus VAT.';
comment on column app_public.invoice_items.country is 'The country of the price and the VAT rate.';
comment on column app_public.invoice_items.currency is 'The currency of all its amounts.';
comment on column app_public.invoice_items.created_at is 'When the item was added.';
comment on constraint invoice_items_invoice on app_public.invoice_items is E'@backwardBehavior +manyRelation:resource:connection\n@foreignFieldName items\n@backwardDescription The lines of the invoice.';
create index if not exists ix_invoice_items_invoice_id_dealer_id on app_public.invoice_items (invoice_id, dealer_id);

create table if not exists app_public.checkouts (
  dealer_id uuid not null,
  invoice_id uuid not null,
  package_id uuid not null references app_public.dealer_packages,
  idempotency_key uuid not null,
  payload_hash bytea not null,
  provider text not null constraint checkouts_provider_known check (provider in ('manual')),
  url text,
  success_url text,
  cancel_url text,
  duration_days integer not null,
  listing_limit integer not null,
  premium_quota integer not null,
  highlight_quota integer not null,
  overage app_public.overage not null,
  expires_at timestamptz not null,
  closed_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  -- No key begins with the dealer: with statistics of few rows per dealer it would be chosen for every look-up.
  primary key (invoice_id, dealer_id),
  constraint checkouts_invoice foreign key (dealer_id, invoice_id) references app_public.invoices (dealer_id, id),
  constraint checkouts_idempotency_key unique (idempotency_key, dealer_id),
  constraint checkouts_success_url_form check (success_url ~ '^https?://[^[:space:][:cntrl:]]+$' and length(success_url) <= 2000),
  constraint checkouts_cancel_url_form check (cancel_url ~ '^https?://[^[:space:][:cntrl:]]+$' and length(cancel_url) <= 2000)
);
comment on table app_public.checkouts is 'A started purchase: its invoice, where to pay, and a snapshot of the package.';
comment on column app_public.checkouts.dealer_id is 'The dealer that buys.';
comment on column app_public.checkouts.invoice_id is 'The invoice to pay.';
comment on column app_public.checkouts.package_id is 'The package.';
comment on column app_public.checkouts.idempotency_key is 'Chosen by the client; unique per dealer.';
comment on column app_public.checkouts.payload_hash is 'SHA-256 of the input. It distinguishes a retry from another purchase with the same key.';
comment on column app_public.checkouts.provider is 'The payment provider. manual: an admin marks the invoice as paid.';
comment on column app_public.checkouts.url is 'Where to pay; null if the payment is made elsewhere, as with the provider manual.';
comment on column app_public.checkouts.success_url is 'Where to send the customer after the payment.';
comment on column app_public.checkouts.cancel_url is 'Where to send the customer without a payment.';
comment on column app_public.checkouts.duration_days is 'Snapshot of the package.';
comment on column app_public.checkouts.listing_limit is 'Snapshot of the package.';
comment on column app_public.checkouts.premium_quota is 'Snapshot of the package.';
comment on column app_public.checkouts.highlight_quota is 'Snapshot of the package.';
comment on column app_public.checkouts.overage is 'Snapshot of the package.';
comment on column app_public.checkouts.expires_at is 'End of the offer. After it the next purchase voids the invoice.';
comment on column app_public.checkouts.closed_at is 'When the invoice was paid or voided; null while the checkout is open.';
comment on column app_public.checkouts.created_at is 'When the purchase was started.';
comment on constraint checkouts_invoice on app_public.checkouts is E'@forwardBehavior +singularRelation:resource:single\n@fieldName invoice\n@forwardDescription The invoice to pay.';
comment on constraint checkouts_success_url_form on app_public.checkouts is E'@field successUrl\nPlease enter a URL that starts with https:// or http:// and has at most 2000 characters.';
comment on constraint checkouts_cancel_url_form on app_public.checkouts is E'@field cancelUrl\nPlease enter a URL that starts with https:// or http:// and has at most 2000 characters.';
create unique index if not exists ux_checkouts_one_open on app_public.checkouts (dealer_id) where closed_at is null;

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

comment on function app_private.write_price_as_money() is 'Trigger: stores the price of a package with at least the decimal places of its currency.';
--! EndIncluded pricing/write_price_as_money.sql
--! Included pricing/price_item.sql
create or replace function app_private.price_item(unit_price_net numeric, gate app_private.pricing_gate) returns app_public.invoice_items
  language plpgsql immutable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_item app_public.invoice_items;
begin
  v_item.unit_price_net := app_private.money(price_item.unit_price_net, gate.minor_units);
  v_item.discount := app_private.money(0, gate.minor_units);
  v_item.net_amount := round(price_item.unit_price_net, gate.minor_units);
  v_item.vat_rate := gate.vat_rate;
  v_item.vat_amount := app_private.vat_amount(v_item.net_amount, gate.vat_rate, gate.minor_units);
  v_item.gross_amount := v_item.net_amount + v_item.vat_amount;
  v_item.currency := gate.currency;
  return v_item;
end
$$;

comment on function app_private.price_item(numeric, app_private.pricing_gate) is 'The amounts of a package: net, VAT and gross amount of its price, rounded to the currency''s minor units. The caller fills in the other columns of the item.';
--! EndIncluded pricing/price_item.sql
--! Included pricing/pricing_gaps.sql
create or replace view app_public.pricing_gaps with (security_invoker = true) as
with horizon as (
  select now() as starts_at, now() + interval '2160 hours' as ends_at
), countries as (
  select d.country from app_public.dealers as d where d.is_active
  union
  select p.country from app_public.dealer_packages as p where p.is_active
), covered as (
  select c.country, 'currency' as missing,
    (select range_agg(tstzrange(null, null)) from app_public.country_currencies as cc where cc.country = c.country) as times
  from countries as c
  union all
  select c.country, 'vat_rate',
    (select range_agg(v.valid) from app_public.vat_rates as v where v.country = c.country)
  from countries as c
  union all
  select c.country, 'price',
    (select range_agg(p.valid) from app_public.price_configs as p
     where p.country = c.country and p.segment = 'dealer' and p.pricing_type = 'pay_per_listing')
  from countries as c
  union all
  select c.country, 'package',
    (select range_agg(tstzrange(null, null)) from app_public.dealer_packages as p where p.country = c.country and p.is_active)
  from countries as c
), gaps as (
  select co.country, co.missing, co.times,
    unnest(tstzmultirange(tstzrange(h.starts_at, h.ends_at)) - coalesce(co.times, '{}')) as gap
  from covered as co cross join horizon as h
)
select
  g.country,
  g.missing,
  lower(g.gap) as starts_at,
  nullif(upper(g.gap), h.ends_at) as ends_at,
  s.since,
  concat_ws('/', g.country, g.missing, to_char(s.since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) as key
from gaps as g cross join horizon as h
cross join lateral (
  select case when lower(g.gap) = h.starts_at
    then (select max(upper(r)) from unnest(g.times) as r where upper(r) <= h.starts_at)
    else lower(g.gap)
  end as since
) as s;

comment on view app_public.pricing_gaps is E'@behavior +query:resource:connection\n@primaryKey key\nCountries with dealers or packages, and the periods of the next 90 days in which their currency, VAT rate, listing price or package is missing. Requests that need it are refused with 409 then. For admins.';
comment on column app_public.pricing_gaps.country is E'@notNull\nISO 3166-1 alpha-2.';
comment on column app_public.pricing_gaps.missing is E'@notNull\ncurrency, vat_rate, price or package.';
-- It moves with the clock while the gap lasts, so a page that is ordered by it has no fixed end.
comment on column app_public.pricing_gaps.starts_at is E'@notNull\n@behavior -orderBy\nStart of the gap within the next 90 days.';
comment on column app_public.pricing_gaps.ends_at is 'End of the gap; null: it does not end within the next 90 days.';
comment on column app_public.pricing_gaps.since is 'Since when the configuration is missing; null: it never existed.';
comment on column app_public.pricing_gaps.key is E'@notNull\nCountry, missing configuration and since when: the same gap keeps its key.';

grant select on app_public.pricing_gaps to forecourt_admin;
--! EndIncluded pricing/pricing_gaps.sql
--! Included pricing/alert_pricing_gaps.sql
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

comment on function app_private.alert_pricing_gaps() is 'Raises one alert a day (UTC) for each country and missing configuration that pricing_gaps shows, and returns the number of new alerts.';
--! EndIncluded pricing/alert_pricing_gaps.sql
--! Included billing/find_package.sql
create or replace function app_private.find_package(package_id uuid, country text) returns app_public.dealer_packages
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_package app_public.dealer_packages;
begin
  select p.* into v_package from app_public.dealer_packages as p where p.id = find_package.package_id and p.is_active;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no package with this id on sale. Choose one of dealerPackages.',
      detail = jsonb_build_object('field', 'packageId')::text;
  elsif v_package.country <> find_package.country then
    raise exception using
      errcode = 'FC010',
      message = format('This package is sold in %s, but the dealer is in %s. Choose one of dealerPackages for that country.', v_package.country, find_package.country),
      detail = jsonb_build_object('field', 'packageId', 'country', find_package.country)::text;
  end if;
  return v_package;
end
$$;

comment on function app_private.find_package(uuid, text) is 'Returns a package that is on sale in the country. Raises FC004 if no such package is on sale, FC010 if it is sold in another country.';
--! EndIncluded billing/find_package.sql
--! Included billing/replay_checkout.sql
create or replace function app_private.replay_checkout(dealer_id uuid, idempotency_key uuid, payload_hash bytea) returns app_public.checkouts
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_checkout app_public.checkouts;
begin
  select c.* into v_checkout
  from app_public.checkouts as c
  where c.dealer_id = replay_checkout.dealer_id and c.idempotency_key = replay_checkout.idempotency_key;
  if v_checkout.payload_hash <> replay_checkout.payload_hash then
    raise exception using
      errcode = 'FC007',
      message = 'This idempotency key was used for another purchase. Use a new key for a new purchase.',
      detail = jsonb_build_object('field', 'idempotencyKey')::text;
  end if;
  return v_checkout;
end
$$;

comment on function app_private.replay_checkout(uuid, uuid, bytea) is 'Returns the checkout that the dealer created with this idempotency key; all columns are null if there is none. Raises FC007 if the key was used with other input.';
--! EndIncluded billing/replay_checkout.sql
--! Included billing/close_expired_checkout.sql
create or replace function app_private.close_expired_checkout(dealer_id uuid, at timestamptz) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_open app_public.checkouts;
begin
  select c.* into v_open
  from app_public.checkouts as c
  where c.dealer_id = close_expired_checkout.dealer_id and c.closed_at is null;
  if not found then
    return;
  elsif v_open.expires_at > close_expired_checkout.at then
    raise exception using
      errcode = 'FC008',
      message = 'Another purchase of this dealer is waiting for its payment. Pay that invoice first, or wait until the offer has expired.',
      detail = jsonb_build_object('invoiceId', v_open.invoice_id, 'expiresAt', v_open.expires_at)::text;
  end if;
  update app_public.invoices as i set status = 'void', updated_at = close_expired_checkout.at
  where i.dealer_id = v_open.dealer_id and i.id = v_open.invoice_id;
  update app_public.checkouts as c set closed_at = close_expired_checkout.at
  where c.dealer_id = v_open.dealer_id and c.invoice_id = v_open.invoice_id;
end
$$;

comment on function app_private.close_expired_checkout(uuid, timestamptz) is 'Voids the dealer''s open checkout if its offer has expired, so that a new purchase can start. Raises FC008 while the offer is open.';
--! EndIncluded billing/close_expired_checkout.sql
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

comment on function app_public.buy_package(uuid, uuid, uuid, text, text) is E'@behavior +mutationField\n@resultFieldName checkout\nStarts the purchase of a package that is on sale in the dealer''s country: creates a draft invoice with a snapshot of price and VAT. The offer is open for 14 days. The same idempotency key with the same input returns the same checkout.';

grant execute on function app_public.buy_package(uuid, uuid, uuid, text, text) to forecourt_dealer, forecourt_admin;
--! EndIncluded billing/buy_package.sql
--! Included billing/settle_invoice.sql
create or replace function app_private.settle_invoice(dealer_id uuid, invoice_id uuid) returns app_public.invoices
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_at timestamptz;
  v_invoice app_public.invoices;
begin
  perform app_private.lock_dealer(settle_invoice.dealer_id);
  select i.* into v_invoice
  from app_public.invoices as i
  where i.dealer_id = settle_invoice.dealer_id and i.id = settle_invoice.invoice_id
  for update;
  v_at := clock_timestamp();
  if v_invoice.status = 'paid' then
    return v_invoice;
  elsif v_invoice.status = 'void' then
    raise exception using
      errcode = 'FC008',
      message = 'This invoice was voided and cannot be paid. Please buy the package again.',
      detail = jsonb_build_object('field', 'invoiceId', 'status', 'VOID')::text;
  elsif v_invoice.period_start + interval '1 month' > v_at at time zone 'UTC' then
    raise exception using
      errcode = 'FC008',
      message = 'The month of this invoice has not ended. Please pay it after the end of the month.',
      detail = jsonb_build_object('field', 'invoiceId', 'periodStart', v_invoice.period_start)::text;
  end if;
  update app_public.invoices as i set status = 'paid', paid_at = v_at, updated_at = v_at
  where i.dealer_id = v_invoice.dealer_id and i.id = v_invoice.id
  returning i.* into v_invoice;
  if v_invoice.kind = 'package' then
    perform app_private.start_subscription(v_invoice.dealer_id, v_invoice.id, v_at);
  end if;
  return v_invoice;
end
$$;

comment on function app_private.settle_invoice(uuid, uuid) is 'Marks an invoice as paid and starts or queues its subscription. Every payment provider calls this function when the money has arrived; a repeated call changes nothing. Raises FC008 for a voided invoice, and for a monthly invoice whose month has not ended.';
--! EndIncluded billing/settle_invoice.sql
--! Included billing/pay_invoice.sql
create or replace function app_public.pay_invoice(invoice_id uuid) returns app_public.invoices
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_dealer_id uuid;
begin
  select i.dealer_id into v_dealer_id from app_public.invoices as i where i.id = pay_invoice.invoice_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no invoice with this id. Please check it.',
      detail = jsonb_build_object('field', 'invoiceId')::text;
  end if;
  return app_private.settle_invoice(v_dealer_id, pay_invoice.invoice_id);
end
$$;

comment on function app_public.pay_invoice(uuid) is E'@behavior +mutationField\n@resultFieldName invoice\nFor admins: marks an invoice as paid that was paid outside of Forecourt, and starts or queues its subscription. A second call changes nothing.';

grant execute on function app_public.pay_invoice(uuid) to forecourt_admin;
--! EndIncluded billing/pay_invoice.sql

create or replace trigger dealer_packages_price_as_money before insert or update of price_net, currency on app_public.dealer_packages
  for each row execute function app_private.write_price_as_money();
create or replace trigger dealer_packages_audited after insert or update or delete on app_public.dealer_packages
  for each row execute function app_private.audit_change();
create or replace trigger dealer_packages_truncation_audited after truncate on app_public.dealer_packages
  for each statement execute function app_private.audit_change();
create or replace trigger invoices_final_never_changed before update on app_public.invoices
  for each row when (old.status <> 'draft') execute function app_private.refuse_change();
create or replace trigger invoices_never_removed before delete or truncate on app_public.invoices
  for each statement execute function app_private.refuse_change();
create or replace trigger invoices_state_audited after update of status on app_public.invoices
  for each row when (old.status <> new.status) execute function app_private.audit_state_change('INVOICE');
-- The purchase of a dealer is recorded when it is paid; for an admin every write is recorded.
create or replace trigger invoices_of_admin_audited after insert on app_public.invoices
  for each row when (current_setting('role', true) = 'forecourt_admin') execute function app_private.audit_change();
create or replace trigger invoice_items_never_changed before update or delete or truncate on app_public.invoice_items
  for each statement execute function app_private.refuse_change();

select app_private.force_row_security('app_public.dealer_packages');
drop policy if exists select_active on app_public.dealer_packages;
create policy select_active on app_public.dealer_packages for select to forecourt_visitor, forecourt_dealer using (is_active);
drop policy if exists select_admin on app_public.dealer_packages;
create policy select_admin on app_public.dealer_packages for select to forecourt_admin using (true);
grant select on app_public.dealer_packages to forecourt_visitor, forecourt_dealer, forecourt_admin;

do $$
declare
  v_table text;
begin
  foreach v_table in array array['invoices', 'invoice_items', 'checkouts'] loop
    perform app_private.force_row_security(format('app_public.%I', v_table)::regclass);
    execute format('drop policy if exists select_member on app_public.%I', v_table);
    execute format('create policy select_member on app_public.%I for select to forecourt_dealer using (dealer_id = any (app_public.current_dealer_ids()))', v_table);
    execute format('drop policy if exists select_admin on app_public.%I', v_table);
    execute format('create policy select_admin on app_public.%I for select to forecourt_admin using (true)', v_table);
  end loop;
end
$$;
grant select on app_public.invoices, app_public.invoice_items to forecourt_dealer, forecourt_admin;
grant select (dealer_id, invoice_id, package_id, provider, url, expires_at, closed_at, created_at) on app_public.checkouts to forecourt_dealer, forecourt_admin;
