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
  constraint listings_title_length check (length(btrim(title)) between 1 and 200),
  constraint listings_description_length check (length(description) <= 10000),
  constraint listings_module_form check (module ~ '^[A-Za-z][A-Za-z0-9_-]{0,39}$'),
  constraint listings_price_range check (price >= 0 and price < 1000000000000),
  constraint listings_price_scale check (scale(price) <= 4),
  constraint listings_currency_known foreign key (currency) references app_public.currencies,
  constraint listings_attributes_object check (jsonb_typeof(attributes) = 'object'),
  constraint listings_images_count check (cardinality(images) <= 50 and array_ndims(images) = 1 or images = '{}'),
  constraint listings_images_present check (array_position(images, null) is null)
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
comment on constraint listings_images_present on app_public.listings is E'@field images\nEach image is a URL.';
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

--!include identity/require_publisher.sql
--!include quota/free_quota_remaining.sql
--!include quota/decide_publication.sql
--!include listing/quote_listing.sql
--!include listing/replay_listing.sql
--!include listing/record_consumption.sql
--!include listing/create_listing.sql
--!include listing/consumption_of_listing.sql

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
