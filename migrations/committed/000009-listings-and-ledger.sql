--! Previous: sha1:69dbef6cc3285558d0766e51bbdd7cd91d03b972
--! Hash: sha1:c826239e4f4c17367ee1c0447854bcd117f87559
--! Message: listings and ledger

set local lock_timeout to '2s';
set local statement_timeout to '60s';

do $$ begin
  create type app_public.listing_status as enum ('pending', 'active', 'rejected', 'withdrawn', 'sold', 'expired');
exception when duplicate_object then null; end $$;
comment on type app_public.listing_status is 'pending: published, waiting for moderation. active: visible to everybody.';

do $$ begin
  create type app_public.consumption_kind as enum ('publication');
exception when duplicate_object then null; end $$;
comment on type app_public.consumption_kind is 'The action that a ledger row is for.';

do $$ begin
  create type app_public.consumption_source as enum ('free_quota', 'subscription_quota', 'paid_extra');
exception when duplicate_object then null; end $$;
comment on type app_public.consumption_source is 'What paid for a listing: the free quota, the quota of a subscription, or a price.';

-- Before the tables, whose constraints call them.
--! Included text/is_text.sql
create or replace function app_private.is_text(value text, most integer) returns boolean
  language sql immutable security invoker parallel safe
  -- No search_path, so that the planner can inline it. A body of this form is bound to its objects at creation.
  return length(value) <= most and value is nfc normalized and value !~ '[\u0001-\u0008\u000b-\u001f\u007f-\u009f]';

comment on function app_private.is_text(text, integer) is 'Whether a text of several lines can be stored: Unicode form NFC, no control characters except line breaks and tabs, and no more characters than allowed.';
--! EndIncluded text/is_text.sql
--! Included text/are_urls.sql
create or replace function app_private.are_urls(urls text[]) returns boolean
  language plpgsql immutable strict security invoker parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_url text;
begin
  foreach v_url in array urls loop
    if length(v_url) > 2000 or v_url !~ '^https?://[^/?#]' then
      return false;
    end if;
  end loop;
  return array_to_string(urls, '') !~ ('[' || app_private.invisible_characters() || ']');
end
$$;

comment on function app_private.are_urls(text[]) is 'Whether each element is a URL of http or https of at most 2,000 characters, without blanks and other invisible characters. Ignores nulls.';
--! EndIncluded text/are_urls.sql
--! Included listing/check_listing.sql
create or replace function app_private.check_listing(
  title text, description text, module text, price numeric, attributes jsonb, images text[]
) returns boolean
  language plpgsql immutable security invoker parallel safe
  -- No search_path, which takes time for each row: only a CHECK calls it, and each name outside pg_catalog has its schema.
as $$
begin
  return case
    when not jsonb_typeof(attributes) = 'object' then app_private.refuse_row('listings', 'listings_attributes_object',
      'Please send the attributes as a JSON object.', 'attributes')
    when not app_private.is_text(description, 10000) then app_private.refuse_row('listings', 'listings_description_length',
      'Please enter a description of at most 10,000 characters, without control characters except line breaks and tabs.', 'description')
    when not (images = '{}' or cardinality(images) <= 50 and array_ndims(images) = 1) then app_private.refuse_row('listings', 'listings_images_count',
      'Please send at most 50 images, as a flat list.', 'images')
    when not (images = '{}' or app_private.are_urls(images)) then app_private.refuse_row('listings', 'listings_images_form',
      'Please send each image as a URL that starts with https:// or http:// and has at most 2,000 characters.', 'images')
    when not array_position(images, null) is null then app_private.refuse_row('listings', 'listings_images_present',
      'Please send no image that is null.', 'images')
    when not module ~ '^[A-Za-z][A-Za-z0-9_-]{0,39}$' then app_private.refuse_row('listings', 'listings_module_form',
      'Please enter the module as a word of at most 40 letters, digits, - or _ that starts with a letter, such as auto.', 'module')
    when not (price >= 0 and price < 1000000000000) then app_private.refuse_row('listings', 'listings_price_range',
      'Please enter a price of at least 0 and below 1,000,000,000,000.', 'price')
    when not scale(price) <= 4 then app_private.refuse_row('listings', 'listings_price_scale',
      'Please enter a price with at most 4 decimal places.', 'price')
    when not app_private.is_line(title, 200) then app_private.refuse_row('listings', 'listings_title_length',
      'Please enter a title of 1 to 200 characters, at least one of them visible, in one line.', 'title')
    else true
  end;
end
$$;

comment on function app_private.check_listing(text, text, text, numeric, jsonb, text[]) is 'The rules of a listing. The first that is broken, in the order of their names, refuses the row; a rule that is null holds.';
--! EndIncluded listing/check_listing.sql
--! Included listing/check_listing_consumption.sql
create or replace function app_private.check_listing_consumption(
  source app_public.consumption_source, subscription_id uuid, price_config_id uuid, invoice_item_id uuid,
  net_amount numeric, vat_amount numeric, gross_amount numeric
) returns boolean
  language plpgsql immutable security invoker parallel safe
  -- No search_path, which takes time for each row: only a CHECK calls it, and each name outside pg_catalog has its schema.
