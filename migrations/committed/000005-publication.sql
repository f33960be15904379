--! Previous: sha1:eacb2ad0d2398861157c8fdeaf03f30d9deb8d5d
--! Hash: sha1:c10700b05ce15b3c27555fa1062f53aad2a619b1
--! Message: publication

-- Gives up rather than queue behind a long transaction with everyone else behind it.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

do $$ begin
  create type app_public.listing_status as enum ('draft', 'pending', 'active', 'rejected', 'withdrawn', 'expired');
exception when duplicate_object then null; end $$;
comment on type app_public.listing_status is 'pending: published, waiting for moderation. active: on show.';

do $$ begin
  create type app_public.consumption_source as enum ('free_quota', 'subscription_quota', 'paid_extra');
exception when duplicate_object then null; end $$;
comment on type app_public.consumption_source is 'What paid for a listing: the free quota, a subscription''s quota, or a price.';

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
  constraint listings_idempotency_key unique (dealer_id, idempotency_key),
  constraint listings_title_length check (title ~ '[^\s\u00a0\u200b]' and length(title) <= 200),
  constraint listings_description_length check (length(description) <= 10000),
  constraint listings_module_form check (module ~ '^[A-Za-z][A-Za-z0-9_-]{0,39}$'),
  constraint listings_price_range check (price >= 0 and price < 1000000000000),
  constraint listings_price_scale check (scale(price) <= 4),
  constraint listings_currency_known foreign key (currency) references app_public.currencies,
  constraint listings_attributes_object check (jsonb_typeof(attributes) = 'object'),
  constraint listings_images_count check (cardinality(images) <= 50 and array_ndims(images) = 1 or images = '{}'),
  constraint listings_images_present check (array_position(images, null) is null and array_position(images, '') is null)
);
comment on table app_public.listings is E'@behavior +query:resource:connection\nWhat a dealer offers. A published one has exactly one row in the ledger.';
comment on column app_public.listings.dealer_id is 'Who offers it.';
comment on column app_public.listings.id is 'Time-ordered.';
comment on column app_public.listings.status is 'Where it stands between draft and withdrawal.';
comment on column app_public.listings.title is '1 to 200 characters.';
comment on column app_public.listings.description is 'At most 10,000 characters.';
comment on column app_public.listings.module is 'The part of the marketplace it is shown in, such as auto.';
comment on column app_public.listings.price is 'What the dealer asks for the vehicle; no part of any fee.';
comment on column app_public.listings.currency is 'Of that price, ISO 4217.';
comment on column app_public.listings.attributes is 'An object of the client''s choice.';
comment on column app_public.listings.images is 'URLs, at most 50.';
comment on column app_public.listings.idempotency_key is 'The client''s; unique for the dealer.';
comment on column app_public.listings.payload_hash is 'SHA-256 of the input, to tell a repetition from another listing under the same key.';
comment on column app_public.listings.created_by is 'Who published it.';
comment on column app_public.listings.created_at is 'When it was published.';
comment on column app_public.listings.updated_at is 'When it last changed.';
comment on constraint listings_dealer on app_public.listings is E'@forwardBehavior +singularRelation:resource:single\n@fieldName dealer\n@forwardDescription Who offers it; null where you are no member.';
comment on constraint listings_title_length on app_public.listings is E'@field title\nThe title needs 1 to 200 characters.';
comment on constraint listings_description_length on app_public.listings is E'@field description\nThe description has room for 10,000 characters.';
comment on constraint listings_module_form on app_public.listings is E'@field module\nThe module is a word of at most 40 letters, digits, - or _, such as auto.';
comment on constraint listings_price_range on app_public.listings is E'@field price\nThe price lies between 0 and 1,000,000,000,000.';
comment on constraint listings_price_scale on app_public.listings is E'@field price\nThe price has at most 4 decimal places.';
comment on constraint listings_currency_known on app_public.listings is E'@field currency\nThe currency is a code of ISO 4217 that is in use here, such as EUR.';
comment on constraint listings_attributes_object on app_public.listings is E'@field attributes\nThe attributes are a JSON object.';
comment on constraint listings_images_count on app_public.listings is E'@field images\nAt most 50 images.';
comment on constraint listings_images_present on app_public.listings is E'@field images\nEach image is its URL, and none is empty.';
create index if not exists ix_listings_id on app_public.listings (id);
create index if not exists ix_listings_status_created_at on app_public.listings (status, created_at);

