--! Previous: sha1:6f9d116c0d2db6c04c652a13bb4f492565947e8c
--! Hash: sha1:10eae8de044f07be21344630b5741a74fb6f4fb3
--! Message: publish listings in batches

set local lock_timeout to '2s';
set local statement_timeout to '60s';

insert into app_public.rate_limit_policies (scope, subject, fields, max_count, window_seconds)
values ('listing_batch', 'user', '{Mutation.createListings}', 10, 60)
on conflict (scope) do nothing;

do $$ begin
  create type app_private.refusal as (sqlstate text, message text, detail text, rule text);
exception when duplicate_object then null; end $$;
comment on type app_private.refusal is 'Why a row is refused, as a value: the parts of the error that a function would raise. The API translates them in the same way.';
comment on column app_private.refusal.sqlstate is 'The SQLSTATE.';
comment on column app_private.refusal.message is 'A sentence; null: the API has one for the constraint or the SQLSTATE.';
comment on column app_private.refusal.detail is 'A JSON object with the facts, as text.';
comment on column app_private.refusal.rule is 'The constraint, or the rule of a CHECK, that is broken.';

do $$ begin
  create type app_public.new_listing as (
    idempotency_key uuid, title text, module text, price numeric, currency text, description text, attributes jsonb, images text[],
    external_id text);
exception when duplicate_object then null; end $$;
comment on type app_public.new_listing is 'A listing to publish: the input of createListing without the dealer.';
comment on column app_public.new_listing.idempotency_key is E'@notNull\nA UUID of your choice. The same key with the same input returns the same listing, also in createListing.';
comment on column app_public.new_listing.title is E'@notNull\n1 to 200 characters in one line.';
comment on column app_public.new_listing.module is E'@notNull\nThe section of the marketplace that shows it, such as auto.';
comment on column app_public.new_listing.price is E'@notNull\nThe price that the dealer asks for the item. It has no influence on any fee.';
comment on column app_public.new_listing.currency is E'@notNull\nThe currency of the price, ISO 4217.';
comment on column app_public.new_listing.description is 'At most 10,000 characters.';
comment on column app_public.new_listing.attributes is 'An object whose content you choose.';
comment on column app_public.new_listing.images is 'URLs of http or https, at most 50.';
comment on column app_public.new_listing.external_id is 'Your own reference: one line of at most 100 characters, unique among the pending and active listings of a dealer.';

do $$ begin
  create type app_public.listing_result as (
    index integer, listing app_public.listings, sqlstate text, message text, detail text, rule text);
exception when duplicate_object then null; end $$;
comment on type app_public.listing_result is 'What became of a listing of a batch: either the listing or an error.';
comment on column app_public.listing_result.index is E'@notNull\nIts position in the input, from 0.';
comment on column app_public.listing_result.listing is 'The listing that was created now, or earlier with this idempotency key; null if it was refused.';
comment on column app_public.listing_result.sqlstate is E'@behavior -attribute:select\nThe parts of app_private.refusal; null if it was not refused. The API makes `error` of them.';
comment on column app_public.listing_result.message is E'@behavior -attribute:select\nAs in app_private.refusal.';
comment on column app_public.listing_result.detail is E'@behavior -attribute:select\nAs in app_private.refusal.';
comment on column app_public.listing_result.rule is E'@behavior -attribute:select\nAs in app_private.refusal.';

--! Included database/row_refusal.sql
create or replace function app_private.row_refusal(rule text, message text, field text default null) returns app_private.refusal
  language plpgsql stable security invoker parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return row('23514', message, jsonb_strip_nulls(jsonb_build_object('field', field))::text, rule)::app_private.refusal;
end
$$;