as $$
begin
  return case
    when not (gross_amount = net_amount + vat_amount and net_amount >= 0 and vat_amount >= 0)
      then app_private.refuse_row('listing_consumptions', 'listing_consumptions_amounts_add_up',
        format('The amounts are negative or do not add up: %s + %s = %s.', net_amount, vat_amount, gross_amount))
    when not (source = 'paid_extra' or net_amount = 0)
      then app_private.refuse_row('listing_consumptions', 'listing_consumptions_only_extras_cost',
        format('A %s costs nothing, but its net amount is %s.', source, net_amount))
    when not case source
        when 'free_quota' then num_nonnulls(subscription_id, price_config_id, invoice_item_id) = 0
        when 'subscription_quota' then subscription_id is not null and num_nonnulls(price_config_id, invoice_item_id) = 0
        when 'paid_extra' then subscription_id is null and num_nulls(price_config_id, invoice_item_id) = 0
      end
      then app_private.refuse_row('listing_consumptions', 'listing_consumptions_source_has_proof',
        format('A %s has another subscription, price or invoice item than its source needs.', source))
    else true
  end;
end
$$;

comment on function app_private.check_listing_consumption(app_public.consumption_source, uuid, uuid, uuid, numeric, numeric, numeric) is 'The rules of a ledger row. The first that is broken, in the order of their names, refuses the row; a rule that is null holds.';
--! EndIncluded listing/check_listing_consumption.sql

create table if not exists app_public.listings (
  dealer_id uuid not null constraint listings_dealer references app_public.dealers,
  id uuid not null default app_private.time_ordered_uuid(),
  status app_public.listing_status not null default 'pending',
  title text not null,
  description text,
  module text not null,
  price numeric not null,
  currency text not null,
  attributes jsonb not null default '{}',
  images text[] not null default '{}',
  idempotency_key uuid not null,
  payload_hash bytea not null,
  created_by uuid not null references app_public.users,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (dealer_id, id),
  -- The dealer comes last: with statistics of few rows per dealer, a key that begins with it would serve every look-up.
  constraint listings_idempotency_key unique (idempotency_key, dealer_id),
  constraint listings_currency_known foreign key (currency) references app_public.currencies,
  constraint listings_valid check (app_private.check_listing(title, description, module, price, attributes, images))
);
comment on table app_public.listings is E'@behavior +query:resource:connection\nA vehicle or other item that a dealer offers. Each listing has exactly one publication in the ledger.';
comment on column app_public.listings.dealer_id is 'The dealer that offers it.';
comment on column app_public.listings.id is 'Time-ordered.';
comment on column app_public.listings.status is 'Its step from publication to removal.';
comment on column app_public.listings.title is '1 to 200 characters in one line.';
comment on column app_public.listings.description is 'At most 10,000 characters.';
comment on column app_public.listings.module is 'The section of the marketplace that shows it, such as auto.';
comment on column app_public.listings.price is 'The price that the dealer asks for the item. It has no influence on any fee.';
comment on column app_public.listings.currency is 'The currency of the price, ISO 4217.';
comment on column app_public.listings.attributes is 'An object whose content the client chooses.';
comment on column app_public.listings.images is 'URLs of http or https, at most 50.';
comment on column app_public.listings.idempotency_key is 'Chosen by the client; unique per dealer.';
comment on column app_public.listings.payload_hash is 'SHA-256 of the input. It distinguishes a retry from another listing with the same key.';
comment on column app_public.listings.created_by is 'The user who published it.';
comment on column app_public.listings.created_at is 'When the listing was published.';
comment on column app_public.listings.updated_at is 'When the listing last changed.';
comment on constraint listings_dealer on app_public.listings is E'@forwardBehavior +singularRelation:resource:single\n@fieldName dealer\n@forwardDescription The dealer that offers it; null unless you are a member.';
comment on constraint listings_currency_known on app_public.listings is E'@field currency\nThis currency is not available. Please enter a code of ISO 4217, such as EUR.';
-- For look-ups by id alone. Not unique: the server generates the ids.
create index if not exists ix_listings_id on app_public.listings (id);
create index if not exists ix_listings_status_created_at on app_public.listings (status, created_at);

create table if not exists app_public.listing_consumptions (
  dealer_id uuid not null,
  id uuid not null default app_private.time_ordered_uuid(),
  listing_id uuid not null,
  kind app_public.consumption_kind not null,
  source app_public.consumption_source not null,
  subscription_id uuid,
  price_config_id uuid references app_public.price_configs,
  invoice_item_id uuid,
  net_amount numeric not null,
  vat_rate numeric not null,
  vat_amount numeric not null,
  gross_amount numeric not null,
  currency text not null references app_public.currencies,
  created_by uuid not null,
  created_at timestamptz not null default clock_timestamp(),
  -- `id` first: with statistics of few rows per dealer, a key that began with the dealer would be chosen to find a listing's row,
  -- and each publication would read the dealer's whole ledger.
  primary key (id, dealer_id),
  constraint listing_consumptions_listing foreign key (dealer_id, listing_id) references app_public.listings (dealer_id, id),
  constraint listing_consumptions_subscription foreign key (dealer_id, subscription_id) references app_public.dealer_subscriptions (dealer_id, id),
  constraint listing_consumptions_invoice_item foreign key (dealer_id, invoice_item_id) references app_public.invoice_items (dealer_id, id),
  constraint listing_consumptions_valid check (app_private.check_listing_consumption(
    source, subscription_id, price_config_id, invoice_item_id, net_amount, vat_amount, gross_amount))
);
-- @unique tells PostGraphile that the field `consumption` is a single row; FreshRowsPlugin restricts it to the publication.
comment on table app_public.listing_consumptions is E'@unique dealer_id,listing_id\nThe ledger: what paid for each listing. Its rows never change.';
comment on column app_public.listing_consumptions.dealer_id is 'The dealer that published.';
comment on column app_public.listing_consumptions.id is 'Time-ordered.';
comment on column app_public.listing_consumptions.listing_id is 'The listing. It has at most one publication.';
comment on column app_public.listing_consumptions.kind is 'The action that was paid for.';
comment on column app_public.listing_consumptions.source is 'What paid for it.';
comment on column app_public.listing_consumptions.subscription_id is 'The subscription whose quota was used.';
comment on column app_public.listing_consumptions.price_config_id is 'The price that was applied.';
comment on column app_public.listing_consumptions.invoice_item_id is 'The line on the monthly invoice.';
comment on column app_public.listing_consumptions.net_amount is 'Without VAT; zero unless a price was applied.';
comment on column app_public.listing_consumptions.vat_rate is 'In percent: 19.00 is 19 %.';
comment on column app_public.listing_consumptions.vat_amount is 'Rounded half away from zero to the currency''s minor units.';
comment on column app_public.listing_consumptions.gross_amount is 'Net amount plus VAT.';
comment on column app_public.listing_consumptions.currency is 'The currency of all its amounts.';
comment on column app_public.listing_consumptions.created_by is 'The user who published, as verified by the access token.';
comment on column app_public.listing_consumptions.created_at is 'When it was decided, while the dealer was locked.';
comment on constraint listing_consumptions_listing on app_public.listing_consumptions is E'@backwardBehavior +singularRelation:resource:single\n@foreignSingleFieldName consumption\n@backwardDescription What paid for it; null unless you are a member.';
create unique index if not exists ux_listing_consumptions_one_publication on app_public.listing_consumptions (dealer_id, listing_id)
  where kind = 'publication';