create table if not exists app_public.listing_consumptions (
  dealer_id uuid not null,
  listing_id uuid not null,
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
  primary key (dealer_id, listing_id),
  constraint listing_consumptions_listing foreign key (dealer_id, listing_id) references app_public.listings (dealer_id, id),
  constraint listing_consumptions_subscription foreign key (dealer_id, subscription_id) references app_public.dealer_subscriptions (dealer_id, id),
  constraint listing_consumptions_invoice_item foreign key (dealer_id, invoice_item_id) references app_public.invoice_items (dealer_id, id),
  constraint listing_consumptions_invoice_item_key unique (dealer_id, invoice_item_id),
  constraint listing_consumptions_source_has_proof check (
    case source
      when 'free_quota' then num_nonnulls(subscription_id, price_config_id, invoice_item_id) = 0
      when 'subscription_quota' then subscription_id is not null and num_nonnulls(price_config_id, invoice_item_id) = 0
      when 'paid_extra' then subscription_id is null and num_nulls(price_config_id, invoice_item_id) = 0
    end),
  constraint listing_consumptions_only_extras_cost check (source = 'paid_extra' or net_amount = 0),
  constraint listing_consumptions_amounts_add_up check (gross_amount = net_amount + vat_amount and net_amount >= 0 and vat_amount >= 0)
);
comment on table app_public.listing_consumptions is 'The ledger: what paid for each listing. One row a listing, never changed.';
comment on column app_public.listing_consumptions.dealer_id is 'Who published.';
comment on column app_public.listing_consumptions.listing_id is 'What was published; a listing is never consumed twice.';
comment on column app_public.listing_consumptions.source is 'What paid for it.';
comment on column app_public.listing_consumptions.subscription_id is 'The subscription whose quota was used.';
comment on column app_public.listing_consumptions.price_config_id is 'The price that was applied.';
comment on column app_public.listing_consumptions.invoice_item_id is 'The line on the monthly invoice.';
comment on column app_public.listing_consumptions.net_amount is 'Without VAT; zero unless a price was applied.';
comment on column app_public.listing_consumptions.vat_rate is 'In percent: 19.00 is 19 %.';
comment on column app_public.listing_consumptions.vat_amount is 'Rounded half away from zero to the currency''s minor units.';
comment on column app_public.listing_consumptions.gross_amount is 'Net amount and VAT.';
comment on column app_public.listing_consumptions.currency is 'Of every amount of it.';
comment on column app_public.listing_consumptions.created_by is 'Who published; the id of a verified user.';
comment on column app_public.listing_consumptions.created_at is 'When it was decided, the dealer being locked.';
comment on constraint listing_consumptions_listing on app_public.listing_consumptions is E'@backwardBehavior +singularRelation:resource:single\n@foreignSingleFieldName consumption\n@backwardDescription What paid for it; null where you are no member.';
create index if not exists ix_listing_consumptions_free_dealer_id_created_at on app_public.listing_consumptions (dealer_id, created_at)
  where source = 'free_quota';

do $$ begin
  create type app_private.publication_decision as (
    source app_public.consumption_source,
    subscription_id uuid,
    price app_public.price_configs,
    charge app_public.invoice_items,
    free_remaining integer,
    subscription_remaining integer
  );
