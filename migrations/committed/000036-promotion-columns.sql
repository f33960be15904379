--! Previous: sha1:2cdbb143293f366c83201a5c6d49ba6ba7e12199
--! Hash: sha1:1526e35166f337f8f411bfd3c6be517a88e0acf5
--! Message: promotion columns

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- Until the last of these migrations: a request may have started create_listing before it is replaced here.
create or replace function app_private.fill_country() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  new.country := (select d.country from app_public.dealers as d where d.id = new.dealer_id);
  return new;
end
$$;
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
    dealer_id, country, title, module, price, currency, description, attributes, images, external_id, status, listing_days,
    published_at, expires_at, moderation_reason, moderation_since, holds_slot, idempotency_key, payload_hash, created_by, created_at, updated_at)
  values (
    v_dealer.id, v_dealer.country, app_private.to_nfc(btrim(create_listing.title)), create_listing.module,
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
        dealer_id, country, status, title, module, price, currency, description, attributes, images, external_id, listing_days, published_at,
        expires_at, moderation_reason, moderation_since, holds_slot, idempotency_key, payload_hash, created_by, created_at, updated_at)
      select v_dealer.id, v_dealer.country, case when v_is_active then 'active' else 'pending' end::app_public.listing_status, b.title, b.module,
        b.price, b.currency, b.description, b.attributes, b.images, b.external_id, v_listing_days, case when v_is_active then v_at end,
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
    where l.dealer_id = create_listings.dealer_id and l.idempotency_key = r.idempotency_key limit 1) as found (listing) on r.sqlstate is null
  order by r.ordinality;
end
$$;

comment on function app_public.create_listings(uuid, app_public.new_listing[]) is E'@behavior +mutationField\n@resultFieldName results\n@notNull\nPublishes 1 to 100 listings of one dealer in one transaction. Each is created or refused on its own, as `createListing` would: `results` has one for each, in their order. Quota is used in this order. Keys are those of `createListing`: a listing that was created is returned again, and one that was refused is tried again.';

grant execute on function app_public.create_listings(uuid, app_public.new_listing[]) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/create_listings.sql
-- Columns, and what fills one of them, so that the lock is short. Constant defaults do not rewrite the table.
select app_private.lock_tables('app_public.listings');
alter table app_public.listings
  add column if not exists country text,
  add column if not exists is_premium boolean not null default false,
  add column if not exists premium_until timestamptz,
  add column if not exists is_highlighted boolean not null default false,
  add column if not exists highlighted_until timestamptz;
comment on column app_public.listings.country is E'@behavior -attribute:select -attribute:filterBy -attribute:orderBy\nThe country of the dealer when the listing was created. A copy, so that one index serves the country and the order of a page.';
comment on column app_public.listings.is_premium is 'Whether it has a premium placement, which `PREMIUM_FIRST` puts first. The worker ends it within a minute.';
comment on column app_public.listings.premium_until is E'@behavior -attribute:select -attribute:filterBy -attribute:orderBy\nThe end of the last premium placement; null unless is_premium.';
comment on column app_public.listings.is_highlighted is 'Whether it is highlighted. The worker ends it within a minute.';
comment on column app_public.listings.highlighted_until is E'@behavior -attribute:select -attribute:filterBy -attribute:orderBy\nThe end of the last highlight; null unless is_highlighted.';
create or replace trigger listings_country_filled before insert on app_public.listings
  for each row when (new.country is null) execute function app_private.fill_country();