-- Partial: right after loading, a unique constraint on a mostly null column misleads the planner.
create unique index if not exists ux_listing_consumptions_one_per_invoice_item on app_public.listing_consumptions (dealer_id, invoice_item_id)
  where invoice_item_id is not null;
create index if not exists ix_listing_consumptions_free_dealer_id_created_at on app_public.listing_consumptions (dealer_id, created_at)
  where source = 'free_quota';

create table if not exists app_private.ledger_checks (
  id uuid not null default app_private.time_ordered_uuid() primary key,
  started_at timestamptz not null,
  finished_at timestamptz not null,
  broken integer not null constraint ledger_checks_broken_not_negative check (broken >= 0),
  findings jsonb not null,
  constraint ledger_checks_finished_after_start check (finished_at >= started_at)
);
comment on table app_private.ledger_checks is 'Results of the nightly check of the ledger; the last row is the current state.';
comment on column app_private.ledger_checks.id is 'Time-ordered.';
comment on column app_private.ledger_checks.started_at is 'When the check started.';
comment on column app_private.ledger_checks.finished_at is 'When the check ended.';
comment on column app_private.ledger_checks.broken is 'Number of rows that break a rule; 0: the ledger is in order.';
comment on column app_private.ledger_checks.findings is 'The broken rules: [{"rule": …, "broken": n, "examples": [up to five]}].';

do $$ begin
  create type app_private.ledger_fault as (rule text, dealer_id uuid, id uuid, detail jsonb);
exception when duplicate_object then null; end $$;
comment on type app_private.ledger_fault is 'A row that breaks a rule of the ledger.';
comment on column app_private.ledger_fault.rule is 'The broken rule, as a sentence.';
comment on column app_private.ledger_fault.dealer_id is 'The dealer of the row.';
comment on column app_private.ledger_fault.id is 'The id of the row: of a listing, a subscription, an invoice or an item, depending on the rule.';
comment on column app_private.ledger_fault.detail is 'The values that contradict each other.';

do $$ begin
  create type app_private.publication_decision as (
    dealer_id uuid,
    country text,
    at timestamptz,
    source app_public.consumption_source,
    subscription_id uuid,
    starts_subscription boolean,
    price_config_id uuid,
    price_version integer,
    unit_price_net numeric,
    net_amount numeric,
    vat_rate numeric,
    vat_amount numeric,
    gross_amount numeric,
    currency text,
    minor_units integer,
    free_remaining integer,
    subscription_remaining integer
  );
exception when duplicate_object then null; end $$;
comment on type app_private.publication_decision is 'What pays for a dealer''s next listing, its amounts, and the quotas that were left before it. Flat, because rows within a row cost more to build and to read.';
comment on column app_private.publication_decision.dealer_id is 'The dealer.';
comment on column app_private.publication_decision.country is 'The country of the price and the VAT rate.';
comment on column app_private.publication_decision.at is 'The moment for which it was decided.';
comment on column app_private.publication_decision.source is 'What pays for it.';
comment on column app_private.publication_decision.subscription_id is 'The subscription whose quota is used; null unless the source is a subscription.';
comment on column app_private.publication_decision.starts_subscription is 'Whether that subscription is pending and starts with this listing.';
comment on column app_private.publication_decision.price_config_id is 'The price that applies; null unless the source is a price.';
comment on column app_private.publication_decision.price_version is 'The version of that price.';
comment on column app_private.publication_decision.unit_price_net is 'The price without VAT; zero unless the source is a price.';
comment on column app_private.publication_decision.net_amount is 'That price, rounded to the currency''s minor units.';
comment on column app_private.publication_decision.vat_rate is 'In percent: 19.00 is 19 %.';
comment on column app_private.publication_decision.vat_amount is 'Of the net amount.';
comment on column app_private.publication_decision.gross_amount is 'Net amount plus VAT.';
comment on column app_private.publication_decision.currency is 'The currency of all its amounts.';
comment on column app_private.publication_decision.minor_units is 'Decimal places of that currency.';
comment on column app_private.publication_decision.free_remaining is 'Free listings left in the rolling period.';
comment on column app_private.publication_decision.subscription_remaining is 'Listings left in running subscriptions; if there are none, those of the pending one that starts next.';