exception when duplicate_object then null; end $$;
comment on type app_private.publication_decision is 'What pays for the next listing of a dealer, its charge, and what was left of the quotas before it.';
comment on column app_private.publication_decision.source is 'What pays for it.';
comment on column app_private.publication_decision.subscription_id is 'Whose quota is taken; null unless the source is a subscription.';
comment on column app_private.publication_decision.price is 'The price that applies; null unless the source is a price.';
comment on column app_private.publication_decision.charge is 'Its amounts, as an invoice item that is not yet written.';
comment on column app_private.publication_decision.free_remaining is 'Free listings left in the rolling period.';
comment on column app_private.publication_decision.subscription_remaining is 'Listings left in running subscriptions.';

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
comment on type app_public.listing_quote is 'What the dealer''s next listing would cost now.';
comment on column app_public.listing_quote.source is E'@notNull\nWhat would pay for it.';
comment on column app_public.listing_quote.net_amount is E'@notNull\nWithout VAT.';
comment on column app_public.listing_quote.vat_rate is E'@notNull\nIn percent: 19.00 is 19 %.';
comment on column app_public.listing_quote.gross_amount is E'@notNull\nNet amount and VAT.';
comment on column app_public.listing_quote.currency is E'@notNull\nISO 4217.';
comment on column app_public.listing_quote.free_remaining is E'@notNull\nFree listings left in the rolling period.';
comment on column app_public.listing_quote.subscription_remaining is E'@notNull\nListings left in running subscriptions.';

--! Included identity/require_publisher.sql
create or replace function app_private.require_publisher(dealer app_public.dealers) returns void
  language plpgsql immutable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  if not dealer.is_active or not dealer.can_publish then
    raise exception using
      errcode = 'FC003',
      message = case when dealer.is_active then 'Publication is suspended for this dealer. Please contact support.' else 'This dealer is closed. Please contact support.' end,
      detail = jsonb_build_object('field', 'dealerId')::text;
  end if;
end
$$;

comment on function app_private.require_publisher(app_public.dealers) is 'Raises FC003 when the dealer is closed or may not publish.';
--! EndIncluded identity/require_publisher.sql
--! Included quota/free_quota_remaining.sql
create or replace function app_private.free_quota_remaining(dealer_id uuid, country text, segment app_public.segment, at timestamptz) returns integer
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_config app_public.free_quota_configs;
  v_used integer;
begin
  select q.* into v_config
  from app_public.free_quota_configs as q
  where q.country = free_quota_remaining.country and q.segment = free_quota_remaining.segment
    and q.valid @> free_quota_remaining.at;
  if not found then
    return 0;
  end if;
  select count(*)::integer into v_used
  from app_public.listing_consumptions as lc
  where lc.dealer_id = free_quota_remaining.dealer_id
    and lc.source = 'free_quota'
    and lc.created_at > free_quota_remaining.at - v_config.period_days * interval '24 hours';
  return greatest(v_config.quota_amount - v_used, 0);
end
$$;

comment on function app_private.free_quota_remaining(uuid, text, app_public.segment, timestamptz) is
  'Free listings that are left to a dealer in the rolling period that ends at a moment, counted in the ledger. Exact while the dealer is locked.';
--! EndIncluded quota/free_quota_remaining.sql
--! Included quota/decide_publication.sql
create or replace function app_private.decide_publication(dealer_id uuid, country text, at timestamptz) returns app_private.publication_decision
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_segment constant app_public.segment := 'dealer'::app_public.segment;
  v_gate app_private.pricing_gate;
  v_decision app_private.publication_decision;
  v_price app_public.price_configs;
  v_unit_price_net numeric := 0.0;
  v_overage_blocked boolean;
begin
  v_gate := app_private.pass_pricing_gate(decide_publication.country, decide_publication.at);
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
    v_price := app_private.find_price(decide_publication.country, v_segment, 'pay_per_listing', decide_publication.at);
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
--! Included listing/quote_listing.sql
create or replace function app_public.quote_listing(dealer_id uuid) returns app_public.listing_quote
  language plpgsql stable security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_dealer app_public.dealers;
  v_decision app_private.publication_decision;
  v_quote app_public.listing_quote;