comment on function app_private.row_refusal(text, text, text) is 'The refusal of a row by a rule, as a value: with the SQLSTATE of a broken constraint that has the name of the rule. With a field, the message is for clients: the API names the field of the input. Without one, only the log gets the message. Not in SQL: inlined, its expressions would be prepared for each row that breaks no rule.';
--! EndIncluded database/row_refusal.sql
--! Included listing/refuse_listing.sql
create or replace function app_private.refuse_listing(refusal app_private.refusal) returns boolean
  language plpgsql immutable strict security invoker parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  raise exception using
    errcode = refusal.sqlstate,
    schema = 'app_public', table = 'listings', constraint = refusal.rule,
    message = refusal.message,
    detail = refusal.detail;
end
$$;

comment on function app_private.refuse_listing(app_private.refusal) is 'Raises the refusal of a row of listings. The function is STRICT: without a refusal Postgres does not run it, the result is null, and the CHECK passes.';
--! EndIncluded listing/refuse_listing.sql
--! Included listing/read_listings.sql
create or replace function app_private.read_listings(listings app_public.new_listing[]) returns table (
    number integer, idempotency_key uuid, payload_hash bytea, title text, module text, price numeric, currency text, has_currency boolean,
    description text, attributes jsonb, images text[], external_id text)
  language sql stable security invoker parallel safe rows 100
  -- No search_path, so that the planner can inline it. A body of this form is bound to its objects at creation. Postgres would write
  -- a literal CR into schema.sql as it is, so it is chr(13).
begin atomic
  select
    i.ordinality::integer, i.idempotency_key,
    app_private.hash_listing(i.title, i.module, i.price, i.currency, i.description, i.attributes, i.images, i.external_id),
    app_private.to_nfc(btrim(i.title)), i.module, app_private.money(i.price, c.minor_units::integer), i.currency, c.code is not null,
    app_private.to_nfc(replace(i.description, chr(13) || chr(10), chr(10))), coalesce(i.attributes, '{}'), coalesce(i.images, '{}'),
    nullif(app_private.to_nfc(btrim(i.external_id)), '')
  from unnest(read_listings.listings) with ordinality as i
  left join app_public.currencies as c on c.code = i.currency;
end;

comment on function app_private.read_listings(app_public.new_listing[]) is 'The listings of a batch with the values that create_listing would store for each, numbered from 1.';
--! EndIncluded listing/read_listings.sql
--! Included quota/take_slots.sql
create or replace function app_private.take_slots(dealer_id uuid, subscription_id uuid, count integer, at timestamptz) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_is_over boolean;
begin
  update app_public.dealers as d set slots_in_use = d.slots_in_use + take_slots.count
  from app_public.dealer_subscriptions as s
  where d.id = take_slots.dealer_id and s.dealer_id = d.id and s.id = take_slots.subscription_id
  returning d.slots_in_use > s.included_listing_quota into strict v_is_over;
  if v_is_over then
    -- A slot was free because a listing has ended. No expiry run has recorded that yet.
    perform app_private.expire_rows(array(
      select l.ctid
      from app_public.listings as l
      where l.dealer_id = take_slots.dealer_id and l.holds_slot and l.status = 'active' and l.expires_at <= take_slots.at
      order by l.expires_at
      -- As many as a batch takes slots at most. The others wait for a publication that needs them, because the dealer is locked
      -- meanwhile.
      limit 100
    ), 'expire_listings');
  end if;
end
$$;