do $$ begin
  create type app_public.listing_quote as (
    source app_public.consumption_source,
    net_amount numeric,
    vat_rate numeric,
    gross_amount numeric,
    currency text,
    free_remaining integer,
    subscription_remaining integer
  );
exception when duplicate_object then null; end $$;
comment on type app_public.listing_quote is 'The cost of the dealer''s next listing at this moment.';
comment on column app_public.listing_quote.source is E'@notNull\nWhat would pay for it.';
comment on column app_public.listing_quote.net_amount is E'@notNull\nWithout VAT.';
comment on column app_public.listing_quote.vat_rate is E'@notNull\nIn percent: 19.00 is 19 %.';
comment on column app_public.listing_quote.gross_amount is E'@notNull\nNet amount plus VAT.';
comment on column app_public.listing_quote.currency is E'@notNull\nISO 4217.';
comment on column app_public.listing_quote.free_remaining is E'@notNull\nFree listings left in the rolling period.';
comment on column app_public.listing_quote.subscription_remaining is E'@notNull\nListings left in running subscriptions; if there are none, those of the pending one that starts next.';

do $$ begin
  create type app_public.seller as (id uuid, company_name text, country text, dealer_type app_public.dealer_type);
exception when duplicate_object then null; end $$;
comment on type app_public.seller is 'What everybody may see of a dealer that offers a listing.';
comment on column app_public.seller.id is E'@notNull\nThe id of the dealer.';
comment on column app_public.seller.company_name is E'@notNull\nThe name of the company.';
comment on column app_public.seller.country is E'@notNull\nISO 3166-1 alpha-2.';
comment on column app_public.seller.dealer_type is E'@notNull\nThe trade of the dealer.';

--! Included quota/open_subscriptions.sql
create or replace function app_private.open_subscriptions(dealer_id uuid, at timestamptz) returns app_public.dealer_subscriptions[]
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- With `<>` and `is not false` only an index by dealer can be used.
  return array(
    select s from app_public.dealer_subscriptions as s
    where s.dealer_id = open_subscriptions.dealer_id and s.status <> 'expired' and (open_subscriptions.at < s.end_at) is not false
    order by s.id);
end
$$;

comment on function app_private.open_subscriptions(uuid, timestamptz) is 'The dealer''s subscriptions that have not ended at a moment, running and pending, oldest first, without a lock: for a quote.';
--! EndIncluded quota/open_subscriptions.sql
--! Included quota/refuse_overage.sql
create or replace function app_private.refuse_overage(country text) returns void
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  raise exception using
    errcode = 'FC009',
    message = 'The listing quota of your package is used up, and the package allows no further listings. Please buy another package.',
    detail = jsonb_build_object('country', refuse_overage.country, 'segment', 'DEALER')::text;
end
$$;

comment on function app_private.refuse_overage(text) is 'Raises FC009: the quota is used up, and each running subscription forbids overage.';
--! EndIncluded quota/refuse_overage.sql
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
  v_free_days integer;
  v_subscription app_public.dealer_subscriptions;
  v_first app_public.dealer_subscriptions;
  v_remaining integer;
  v_overage_blocked boolean;
  v_running integer := 0;
  v_price app_public.price_configs;
begin
  select decide_publication.dealer_id, cc.country, decide_publication.at, c.code, c.minor_units::integer, q.quota_amount, q.period_days,
    array(select r.rate from app_public.vat_rates as r where r.country = cc.country and r.valid @> decide_publication.at)
  into v_decision.dealer_id, v_decision.country, v_decision.at, v_decision.currency, v_decision.minor_units, v_free_listings, v_free_days, v_vat_rates
  from app_public.country_currencies as cc
  join app_public.currencies as c on c.code = cc.currency
  left join app_public.free_quota_configs as q on q.country = cc.country and q.segment = 'dealer' and q.valid @> decide_publication.at
  where cc.country = decide_publication.country;
  if cardinality(v_vat_rates) is distinct from 1 then
    perform app_private.pass_pricing_gate(decide_publication.country, 'dealer', 'pay_per_listing', decide_publication.at);
  end if;
  v_decision.free_remaining := 0;
  if v_free_listings > 0 and decide_publication.has_free_quota then
    select greatest(v_free_listings - count(*)::integer, 0) into v_decision.free_remaining from app_public.listing_consumptions as lc
    where lc.dealer_id = decide_publication.dealer_id and lc.source = 'free_quota' and lc.created_at > decide_publication.at - v_free_days * interval '24 hours';
  end if;
  -- A cancelled subscription keeps its quota until its end. The one that ends first is used first. One that was cancelled before its
  -- start has no times. Pending ones have none either: the oldest is used if no running one has quota left.
  foreach v_subscription in array coalesce(decide_publication.subscriptions, app_private.open_subscriptions(decide_publication.dealer_id, decide_publication.at)) loop
    v_remaining := v_subscription.included_listing_quota - v_subscription.used_listing_quota;
    if v_subscription.start_at <= decide_publication.at and decide_publication.at < v_subscription.end_at then
      v_running := v_running + v_remaining;
      v_overage_blocked := v_subscription.overage = 'block' and coalesce(v_overage_blocked, true);
      if v_remaining > 0 and (v_first.end_at is null or v_subscription.end_at < v_first.end_at) then
        v_first := v_subscription;
      end if;
    elsif v_remaining > 0 and v_subscription.status = 'pending' and v_first.id is null then
      v_first := v_subscription;
    end if;
  end loop;
  if v_decision.free_remaining > 0 then
    v_decision.source := 'free_quota';
  elsif v_first.id is not null then
    v_decision.source := 'subscription_quota';
    v_decision.subscription_id := v_first.id;
  elsif v_overage_blocked then
    perform app_private.refuse_overage(decide_publication.country);
  else
    v_decision.source := 'paid_extra';
    v_price := app_private.find_price(decide_publication.country, 'dealer', 'pay_per_listing', decide_publication.at);
    v_decision.price_config_id := v_price.id;
    v_decision.price_version := v_price.price_version;
  end if;
  v_decision.starts_subscription := v_decision.source = 'subscription_quota' and v_first.status = 'pending';
  v_decision.subscription_remaining := case v_first.status when 'pending' then v_first.included_listing_quota else v_running end;
  v_decision.unit_price_net := app_private.money(coalesce(v_price.unit_price_net, 0.0), v_decision.minor_units);
  v_decision.net_amount := round(v_decision.unit_price_net, v_decision.minor_units);
  v_decision.vat_rate := v_vat_rates[1];
  v_decision.vat_amount := app_private.vat_amount(v_decision.net_amount, v_decision.vat_rate, v_decision.minor_units);
  v_decision.gross_amount := v_decision.net_amount + v_decision.vat_amount;
  return v_decision;