begin
  perform app_private.require_member(quote_listing.dealer_id);
  select d.* into v_dealer from app_public.dealers as d where d.id = quote_listing.dealer_id;
  perform app_private.require_publisher(v_dealer);
  v_decision := app_private.decide_publication(v_dealer.id, v_dealer.country, clock_timestamp());
  v_quote.source := v_decision.source;
  v_quote.net_amount := (v_decision.charge).net_amount;
  v_quote.vat_rate := (v_decision.charge).vat_rate;
  v_quote.gross_amount := (v_decision.charge).gross_amount;
  v_quote.currency := (v_decision.charge).currency;
  v_quote.free_remaining := v_decision.free_remaining;
  v_quote.subscription_remaining := v_decision.subscription_remaining;
  return v_quote;
end
$$;

comment on function app_public.quote_listing(uuid) is
  E'@behavior +queryField\nWhat the dealer''s next listing would cost now: the decision of createListing without its writes. For members of the dealer.';

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

comment on function app_private.replay_listing(uuid, uuid, bytea) is
  'The listing that this key of the dealer has made, nulls where it has made none. Raises FC007 when its input was another.';
--! EndIncluded listing/replay_listing.sql
--! Included listing/record_consumption.sql
create or replace function app_private.record_consumption(
  listing app_public.listings, decision app_private.publication_decision
) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_charge app_public.invoice_items := decision.charge;
begin
  if decision.source = 'subscription_quota' then
    update app_public.dealer_subscriptions as s
    set used_listing_quota = s.used_listing_quota + 1, updated_at = listing.created_at
    where s.dealer_id = listing.dealer_id and s.id = decision.subscription_id;
  elsif decision.source = 'paid_extra' then
    v_charge.dealer_id := listing.dealer_id;
    v_charge.description := 'Listing ' || listing.id;
    v_charge.price_config_id := (decision.price).id;
    v_charge.price_version := (decision.price).price_version;
    v_charge.country := (decision.price).country;
    v_charge.created_at := listing.created_at;
    v_charge.id := app_private.add_invoice_item(v_charge);
  end if;
  insert into app_public.listing_consumptions (
    dealer_id, listing_id, source, subscription_id, price_config_id, invoice_item_id,
    net_amount, vat_rate, vat_amount, gross_amount, currency, created_by, created_at)
  values (
    listing.dealer_id, listing.id, decision.source, decision.subscription_id, v_charge.price_config_id, v_charge.id,
    v_charge.net_amount, v_charge.vat_rate, v_charge.vat_amount, v_charge.gross_amount, v_charge.currency,
    listing.created_by, listing.created_at);
end
$$;

comment on function app_private.record_consumption(app_public.listings, app_private.publication_decision) is
  'Carries out a decision: takes the quota or bills the price, and writes the listing''s row in the ledger. The dealer is locked by the caller.';
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
    app_private.money(create_listing.price, app_private.minor_units(create_listing.currency)),
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
--! Included listing/consumption_of_listing.sql
create or replace function app_public.consumption_of_listing(dealer_id uuid, listing_id uuid)
  returns setof app_public.listing_consumptions
  language plpgsql volatile security invoker rows 1
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- volatile, although it only reads: a stable function would not see the row that the calling statement has just written
  -- @plpgsql_check_options: performance_warnings = off
  return query
  select lc.*
  from app_public.listing_consumptions as lc
  where lc.dealer_id = consumption_of_listing.dealer_id and lc.listing_id = consumption_of_listing.listing_id;
end
$$;

comment on function app_public.consumption_of_listing(uuid, uuid) is
  'The ledger''s row of a listing, read within the statement that publishes it, under the caller''s own rights. Not a field of GraphQL: src/graphql/freshRows.ts calls it.';

grant execute on function app_public.consumption_of_listing(uuid, uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/consumption_of_listing.sql

create or replace trigger listing_consumptions_never_changed before update or delete or truncate on app_public.listing_consumptions
  for each statement execute function app_private.refuse_change();

drop policy if exists select_active on app_public.listings;
create policy select_active on app_public.listings for select to forecourt_visitor, forecourt_dealer using (status = 'active');
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
grant select on app_public.listing_consumptions to forecourt_dealer, forecourt_admin;