comment on function app_private.take_slots(uuid, uuid, integer, timestamptz) is 'Adds to the slots in use of a dealer. If they take slots of listings that have ended, it expires the ended listings of the dealer that hold slots, at most 100. The caller has found as many free slots with count_free_slots, and holds the dealer''s lock.';
--! EndIncluded quota/take_slots.sql
--! Included listing/record_consumption.sql
create or replace function app_private.record_consumption(
  decision app_private.publication_decision, listing_id uuid, action app_public.consumption_kind, user_id uuid,
  number integer default 1, idempotency_key uuid default null, reverses uuid default null
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
    if decision.takes_slot then
      perform app_private.take_slots(decision.dealer_id, decision.subscription_id, 1, decision.at);
    elsif decision.takes_slot is null then
      update app_public.dealer_subscriptions as s
      set used_listing_quota = s.used_listing_quota + case when record_consumption.reverses is null then 1 else -1 end, updated_at = decision.at
      where s.dealer_id = decision.dealer_id and s.id = decision.subscription_id;
    end if;
  -- The reversal of a price on a void invoice has no country, and gets no item.
  elsif decision.source = 'paid_extra' and decision.country is not null then
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
      dealer_id, id, invoice_id, description, price_config_id, price_version, unit_price_net, discount, quantity,
      net_amount, vat_rate, vat_amount, gross_amount, country, currency, created_at)
    values (
      decision.dealer_id, v_item_id, v_invoice_id, case action when 'publication' then 'Listing ' else initcap(action::text collate "C") || ' of listing ' end || record_consumption.listing_id, decision.price_config_id,
      decision.price_version, decision.unit_price_net, app_private.money(0, decision.minor_units), case when record_consumption.reverses is null then 1 else -1 end, decision.net_amount,
      decision.vat_rate, decision.vat_amount, decision.gross_amount, decision.country, decision.currency, decision.at);
  end if;
  insert into app_public.listing_consumptions (
    dealer_id, listing_id, kind, number, idempotency_key, reverses, source, subscription_id, price_config_id, invoice_item_id,
    net_amount, vat_rate, vat_amount, gross_amount, currency, created_by, created_at)
  values (
    decision.dealer_id, record_consumption.listing_id, record_consumption.action, record_consumption.number,
    record_consumption.idempotency_key, record_consumption.reverses, decision.source, decision.subscription_id,
    decision.price_config_id, v_item_id, decision.net_amount, decision.vat_rate, decision.vat_amount, decision.gross_amount,
    decision.currency, record_consumption.user_id, decision.at);
end
$$;

comment on function app_private.record_consumption(app_private.publication_decision, uuid, app_public.consumption_kind, uuid, integer, uuid, uuid) is 'Carries out a decision: starts the pending subscription that it needs, uses the quota or a slot, or adds the price to the dealer''s draft invoice of the month (UTC), and writes the ledger row. A reversal does the opposite, with negative amounts; the slot of its listing is released with the step that follows. The caller holds the dealer''s lock.';
--! EndIncluded listing/record_consumption.sql
--! Included listing/record_publications.sql
create or replace function app_private.record_publications(decision app_private.publication_decision, listing_ids uuid[], user_id uuid) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_further constant uuid[] := listing_ids[2:];
  v_count constant integer := cardinality(v_further);
  v_invoice_id uuid;
  v_item_ids uuid[];
