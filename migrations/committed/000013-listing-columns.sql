--! Previous: sha1:c006b896e4670c082b037ca4a7db7c06c6f39125
--! Hash: sha1:e51415b1ad1a1842b2f452f2c6d5f529f00482e2
--! Message: listing columns

set local lock_timeout to '2s';
set local statement_timeout to '60s';

do $$ begin
  create type app_public.moderation as enum ('before', 'after');
exception when duplicate_object then null; end $$;
comment on type app_public.moderation is 'When an admin reviews the listings of a country. before: a listing is shown once it is approved. after: it is shown at once and reviewed later.';

do $$ begin
  create type app_public.moderation_reason as enum ('new', 'resubmitted', 'edited', 'published');
exception when duplicate_object then null; end $$;
comment on type app_public.moderation_reason is 'Why a listing stands in the moderation queue. new: it waits for its first approval. resubmitted: it was rejected before. edited: it was changed while it was active. published: its country moderates after publication.';

-- Columns only, so that the locks are short. The tables come in the order in which publications and quotes lock them, so that no
-- request deadlocks with this migration. Constant defaults do not rewrite a table.
select app_private.lock_tables('app_public.listings', 'app_public.country_currencies', 'app_public.listing_consumptions');
alter table app_public.listings
  add column if not exists external_id text,
  add column if not exists listing_days integer not null default 90,
  add column if not exists published_at timestamptz,
  add column if not exists expires_at timestamptz,
  add column if not exists rejected_at timestamptz,
  add column if not exists rejection_reason text,
  add column if not exists moderation_reason app_public.moderation_reason,
  add column if not exists moderation_since timestamptz;
comment on column app_public.listings.external_id is 'Your own reference: one line of at most 100 characters, unique among the pending and active listings of a dealer.';
comment on column app_public.listings.listing_days is 'How long it is shown, in days of 24 hours: the setting of the country when it was created.';
comment on column app_public.listings.published_at is 'When it became active. Null: it never was, or it was active before release 0.3.';
comment on column app_public.listings.expires_at is 'From this moment on it is not shown to the public. Null until it is active, and for listings that were active before release 0.3.';
comment on column app_public.listings.rejected_at is 'When it was rejected; null unless it is.';
comment on column app_public.listings.rejection_reason is 'Why it was rejected; null unless it is.';
comment on column app_public.listings.moderation_reason is E'@behavior -attribute:select -attribute:filterBy -attribute:orderBy\nWhy it stands in the moderation queue. Null: it does not, or it has been pending since before release 0.3.';
comment on column app_public.listings.moderation_since is E'@behavior -attribute:select -attribute:filterBy -attribute:orderBy\nSince when it stands in the moderation queue.';

alter table app_public.country_currencies
  add column if not exists moderation app_public.moderation not null default 'before',
  add column if not exists listing_days integer not null default 90;
comment on column app_public.country_currencies.moderation is 'Whether listings are reviewed before or after they are shown.';
comment on column app_public.country_currencies.listing_days is 'How long a listing is shown, in days of 24 hours. Existing listings keep theirs.';

alter table app_public.listing_consumptions
  add column if not exists number integer not null default 1,
  add column if not exists reverses uuid,
  add column if not exists idempotency_key uuid;
comment on column app_public.listing_consumptions.number is E'@behavior -attribute:select -attribute:filterBy -attribute:orderBy\nCounts the rows of its listing and kind, from 1. For a publication it is one more than those that were given back, so that a listing has at most one that was not.';
comment on column app_public.listing_consumptions.reverses is 'The row that a REVERSAL gives back.';
comment on column app_public.listing_consumptions.idempotency_key is E'@behavior -attribute:select -attribute:filterBy -attribute:orderBy\nMade of the operation and the key that the client chose; unique per dealer. Null for the first publication, whose key the listing has.';
comment on column app_public.listing_consumptions.listing_id is 'The listing.';
comment on column app_public.listing_consumptions.net_amount is 'Without VAT; zero unless a price was applied, and negative for a reversal of a price.';