end
$$;

comment on function app_private.decide_publication(uuid, text, timestamptz, boolean, app_public.dealer_subscriptions[]) is 'Decides what pays for a dealer''s next listing at a moment: the pricing gate, then free quota, subscription, price. If no running subscription has quota left, it decides as if the oldest pending one with quota had been started. Quotes and charges both use it; a charge is exact because its caller holds the dealer''s locks and passes the subscriptions that it has locked (null: they are read). Raises FC005 and FC006 for missing or ambiguous configuration, FC009 if the package forbids overage.';
--! EndIncluded quota/decide_publication.sql
--! Included listing/quote_listing.sql
create or replace function app_public.quote_listing(dealer_id uuid) returns app_public.listing_quote
  language plpgsql stable security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_dealer app_public.dealers;
  v_decision app_private.publication_decision;
begin
  perform app_private.require_member(quote_listing.dealer_id);
  select d.* into v_dealer from app_public.dealers as d where d.id = quote_listing.dealer_id;
  perform app_private.require_publisher(v_dealer);
  v_decision := app_private.decide_publication(v_dealer.id, v_dealer.country, clock_timestamp(), v_dealer.has_free_quota);
  return (
    v_decision.source, v_decision.net_amount, v_decision.vat_rate, v_decision.gross_amount, v_decision.currency,
    v_decision.free_remaining, v_decision.subscription_remaining);
end
$$;

comment on function app_public.quote_listing(uuid) is E'@behavior +queryField\nWhat the dealer''s next listing would cost now: the decision of createListing without its writes. For members of the dealer.';