begin
  -- The first one also starts the subscription or creates the invoice that all of them need. A function for one and for many would make
  -- each single publication slower.
  perform app_private.record_consumption(decision, listing_ids[1], 'publication', record_publications.user_id);
  if v_count = 0 then
    return;
  elsif decision.takes_slot then
    perform app_private.take_slots(decision.dealer_id, decision.subscription_id, v_count, decision.at);
  elsif decision.source = 'subscription_quota' then
    update app_public.dealer_subscriptions as s
    set used_listing_quota = s.used_listing_quota + v_count
    where s.dealer_id = decision.dealer_id and s.id = decision.subscription_id;
  elsif decision.source = 'paid_extra' then
    update app_public.invoices as i
    set net_total = i.net_total + v_count * decision.net_amount, vat_total = i.vat_total + v_count * decision.vat_amount,
      gross_total = i.gross_total + v_count * decision.gross_amount
    where i.dealer_id = decision.dealer_id and i.period_start = (date_trunc('month', decision.at, 'UTC') at time zone 'UTC')::date
      and i.country = decision.country and i.currency = decision.currency and i.kind = 'monthly' and i.status = 'draft'
    returning i.id into strict v_invoice_id;
    v_item_ids := array(select app_private.time_ordered_uuid() from generate_series(1, v_count));
    insert into app_public.invoice_items (
      dealer_id, id, invoice_id, description, price_config_id, price_version, unit_price_net, discount, quantity,
      net_amount, vat_rate, vat_amount, gross_amount, country, currency, created_at)
    select
      decision.dealer_id, unnest(v_item_ids), v_invoice_id, 'Listing ' || unnest(v_further), decision.price_config_id,
      decision.price_version, decision.unit_price_net, app_private.money(0, decision.minor_units), 1, decision.net_amount,
      decision.vat_rate, decision.vat_amount, decision.gross_amount, decision.country, decision.currency, decision.at;
  end if;
  -- Unnest in the list of columns: in FROM it would fill a table first. Without items, the shorter list is filled with nulls.
  insert into app_public.listing_consumptions (
    dealer_id, listing_id, kind, source, subscription_id, price_config_id, invoice_item_id,
    net_amount, vat_rate, vat_amount, gross_amount, currency, created_by, created_at)
  select
    decision.dealer_id, unnest(v_further), 'publication', decision.source, decision.subscription_id, decision.price_config_id,
    unnest(v_item_ids), decision.net_amount, decision.vat_rate, decision.vat_amount, decision.gross_amount, decision.currency,
    record_publications.user_id, decision.at;
end
$$;

comment on function app_private.record_publications(app_private.publication_decision, uuid[], uuid) is 'Does what record_consumption does, for as many new listings as the decision pays for. The caller holds the dealer''s lock.';
--! EndIncluded listing/record_publications.sql
--! Included listing/create_listing.sql
create or replace function app_public.create_listing(
  dealer_id uuid, idempotency_key uuid, title text, module text, price numeric, currency text,
  description text default null, attributes jsonb default null, images text[] default null, external_id text default null
) returns app_public.listings
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_payload_hash constant bytea := app_private.hash_listing(title, module, price, currency, description, attributes, images, external_id);
  v_user_id constant uuid := app_public.current_user_id();
  v_dealer app_public.dealers;
  v_subscriptions app_public.dealer_subscriptions[];
  v_id uuid;
  v_listing_days integer;
  v_is_active boolean;
  v_listing app_public.listings;
  v_decision app_private.publication_decision;
  v_minor_units integer;
  v_at timestamptz;
begin
  -- Starting a statement takes longer than running it, so there are few. This one checks the membership and locks the dealer.
  select d.* into v_dealer from app_public.dealers as d
  where d.id = create_listing.dealer_id and exists (
    select from app_public.dealer_users as du where du.dealer_id = create_listing.dealer_id and du.user_id = v_user_id) for no key update of d;
  if not found then
    perform app_private.require_member(create_listing.dealer_id);
    v_dealer := app_private.lock_dealer(create_listing.dealer_id);
  end if;
  -- This one locks what lock_dealer locks next. Its snapshot is newer than the lock: it sees the listing that a retry waited for.
  select l.id, cc.listing_days, v_dealer.is_trusted or cc.moderation = 'after', array(
    select s from app_public.dealer_subscriptions as s
    where s.dealer_id = create_listing.dealer_id and s.status <> 'expired'
      and (s.end_at is null or s.status = 'active' or s.end_at > now())
    order by s.id for update)
  into v_id, v_listing_days, v_is_active, v_subscriptions
  from (values (true)) as always
  left join app_public.country_currencies as cc on cc.country = v_dealer.country
  left join app_public.listings as l on l.dealer_id = create_listing.dealer_id and l.idempotency_key = create_listing.idempotency_key;
  if v_id is not null then
    return app_private.replay_listing(create_listing.dealer_id, create_listing.idempotency_key, v_payload_hash);
  elsif not (v_dealer.is_active and v_dealer.can_publish) then
    perform app_private.require_publisher(v_dealer);
  end if;
  -- Read the clock after the locks: a publication that waited past the end of a subscription must not use it.
  v_at := clock_timestamp();
  v_decision := app_private.decide_publication(v_dealer.id, v_dealer.country, v_at, v_dealer.has_free_quota, v_subscriptions);
  if create_listing.currency <> v_decision.currency then
    -- The foreign key refuses an unknown currency. Not in the insert, which would then be planned each time.
    select c.minor_units::integer into v_minor_units from app_public.currencies as c where c.code = create_listing.currency;
  end if;
  insert into app_public.listings (
    dealer_id, title, module, price, currency, description, attributes, images, external_id, status, listing_days,
    published_at, expires_at, moderation_reason, moderation_since, holds_slot, idempotency_key, payload_hash, created_by, created_at, updated_at)
  values (
    v_dealer.id, app_private.to_nfc(btrim(create_listing.title)), create_listing.module,
    app_private.money(create_listing.price, coalesce(v_minor_units, v_decision.minor_units)), create_listing.currency,
    app_private.to_nfc(replace(create_listing.description, E'\r\n', E'\n')), coalesce(create_listing.attributes, '{}'),
    coalesce(create_listing.images, '{}'), nullif(app_private.to_nfc(btrim(create_listing.external_id)), ''),
    case when v_is_active then 'active' else 'pending' end::app_public.listing_status, v_listing_days,
    case when v_is_active then v_at end, case when v_is_active then v_at + v_listing_days * interval '24 hours' end,
    case when v_dealer.is_trusted then null when v_is_active then 'published' else 'new' end::app_public.moderation_reason,
    case when not v_dealer.is_trusted then v_at end, v_decision.takes_slot is not null, create_listing.idempotency_key, v_payload_hash, v_user_id, v_at, v_at)
  returning * into v_listing;
  -- The API reads the setting in the same statement and counts the publication by it. A replay does not set it.
  perform app_private.record_consumption(v_decision, v_listing.id, 'publication', v_user_id),
    set_config('forecourt.published', v_decision.source::text, true);
  return v_listing;
end
$$;

comment on function app_public.create_listing(uuid, uuid, text, text, numeric, text, text, jsonb, text[], text) is E'@behavior +mutationField\n@resultFieldName listing\nPublishes a listing: decides what pays for it (free quota, subscription, price), charges that, and creates the listing, in one transaction. It is PENDING until an admin approves it; it is ACTIVE at once for a trusted dealer, and in a country that moderates afterwards. The same idempotency key with the same input returns the same listing.';

grant execute on function app_public.create_listing(uuid, uuid, text, text, numeric, text, text, jsonb, text[], text) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/create_listing.sql
--! Included listing/require_batch.sql
create or replace function app_private.require_batch(listings app_public.new_listing[]) returns void
  language plpgsql immutable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_number bigint;
begin
  if coalesce(cardinality(listings), 0) not between 1 and 100 then
    raise exception using
      errcode = 'FC010',
      message = 'Please send 1 to 100 listings at once.',
      detail = jsonb_build_object('field', 'listings', 'maximum', 100)::text;
  end if;
  select min(r.number) into v_number
  from (
    select i.ordinality, row_number() over (partition by i.idempotency_key order by i.ordinality)
    from unnest(listings) with ordinality as i) as r (number, occurrence)
  where r.occurrence > 1;
  if v_number is not null then
    raise exception using
      errcode = 'FC010',
      message = 'Two of these listings have the same idempotency key. Please send a key of its own with each.',
      detail = jsonb_build_object('field', 'idempotencyKey', 'index', v_number - 1)::text;
  end if;
end
$$;

comment on function app_private.require_batch(app_public.new_listing[]) is 'Raises FC010 unless there are 1 to 100 listings, each with another idempotency key.';
--! EndIncluded listing/require_batch.sql