grant execute on function app_public.quote_listing(uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/quote_listing.sql
--! Included listing/replay_listing.sql
create or replace function app_private.replay_listing(dealer_id uuid, idempotency_key uuid, payload_hash bytea) returns app_public.listings
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_listing app_public.listings;
begin
  select l.* into v_listing
  from app_public.listings as l
  where l.dealer_id = replay_listing.dealer_id and l.idempotency_key = replay_listing.idempotency_key;
  if v_listing.payload_hash <> replay_listing.payload_hash then
    raise exception using
      errcode = 'FC007',
      message = 'This idempotency key was used for another listing. Use a new key for a new listing.',
      detail = jsonb_build_object('field', 'idempotencyKey')::text;
  end if;
  return v_listing;
end
$$;

comment on function app_private.replay_listing(uuid, uuid, bytea) is 'Returns the listing that the dealer created with this idempotency key; all columns are null if there is none. Raises FC007 if the key was used with other input.';
--! EndIncluded listing/replay_listing.sql
--! Included listing/record_consumption.sql
create or replace function app_private.record_consumption(
  decision app_private.publication_decision, listing_id uuid, action app_public.consumption_kind, user_id uuid
) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_period_start date;
  v_invoice_id uuid;
  v_item_id uuid;
begin
  if decision.source = 'subscription_quota' then
    if decision.starts_subscription then
      perform app_private.start_pending_subscription(decision.dealer_id, decision.subscription_id, decision.at);
    end if;
    update app_public.dealer_subscriptions as s
    set used_listing_quota = s.used_listing_quota + 1, updated_at = decision.at
    where s.dealer_id = decision.dealer_id and s.id = decision.subscription_id;
  elsif decision.source = 'paid_extra' then
    v_period_start := (date_trunc('month', decision.at, 'UTC') at time zone 'UTC')::date;
    update app_public.invoices as i
    set net_total = i.net_total + decision.net_amount, vat_total = i.vat_total + decision.vat_amount,
      gross_total = i.gross_total + decision.gross_amount, updated_at = decision.at
    where i.dealer_id = decision.dealer_id and i.period_start = v_period_start and i.country = decision.country
      and i.currency = decision.currency and i.kind = 'monthly' and i.status = 'draft'
    returning i.id into v_invoice_id;
    -- The first item of a month creates the draft invoice. Not by `on conflict`, which checks and numbers a new row each time.
    if v_invoice_id is null then
      insert into app_public.invoices as i (dealer_id, kind, country, currency, period_start, net_total, vat_total, gross_total)
      values (
        decision.dealer_id, 'monthly', decision.country, decision.currency, v_period_start,
        decision.net_amount, decision.vat_amount, decision.gross_amount)
      returning i.id into v_invoice_id;
    end if;
    v_item_id := app_private.time_ordered_uuid();
    insert into app_public.invoice_items (
      dealer_id, id, invoice_id, description, price_config_id, price_version, unit_price_net, discount,
      net_amount, vat_rate, vat_amount, gross_amount, country, currency, created_at)
    values (
      decision.dealer_id, v_item_id, v_invoice_id, 'Listing ' || record_consumption.listing_id, decision.price_config_id,
      decision.price_version, decision.unit_price_net, app_private.money(0, decision.minor_units), decision.net_amount,
      decision.vat_rate, decision.vat_amount, decision.gross_amount, decision.country, decision.currency, decision.at);
  end if;
  insert into app_public.listing_consumptions (
    dealer_id, listing_id, kind, source, subscription_id, price_config_id, invoice_item_id,
    net_amount, vat_rate, vat_amount, gross_amount, currency, created_by, created_at)
  values (
    decision.dealer_id, record_consumption.listing_id, record_consumption.action, decision.source, decision.subscription_id,
    decision.price_config_id, v_item_id, decision.net_amount, decision.vat_rate, decision.vat_amount, decision.gross_amount,
    decision.currency, record_consumption.user_id, decision.at);
end
$$;

comment on function app_private.record_consumption(app_private.publication_decision, uuid, app_public.consumption_kind, uuid) is 'Carries out a decision: starts the pending subscription that it needs, uses the quota or adds the price to the dealer''s draft invoice of the month (UTC), and writes the ledger row. The caller holds the dealer''s lock.';
--! EndIncluded listing/record_consumption.sql
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
  v_user_id constant uuid := app_public.current_user_id();
  v_dealer app_public.dealers;
  v_subscriptions app_public.dealer_subscriptions[];
  v_listing app_public.listings;
  v_decision app_private.publication_decision;
  v_minor_units integer;
  v_at timestamptz;
begin
  -- Starting a statement takes longer than running it, so there are few. This one checks the membership and locks the dealer.
  select d.* into v_dealer
  from app_public.dealers as d
  where d.id = create_listing.dealer_id and exists (
    select from app_public.dealer_users as du where du.dealer_id = create_listing.dealer_id and du.user_id = v_user_id)
  for no key update of d;
  if not found then
    perform app_private.require_member(create_listing.dealer_id);
    v_dealer := app_private.lock_dealer(create_listing.dealer_id);
  end if;
  -- This one locks what lock_dealer locks next. Its snapshot is newer than the lock: it sees the listing that a retry waited for.
  select l.id, array(
    select s from app_public.dealer_subscriptions as s
    where s.dealer_id = create_listing.dealer_id and s.status <> 'expired'
      and (s.end_at is null or s.status = 'active' or s.end_at > now())
    order by s.id
    for update)
  into v_listing.id, v_subscriptions
  from (values (true)) as always
  left join app_public.listings as l on l.dealer_id = create_listing.dealer_id and l.idempotency_key = create_listing.idempotency_key;
  if v_listing.id is not null then
    return app_private.replay_listing(create_listing.dealer_id, create_listing.idempotency_key, v_payload_hash);
  elsif not (v_dealer.is_active and v_dealer.can_publish) then
    perform app_private.require_publisher(v_dealer);
  end if;
  -- Read the clock after the locks: a publication that waited past the end of a subscription must not use it.
  v_at := clock_timestamp();
  v_decision := app_private.decide_publication(v_dealer.id, v_dealer.country, v_at, v_dealer.has_free_quota, v_subscriptions);
  if create_listing.currency = v_decision.currency then
    v_minor_units := v_decision.minor_units;
  else
    -- Unknown currency: keep the amount as it is; the foreign key refuses the row.
    select c.minor_units::integer into v_minor_units from app_public.currencies as c where c.code = create_listing.currency;
  end if;
  insert into app_public.listings (
    dealer_id, title, module, price, currency, description, attributes, images,
    idempotency_key, payload_hash, created_by, created_at, updated_at)
  values (
    v_dealer.id, app_private.to_nfc(btrim(create_listing.title)), create_listing.module,
    app_private.money(create_listing.price, v_minor_units), create_listing.currency,
    app_private.to_nfc(replace(create_listing.description, E'\r\n', E'\n')),
    coalesce(create_listing.attributes, '{}'), coalesce(create_listing.images, '{}'),
    create_listing.idempotency_key, v_payload_hash, v_user_id, v_at, v_at)
  returning * into v_listing;
  -- The API reads the setting in the same statement and counts the publication by it. A replay does not set it.
  perform app_private.record_consumption(v_decision, v_listing.id, 'publication', v_user_id),
    set_config('forecourt.published', v_decision.source::text, true);
  return v_listing;
end
$$;

comment on function app_public.create_listing(uuid, uuid, text, text, numeric, text, text, jsonb, text[]) is E'@behavior +mutationField\n@resultFieldName listing\nPublishes a listing: decides what pays for it (free quota, subscription, price), charges that, and creates a PENDING listing, in one transaction. The same idempotency key with the same input returns the same listing.';

grant execute on function app_public.create_listing(uuid, uuid, text, text, numeric, text, text, jsonb, text[]) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/create_listing.sql
--! Included listing/consumption_of_listing.sql
create or replace function app_public.consumption_of_listing(dealer_id uuid, listing_id uuid)
  returns setof app_public.listing_consumptions
  language plpgsql volatile security invoker rows 1
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- Volatile although it only reads: a stable function would not see the row that the calling statement has just written.
  -- @plpgsql_check_options: performance_warnings = off
  return query
  select lc.*
  from app_public.listing_consumptions as lc
  where lc.dealer_id = consumption_of_listing.dealer_id and lc.listing_id = consumption_of_listing.listing_id
    and lc.kind = 'publication';
end
$$;

comment on function app_public.consumption_of_listing(uuid, uuid) is 'The ledger row of a listing''s publication, read within the statement that publishes it, with the caller''s own rights. Not a field of GraphQL: FreshRowsPlugin of the API calls it.';

grant execute on function app_public.consumption_of_listing(uuid, uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/consumption_of_listing.sql
--! Included listing/seller_of_listing.sql
create or replace function app_public.seller_of_listing(dealer_id uuid) returns app_public.seller
  language plpgsql stable security definer parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_seller app_public.seller;
begin
  select d.id, d.company_name, d.country, d.dealer_type into v_seller
  from app_public.dealers as d
  where d.id = seller_of_listing.dealer_id;
  return v_seller;
end
$$;

comment on function app_public.seller_of_listing(uuid) is 'What everybody may see of the dealer of a listing. The columns of `dealers` have one grant for all rows, so strangers read this instead. Not a field of GraphQL: `Listing.seller` calls it.';

grant execute on function app_public.seller_of_listing(uuid) to forecourt_visitor, forecourt_dealer, forecourt_admin;
--! EndIncluded listing/seller_of_listing.sql
--! Included ledger/verify_listings.sql
create or replace function app_private.verify_listings(
  first_dealer_id uuid default '00000000-0000-0000-0000-000000000000', last_dealer_id uuid default 'ffffffff-ffff-ffff-ffff-ffffffffffff'
) returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  -- Both sides come in order from an index alone, without reading the tables. A join would be planned by the
  -- statistics, and where these are wrong it reads a whole table for each range.
  with differing as materialized (
    select coalesce(l.dealer_id, p.dealer_id) as dealer_id, coalesce(l.id, p.listing_id) as id,
      l.id is not null as is_listing, coalesce(p.publications, 0) as publications
    from (
      select dealer_id, id from app_public.listings where dealer_id between first_dealer_id and last_dealer_id
    ) as l
    full join (
      select dealer_id, listing_id, count(*) as publications
      from app_public.listing_consumptions
      where kind = 'publication' and dealer_id between first_dealer_id and last_dealer_id
      group by dealer_id, listing_id
    ) as p on p.dealer_id = l.dealer_id and p.listing_id = l.id
    where l.id is null or p.publications is distinct from 1
  )
  select
    case when d.is_listing then 'a listing does not have exactly one publication in the ledger' else 'a publication in the ledger has no listing' end,
    d.dealer_id, d.id, jsonb_build_object('publications', d.publications)
  from differing as d
$$;

comment on function app_private.verify_listings(uuid, uuid) is 'Finds listings that do not have exactly one publication in the ledger, and publications without a listing, for all dealers or a range of dealer ids. `id` is the listing''s.';
--! EndIncluded ledger/verify_listings.sql
--! Included ledger/verify_listings_from.sql
create or replace function app_private.verify_listings_from(
  first_dealer_id uuid, size integer default 10000, out in_order boolean, out next_dealer_id uuid
)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set max_parallel_workers_per_gather to 0
  -- A generic plan assumes a wide range: 165 ms instead of 10.
  set plan_cache_mode to force_custom_plan
as $$
declare
  v_last_dealer_id uuid;
begin
  select l.dealer_id into v_last_dealer_id
  from app_public.listings as l
  where l.dealer_id >= first_dealer_id
  order by l.dealer_id
  offset size limit 1;
  in_order := not exists (
    select from app_private.verify_listings(first_dealer_id, coalesce(v_last_dealer_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff')));
  -- From both tables: a ledger row may belong to a dealer without listings.
  next_dealer_id := least(
    (select l.dealer_id from app_public.listings as l where l.dealer_id > v_last_dealer_id order by l.dealer_id limit 1),
    (select lc.dealer_id from app_public.listing_consumptions as lc where lc.dealer_id > v_last_dealer_id order by lc.dealer_id limit 1));
end
$$;

comment on function app_private.verify_listings_from(uuid, integer) is 'Runs verify_listings for the given dealer and the next ones, up to about `size` listings and to the end of a dealer. Returns whether it found nothing, and the next dealer; null at the end. One short statement per call, so the check of a large ledger blocks nobody.';
--! EndIncluded ledger/verify_listings_from.sql
--! Included ledger/verify_subscriptions.sql
create or replace function app_private.verify_subscriptions() returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select
    case
      when s.id is null then 'a ledger row uses a subscription that does not exist'
      when s.used_listing_quota <> coalesce(lc.ledger_rows, 0) then 'the used quota of a subscription is not the number of its ledger rows'
      else 'the used quota of a subscription exceeds its included quota'
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

comment on function app_private.verify_subscriptions() is 'Finds subscriptions whose used quota differs from the number of their ledger rows or exceeds the included quota, and ledger rows whose subscription does not exist. `id` is the subscription''s.';
--! EndIncluded ledger/verify_subscriptions.sql
--! Included ledger/verify_paid_extras.sql
create or replace function app_private.verify_paid_extras() returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select
    case
      when lc.listing_id is null then 'an item of a monthly invoice does not belong to exactly one listing'
      else 'a paid listing has no invoice item with the same amounts'
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
  select 'an item of a monthly invoice does not belong to exactly one listing', lc.dealer_id, lc.invoice_item_id,
    jsonb_build_object('ledger_rows', count(*))
  from app_public.listing_consumptions as lc
  where lc.invoice_item_id is not null
  group by lc.dealer_id, lc.invoice_item_id
  having count(*) > 1
$$;

comment on function app_private.verify_paid_extras() is 'Finds paid ledger rows without exactly one item of the same amounts on a monthly invoice (`id` is the listing''s), and items of monthly invoices without exactly one ledger row (`id` is the item''s).';
--! EndIncluded ledger/verify_paid_extras.sql
--! Included ledger/verify_invoices.sql
create or replace function app_private.verify_invoices() returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select
    case when i.id is null then 'an item has no invoice' else 'the totals of an invoice are not the sums of its items' end,
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
  select 'an item has another currency or country than its invoice', it.dealer_id, it.id,
    jsonb_build_object('item', it.country || ' ' || it.currency, 'invoice', i.country || ' ' || i.currency)
  from app_public.invoice_items as it
  join app_public.invoices as i on i.dealer_id = it.dealer_id and i.id = it.invoice_id
  where it.currency <> i.currency or it.country <> i.country
$$;

comment on function app_private.verify_invoices() is 'Finds invoices whose totals differ from the sums of their items, items without an invoice (`id` is the invoice''s), and items whose currency or country differs from the invoice''s (`id` is the item''s).';
--! EndIncluded ledger/verify_invoices.sql
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
$$;

comment on function app_private.verify_purchases() is 'Finds package invoices that are paid without exactly one subscription or unpaid with a subscription, and subscriptions that refer to another kind of invoice. `id` is the invoice''s.';
--! EndIncluded ledger/verify_purchases.sql
--! Included ledger/verify_ledger.sql
create or replace function app_private.verify_ledger(listings boolean default true) returns setof app_private.ledger_fault
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set work_mem to '64MB'
  set max_parallel_workers_per_gather to 0
as $$
begin
  -- One core and little memory: publications need the rest. Each rule gives its memory back before the next one runs.
  if listings then
    return query select * from app_private.verify_listings();
  end if;
  return query select * from app_private.verify_subscriptions();
  return query select * from app_private.verify_paid_extras();
  return query select * from app_private.verify_invoices();
  return query select * from app_private.verify_purchases();
end
$$;

comment on function app_private.verify_ledger(boolean) is 'Checks the rules of the ledger and returns one row per violation; no row means that the ledger is in order. Reads every row once or twice by set operations, in the snapshot of the calling statement, and locks no rows. With `listings` false, verify_listings is left out.';
--! EndIncluded ledger/verify_ledger.sql
--! Included ledger/check_ledger.sql
create or replace function app_private.check_ledger(listings_in_order_since timestamptz default null) returns app_private.ledger_checks
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_check app_private.ledger_checks;
begin
  v_check.id := app_private.time_ordered_uuid();
  v_check.started_at := coalesce(listings_in_order_since, clock_timestamp());
  select coalesce(sum(r.broken), 0)::integer, coalesce(jsonb_agg(to_jsonb(r) order by r.rule), '[]')
  into v_check.broken, v_check.findings
  from (
    select f.rule, count(*) as broken,
      jsonb_agg(jsonb_build_object('dealer_id', f.dealer_id, 'id', f.id, 'detail', f.detail)) filter (where f.number <= 5) as examples
    from (
      select v.*, row_number() over (partition by v.rule) as number from app_private.verify_ledger(listings => listings_in_order_since is null) as v
    ) as f
    group by f.rule
  ) as r;
  v_check.finished_at := clock_timestamp();
  insert into app_private.ledger_checks values (v_check.*);
  if v_check.broken > 0 then
    perform app_private.send_alert(
      'ledger_broken', (v_check.started_at at time zone 'UTC')::date::text,
      format('The ledger is broken: %s rows break a rule. Please read them with app_private.verify_ledger().', v_check.broken),
      jsonb_build_object('broken', v_check.broken, 'findings', v_check.findings));
  end if;
  return v_check;
end
$$;

comment on function app_private.check_ledger(timestamptz) is 'Verifies the ledger, stores the result in ledger_checks, and raises an alert, once a day (UTC), if a rule is broken. A caller that has already checked all listings with verify_listings_from passes the start of that check; the rules about listings are then skipped.';
--! EndIncluded ledger/check_ledger.sql

create or replace trigger listing_consumptions_never_changed before update or delete or truncate on app_public.listing_consumptions
  for each statement execute function app_private.refuse_change();

select app_private.force_row_security('app_public.listings');
select app_private.force_row_security('app_public.listing_consumptions');
select app_private.force_row_security('app_private.ledger_checks');
-- Postgres tries policies from the last name to the first, so this one comes before select_member, whose function costs more.
drop policy if exists select_public on app_public.listings;
create policy select_public on app_public.listings for select to forecourt_visitor, forecourt_dealer
  using (status = 'active' and app_public.is_open_dealer(dealer_id));
drop policy if exists select_member on app_public.listings;
create policy select_member on app_public.listings for select to forecourt_dealer using (dealer_id = any (app_public.current_dealer_ids()));
drop policy if exists select_admin on app_public.listings;
create policy select_admin on app_public.listings for select to forecourt_admin using (true);
grant select (dealer_id, id, status, title, description, module, price, currency, attributes, images, created_at, updated_at)
  on app_public.listings to forecourt_visitor, forecourt_dealer, forecourt_admin;
drop policy if exists select_member on app_public.listing_consumptions;
create policy select_member on app_public.listing_consumptions for select to forecourt_dealer using (dealer_id = any (app_public.current_dealer_ids()));
drop policy if exists select_admin on app_public.listing_consumptions;
create policy select_admin on app_public.listing_consumptions for select to forecourt_admin using (true);
-- As with dealers, a visitor sees no row.
grant select on app_public.listing_consumptions to forecourt_visitor, forecourt_dealer, forecourt_admin;