-- Everything below is quick. It waits here for the publications that run, and the next ones wait for it, so each finds functions that
-- fit together. The function of the CHECK returns another type, so both are made again: the CHECK holds for every new row again when
-- this transaction ends.
select app_private.lock_tables('app_public.listings');
alter table app_public.listings drop constraint if exists listings_valid;
drop function if exists app_private.review_listings(uuid, app_public.new_listing[]);
drop function if exists app_private.check_listing(
  text, text, text, numeric, jsonb, text[], text, timestamptz, timestamptz, timestamptz, text, app_public.moderation_reason, timestamptz);
--! Included listing/check_listing.sql
create or replace function app_private.check_listing(
  title text, description text, module text, price numeric, attributes jsonb, images text[], external_id text,
  published_at timestamptz, expires_at timestamptz, rejected_at timestamptz, rejection_reason text,
  moderation_reason app_public.moderation_reason, moderation_since timestamptz
) returns app_private.refusal
  language plpgsql immutable security invoker parallel safe
  -- No search_path, which takes time for each row: only a CHECK calls it, and create_listings, which has one. Each name outside
  -- pg_catalog has its schema.
as $$
begin
  return case
    when not jsonb_typeof(attributes) = 'object' then app_private.row_refusal('listings_attributes_object',
      'Please send the attributes as a JSON object.', 'attributes')
    when not app_private.is_text(description, 10000) then app_private.row_refusal('listings_description_length',
      'Please enter a description of at most 10,000 characters, without control characters except line breaks and tabs.', 'description')
    when not coalesce(expires_at > published_at, expires_at is null and published_at is null) then app_private.row_refusal('listings_expires_after_publication',
      'A listing that was published has an end after that, and no other listing has one.')
    when not app_private.is_line(external_id, 100) then app_private.row_refusal('listings_external_id_length',
      'Please enter your reference as one line of at most 100 characters, at least one of them visible.', 'externalId')
    when not (images = '{}' or cardinality(images) <= 50 and array_ndims(images) = 1) then app_private.row_refusal('listings_images_count',
      'Please send at most 50 images, as a flat list.', 'images')
    when not (images = '{}' or app_private.are_urls(images)) then app_private.row_refusal('listings_images_form',
      'Please send each image as a URL that starts with https:// or http:// and has at most 2,000 characters.', 'images')
    when not array_position(images, null) is null then app_private.row_refusal('listings_images_present',
      'Please send no image that is null.', 'images')
    when not (moderation_reason is null) = (moderation_since is null) then app_private.row_refusal('listings_moderation_has_time',
      'A listing in the moderation queue has a reason and a time, and no other listing has one.')
    when not module ~ '^[A-Za-z][A-Za-z0-9_-]{0,39}$' then app_private.row_refusal('listings_module_form',
      'Please enter the module as a word of at most 40 letters, digits, - or _ that starts with a letter, such as auto.', 'module')
    when not (price >= 0 and price < 1000000000000) then app_private.row_refusal('listings_price_range',
      'Please enter a price of at least 0 and below 1,000,000,000,000.', 'price')
    when not scale(price) <= 4 then app_private.row_refusal('listings_price_scale',
      'Please enter a price with at most 4 decimal places.', 'price')
    when not (rejected_at is null) = (rejection_reason is null) then app_private.row_refusal('listings_rejected_has_reason',
      'A rejected listing has a time and a reason, and no other listing has one.')
    when not (app_private.is_text(rejection_reason, 1000) and rejection_reason ~ '\S') then app_private.row_refusal('listings_rejection_reason_length',
      'Please enter a reason of 1 to 1,000 characters, without control characters except line breaks and tabs.', 'reason')
    when not app_private.is_line(title, 200) then app_private.row_refusal('listings_title_length',
      'Please enter a title of 1 to 200 characters, at least one of them visible, in one line.', 'title')
    else null
  end;
end
$$;

comment on function app_private.check_listing(text, text, text, numeric, jsonb, text[], text, timestamptz, timestamptz, timestamptz, text, app_public.moderation_reason, timestamptz) is 'The rules of a listing. Returns the refusal of the first that is broken, in the order of their names; null if all hold. A rule that is null holds. The CHECK of the table raises the refusal, and create_listings returns it.';
--! EndIncluded listing/check_listing.sql
alter table app_public.listings
  add constraint listings_valid check (app_private.refuse_listing(app_private.check_listing(
    title, description, module, price, attributes, images, external_id, published_at, expires_at, rejected_at, rejection_reason,
    moderation_reason, moderation_since))) not valid;
--! Included listing/review_listings.sql
create or replace function app_private.review_listings(dealer_id uuid, listings app_public.new_listing[])
  returns table (number integer, fits boolean, refusal app_private.refusal)
  language sql stable security invoker parallel safe rows 100
  -- No search_path, so that the planner can inline it. A body of this form is bound to its objects at creation.
begin atomic
  select r.number, r.is_new and r.refusal is null, case
    when r.is_new and r.refusal is null and r.external_id is not null
      and row_number() over (partition by r.external_id, r.is_new and r.refusal is null order by r.number) > 1
    then row('23505', null, null, 'ux_listings_external_id')::app_private.refusal
    else r.refusal end
  from (
    select b.number, b.external_id, known.payload_hash is null as is_new, case
      when known.payload_hash <> b.payload_hash then row(
        'FC007', 'This idempotency key was used for another listing. Use a new key for a new listing.', '{"field": "idempotencyKey"}', null)::app_private.refusal
      when known.payload_hash is null then coalesce(
        app_private.check_listing(b.title, b.description, b.module, b.price, b.attributes, b.images, b.external_id,
          null, null, null, null, null, null),
        case when not b.has_currency then row('23503', null, null, 'listings_currency_known')::app_private.refusal end,
        case when live.is_live then row('23505', null, null, 'ux_listings_external_id')::app_private.refusal end)
      end as refusal
    from (select n.* from app_private.read_listings(review_listings.listings) as n offset 0) as b
    -- With a limit each row reads one entry of a unique index: a join might read all listings of the dealer. So would the planner with
    -- the expression of external_id in place of its value, for it adds the cost of the expression to that of the index (offset 0).
    left join lateral (
      select l.payload_hash from app_public.listings as l
      where l.dealer_id = review_listings.dealer_id and l.idempotency_key = b.idempotency_key
      limit 1) as known on true
    left join lateral (
      select true from app_public.listings as l
      where l.dealer_id = review_listings.dealer_id and l.external_id = b.external_id and (l.status = 'pending' or l.status = 'active')
      limit 1) as live (is_live) on true
    -- Without it, the planner would repeat the check of a listing wherever its refusal is read.
    offset 0) as r;
end;

comment on function app_private.review_listings(uuid, app_public.new_listing[]) is 'Reviews the listings of a batch. `fits`: it is new and breaks no rule of its own. `refusal`: its key was used with other input, it breaks a rule, or its currency or reference would break a constraint. Of several that fit with the same reference, only the first is not refused. The caller holds the dealer''s lock.';
--! EndIncluded listing/review_listings.sql
--! Included listing/create_listings.sql
create or replace function app_public.create_listings(dealer_id uuid, listings app_public.new_listing[])
  returns setof app_public.listing_result
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_user_id constant uuid := app_private.require_member(create_listings.dealer_id);
  v_dealer app_public.dealers;
  v_at timestamptz;
  v_listing_days integer;
  v_is_active boolean;
  v_refusals app_private.refusal[];
  v_refusal app_private.refusal;
  -- The numbers of the listings to publish, and how many of them are published.
  v_new integer[];
  v_published integer := 0;
  v_run integer[];
  v_ids uuid[];
  v_decision app_private.publication_decision;
  v_sources text[];
begin
  perform app_private.require_batch(create_listings.listings);
  v_dealer := app_private.lock_dealer(create_listings.dealer_id);
  -- After the locks, as in create_listing.
  v_at := clock_timestamp();
  select cc.listing_days, v_dealer.is_trusted or cc.moderation = 'after' into v_listing_days, v_is_active
  from app_public.country_currencies as cc where cc.country = v_dealer.country;
  select array_agg(r.refusal order by r.number), array_agg(r.number order by r.number) filter (where r.fits and r.refusal is null)
  into v_refusals, v_new
  from app_private.review_listings(create_listings.dealer_id, create_listings.listings) as r;
  while v_published < cardinality(v_new) loop
    -- The block only reads, so it takes no transaction id, and other sessions need not look for it.
    begin
      perform app_private.require_publisher(v_dealer);
      v_decision := app_private.decide_publication(v_dealer.id, v_dealer.country, v_at, v_dealer.has_free_quota);
    exception when sqlstate 'FC003' or sqlstate 'FC005' or sqlstate 'FC006' or sqlstate 'FC009' then
      get stacked diagnostics v_refusal.sqlstate = returned_sqlstate, v_refusal.message = message_text, v_refusal.detail = pg_exception_detail;
      -- Nothing gives quota back before the end of the batch, so it holds for all that still fit. Those that are published do not.
      select array_agg(case when r.fits then v_refusal else r.refusal end order by r.number) into v_refusals
      from app_private.review_listings(create_listings.dealer_id, create_listings.listings) as r;
      exit;
    end;
    v_run := v_new[v_published + 1 : v_published + coalesce(v_decision.pays_for, cardinality(v_new))];
    with published as (
      insert into app_public.listings (
        dealer_id, status, title, module, price, currency, description, attributes, images, external_id, listing_days, published_at,
        expires_at, moderation_reason, moderation_since, holds_slot, idempotency_key, payload_hash, created_by, created_at, updated_at)
      select v_dealer.id, case when v_is_active then 'active' else 'pending' end::app_public.listing_status, b.title, b.module, b.price, b.currency,
        b.description, b.attributes, b.images, b.external_id, v_listing_days, case when v_is_active then v_at end,
        case when v_is_active then v_at + v_listing_days * interval '24 hours' end,
        case when v_dealer.is_trusted then null when v_is_active then 'published' else 'new' end::app_public.moderation_reason,
        case when not v_dealer.is_trusted then v_at end, v_decision.takes_slot is not null, b.idempotency_key, b.payload_hash, v_user_id, v_at, v_at
      from app_private.read_listings(create_listings.listings) as b
      where b.number = any (v_run) order by b.number returning id)
    select array_agg(p.id) into v_ids from published as p;
    perform app_private.record_publications(v_decision, v_ids, v_user_id);
    v_sources := v_sources || array_fill(v_decision.source::text, array[cardinality(v_run)]);
    v_published := v_published + cardinality(v_run);
  end loop;
  perform set_config('forecourt.published', array_to_string(v_sources, ','), true);
  return query
  select (r.ordinality - 1)::integer, found.listing, r.sqlstate, r.message, r.detail, r.rule
  from unnest(create_listings.listings, v_refusals) with ordinality as r
  left join lateral (
    select l from app_public.listings as l
    where l.dealer_id = create_listings.dealer_id and l.idempotency_key = r.idempotency_key limit 1) as found (listing) on r.sqlstate is null;
end
$$;

comment on function app_public.create_listings(uuid, app_public.new_listing[]) is E'@behavior +mutationField\n@resultFieldName results\n@notNull\nPublishes 1 to 100 listings of one dealer in one transaction. Each is created or refused on its own, as `createListing` would: `results` has one for each, in their order. Quota is used in this order. Keys are those of `createListing`: a listing that was created is returned again, and one that was refused is tried again.';

grant execute on function app_public.create_listings(uuid, app_public.new_listing[]) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/create_listings.sql
