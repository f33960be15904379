-- The schema as all migrations make it, read from the catalogs of Postgres 18. People read it, `npm run check` holds it
-- against the migrations, and `npm run db:doctor` compares databases with it: a change here is a change of the database.
-- `npm run fix` writes it. Do not edit it by hand, and do not run it as a whole.
-- `owner` stands for the role that owns the schemas.


create role forecourt_admin nologin inherit;

create role forecourt_authenticator login noinherit;
grant forecourt_admin to forecourt_authenticator;
grant forecourt_dealer to forecourt_authenticator;
grant forecourt_visitor to forecourt_authenticator;

create role forecourt_dealer nologin inherit;

create role forecourt_visitor nologin inherit;

-- default privileges of functions: {execute to owner};

create extension btree_gist with schema app_private;
create schema app_private;
comment on schema app_private is 'Secrets, counters and internal functions. No client has access.';

create schema app_public;
grant usage on schema app_public to forecourt_admin;
grant usage on schema app_public to forecourt_authenticator;
grant usage on schema app_public to forecourt_dealer;
grant usage on schema app_public to forecourt_visitor;
comment on schema app_public is 'The objects that the GraphQL API shows. Every table has row-level security and column grants.';

create type app_private.ledger_fault as (
  rule text,
  dealer_id uuid,
  id uuid,
  detail jsonb
);
comment on column app_private.ledger_fault.dealer_id is 'The dealer of the row.';
comment on column app_private.ledger_fault.detail is 'The values that contradict each other.';
comment on column app_private.ledger_fault.id is 'The id of the row: of a listing, a subscription, an invoice or an item, depending on the rule.';
comment on column app_private.ledger_fault.rule is 'The broken rule, as a sentence.';
comment on type app_private.ledger_fault is 'A row that breaks a rule of the ledger.';

create type app_private.opened_session as (
  session_id uuid,
  refresh_expires_at timestamp with time zone,
  user_id uuid,
  email text,
  full_name text,
  is_admin boolean
);
comment on column app_private.opened_session.email is 'The address of the user, normalised.';
comment on column app_private.opened_session.full_name is 'The name of the user.';
comment on column app_private.opened_session.is_admin is 'Whether the user is an admin now.';
comment on column app_private.opened_session.refresh_expires_at is 'When its newest refresh token ends.';
comment on column app_private.opened_session.session_id is 'The session; null: there is none, and the request is refused.';
comment on column app_private.opened_session.user_id is 'The user.';
comment on type app_private.opened_session is 'A session with its user, for the answer to a login or a refresh.';

create type app_private.pricing_gate as (
  currency text,
  minor_units smallint,
  vat_rate numeric
);
comment on column app_private.pricing_gate.currency is 'ISO 4217.';
comment on column app_private.pricing_gate.minor_units is 'Decimal places of an amount.';
comment on column app_private.pricing_gate.vat_rate is 'In percent.';
comment on type app_private.pricing_gate is 'The configuration that a country needs before anything is sold there.';

create type app_private.publication_decision as (
  dealer_id uuid,
  country text,
  at timestamp with time zone,
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
  subscription_remaining integer,
  takes_slot boolean,
  pays_for integer
);
comment on column app_private.publication_decision.at is 'The moment for which it was decided.';
comment on column app_private.publication_decision.country is 'The country of the price and the VAT rate.';
comment on column app_private.publication_decision.currency is 'The currency of all its amounts.';
comment on column app_private.publication_decision.dealer_id is 'The dealer.';
comment on column app_private.publication_decision.free_remaining is 'Free listings left in the rolling period.';
comment on column app_private.publication_decision.gross_amount is 'Net amount plus VAT.';
comment on column app_private.publication_decision.minor_units is 'Decimal places of that currency.';
comment on column app_private.publication_decision.net_amount is 'That price, rounded to the currency''s minor units.';
comment on column app_private.publication_decision.pays_for is 'How many publications in a row it holds for, this one included; null: any number.';
comment on column app_private.publication_decision.price_config_id is 'The price that applies; null unless the source is a price.';
comment on column app_private.publication_decision.price_version is 'The version of that price.';
comment on column app_private.publication_decision.source is 'What pays for it.';
comment on column app_private.publication_decision.starts_subscription is 'Whether that subscription is pending and starts with this listing.';
comment on column app_private.publication_decision.subscription_id is 'The subscription whose quota is used; null unless the source is a subscription.';
comment on column app_private.publication_decision.subscription_remaining is 'Listings left in running subscriptions; if there are none, those of the pending one that starts next.';
comment on column app_private.publication_decision.takes_slot is 'Whether it takes a slot of a CONCURRENT subscription. False: neither a slot nor quota of listings, because the listing has a slot already, or is promoted. Null: something else pays.';
comment on column app_private.publication_decision.unit_price_net is 'The price without VAT; zero unless the source is a price.';
comment on column app_private.publication_decision.vat_amount is 'Of the net amount.';
comment on column app_private.publication_decision.vat_rate is 'In percent: 19.00 is 19 %.';
comment on type app_private.publication_decision is 'What pays for a dealer''s next listing, its amounts, and the quotas that were left before it. Flat, because rows within a row cost more to build and to read.';

create type app_private.purchase_decision as (
  package app_public.dealer_packages,
  item app_public.invoice_items
);
comment on column app_private.purchase_decision.item is 'The amounts of its invoice item. buy_package fills in the other columns.';
comment on column app_private.purchase_decision.package is 'The package as it is on sale.';
comment on type app_private.purchase_decision is 'What a dealer buys, and for which amounts.';

create type app_private.rate_limit_outcome as (
  used double precision,
  reset_at double precision,
  retry_after integer
);
comment on column app_private.rate_limit_outcome.reset_at is 'In Unix seconds: when the running window ends, or when a refused charge would pass.';
comment on column app_private.rate_limit_outcome.retry_after is 'Seconds until a refused charge would pass; null: the charge was taken.';
comment on column app_private.rate_limit_outcome.used is 'The used part of the window, including this charge; null: the charge was refused.';
comment on type app_private.rate_limit_outcome is 'The result of a charge.';

create type app_private.refusal as (
  sqlstate text,
  message text,
  detail text,
  rule text
);
comment on column app_private.refusal.detail is 'A JSON object with the facts, as text.';
comment on column app_private.refusal.message is 'A sentence; null: the API has one for the constraint or the SQLSTATE.';
comment on column app_private.refusal.rule is 'The constraint, or the rule of a CHECK, that is broken.';
comment on column app_private.refusal.sqlstate is 'The SQLSTATE.';
comment on type app_private.refusal is 'Why a row is refused, as a value: the parts of the error that a function would raise. The API translates them in the same way.';

create type app_public.checkout_status as enum (
  'open',
  'paid',
  'cancelled',
  'expired'
);
comment on type app_public.checkout_status is 'open: waits for its payment. paid: its subscription exists. cancelled: voided before the end of the offer. expired: the offer has ended, and the next purchase voids the invoice.';

create type app_public.consumption_kind as enum (
  'publication',
  'renewal',
  'premium',
  'highlight',
  'reversal'
);
comment on type app_public.consumption_kind is 'The action that a ledger row is for. reversal: it gives back the charge of another row.';

create type app_public.consumption_source as enum (
  'free_quota',
  'subscription_quota',
  'paid_extra'
);
comment on type app_public.consumption_source is 'What paid for a listing or a promotion: the free quota, the quota of a subscription, or a price.';

create type app_public.dealer_role as enum (
  'owner',
  'staff'
);
comment on type app_public.dealer_role is 'The role of a member of a dealer. STAFF may publish, edit, end, renew and promote listings, ask for quotes, and read what belongs to the dealer. An OWNER may also buy and cancel, change the dealer, and manage its members and API keys.';

create type app_public.dealer_type as enum (
  'auto_dealer',
  'real_estate_agency',
  'machinery_dealer',
  'general'
);
comment on type app_public.dealer_type is 'The trade of a dealer.';

create type app_public.invoice_kind as enum (
  'package',
  'monthly'
);
comment on type app_public.invoice_kind is 'package: a purchase. monthly: what a dealer was charged and given back in a month beyond the quotas: listings, renewals and promotions.';

create type app_public.invoice_status as enum (
  'draft',
  'paid',
  'void'
);
comment on type app_public.invoice_status is 'draft: not paid yet. paid and void are final.';

create type app_public.listing_quote as (
  source app_public.consumption_source,
  net_amount numeric,
  vat_rate numeric,
  gross_amount numeric,
  currency text,
  free_remaining integer,
  subscription_remaining integer
);
comment on column app_public.listing_quote.currency is '@notNull
ISO 4217.';
comment on column app_public.listing_quote.free_remaining is '@notNull
Free listings left in the rolling period.';
comment on column app_public.listing_quote.gross_amount is '@notNull
Net amount plus VAT.';
comment on column app_public.listing_quote.net_amount is '@notNull
Without VAT.';
comment on column app_public.listing_quote.source is '@notNull
What would pay for it.';
comment on column app_public.listing_quote.subscription_remaining is '@notNull
Listings left in running subscriptions, free slots included; if there are none, those of the pending one that starts next.';
comment on column app_public.listing_quote.vat_rate is '@notNull
In percent: 19.00 is 19 %.';
comment on type app_public.listing_quote is 'The cost of the dealer''s next listing at this moment.';

create type app_public.listing_result as (
  index integer,
  listing app_public.listings,
  sqlstate text,
  message text,
  detail text,
  rule text
);
comment on column app_public.listing_result.detail is '@behavior -attribute:select
As in app_private.refusal.';
comment on column app_public.listing_result.index is '@notNull
Its position in the input, from 0.';
comment on column app_public.listing_result.listing is 'The listing that was created now, or earlier with this idempotency key; null if it was refused.';
comment on column app_public.listing_result.message is '@behavior -attribute:select
As in app_private.refusal.';
comment on column app_public.listing_result.rule is '@behavior -attribute:select
As in app_private.refusal.';
comment on column app_public.listing_result.sqlstate is '@behavior -attribute:select
The parts of app_private.refusal; null if it was not refused. The API makes `error` of them.';
comment on type app_public.listing_result is 'What became of a listing of a batch: either the listing or an error.';

create type app_public.listing_status as enum (
  'pending',
  'active',
  'rejected',
  'withdrawn',
  'sold',
  'expired'
);
comment on type app_public.listing_status is 'pending: waits for moderation. active: visible to everybody until its end. rejected: refused or taken down by an admin. withdrawn and sold: ended by the dealer. expired: its time is over.';

create type app_public.member_user as (
  id uuid,
  full_name text,
  email text
);
comment on column app_public.member_user.email is '@notNull
The e-mail address.';
comment on column app_public.member_user.full_name is '@notNull
The name that the person entered.';
comment on column app_public.member_user.id is '@notNull
Time-ordered.';
comment on type app_public.member_user is 'What the members of a dealer see of each other.';

create type app_public.moderation as enum (
  'before',
  'after'
);
comment on type app_public.moderation is 'When an admin reviews the listings of a country. before: a listing is shown once it is approved. after: it is shown at once and reviewed later.';

create type app_public.moderation_decision as enum (
  'approve',
  'reject'
);
comment on type app_public.moderation_decision is 'What an admin decides about a listing.';

create type app_public.moderation_reason as enum (
  'new',
  'resubmitted',
  'edited',
  'published'
);
comment on type app_public.moderation_reason is 'Why a listing stands in the moderation queue. new: it waits for its first approval. resubmitted: it was rejected before. edited: it was changed while it was active. published: its country moderates after publication.';

create type app_public.new_listing as (
  idempotency_key uuid,
  title text,
  module text,
  price numeric,
  currency text,
  description text,
  attributes jsonb,
  images text[],
  external_id text
);
comment on column app_public.new_listing.attributes is 'An object whose content you choose.';
comment on column app_public.new_listing.currency is '@notNull
The currency of the price, ISO 4217.';
comment on column app_public.new_listing.description is 'At most 10,000 characters.';
comment on column app_public.new_listing.external_id is 'Your own reference: one line of at most 100 characters, unique among the pending and active listings of a dealer.';
comment on column app_public.new_listing.idempotency_key is '@notNull
A UUID of your choice. The same key with the same input returns the same listing, also in createListing.';
comment on column app_public.new_listing.images is 'URLs of http or https, at most 50.';
comment on column app_public.new_listing.module is '@notNull
The section of the marketplace that shows it, such as auto.';
comment on column app_public.new_listing.price is '@notNull
The price that the dealer asks for the item. It has no influence on any fee.';
comment on column app_public.new_listing.title is '@notNull
1 to 200 characters in one line.';
comment on type app_public.new_listing is 'A listing to publish: the input of createListing without the dealer.';

create type app_public.overage as enum (
  'charge',
  'block'
);
comment on type app_public.overage is 'How listings beyond the quota are handled. charge: a price per listing. block: they are refused.';

create type app_public.package_quote as (
  net_amount numeric,
  vat_rate numeric,
  vat_amount numeric,
  gross_amount numeric,
  currency text
);
comment on column app_public.package_quote.currency is '@notNull
ISO 4217.';
comment on column app_public.package_quote.gross_amount is '@notNull
Net amount plus VAT: the amount to pay.';
comment on column app_public.package_quote.net_amount is '@notNull
Without VAT.';
comment on column app_public.package_quote.vat_amount is '@notNull
Net amount times VAT rate, rounded half away from zero to the currency''s minor units.';
comment on column app_public.package_quote.vat_rate is '@notNull
In percent: 19.00 is 19 %.';
comment on type app_public.package_quote is 'The price of a package for a dealer at this moment.';

create type app_public.pricing_type as enum (
  'pay_per_listing',
  'highlight_fee',
  'premium_fee'
);
comment on type app_public.pricing_type is 'The service that a price is for.';

create type app_public.promotion_kind as enum (
  'premium',
  'highlight'
);
comment on type app_public.promotion_kind is 'premium: the listing comes first in the order PREMIUM_FIRST. highlight: clients set it off from the others.';

create type app_public.promotion_quote as (
  source app_public.consumption_source,
  net_amount numeric,
  vat_rate numeric,
  gross_amount numeric,
  currency text,
  subscription_remaining integer,
  starts_at timestamp with time zone,
  ends_at timestamp with time zone
);
comment on column app_public.promotion_quote.currency is '@notNull
ISO 4217.';
comment on column app_public.promotion_quote.ends_at is '@notNull
When it would end; earlier if the listing does.';
comment on column app_public.promotion_quote.gross_amount is '@notNull
Net amount plus VAT.';
comment on column app_public.promotion_quote.net_amount is '@notNull
Without VAT.';
comment on column app_public.promotion_quote.source is '@notNull
What would pay for it.';
comment on column app_public.promotion_quote.starts_at is '@notNull
Now, or the end of the running promotion of the kind.';
comment on column app_public.promotion_quote.subscription_remaining is '@notNull
Promotions of the kind that are left in running subscriptions; if none runs, those of the pending one that starts next.';
comment on column app_public.promotion_quote.vat_rate is '@notNull
In percent: 19.00 is 19 %.';
comment on type app_public.promotion_quote is 'The cost of a promotion at this moment, and when it would start and end.';

create type app_public.quota_kind as enum (
  'per_period',
  'concurrent'
);
comment on type app_public.quota_kind is 'What a listing quota counts. per_period: publications and renewals; each one stays used. concurrent: live listings; each holds a slot while it is pending or active.';

create type app_public.rate_limit_fallback as enum (
  'local',
  'refuse'
);
comment on type app_public.rate_limit_fallback is 'What to do while the counters cannot be reached. local: each process counts by itself and allows its share of the limit. refuse: every request is refused.';

create type app_public.rate_limit_mode as enum (
  'enforce',
  'shadow',
  'off'
);
comment on type app_public.rate_limit_mode is 'enforce: refuse requests over the limit. shadow: count and log them, but allow them. off: do not count.';

create type app_public.rate_limit_subject as enum (
  'ip',
  'user',
  'user_or_ip',
  'account'
);
comment on type app_public.rate_limit_subject is 'Which requests are counted together. user: those of the verified user or API key. user_or_ip: the same, otherwise those of the address. account: those for an e-mail address, even without an account.';

create type app_public.segment as enum (
  'dealer',
  'individual'
);
comment on type app_public.segment is 'The kind of publisher.';

create type app_public.seller as (
  id uuid,
  company_name text,
  country text,
  dealer_type app_public.dealer_type
);
comment on column app_public.seller.company_name is '@notNull
The name of the company.';
comment on column app_public.seller.country is '@notNull
ISO 3166-1 alpha-2.';
comment on column app_public.seller.dealer_type is '@notNull
The trade of the dealer.';
comment on column app_public.seller.id is '@notNull
The id of the dealer.';
comment on type app_public.seller is 'What everybody may see of a dealer that offers a listing.';

create type app_public.slot_usage as (
  used integer,
  capacity integer
);
comment on column app_public.slot_usage.capacity is '@notNull
The included listings of the running CONCURRENT subscription; 0 if there is none. If two run, the larger one counts.';
comment on column app_public.slot_usage.used is '@notNull
Pending and active listings that hold a slot. After a change to a smaller package it can exceed the capacity.';
comment on type app_public.slot_usage is 'The slots of a dealer, for the listings of CONCURRENT packages.';

create type app_public.subscription_status as enum (
  'pending',
  'active',
  'expired',
  'cancelled'
);
comment on type app_public.subscription_status is 'pending → active → expired, and pending or active → cancelled.';

create table app_private.account_keys (
  id boolean default true not null,
  inner_pad bytea not null,
  outer_pad bytea not null,
  constraint account_keys_one_row CHECK (id),
  constraint account_keys_pkey PRIMARY KEY (id)
);
alter table app_private.account_keys enable row level security;
alter table app_private.account_keys force row level security;
create policy all_owner on app_private.account_keys for all to owner using (true) with check (true);
comment on column app_private.account_keys.id is 'Always true: the table has one row.';
comment on column app_private.account_keys.inner_pad is 'The secret, each byte xor 0x36; 64 bytes.';
comment on column app_private.account_keys.outer_pad is 'The secret, each byte xor 0x5c; 64 bytes.';
comment on table app_private.account_keys is 'This database''s secret for hashing e-mail addresses: the two padded keys of HMAC (RFC 2104).';

create table app_private.alert_deliveries (
  alert_id uuid not null,
  channel text not null,
  attempts integer not null,
  delivered_at timestamp with time zone,
  last_error text,
  constraint alert_deliveries_alert_id_fkey FOREIGN KEY (alert_id) REFERENCES app_private.alerts(id),
  constraint alert_deliveries_attempts_positive CHECK ((attempts > 0)),
  constraint alert_deliveries_channel_known CHECK ((channel = ANY (ARRAY['webhook'::text, 'email'::text]))),
  constraint alert_deliveries_pkey PRIMARY KEY (alert_id, channel)
);
alter table app_private.alert_deliveries enable row level security;
alter table app_private.alert_deliveries force row level security;
create policy all_owner on app_private.alert_deliveries for all to owner using (true) with check (true);
comment on column app_private.alert_deliveries.alert_id is 'The alert.';
comment on column app_private.alert_deliveries.attempts is 'How often the worker has tried.';
comment on column app_private.alert_deliveries.channel is 'The channel.';
comment on column app_private.alert_deliveries.delivered_at is 'When the alert was delivered; null: not yet.';
comment on column app_private.alert_deliveries.last_error is 'Why the last attempt failed; null: it succeeded.';
comment on table app_private.alert_deliveries is 'The delivery of an alert on each channel. An alert without rows was not tried yet, exceeded the limit per hour, or had no configured channel.';

create table app_private.alerts (
  id uuid default app_private.time_ordered_uuid() not null,
  kind text not null,
  key text not null,
  message text not null,
  details jsonb default '{}'::jsonb not null,
  created_at timestamp with time zone default clock_timestamp() not null,
  constraint alerts_details_object CHECK ((jsonb_typeof(details) = 'object'::text)),
  constraint alerts_key_length CHECK (((length(key) >= 1) AND (length(key) <= 200))),
  constraint alerts_kind_form CHECK ((kind ~ '^[a-z][a-z_]{2,39}$'::text)),
  constraint alerts_kind_key_key UNIQUE (kind, key),
  constraint alerts_message_length CHECK (((length(message) >= 1) AND (length(message) <= 1000))),
  constraint alerts_pkey PRIMARY KEY (id)
);
CREATE INDEX ix_alerts_kind_created_at ON app_private.alerts USING btree (kind, created_at);
alter table app_private.alerts enable row level security;
alter table app_private.alerts force row level security;
create policy all_owner on app_private.alerts for all to owner using (true) with check (true);
comment on column app_private.alerts.created_at is 'When the alert was raised.';
comment on column app_private.alerts.details is 'The facts, as an object for programs.';
comment on column app_private.alerts.id is 'Time-ordered; the idempotency key for the receiver.';
comment on column app_private.alerts.key is 'Identifies the alert within its kind: the same key is sent only once. It often contains the hour or the day.';
comment on column app_private.alerts.kind is 'The subject, such as ledger_broken.';
comment on column app_private.alerts.message is 'A sentence for people.';
comment on table app_private.alerts is 'The outbox of alerts to operators. app_private.send_alert writes it, and the worker sends each alert once.';

create table app_private.dealer_creations (
  user_id uuid not null,
  number integer not null,
  created_id uuid not null,
  idempotency_key uuid,
  payload_hash bytea not null,
  constraint dealer_creations_idempotency_key UNIQUE (user_id, idempotency_key),
  constraint dealer_creations_number_positive CHECK ((number > 0)),
  constraint dealer_creations_pkey PRIMARY KEY (user_id, number),
  constraint dealer_creations_user FOREIGN KEY (user_id) REFERENCES app_public.users(id)
);
alter table app_private.dealer_creations enable row level security;
alter table app_private.dealer_creations force row level security;
create policy all_owner on app_private.dealer_creations for all to owner using (true) with check (true);
comment on column app_private.dealer_creations.created_id is 'The dealer.';
comment on column app_private.dealer_creations.idempotency_key is 'Chosen by the client; unique per user. Null: the client sent none.';
comment on column app_private.dealer_creations.number is '1 for the first dealer of the account.';
comment on column app_private.dealer_creations.payload_hash is 'SHA-256 of the input. It distinguishes a retry from another dealer with the same key.';
comment on column app_private.dealer_creations.user_id is 'The account.';
comment on table app_private.dealer_creations is 'The dealers that each account has created, in their order.';

create table app_private.expiry_progress (
  expired_until timestamp with time zone,
  task text not null,
  constraint expiry_progress_pkey PRIMARY KEY (task)
);
alter table app_private.expiry_progress enable row level security;
alter table app_private.expiry_progress force row level security;
create policy all_owner on app_private.expiry_progress for all to owner using (true) with check (true);
comment on column app_private.expiry_progress.expired_until is 'The last end of the last batch, where the next call starts; null: it starts at the oldest end.';
comment on column app_private.expiry_progress.task is 'The task, as in expirable.';
comment on table app_private.expiry_progress is 'The positions of expire_subscriptions and expire_listings. Without them each call would walk over the dead index entries of all calls before.';

create table app_private.job_runs (
  id uuid default app_private.time_ordered_uuid() not null,
  task text not null,
  started_at timestamp with time zone default clock_timestamp() not null,
  finished_at timestamp with time zone,
  counted bigint default 0 not null,
  error text,
  worker_id text,
  backend_pid integer not null,
  backend_started_at timestamp with time zone not null,
  constraint job_runs_counted_not_negative CHECK ((counted >= 0)),
  constraint job_runs_error_has_end CHECK (((error IS NULL) OR (finished_at IS NOT NULL))),
  constraint job_runs_pkey PRIMARY KEY (id)
) with (fillfactor=50);
CREATE INDEX ix_job_runs_task_started_at ON app_private.job_runs USING btree (task, started_at);
CREATE INDEX ix_job_runs_unfinished_task ON app_private.job_runs USING btree (task) WHERE (finished_at IS NULL);
alter table app_private.job_runs enable row level security;
alter table app_private.job_runs force row level security;
create policy all_owner on app_private.job_runs for all to owner using (true) with check (true);
comment on column app_private.job_runs.backend_pid is 'The pid of the run''s connection, as in pg_stat_activity.';
comment on column app_private.job_runs.backend_started_at is 'When that connection started: pids are reused.';
comment on column app_private.job_runs.counted is 'What the run has done so far, such as the number of expired subscriptions; exact after every batch.';
comment on column app_private.job_runs.error is 'Why the run failed or was stopped; null: it succeeded or still runs.';
comment on column app_private.job_runs.finished_at is 'When the run ended, successfully or not; null while it runs.';
comment on column app_private.job_runs.id is 'Time-ordered.';
comment on column app_private.job_runs.started_at is 'When the run started.';
comment on column app_private.job_runs.task is 'The task''s name in the crontab.';
comment on column app_private.job_runs.worker_id is 'The worker of graphile-worker that runs it.';
comment on table app_private.job_runs is 'Runs of the worker''s long tasks. An open run whose connection is gone was interrupted; the next run closes it.';

create table app_private.known_addresses (
  account_key bytea not null,
  address text not null,
  last_login_at timestamp with time zone not null,
  constraint known_addresses_pkey PRIMARY KEY (account_key, address)
);
alter table app_private.known_addresses enable row level security;
alter table app_private.known_addresses force row level security;
create policy all_owner on app_private.known_addresses for all to owner using (true) with check (true);
comment on column app_private.known_addresses.account_key is 'HMAC of the normalised e-mail address.';
comment on column app_private.known_addresses.address is 'An IPv4 address, or the prefix of an IPv6 address.';
comment on column app_private.known_addresses.last_login_at is 'When the last successful login took place.';
comment on table app_private.known_addresses is 'Client addresses from which an account has logged in lately. Their failures are counted separately, so that a stranger cannot lock the owner out.';

create table app_private.ledger_checks (
  id uuid default app_private.time_ordered_uuid() not null,
  started_at timestamp with time zone not null,
  finished_at timestamp with time zone not null,
  broken integer not null,
  findings jsonb not null,
  constraint ledger_checks_broken_not_negative CHECK ((broken >= 0)),
  constraint ledger_checks_finished_after_start CHECK ((finished_at >= started_at)),
  constraint ledger_checks_pkey PRIMARY KEY (id)
);
alter table app_private.ledger_checks enable row level security;
alter table app_private.ledger_checks force row level security;
create policy all_owner on app_private.ledger_checks for all to owner using (true) with check (true);
comment on column app_private.ledger_checks.broken is 'Number of rows that break a rule; 0: the ledger is in order.';
comment on column app_private.ledger_checks.findings is 'The broken rules: [{"rule": …, "broken": n, "examples": [up to five]}].';
comment on column app_private.ledger_checks.finished_at is 'When the check ended.';
comment on column app_private.ledger_checks.id is 'Time-ordered.';
comment on column app_private.ledger_checks.started_at is 'When the check started.';
comment on table app_private.ledger_checks is 'Results of the nightly check of the ledger; the last row is the current state.';

create table app_private.listing_steps (
  from_status app_public.listing_status not null,
  to_status app_public.listing_status not null,
  constraint listing_steps_pkey PRIMARY KEY (from_status, to_status)
);
alter table app_private.listing_steps enable row level security;
alter table app_private.listing_steps force row level security;
create policy all_owner on app_private.listing_steps for all to owner using (true) with check (true);
comment on column app_private.listing_steps.from_status is 'The status before the step.';
comment on column app_private.listing_steps.to_status is 'The status after the step.';
comment on table app_private.listing_steps is 'The steps of a listing. Every other change of its status is refused, whatever the role.';

create table app_private.login_failures (
  email_hash bytea not null,
  failures integer not null,
  window_started_at timestamp with time zone not null,
  constraint login_failures_not_negative CHECK ((failures >= 0)),
  constraint login_failures_pkey PRIMARY KEY (email_hash)
) with (fillfactor=70);
alter table app_private.login_failures enable row level security;
alter table app_private.login_failures force row level security;
create policy all_owner on app_private.login_failures for all to owner using (true) with check (true);
comment on column app_private.login_failures.email_hash is 'HMAC of the normalised e-mail address, or of it and a known client address.';
comment on column app_private.login_failures.failures is 'Failures in the window, including refused attempts.';
comment on column app_private.login_failures.window_started_at is 'When the window''s first failure took place.';
comment on table app_private.login_failures is 'Failed logins of an e-mail address in its current window, even if there is no such account.';

create table app_private.mail_templates (
  kind text not null,
  locale text not null,
  subject text not null,
  body text not null,
  updated_at timestamp with time zone default clock_timestamp() not null,
  constraint mail_templates_body_length CHECK (((length(body) >= 1) AND (length(body) <= 10000))),
  constraint mail_templates_kind_form CHECK ((kind ~ '^[a-z][a-z_]{2,39}$'::text)),
  constraint mail_templates_locale_known CHECK ((locale = ANY (ARRAY['en'::text, 'de'::text]))),
  constraint mail_templates_pkey PRIMARY KEY (kind, locale),
  constraint mail_templates_subject_length CHECK (app_private.is_line(subject, 200))
);
alter table app_private.mail_templates enable row level security;
alter table app_private.mail_templates force row level security;
create policy all_owner on app_private.mail_templates for all to owner using (true) with check (true);
comment on column app_private.mail_templates.body is 'Plain text. {name} stands for a parameter, {token} for the token, {expiresAt} for its end.';
comment on column app_private.mail_templates.kind is 'The occasion, such as password_reset.';
comment on column app_private.mail_templates.locale is 'The language: en or de.';
comment on column app_private.mail_templates.subject is 'The subject line. {name} stands for a parameter of the mail.';
comment on column app_private.mail_templates.updated_at is 'When the text last changed.';
comment on table app_private.mail_templates is 'The texts of the mails to users. A DBA may update them; the next mail has the new text.';

create table app_private.mails (
  id uuid default app_private.time_ordered_uuid() not null,
  kind text not null,
  locale text not null,
  recipient text not null,
  parameters jsonb default '{}'::jsonb not null,
  sealed_token bytea,
  expires_at timestamp with time zone,
  created_at timestamp with time zone default clock_timestamp() not null,
  sent_at timestamp with time zone,
  constraint mails_parameters_object CHECK ((jsonb_typeof(parameters) = 'object'::text)),
  constraint mails_pkey PRIMARY KEY (id),
  constraint mails_recipient_form CHECK (app_private.is_email(recipient)),
  constraint mails_template FOREIGN KEY (kind, locale) REFERENCES app_private.mail_templates(kind, locale),
  constraint mails_token_ends CHECK (((sealed_token IS NULL) OR (expires_at IS NOT NULL))),
  constraint mails_token_until_sent CHECK (((sent_at IS NULL) OR (sealed_token IS NULL)))
);
CREATE INDEX ix_mails_created_at ON app_private.mails USING btree (created_at);
alter table app_private.mails enable row level security;
alter table app_private.mails force row level security;
create policy all_owner on app_private.mails for all to owner using (true) with check (true);
comment on column app_private.mails.created_at is 'When the mail was asked for.';
comment on column app_private.mails.expires_at is 'When the mail, and the token in it, loses its value. A mail that was not sent until then is removed unsent.';
comment on column app_private.mails.id is 'Time-ordered; part of the Message-ID, so that mail systems recognise a duplicate.';
comment on column app_private.mails.kind is 'The template.';
comment on column app_private.mails.locale is 'The language of the template.';
comment on column app_private.mails.parameters is 'The values of the template''s placeholders.';
comment on column app_private.mails.recipient is 'The address, normalised.';
comment on column app_private.mails.sealed_token is 'The token for the placeholder {token}, encrypted with a key that only the API and the worker have; null when the mail was sent.';
comment on column app_private.mails.sent_at is 'When the mail server accepted it; null: not yet.';
comment on table app_private.mails is 'The outbox of mails to users. app_private.queue_mail writes it, and the worker sends each mail once.';

create table app_private.one_time_tokens (
  token_hash bytea not null,
  kind text not null,
  user_id uuid,
  holder uuid not null,
  email text not null,
  expires_at timestamp with time zone not null,
  used_at timestamp with time zone,
  constraint one_time_tokens_email_form CHECK (app_private.is_email(email)),
  constraint one_time_tokens_kind_known CHECK ((kind = ANY (ARRAY['password_reset'::text, 'email_verification'::text]))),
  constraint one_time_tokens_one_of_a_kind UNIQUE (holder, kind),
  constraint one_time_tokens_pkey PRIMARY KEY (token_hash),
  constraint one_time_tokens_token_hash_length CHECK ((octet_length(token_hash) = 32)),
  constraint one_time_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES app_public.users(id)
);
CREATE INDEX ix_one_time_tokens_expires_at ON app_private.one_time_tokens USING btree (expires_at);
alter table app_private.one_time_tokens enable row level security;
alter table app_private.one_time_tokens force row level security;
create policy all_owner on app_private.one_time_tokens for all to owner using (true) with check (true);
comment on column app_private.one_time_tokens.email is 'The address to which the token was sent.';
comment on column app_private.one_time_tokens.expires_at is 'The token cannot be used from then on, and the row is removed soon after.';
comment on column app_private.one_time_tokens.holder is 'The user, or a hash of the e-mail address if no account has it: requests for different addresses never wait for each other.';
comment on column app_private.one_time_tokens.kind is 'What the token does.';
comment on column app_private.one_time_tokens.token_hash is 'SHA-256 of the token, which is 32 random bytes.';
comment on column app_private.one_time_tokens.used_at is 'When the token was used; null: not yet. It works once.';
comment on column app_private.one_time_tokens.user_id is 'The user; null if no account has the e-mail address.';
comment on table app_private.one_time_tokens is 'The tokens of mails that reset a password or verify an address. A user has one of each kind: a new one replaces the last one.';

create table app_private.operation_settings (
  only_row boolean default true not null,
  audit_retention_months integer default 120,
  mail_retention_days integer default 14 not null,
  invitation_retention_days integer default 90 not null,
  constraint operation_settings_audit_retention_months_positive CHECK ((audit_retention_months > 0)),
  constraint operation_settings_invitation_retention_days_positive CHECK ((invitation_retention_days > 0)),
  constraint operation_settings_mail_retention_days_positive CHECK ((mail_retention_days > 0)),
  constraint operation_settings_one_row CHECK (only_row),
  constraint operation_settings_pkey PRIMARY KEY (only_row)
);
CREATE TRIGGER operation_settings_audited AFTER INSERT OR DELETE OR UPDATE ON app_private.operation_settings FOR EACH ROW EXECUTE FUNCTION app_private.audit_change();
CREATE TRIGGER operation_settings_truncation_audited AFTER TRUNCATE ON app_private.operation_settings FOR EACH STATEMENT EXECUTE FUNCTION app_private.audit_change();
alter table app_private.operation_settings enable row level security;
alter table app_private.operation_settings force row level security;
create policy all_owner on app_private.operation_settings for all to owner using (true) with check (true);
comment on column app_private.operation_settings.audit_retention_months is 'How many full months an audit entry is kept after its own month; null: for ever.';
comment on column app_private.operation_settings.invitation_retention_days is 'How many days an invitation is kept after its end, accepted or not.';
comment on column app_private.operation_settings.mail_retention_days is 'How many days a mail to a user is kept in the outbox, sent or not.';
comment on column app_private.operation_settings.only_row is 'Always true: the table has one row.';
comment on table app_private.operation_settings is 'Settings of the system that a DBA may update.';

create table app_private.pricing_conflicts (
  id uuid default app_private.time_ordered_uuid() not null,
  country text not null,
  segment app_public.segment not null,
  pricing_type app_public.pricing_type,
  configuration text not null,
  code text not null,
  count bigint not null,
  first_seen_at timestamp with time zone not null,
  last_seen_at timestamp with time zone not null,
  constraint pricing_conflicts_code_known CHECK ((code = ANY (ARRAY['pricing_config_missing'::text, 'pricing_config_ambiguous'::text]))),
  constraint pricing_conflicts_configuration_known CHECK ((configuration = ANY (ARRAY['currency'::text, 'vat_rate'::text, 'price'::text]))),
  constraint pricing_conflicts_count_positive CHECK ((count > 0)),
  constraint pricing_conflicts_country_form CHECK ((country ~ '^[A-Z]{2}$'::text)),
  constraint pricing_conflicts_key UNIQUE NULLS NOT DISTINCT (country, segment, pricing_type, configuration, code),
  constraint pricing_conflicts_pkey PRIMARY KEY (id),
  constraint pricing_conflicts_seen_in_order CHECK ((last_seen_at >= first_seen_at))
);
alter table app_private.pricing_conflicts enable row level security;
alter table app_private.pricing_conflicts force row level security;
create policy all_owner on app_private.pricing_conflicts for all to owner using (true) with check (true);
comment on column app_private.pricing_conflicts.code is 'The error code that the customer got.';
comment on column app_private.pricing_conflicts.configuration is 'The missing or ambiguous configuration.';
comment on column app_private.pricing_conflicts.count is 'Number of refusals.';
comment on column app_private.pricing_conflicts.country is 'The dealer''s country, ISO 3166-1 alpha-2.';
comment on column app_private.pricing_conflicts.first_seen_at is 'When the first refusal was recorded.';
comment on column app_private.pricing_conflicts.id is 'Time-ordered.';
comment on column app_private.pricing_conflicts.last_seen_at is 'When the last refusal was recorded.';
comment on column app_private.pricing_conflicts.pricing_type is 'The service that was to be paid for; null: a package.';
comment on column app_private.pricing_conflicts.segment is 'The kind of publisher that was refused.';
comment on table app_private.pricing_conflicts is 'Counts of requests that were refused (409) because of missing or ambiguous configuration. The API writes them, because the refused transaction is rolled back.';

create unlogged table app_private.rate_limit_counters (
  key bytea not null,
  window_seconds double precision not null,
  ends_at double precision not null,
  decay double precision not null,
  current double precision not null,
  constraint rate_limit_counters_pkey PRIMARY KEY (key)
) with (fillfactor=50);
alter table app_private.rate_limit_counters enable row level security;
alter table app_private.rate_limit_counters force row level security;
create policy all_owner on app_private.rate_limit_counters for all to owner using (true) with check (true);
comment on column app_private.rate_limit_counters.current is 'Count of the running window.';
comment on column app_private.rate_limit_counters.decay is 'Count of the window before, divided by window_seconds: this much leaves the sliding window per second.';
comment on column app_private.rate_limit_counters.ends_at is 'End of the running window, in Unix seconds. The first window starts with the key''s first hit.';
comment on column app_private.rate_limit_counters.key is 'HMAC of scope and subject.';
comment on column app_private.rate_limit_counters.window_seconds is 'Length of the window.';
comment on table app_private.rate_limit_counters is 'Sliding window counters, one row per key. The used part is current + decay * (ends_at - now).';

create table app_private.refresh_tokens (
  token_hash bytea not null,
  session_id uuid not null,
  expires_at timestamp with time zone not null,
  used_at timestamp with time zone,
  constraint refresh_tokens_pkey PRIMARY KEY (token_hash),
  constraint refresh_tokens_session_id_fkey FOREIGN KEY (session_id) REFERENCES app_private.sessions(id) ON DELETE CASCADE
);
CREATE INDEX ix_refresh_tokens_expires_at ON app_private.refresh_tokens USING btree (expires_at);
CREATE INDEX ix_refresh_tokens_session_id ON app_private.refresh_tokens USING btree (session_id);
alter table app_private.refresh_tokens enable row level security;
alter table app_private.refresh_tokens force row level security;
create policy all_owner on app_private.refresh_tokens for all to owner using (true) with check (true);
comment on column app_private.refresh_tokens.expires_at is 'When the token ends.';
comment on column app_private.refresh_tokens.session_id is 'The session.';
comment on column app_private.refresh_tokens.token_hash is 'SHA-256 of the token, which the database never contains.';
comment on column app_private.refresh_tokens.used_at is 'When it was used; null: it is the newest token of its session.';
comment on table app_private.refresh_tokens is 'The refresh tokens of living sessions. Used ones are kept until they expire, because a second use ends the session.';

create table app_private.revoked_sessions (
  session_id uuid not null,
  revoked_at timestamp with time zone default clock_timestamp() not null,
  constraint revoked_sessions_pkey PRIMARY KEY (session_id)
);
CREATE INDEX ix_revoked_sessions_revoked_at ON app_private.revoked_sessions USING btree (revoked_at);
alter table app_private.revoked_sessions enable row level security;
alter table app_private.revoked_sessions force row level security;
create policy all_owner on app_private.revoked_sessions for all to owner using (true) with check (true);
comment on column app_private.revoked_sessions.revoked_at is 'When the session ended. After revocation_lifetime the row has no effect.';
comment on column app_private.revoked_sessions.session_id is 'The id that the session had.';
comment on table app_private.revoked_sessions is 'Sessions that ended while an access token of theirs could be valid. Every API process reads them and refuses these tokens.';

create table app_private.sessions (
  id uuid default app_private.time_ordered_uuid() not null,
  user_id uuid not null,
  created_at timestamp with time zone default clock_timestamp() not null,
  expires_at timestamp with time zone not null,
  constraint sessions_pkey PRIMARY KEY (id),
  constraint sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES app_public.users(id) ON DELETE CASCADE
);
CREATE INDEX ix_sessions_expires_at ON app_private.sessions USING btree (expires_at);
CREATE INDEX ix_sessions_user_id ON app_private.sessions USING btree (user_id);
CREATE TRIGGER sessions_never_truncated BEFORE TRUNCATE ON app_private.sessions FOR EACH STATEMENT EXECUTE FUNCTION app_private.refuse_change();
CREATE TRIGGER sessions_revoked AFTER DELETE ON app_private.sessions REFERENCING OLD TABLE AS ended FOR EACH STATEMENT EXECUTE FUNCTION app_private.revoke_sessions();
alter table app_private.sessions enable row level security;
alter table app_private.sessions force row level security;
create policy all_owner on app_private.sessions for all to owner using (true) with check (true);
comment on column app_private.sessions.created_at is 'When the user logged in.';
comment on column app_private.sessions.expires_at is 'When the newest refresh token ends: refresh_lifetime after the last login or refresh.';
comment on column app_private.sessions.id is 'Time-ordered; the claim sid of the session''s access tokens.';
comment on column app_private.sessions.user_id is 'The user. A session ends with its user.';
comment on table app_private.sessions is 'The sessions of users. Each row is a living session: to end it, delete the row.';

create table app_private.user_passwords (
  user_id uuid not null,
  password_hash text not null,
  updated_at timestamp with time zone default clock_timestamp() not null,
  constraint user_passwords_argon2id CHECK ((password_hash ~~ '$argon2id$%'::text)),
  constraint user_passwords_pkey PRIMARY KEY (user_id),
  constraint user_passwords_user_id_fkey FOREIGN KEY (user_id) REFERENCES app_public.users(id)
);
alter table app_private.user_passwords enable row level security;
alter table app_private.user_passwords force row level security;
create policy all_owner on app_private.user_passwords for all to owner using (true) with check (true);
comment on column app_private.user_passwords.password_hash is 'Argon2id in PHC format. The API computes it, so that no statement has a password as a parameter.';
comment on column app_private.user_passwords.updated_at is 'When the password was set.';
comment on column app_private.user_passwords.user_id is 'The user of the password.';
comment on table app_private.user_passwords is 'Password hashes, in a table that no client can read.';

create table app_public.audit_logs (
  id uuid default app_private.time_ordered_uuid() not null,
  action text not null,
  resource_type text not null,
  resource_id uuid,
  actor uuid,
  old_values jsonb,
  new_values jsonb,
  ip inet,
  created_at timestamp with time zone default clock_timestamp() not null,
  login text default SESSION_USER,
  api_key_id uuid,
  constraint audit_logs_action_form CHECK ((action ~ '^[A-Z][A-Z_]{2,62}$'::text)),
  constraint audit_logs_pkey PRIMARY KEY (created_at, id)
) partition by RANGE (created_at);
CREATE INDEX ix_audit_logs_action_created_at_id ON ONLY app_public.audit_logs USING btree (action, created_at, id);
CREATE INDEX ix_audit_logs_actor_created_at_id ON ONLY app_public.audit_logs USING btree (actor, created_at, id);
CREATE INDEX ix_audit_logs_id ON ONLY app_public.audit_logs USING btree (id);
CREATE INDEX ix_audit_logs_resource_id_created_at_id ON ONLY app_public.audit_logs USING btree (resource_id, created_at, id);
CREATE INDEX ix_audit_logs_resource_type_created_at_id ON ONLY app_public.audit_logs USING btree (resource_type, created_at, id);
CREATE TRIGGER audit_logs_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON app_public.audit_logs FOR EACH STATEMENT EXECUTE FUNCTION app_private.refuse_change();
alter table app_public.audit_logs enable row level security;
alter table app_public.audit_logs force row level security;
create policy all_owner on app_public.audit_logs for all to owner using (true) with check (true);
create policy select_admin on app_public.audit_logs for select to forecourt_admin using (( SELECT app_public.is_admin() AS is_admin));
grant select on table app_public.audit_logs to forecourt_admin;
comment on column app_public.audit_logs.action is 'The action, such as SYSTEM_EXPIRE or PAY_INVOICE. Changes of configuration are INSERT, UPDATE, DELETE or TRUNCATE.';
comment on column app_public.audit_logs.actor is 'The user who acted, or the maker of the API key; null for the system.';
comment on column app_public.audit_logs.api_key_id is '@behavior -filterBy -orderBy
The API key that acted; null if none did.';
comment on column app_public.audit_logs.created_at is 'When the action took place.';
comment on column app_public.audit_logs.id is 'Time-ordered.';
comment on column app_public.audit_logs.ip is '@behavior -filterBy -orderBy
The client''s address; null if there was no client.';
comment on column app_public.audit_logs.login is '@behavior -filterBy -orderBy
The database login of the session. It identifies DBAs, who are not users of Forecourt.';
comment on column app_public.audit_logs.new_values is 'The values after; for SYSTEM_EXPIRE {"count": n, "ids": [...]}.';
comment on column app_public.audit_logs.old_values is 'The values before; null if there were none.';
comment on column app_public.audit_logs.resource_id is 'The id of the changed row; null if the entry covers several rows.';
comment on column app_public.audit_logs.resource_type is 'The table of the changed row.';
comment on table app_public.audit_logs is '@behavior +query:resource:connection
Append-only audit trail of administrative writes, changes of status, failed logins and system runs. Only admins can read it.';

create table app_public.checkouts (
  dealer_id uuid not null,
  invoice_id uuid not null,
  package_id uuid not null,
  idempotency_key uuid not null,
  payload_hash bytea not null,
  provider text not null,
  url text,
  success_url text,
  cancel_url text,
  duration_days integer not null,
  listing_limit integer not null,
  premium_quota integer not null,
  highlight_quota integer not null,
  overage app_public.overage not null,
  expires_at timestamp with time zone not null,
  closed_at timestamp with time zone,
  created_at timestamp with time zone default clock_timestamp() not null,
  quota_kind app_public.quota_kind default 'per_period'::app_public.quota_kind not null,
  constraint checkouts_cancel_url_form CHECK (((cancel_url ~ '^https?://[^[:space:][:cntrl:]]+$'::text) AND (length(cancel_url) <= 2000))),
  constraint checkouts_idempotency_key UNIQUE (idempotency_key, dealer_id),
  constraint checkouts_invoice FOREIGN KEY (dealer_id, invoice_id) REFERENCES app_public.invoices(dealer_id, id),
  constraint checkouts_package_id_fkey FOREIGN KEY (package_id) REFERENCES app_public.dealer_packages(id),
  constraint checkouts_pkey PRIMARY KEY (invoice_id, dealer_id),
  constraint checkouts_provider_known CHECK ((provider = 'manual'::text)),
  constraint checkouts_success_url_form CHECK (((success_url ~ '^https?://[^[:space:][:cntrl:]]+$'::text) AND (length(success_url) <= 2000)))
);
CREATE UNIQUE INDEX ux_checkouts_one_open ON app_public.checkouts USING btree (dealer_id) WHERE (closed_at IS NULL);
alter table app_public.checkouts enable row level security;
alter table app_public.checkouts force row level security;
create policy all_owner on app_public.checkouts for all to owner using (true) with check (true);
create policy select_admin on app_public.checkouts for select to forecourt_admin using (( SELECT app_public.is_admin() AS is_admin));
create policy select_member on app_public.checkouts for select to forecourt_dealer using ((dealer_id = ANY (app_public.current_dealer_ids())));
grant select (dealer_id, invoice_id, package_id, provider, url, expires_at, closed_at, created_at) on table app_public.checkouts to forecourt_admin;
grant select (dealer_id, invoice_id, package_id, provider, url, expires_at, closed_at, created_at) on table app_public.checkouts to forecourt_dealer;
comment on column app_public.checkouts.cancel_url is 'Where to send the customer without a payment.';
comment on column app_public.checkouts.closed_at is 'When the invoice was paid or voided; null while the checkout is open.';
comment on column app_public.checkouts.created_at is 'When the purchase was started.';
comment on column app_public.checkouts.dealer_id is 'The dealer that buys.';
comment on column app_public.checkouts.duration_days is 'Snapshot of the package.';
comment on column app_public.checkouts.expires_at is 'End of the offer. After it the next purchase voids the invoice.';
comment on column app_public.checkouts.highlight_quota is 'Snapshot of the package.';
comment on column app_public.checkouts.idempotency_key is 'Chosen by the client; unique per dealer.';
comment on column app_public.checkouts.invoice_id is 'The invoice to pay.';
comment on column app_public.checkouts.listing_limit is 'Snapshot of the package.';
comment on column app_public.checkouts.overage is 'Snapshot of the package.';
comment on column app_public.checkouts.package_id is 'The package.';
comment on column app_public.checkouts.payload_hash is 'SHA-256 of the input. It distinguishes a retry from another purchase with the same key.';
comment on column app_public.checkouts.premium_quota is 'Snapshot of the package.';
comment on column app_public.checkouts.provider is 'The payment provider. manual: an admin marks the invoice as paid.';
comment on column app_public.checkouts.quota_kind is 'Snapshot of the package.';
comment on column app_public.checkouts.success_url is 'Where to send the customer after the payment.';
comment on column app_public.checkouts.url is 'Where to pay; null if the payment is made elsewhere, as with the provider manual.';
comment on constraint checkouts_cancel_url_form on app_public.checkouts is '@field cancelUrl
Please enter a URL that starts with https:// or http:// and has at most 2000 characters.';
comment on constraint checkouts_invoice on app_public.checkouts is '@forwardBehavior +singularRelation:resource:single
@fieldName invoice
@forwardDescription The invoice to pay.';
comment on constraint checkouts_package_id_fkey on app_public.checkouts is '@forwardBehavior +singularRelation:resource:single
@fieldName package
@forwardDescription The package; null if it is no longer on sale.';
comment on constraint checkouts_success_url_form on app_public.checkouts is '@field successUrl
Please enter a URL that starts with https:// or http:// and has at most 2000 characters.';
comment on table app_public.checkouts is 'A started purchase: its invoice, where to pay, and a snapshot of the package.';

create table app_public.country_currencies (
  country text not null,
  currency text not null,
  closed_at timestamp with time zone,
  moderation app_public.moderation default 'before'::app_public.moderation not null,
  listing_days integer default 90 not null,
  constraint country_currencies_country_currency_key UNIQUE (country, currency),
  constraint country_currencies_country_form CHECK ((country ~ '^[A-Z]{2}$'::text)),
  constraint country_currencies_currency_fkey FOREIGN KEY (currency) REFERENCES app_public.currencies(code),
  constraint country_currencies_listing_days_range CHECK (((listing_days >= 1) AND (listing_days <= 3660))),
  constraint country_currencies_pkey PRIMARY KEY (country)
);
CREATE TRIGGER country_currencies_audited AFTER INSERT OR DELETE OR UPDATE ON app_public.country_currencies FOR EACH ROW EXECUTE FUNCTION app_private.audit_change('country');
CREATE TRIGGER country_currencies_truncation_audited AFTER TRUNCATE ON app_public.country_currencies FOR EACH STATEMENT EXECUTE FUNCTION app_private.audit_change();
alter table app_public.country_currencies enable row level security;
alter table app_public.country_currencies force row level security;
create policy all_owner on app_public.country_currencies for all to owner using (true) with check (true);
create policy select_all on app_public.country_currencies for select to forecourt_admin, forecourt_dealer, forecourt_visitor using (true);
grant select on table app_public.country_currencies to forecourt_admin;
grant select on table app_public.country_currencies to forecourt_dealer;
grant select on table app_public.country_currencies to forecourt_visitor;
comment on column app_public.country_currencies.closed_at is 'Since when no dealer can be created there; null: the country is open.';
comment on column app_public.country_currencies.country is 'ISO 3166-1 alpha-2.';
comment on column app_public.country_currencies.currency is 'ISO 4217.';
comment on column app_public.country_currencies.listing_days is 'How long a listing is shown, in days of 24 hours. Existing listings keep theirs.';
comment on column app_public.country_currencies.moderation is 'Whether listings are reviewed before or after they are shown.';
comment on constraint country_currencies_country_form on app_public.country_currencies is '@field country
Please enter the country as two capital letters of ISO 3166-1, such as DE.';
comment on constraint country_currencies_listing_days_range on app_public.country_currencies is '@field listingDays
Please enter 1 to 3660 days.';
comment on table app_public.country_currencies is 'The countries in which Forecourt sells, each with the currency of its prices and invoices.';

create table app_public.currencies (
  code text not null,
  minor_units smallint not null,
  constraint currencies_code_form CHECK ((code ~ '^[A-Z]{3}$'::text)),
  constraint currencies_minor_units_range CHECK (((minor_units >= 0) AND (minor_units <= 4))),
  constraint currencies_pkey PRIMARY KEY (code)
);
CREATE TRIGGER currencies_audited AFTER INSERT OR DELETE OR UPDATE ON app_public.currencies FOR EACH ROW EXECUTE FUNCTION app_private.audit_change('code');
CREATE TRIGGER currencies_truncation_audited AFTER TRUNCATE ON app_public.currencies FOR EACH STATEMENT EXECUTE FUNCTION app_private.audit_change();
alter table app_public.currencies enable row level security;
alter table app_public.currencies force row level security;
create policy all_owner on app_public.currencies for all to owner using (true) with check (true);
create policy select_all on app_public.currencies for select to forecourt_admin, forecourt_dealer, forecourt_visitor using (true);
grant select on table app_public.currencies to forecourt_admin;
grant select on table app_public.currencies to forecourt_dealer;
grant select on table app_public.currencies to forecourt_visitor;
comment on column app_public.currencies.code is 'ISO 4217.';
comment on column app_public.currencies.minor_units is 'Decimal places of an amount: 2 for EUR.';
comment on constraint currencies_code_form on app_public.currencies is '@field currency
Please enter the currency as three capital letters of ISO 4217, such as EUR.';
comment on table app_public.currencies is 'The known currencies.';

create table app_public.dealer_api_keys (
  dealer_id uuid not null,
  id uuid default app_private.time_ordered_uuid() not null,
  name text not null,
  prefix text not null,
  secret_hash bytea not null,
  created_by uuid not null,
  created_at timestamp with time zone default clock_timestamp() not null,
  expires_at timestamp with time zone,
  revoked_at timestamp with time zone,
  last_used_at timestamp with time zone,
  constraint dealer_api_keys_created_by_fkey FOREIGN KEY (created_by) REFERENCES app_public.users(id),
  constraint dealer_api_keys_dealer_id_fkey FOREIGN KEY (dealer_id) REFERENCES app_public.dealers(id),
  constraint dealer_api_keys_expires_later CHECK ((expires_at > created_at)),
  constraint dealer_api_keys_name_length CHECK (app_private.is_line(name, 100)),
  constraint dealer_api_keys_pkey PRIMARY KEY (dealer_id, id),
  constraint dealer_api_keys_prefix_form CHECK ((prefix ~ '^[A-Za-z0-9_-]{12}$'::text)),
  constraint dealer_api_keys_secret_hash_length CHECK ((length(secret_hash) = 32))
);
CREATE INDEX ix_dealer_api_keys_id ON app_public.dealer_api_keys USING btree (id);
CREATE INDEX ix_dealer_api_keys_prefix ON app_public.dealer_api_keys USING btree (prefix);
CREATE TRIGGER dealer_api_keys_audited AFTER INSERT OR DELETE OR UPDATE OF name, expires_at, revoked_at ON app_public.dealer_api_keys FOR EACH ROW EXECUTE FUNCTION app_private.audit_change('dealer_id');
alter table app_public.dealer_api_keys enable row level security;
alter table app_public.dealer_api_keys force row level security;
create policy all_owner on app_public.dealer_api_keys for all to owner using (true) with check (true);
create policy select_admin on app_public.dealer_api_keys for select to forecourt_admin using (( SELECT app_public.is_admin() AS is_admin));
create policy select_owner on app_public.dealer_api_keys for select to forecourt_dealer using ((dealer_id = ANY (app_public.current_owned_dealer_ids())));
grant select (dealer_id, id, name, prefix, created_by, created_at, expires_at, revoked_at, last_used_at) on table app_public.dealer_api_keys to forecourt_admin;
grant select (dealer_id, id, name, prefix, created_by, created_at, expires_at, revoked_at, last_used_at) on table app_public.dealer_api_keys to forecourt_dealer;
comment on column app_public.dealer_api_keys.created_at is 'When it was made.';
comment on column app_public.dealer_api_keys.created_by is 'The owner who made it. The key stays valid when its maker leaves the dealer, but not while the account of its maker is locked or deleted.';
comment on column app_public.dealer_api_keys.dealer_id is 'The dealer.';
comment on column app_public.dealer_api_keys.expires_at is 'From this moment on it is no longer valid; null: it is valid until it is revoked.';
comment on column app_public.dealer_api_keys.id is 'Time-ordered.';
comment on column app_public.dealer_api_keys.last_used_at is 'When it was last used, exact to a minute; null: not yet.';
comment on column app_public.dealer_api_keys.name is 'The name that its maker gave it.';
comment on column app_public.dealer_api_keys.prefix is '@behavior -filterBy -orderBy
The part after `fc_`, by which you recognise the key. It is no secret.';
comment on column app_public.dealer_api_keys.revoked_at is 'When an owner revoked it; null: it is not revoked.';
comment on column app_public.dealer_api_keys.secret_hash is 'SHA-256 of the secret, which the database never contains.';
comment on constraint dealer_api_keys_dealer_id_fkey on app_public.dealer_api_keys is '@backwardBehavior +manyRelation:resource:connection
@foreignFieldName apiKeys
@backwardDescription Its API keys, also those that are revoked. Only owners and admins see them.';
comment on constraint dealer_api_keys_expires_later on app_public.dealer_api_keys is '@field expiresAt
Please choose a time in the future, or none.';
comment on constraint dealer_api_keys_name_length on app_public.dealer_api_keys is '@field name
Please enter a name of 1 to 100 characters in one line.';
comment on table app_public.dealer_api_keys is '@name api_key
A key with which software acts for a dealer, with the rights of staff. Owners and admins see the keys, also those that are revoked.';

create table app_public.dealer_invitations (
  dealer_id uuid not null,
  id uuid default app_private.time_ordered_uuid() not null,
  email text not null,
  role app_public.dealer_role not null,
  token_hash bytea not null,
  created_by uuid not null,
  created_at timestamp with time zone default clock_timestamp() not null,
  expires_at timestamp with time zone not null,
  accepted_at timestamp with time zone,
  revoked_at timestamp with time zone,
  constraint dealer_invitations_created_by_fkey FOREIGN KEY (created_by) REFERENCES app_public.users(id),
  constraint dealer_invitations_dealer_id_fkey FOREIGN KEY (dealer_id) REFERENCES app_public.dealers(id),
  constraint dealer_invitations_email_form CHECK (app_private.is_email(email)),
  constraint dealer_invitations_email_normalized CHECK ((email = app_private.normalize_email(email))),
  constraint dealer_invitations_one_end CHECK (((accepted_at IS NULL) OR (revoked_at IS NULL))),
  constraint dealer_invitations_pkey PRIMARY KEY (dealer_id, id),
  constraint dealer_invitations_token_hash_length CHECK ((length(token_hash) = 32))
);
CREATE INDEX ix_dealer_invitations_id ON app_public.dealer_invitations USING btree (id);
CREATE INDEX ix_dealer_invitations_token_hash ON app_public.dealer_invitations USING btree (token_hash);
CREATE UNIQUE INDEX ux_dealer_invitations_one_open ON app_public.dealer_invitations USING btree (dealer_id, email) WHERE ((accepted_at IS NULL) AND (revoked_at IS NULL));
CREATE TRIGGER dealer_invitations_audited AFTER INSERT OR DELETE OR UPDATE ON app_public.dealer_invitations FOR EACH ROW EXECUTE FUNCTION app_private.audit_change('dealer_id');
alter table app_public.dealer_invitations enable row level security;
alter table app_public.dealer_invitations force row level security;
create policy all_owner on app_public.dealer_invitations for all to owner using (true) with check (true);
create policy select_admin on app_public.dealer_invitations for select to forecourt_admin using ((( SELECT app_public.is_admin() AS is_admin) AND (accepted_at IS NULL) AND (revoked_at IS NULL) AND (expires_at > now())));
create policy select_owner on app_public.dealer_invitations for select to forecourt_dealer using (((dealer_id = ANY (app_public.current_owned_dealer_ids())) AND (accepted_at IS NULL) AND (revoked_at IS NULL) AND (expires_at > now())));
grant select (dealer_id, id, email, role, created_by, created_at, expires_at) on table app_public.dealer_invitations to forecourt_admin;
grant select (dealer_id, id, email, role, created_by, created_at, expires_at) on table app_public.dealer_invitations to forecourt_dealer;
comment on column app_public.dealer_invitations.accepted_at is 'When the invited user accepted it; null: not yet.';
comment on column app_public.dealer_invitations.created_at is 'When it was sent.';
comment on column app_public.dealer_invitations.created_by is 'The owner who sent it.';
comment on column app_public.dealer_invitations.dealer_id is 'The dealer.';
comment on column app_public.dealer_invitations.email is 'The invited address, in its normal form.';
comment on column app_public.dealer_invitations.expires_at is 'From this moment on it is no longer valid.';
comment on column app_public.dealer_invitations.id is 'Time-ordered.';
comment on column app_public.dealer_invitations.revoked_at is 'When an owner revoked it, or invited the address again; null: it is not revoked.';
comment on column app_public.dealer_invitations.role is 'The role that the new member gets.';
comment on column app_public.dealer_invitations.token_hash is 'SHA-256 of the token in the mail.';
comment on constraint dealer_invitations_dealer_id_fkey on app_public.dealer_invitations is '@backwardBehavior +manyRelation:resource:connection
@foreignFieldName invitations
@backwardDescription The open invitations. Only owners and admins see them.';
comment on constraint dealer_invitations_email_form on app_public.dealer_invitations is '@field email
Please enter an e-mail address such as name@example.com.';
comment on table app_public.dealer_invitations is '@name invitation
An invitation of an e-mail address to become a member of a dealer. Owners and admins see those that are open.';

create table app_public.dealer_packages (
  id uuid default app_private.time_ordered_uuid() not null,
  key text not null,
  country text not null,
  name jsonb not null,
  price_net numeric not null,
  currency text not null,
  duration_days integer not null,
  listing_limit integer not null,
  premium_quota integer default 0 not null,
  highlight_quota integer default 0 not null,
  overage app_public.overage default 'charge'::app_public.overage not null,
  is_active boolean default true not null,
  quota_kind app_public.quota_kind default 'per_period'::app_public.quota_kind not null,
  constraint dealer_packages_country_key_key UNIQUE (country, key),
  constraint dealer_packages_currency_of_country FOREIGN KEY (country, currency) REFERENCES app_public.country_currencies(country, currency),
  constraint dealer_packages_duration_days_range CHECK (((duration_days >= 1) AND (duration_days <= 3660))),
  constraint dealer_packages_highlight_quota_range CHECK ((highlight_quota >= 0)),
  constraint dealer_packages_key_form CHECK ((key ~ '^[a-z][a-z0-9_]{0,39}$'::text)),
  constraint dealer_packages_listing_limit_range CHECK ((listing_limit >= 0)),
  constraint dealer_packages_name_has_language CHECK (((jsonb_typeof(name) = 'object'::text) AND (name <> '{}'::jsonb))),
  constraint dealer_packages_pkey PRIMARY KEY (id),
  constraint dealer_packages_premium_quota_range CHECK ((premium_quota >= 0)),
  constraint dealer_packages_price_net_range CHECK (((price_net >= (0)::numeric) AND (price_net < (1000000)::numeric)))
);
CREATE TRIGGER dealer_packages_audited AFTER INSERT OR DELETE OR UPDATE ON app_public.dealer_packages FOR EACH ROW EXECUTE FUNCTION app_private.audit_change();
CREATE TRIGGER dealer_packages_price_as_money BEFORE INSERT OR UPDATE OF price_net, currency ON app_public.dealer_packages FOR EACH ROW EXECUTE FUNCTION app_private.write_price_as_money();
CREATE TRIGGER dealer_packages_truncation_audited AFTER TRUNCATE ON app_public.dealer_packages FOR EACH STATEMENT EXECUTE FUNCTION app_private.audit_change();
alter table app_public.dealer_packages enable row level security;
alter table app_public.dealer_packages force row level security;
create policy all_owner on app_public.dealer_packages for all to owner using (true) with check (true);
create policy select_active on app_public.dealer_packages for select to forecourt_dealer, forecourt_visitor using (is_active);
create policy select_admin on app_public.dealer_packages for select to forecourt_admin using (( SELECT app_public.is_admin() AS is_admin));
grant select on table app_public.dealer_packages to forecourt_admin;
grant select on table app_public.dealer_packages to forecourt_dealer;
grant select on table app_public.dealer_packages to forecourt_visitor;
comment on column app_public.dealer_packages.country is 'Where it is sold, ISO 3166-1 alpha-2.';
comment on column app_public.dealer_packages.currency is 'The currency of the country.';
comment on column app_public.dealer_packages.duration_days is 'Duration of the subscription, in days of 24 hours.';
comment on column app_public.dealer_packages.highlight_quota is 'Included highlights.';
comment on column app_public.dealer_packages.id is 'Time-ordered.';
comment on column app_public.dealer_packages.is_active is 'Whether the package is on sale.';
comment on column app_public.dealer_packages.key is 'The same for a package in all countries, such as basic.';
comment on column app_public.dealer_packages.listing_limit is 'Included listings.';
comment on column app_public.dealer_packages.name is 'By language: {"de": "Basis", "en": "Basic"}.';
comment on column app_public.dealer_packages.overage is 'How listings beyond the included ones are handled.';
comment on column app_public.dealer_packages.premium_quota is 'Included premium placements.';
comment on column app_public.dealer_packages.price_net is 'Without VAT, in whole units of the currency.';
comment on column app_public.dealer_packages.quota_kind is 'Whether the included listings are counted once they are published, or while they are pending or active.';
comment on constraint dealer_packages_country_key_key on app_public.dealer_packages is '@field key
The country has another package with this key. Please choose another key, or change that package by its id.';
comment on constraint dealer_packages_duration_days_range on app_public.dealer_packages is '@field durationDays
Please enter a duration of 1 to 3660 days.';
comment on constraint dealer_packages_highlight_quota_range on app_public.dealer_packages is '@field highlightQuota
Please enter 0 or more highlights.';
comment on constraint dealer_packages_key_form on app_public.dealer_packages is '@field key
Please enter a key of 1 to 40 small letters, digits and underscores that begins with a letter, such as basic.';
comment on constraint dealer_packages_listing_limit_range on app_public.dealer_packages is '@field listingLimit
Please enter 0 or more listings.';
comment on constraint dealer_packages_premium_quota_range on app_public.dealer_packages is '@field premiumQuota
Please enter 0 or more premium placements.';
comment on constraint dealer_packages_price_net_range on app_public.dealer_packages is '@field priceNet
Please enter a net price from 0 to less than 1000000.';
comment on table app_public.dealer_packages is '@behavior +query:resource:connection
The packages that dealers can buy in each country.';

create table app_public.dealer_subscriptions (
  dealer_id uuid not null,
  id uuid default app_private.time_ordered_uuid() not null,
  package_id uuid not null,
  invoice_id uuid,
  status app_public.subscription_status default 'pending'::app_public.subscription_status not null,
  duration_days integer not null,
  start_at timestamp with time zone,
  end_at timestamp with time zone,
  overage app_public.overage default 'charge'::app_public.overage not null,
  included_listing_quota integer not null,
  used_listing_quota integer default 0 not null,
  included_premium_quota integer default 0 not null,
  used_premium_quota integer default 0 not null,
  included_highlight_quota integer default 0 not null,
  used_highlight_quota integer default 0 not null,
  created_at timestamp with time zone default clock_timestamp() not null,
  updated_at timestamp with time zone default clock_timestamp() not null,
  quota_kind app_public.quota_kind default 'per_period'::app_public.quota_kind not null,
  grant_reason text,
  constraint dealer_subscriptions_dealer FOREIGN KEY (dealer_id) REFERENCES app_public.dealers(id),
  constraint dealer_subscriptions_invoice FOREIGN KEY (dealer_id, invoice_id) REFERENCES app_public.invoices(dealer_id, id),
  constraint dealer_subscriptions_invoice_key UNIQUE (invoice_id, dealer_id),
  constraint dealer_subscriptions_package FOREIGN KEY (package_id) REFERENCES app_public.dealer_packages(id),
  constraint dealer_subscriptions_pkey PRIMARY KEY (id, dealer_id),
  constraint dealer_subscriptions_valid CHECK (app_private.check_dealer_subscription(status, duration_days, start_at, end_at, included_listing_quota, used_listing_quota, included_premium_quota, used_premium_quota, included_highlight_quota, used_highlight_quota))
) with (fillfactor=80);
CREATE INDEX ix_dealer_subscriptions_active_end_at ON app_public.dealer_subscriptions USING btree (end_at) WHERE (status = 'active'::app_public.subscription_status);
CREATE INDEX ix_dealer_subscriptions_dealer_id_id ON app_public.dealer_subscriptions USING btree (dealer_id, id);
CREATE INDEX ix_dealer_subscriptions_pending_dealer_id_id ON app_public.dealer_subscriptions USING btree (dealer_id, id) WHERE (status = 'pending'::app_public.subscription_status);
CREATE INDEX ix_dealer_subscriptions_status_end_at ON app_public.dealer_subscriptions USING btree (status, end_at);
CREATE UNIQUE INDEX ux_dealer_subscriptions_one_active ON app_public.dealer_subscriptions USING btree (dealer_id) WHERE (status = 'active'::app_public.subscription_status);
CREATE TRIGGER dealer_subscriptions_never_removed BEFORE DELETE OR TRUNCATE ON app_public.dealer_subscriptions FOR EACH STATEMENT EXECUTE FUNCTION app_private.refuse_change();
CREATE TRIGGER dealer_subscriptions_state BEFORE UPDATE OF dealer_id, id, status, quota_kind, included_listing_quota, included_premium_quota, included_highlight_quota ON app_public.dealer_subscriptions FOR EACH ROW WHEN ((((((((old.dealer_id IS DISTINCT FROM new.dealer_id) OR (old.id IS DISTINCT FROM new.id)) OR (old.quota_kind IS DISTINCT FROM new.quota_kind)) OR (old.included_listing_quota IS DISTINCT FROM new.included_listing_quota)) OR (old.included_premium_quota IS DISTINCT FROM new.included_premium_quota)) OR (old.included_highlight_quota IS DISTINCT FROM new.included_highlight_quota)) OR ((old.status <> new.status) AND (NOT (((old.status = 'pending'::app_public.subscription_status) AND (new.status = ANY (ARRAY['active'::app_public.subscription_status, 'cancelled'::app_public.subscription_status]))) OR ((old.status = 'active'::app_public.subscription_status) AND (new.status = ANY (ARRAY['expired'::app_public.subscription_status, 'cancelled'::app_public.subscription_status])))))))) EXECUTE FUNCTION app_private.enforce_subscription_state();
CREATE TRIGGER dealer_subscriptions_state_audited AFTER UPDATE OF status ON app_public.dealer_subscriptions FOR EACH ROW WHEN (((old.status <> new.status) AND ((new.status <> 'expired'::app_public.subscription_status) OR (new.updated_at = old.updated_at) OR (new.updated_at < new.end_at)))) EXECUTE FUNCTION app_private.audit_state_change('SUBSCRIPTION');
alter table app_public.dealer_subscriptions enable row level security;
alter table app_public.dealer_subscriptions force row level security;
create policy all_owner on app_public.dealer_subscriptions for all to owner using (true) with check (true);
create policy select_admin on app_public.dealer_subscriptions for select to forecourt_admin using (( SELECT app_public.is_admin() AS is_admin));
create policy select_member on app_public.dealer_subscriptions for select to forecourt_dealer using ((dealer_id = ANY (app_public.current_dealer_ids())));
grant select on table app_public.dealer_subscriptions to forecourt_admin;
grant select on table app_public.dealer_subscriptions to forecourt_dealer;
comment on column app_public.dealer_subscriptions.created_at is 'When the subscription was created.';
comment on column app_public.dealer_subscriptions.dealer_id is 'The dealer.';
comment on column app_public.dealer_subscriptions.duration_days is 'Days of 24 hours from start to end.';
comment on column app_public.dealer_subscriptions.end_at is 'From this moment on it gives no quota.';
comment on column app_public.dealer_subscriptions.grant_reason is 'Why an admin gave it to the dealer without an invoice; null: it was bought, or granted before release 0.4.';
comment on column app_public.dealer_subscriptions.id is 'Time-ordered.';
comment on column app_public.dealer_subscriptions.included_highlight_quota is 'Included highlights.';
comment on column app_public.dealer_subscriptions.included_listing_quota is 'Included listings.';
comment on column app_public.dealer_subscriptions.included_premium_quota is 'Included premium placements.';
comment on column app_public.dealer_subscriptions.invoice_id is 'The paid invoice; null if the subscription was granted without one.';
comment on column app_public.dealer_subscriptions.overage is 'How listings beyond the quota are handled.';
comment on column app_public.dealer_subscriptions.package_id is 'The package.';
comment on column app_public.dealer_subscriptions.quota_kind is 'Whether the included listings are counted once they are published, or while they are pending or active.';
comment on column app_public.dealer_subscriptions.start_at is 'Null until it starts.';
comment on column app_public.dealer_subscriptions.status is 'pending until it starts: when the one before it ends or has no listing quota or slot left; active; expired after its end has been recorded; cancelled: it keeps its quota until end_at.';
comment on column app_public.dealer_subscriptions.updated_at is 'When the subscription last changed.';
comment on column app_public.dealer_subscriptions.used_highlight_quota is 'Used highlights.';
comment on column app_public.dealer_subscriptions.used_listing_quota is 'Used listings: the number of its ledger rows that were not given back. 0 for a CONCURRENT quota: `Dealer.slots` counts its listings.';
comment on column app_public.dealer_subscriptions.used_premium_quota is 'Used premium placements.';
comment on constraint dealer_subscriptions_dealer on app_public.dealer_subscriptions is '@forwardBehavior +singularRelation:resource:single
@fieldName dealer
@forwardDescription The dealer.';
comment on constraint dealer_subscriptions_package on app_public.dealer_subscriptions is '@forwardBehavior +singularRelation:resource:single
@fieldName package
@forwardDescription The package; null if it is no longer on sale.';
comment on table app_public.dealer_subscriptions is '@behavior +query:resource:connection
A package that a dealer bought, with a snapshot of its quotas.';

create table app_public.dealer_users (
  dealer_id uuid not null,
  user_id uuid not null,
  role app_public.dealer_role not null,
  created_at timestamp with time zone default clock_timestamp() not null,
  constraint dealer_users_dealer_id_fkey FOREIGN KEY (dealer_id) REFERENCES app_public.dealers(id),
  constraint dealer_users_pkey PRIMARY KEY (dealer_id, user_id),
  constraint dealer_users_user_id_fkey FOREIGN KEY (user_id) REFERENCES app_public.users(id)
);
CREATE INDEX ix_dealer_users_user_id ON app_public.dealer_users USING btree (user_id) INCLUDE (dealer_id);
CREATE TRIGGER dealer_users_audited AFTER INSERT OR DELETE OR UPDATE ON app_public.dealer_users FOR EACH ROW EXECUTE FUNCTION app_private.audit_change('dealer_id', 'user_id');
alter table app_public.dealer_users enable row level security;
alter table app_public.dealer_users force row level security;
create policy all_owner on app_public.dealer_users for all to owner using (true) with check (true);
create policy select_admin on app_public.dealer_users for select to forecourt_admin using (( SELECT app_public.is_admin() AS is_admin));
create policy select_member on app_public.dealer_users for select to forecourt_dealer using ((dealer_id = ANY (app_public.current_dealer_ids())));
grant select on table app_public.dealer_users to forecourt_admin;
grant select on table app_public.dealer_users to forecourt_dealer;
comment on column app_public.dealer_users.created_at is 'When the user became a member.';
comment on column app_public.dealer_users.dealer_id is 'The dealer.';
comment on column app_public.dealer_users.role is 'What the member may do. The user who creates a dealer is its owner, and a dealer always has one.';
comment on column app_public.dealer_users.user_id is 'The member.';
comment on constraint dealer_users_dealer_id_fkey on app_public.dealer_users is '@backwardBehavior +manyRelation:resource:connection
@foreignFieldName members
@backwardDescription The users who act for the dealer. Only members and admins see them.';
comment on table app_public.dealer_users is '@name member
Membership: the users who act for a dealer.';

create table app_public.dealers (
  id uuid default app_private.time_ordered_uuid() not null,
  company_name text not null,
  country text not null,
  dealer_type app_public.dealer_type not null,
  is_active boolean default true not null,
  can_publish boolean default true not null,
  has_free_quota boolean default true not null,
  created_at timestamp with time zone default clock_timestamp() not null,
  updated_at timestamp with time zone default clock_timestamp() not null,
  is_trusted boolean default false not null,
  slots_in_use integer default 0 not null,
  constraint dealers_company_name_length CHECK (app_private.is_line(company_name, 200)),
  constraint dealers_country_form CHECK ((country ~ '^[A-Z]{2}$'::text)),
  constraint dealers_pkey PRIMARY KEY (id),
  constraint dealers_slots_in_use_not_negative CHECK ((slots_in_use >= 0))
) with (fillfactor=80);
CREATE TRIGGER dealers_audited AFTER DELETE OR UPDATE OF id, company_name, country, dealer_type, is_active, can_publish, has_free_quota, created_at, updated_at, is_trusted ON app_public.dealers FOR EACH ROW EXECUTE FUNCTION app_private.audit_change();
alter table app_public.dealers enable row level security;
alter table app_public.dealers force row level security;
create policy all_owner on app_public.dealers for all to owner using (true) with check (true);
create policy select_admin on app_public.dealers for select to forecourt_admin using (( SELECT app_public.is_admin() AS is_admin));
create policy select_member on app_public.dealers for select to forecourt_dealer using ((id = ANY (app_public.current_dealer_ids())));
grant select (id, company_name, country, dealer_type, is_active, can_publish, created_at, updated_at, is_trusted) on table app_public.dealers to forecourt_visitor;
grant select (id, company_name, country, dealer_type, is_active, can_publish, created_at, updated_at, is_trusted, slots_in_use) on table app_public.dealers to forecourt_admin;
grant select (id, company_name, country, dealer_type, is_active, can_publish, created_at, updated_at, is_trusted, slots_in_use) on table app_public.dealers to forecourt_dealer;
comment on column app_public.dealers.can_publish is 'False: publication is suspended.';
comment on column app_public.dealers.company_name is 'The company''s name as shown on invoices.';
comment on column app_public.dealers.country is 'ISO 3166-1 alpha-2. It decides currency, VAT rate and prices.';
comment on column app_public.dealers.created_at is 'When the dealer was created.';
comment on column app_public.dealers.dealer_type is 'The trade of the dealer.';
comment on column app_public.dealers.has_free_quota is 'False: no listing is free. Of the dealers that an account creates, only the first has free quota.';
comment on column app_public.dealers.id is 'Time-ordered.';
comment on column app_public.dealers.is_active is 'False: the dealer is closed and can neither publish nor buy.';
comment on column app_public.dealers.is_trusted is 'True: its new listings are active at once, and nobody reviews its edits.';
comment on column app_public.dealers.slots_in_use is '@behavior -attribute:select -attribute:filterBy -attribute:orderBy
Its pending and active listings that hold a slot.';
comment on column app_public.dealers.updated_at is 'When the dealer last changed.';
comment on constraint dealers_company_name_length on app_public.dealers is '@field companyName
Please enter a company name of 1 to 200 characters, at least one of them visible, in one line.';
comment on constraint dealers_country_form on app_public.dealers is '@field country
Please enter the country as two capital letters of ISO 3166-1, such as DE.';
comment on table app_public.dealers is '@behavior +query:resource:connection
A company that publishes listings. Every write for a dealer locks its row first.';

create table app_public.free_quota_configs (
  id uuid default app_private.time_ordered_uuid() not null,
  country text not null,
  segment app_public.segment not null,
  quota_amount integer not null,
  period_days integer not null,
  valid tstzrange not null,
  constraint free_quota_configs_country_form CHECK ((country ~ '^[A-Z]{2}$'::text)),
  constraint free_quota_configs_one_at_a_time EXCLUDE USING gist (country WITH =, segment WITH =, valid WITH &&),
  constraint free_quota_configs_period_days_range CHECK (((period_days >= 1) AND (period_days <= 3660))),
  constraint free_quota_configs_pkey PRIMARY KEY (id),
  constraint free_quota_configs_quota_amount_range CHECK (((quota_amount >= 0) AND (quota_amount <= 100000))),
  constraint free_quota_configs_valid_not_empty CHECK ((NOT isempty(valid)))
);
CREATE TRIGGER free_quota_configs_audited AFTER INSERT OR DELETE OR UPDATE ON app_public.free_quota_configs FOR EACH ROW EXECUTE FUNCTION app_private.audit_change();
CREATE TRIGGER free_quota_configs_truncation_audited AFTER TRUNCATE ON app_public.free_quota_configs FOR EACH STATEMENT EXECUTE FUNCTION app_private.audit_change();
alter table app_public.free_quota_configs enable row level security;
alter table app_public.free_quota_configs force row level security;
create policy all_owner on app_public.free_quota_configs for all to owner using (true) with check (true);
create policy select_all on app_public.free_quota_configs for select to forecourt_admin, forecourt_dealer, forecourt_visitor using (true);
grant select on table app_public.free_quota_configs to forecourt_admin;
grant select on table app_public.free_quota_configs to forecourt_dealer;
grant select on table app_public.free_quota_configs to forecourt_visitor;
comment on column app_public.free_quota_configs.country is 'ISO 3166-1 alpha-2.';
comment on column app_public.free_quota_configs.id is 'Time-ordered.';
comment on column app_public.free_quota_configs.period_days is 'Length of the rolling period, in days of 24 hours.';
comment on column app_public.free_quota_configs.quota_amount is 'Free listings per period.';
comment on column app_public.free_quota_configs.segment is 'The kind of publisher that gets them.';
comment on column app_public.free_quota_configs.valid is 'When the quota is valid; its end is excluded.';
comment on constraint free_quota_configs_one_at_a_time on app_public.free_quota_configs is '@field validFrom
Later free listings are scheduled already. Please choose a moment after their start.';
comment on constraint free_quota_configs_period_days_range on app_public.free_quota_configs is '@field periodDays
Please enter a period of 1 to 3660 days.';
comment on constraint free_quota_configs_quota_amount_range on app_public.free_quota_configs is '@field quotaAmount
Please enter 0 to 100000 free listings.';
comment on table app_public.free_quota_configs is 'Free listings in each country over time. Without a valid row no listing is free.';

create table app_public.invoice_items (
  dealer_id uuid not null,
  id uuid default app_private.time_ordered_uuid() not null,
  invoice_id uuid not null,
  description text not null,
  price_config_id uuid,
  package_id uuid,
  price_version integer,
  unit_price_net numeric not null,
  discount numeric default 0 not null,
  net_amount numeric not null,
  vat_rate numeric not null,
  vat_amount numeric not null,
  gross_amount numeric not null,
  country text not null,
  currency text not null,
  created_at timestamp with time zone default clock_timestamp() not null,
  quantity integer default 1 not null,
  constraint invoice_items_currency_fkey FOREIGN KEY (currency) REFERENCES app_public.currencies(code),
  constraint invoice_items_invoice FOREIGN KEY (dealer_id, invoice_id) REFERENCES app_public.invoices(dealer_id, id),
  constraint invoice_items_package_id_fkey FOREIGN KEY (package_id) REFERENCES app_public.dealer_packages(id),
  constraint invoice_items_pkey PRIMARY KEY (id, dealer_id),
  constraint invoice_items_price_config_id_fkey FOREIGN KEY (price_config_id) REFERENCES app_public.price_configs(id),
  constraint invoice_items_valid CHECK (app_private.check_invoice_item(price_config_id, package_id, price_version, unit_price_net, discount, quantity, net_amount, vat_amount, gross_amount))
);
CREATE INDEX ix_invoice_items_invoice_id_dealer_id ON app_public.invoice_items USING btree (invoice_id, dealer_id);
CREATE TRIGGER invoice_items_never_changed BEFORE DELETE OR UPDATE OR TRUNCATE ON app_public.invoice_items FOR EACH STATEMENT EXECUTE FUNCTION app_private.refuse_change();
alter table app_public.invoice_items enable row level security;
alter table app_public.invoice_items force row level security;
create policy all_owner on app_public.invoice_items for all to owner using (true) with check (true);
create policy select_admin on app_public.invoice_items for select to forecourt_admin using (( SELECT app_public.is_admin() AS is_admin));
create policy select_member on app_public.invoice_items for select to forecourt_dealer using ((dealer_id = ANY (app_public.current_dealer_ids())));
grant select on table app_public.invoice_items to forecourt_admin;
grant select on table app_public.invoice_items to forecourt_dealer;
comment on column app_public.invoice_items.country is 'The country of the price and the VAT rate.';
comment on column app_public.invoice_items.created_at is 'When the item was added.';
comment on column app_public.invoice_items.currency is 'The currency of all its amounts.';
comment on column app_public.invoice_items.dealer_id is 'The dealer that owes it.';
comment on column app_public.invoice_items.description is 'The item in words, in English.';
comment on column app_public.invoice_items.discount is 'Deducted from the price, without VAT.';
comment on column app_public.invoice_items.gross_amount is 'Net amount plus VAT.';
comment on column app_public.invoice_items.id is 'Time-ordered.';
comment on column app_public.invoice_items.invoice_id is 'The invoice of the item.';
comment on column app_public.invoice_items.net_amount is 'Price minus discount, times the quantity, rounded to the currency''s minor units.';
comment on column app_public.invoice_items.package_id is 'The package; null for a listing.';
comment on column app_public.invoice_items.price_config_id is 'The price of the listing; null for a package.';
comment on column app_public.invoice_items.price_version is 'The version of the price.';
comment on column app_public.invoice_items.quantity is '1, or -1 where a price is given back.';
comment on column app_public.invoice_items.unit_price_net is 'The price without VAT, before the discount.';
comment on column app_public.invoice_items.vat_amount is 'Net amount times VAT rate, rounded half away from zero to the currency''s minor units.';
comment on column app_public.invoice_items.vat_rate is 'In percent.';
comment on constraint invoice_items_invoice on app_public.invoice_items is '@backwardBehavior +manyRelation:resource:connection
@foreignFieldName items
@backwardDescription The lines of the invoice.';
comment on table app_public.invoice_items is 'A line of an invoice: a snapshot that never changes.';

create table app_public.invoices (
  dealer_id uuid not null,
  id uuid default app_private.time_ordered_uuid() not null,
  kind app_public.invoice_kind not null,
  status app_public.invoice_status default 'draft'::app_public.invoice_status not null,
  country text not null,
  currency text not null,
  period_start date,
  net_total numeric default 0 not null,
  vat_total numeric default 0 not null,
  gross_total numeric default 0 not null,
  created_at timestamp with time zone default clock_timestamp() not null,
  updated_at timestamp with time zone default clock_timestamp() not null,
  paid_at timestamp with time zone,
  constraint invoices_currency_fkey FOREIGN KEY (currency) REFERENCES app_public.currencies(code),
  constraint invoices_dealer FOREIGN KEY (dealer_id) REFERENCES app_public.dealers(id),
  constraint invoices_pkey PRIMARY KEY (dealer_id, id),
  constraint invoices_valid CHECK (app_private.check_invoice(kind, status, period_start, paid_at, net_total, vat_total, gross_total))
) with (fillfactor=80);
CREATE INDEX ix_invoices_id ON app_public.invoices USING btree (id);
CREATE UNIQUE INDEX ux_invoices_open_month ON app_public.invoices USING btree (dealer_id, period_start, country, currency) WHERE ((kind = 'monthly'::app_public.invoice_kind) AND (status = 'draft'::app_public.invoice_status));
CREATE TRIGGER invoices_final_never_changed BEFORE UPDATE ON app_public.invoices FOR EACH ROW WHEN ((old.status <> 'draft'::app_public.invoice_status)) EXECUTE FUNCTION app_private.refuse_change();
CREATE TRIGGER invoices_never_removed BEFORE DELETE OR TRUNCATE ON app_public.invoices FOR EACH STATEMENT EXECUTE FUNCTION app_private.refuse_change();
CREATE TRIGGER invoices_of_admin_audited AFTER INSERT ON app_public.invoices FOR EACH ROW WHEN ((current_setting('role'::text, true) = 'forecourt_admin'::text)) EXECUTE FUNCTION app_private.audit_change();
CREATE TRIGGER invoices_state_audited AFTER UPDATE OF status ON app_public.invoices FOR EACH ROW WHEN ((old.status <> new.status)) EXECUTE FUNCTION app_private.audit_state_change('INVOICE');
alter table app_public.invoices enable row level security;
alter table app_public.invoices force row level security;
create policy all_owner on app_public.invoices for all to owner using (true) with check (true);
create policy select_admin on app_public.invoices for select to forecourt_admin using (( SELECT app_public.is_admin() AS is_admin));
create policy select_member on app_public.invoices for select to forecourt_dealer using ((dealer_id = ANY (app_public.current_dealer_ids())));
grant select on table app_public.invoices to forecourt_admin;
grant select on table app_public.invoices to forecourt_dealer;
comment on column app_public.invoices.country is 'The dealer''s country when the invoice was created.';
comment on column app_public.invoices.created_at is 'When the invoice was created.';
comment on column app_public.invoices.currency is 'The currency of all its amounts.';
comment on column app_public.invoices.dealer_id is 'The dealer that owes it.';
comment on column app_public.invoices.gross_total is 'The amount to pay.';
comment on column app_public.invoices.id is 'Time-ordered.';
comment on column app_public.invoices.kind is 'The purchase of a package, or a month''s listings beyond the quotas.';
comment on column app_public.invoices.net_total is 'Without VAT.';
comment on column app_public.invoices.paid_at is 'When the invoice was paid.';
comment on column app_public.invoices.period_start is 'First day of the month (UTC) of a monthly invoice.';
comment on column app_public.invoices.status is 'Whether the invoice is paid.';
comment on column app_public.invoices.updated_at is 'When the invoice last changed.';
comment on column app_public.invoices.vat_total is 'The VAT, rounded for each item.';
comment on constraint invoices_dealer on app_public.invoices is '@forwardBehavior +singularRelation:resource:single
@fieldName dealer
@forwardDescription The dealer that owes it.';
comment on table app_public.invoices is '@behavior +query:resource:connection
An amount that a dealer owes. The totals are the sums of the items.';

create table app_public.listing_consumptions (
  dealer_id uuid not null,
  id uuid default app_private.time_ordered_uuid() not null,
  listing_id uuid not null,
  kind app_public.consumption_kind not null,
  source app_public.consumption_source not null,
  subscription_id uuid,
  price_config_id uuid,
  invoice_item_id uuid,
  net_amount numeric not null,
  vat_rate numeric not null,
  vat_amount numeric not null,
  gross_amount numeric not null,
  currency text not null,
  created_by uuid not null,
  created_at timestamp with time zone default clock_timestamp() not null,
  number integer default 1 not null,
  reverses uuid,
  idempotency_key uuid,
  api_key_id uuid,
  constraint listing_consumptions_currency_fkey FOREIGN KEY (currency) REFERENCES app_public.currencies(code),
  constraint listing_consumptions_invoice_item FOREIGN KEY (dealer_id, invoice_item_id) REFERENCES app_public.invoice_items(dealer_id, id),
  constraint listing_consumptions_listing FOREIGN KEY (dealer_id, listing_id) REFERENCES app_public.listings(dealer_id, id),
  constraint listing_consumptions_pkey PRIMARY KEY (id, dealer_id),
  constraint listing_consumptions_price_config_id_fkey FOREIGN KEY (price_config_id) REFERENCES app_public.price_configs(id),
  constraint listing_consumptions_reverses FOREIGN KEY (dealer_id, reverses) REFERENCES app_public.listing_consumptions(dealer_id, id),
  constraint listing_consumptions_subscription FOREIGN KEY (dealer_id, subscription_id) REFERENCES app_public.dealer_subscriptions(dealer_id, id),
  constraint listing_consumptions_valid CHECK (app_private.check_listing_consumption(kind, number, source, subscription_id, price_config_id, invoice_item_id, net_amount, vat_amount, gross_amount, reverses))
);
CREATE INDEX ix_listing_consumptions_free_dealer_id_created_at ON app_public.listing_consumptions USING btree (dealer_id, created_at) WHERE (source = 'free_quota'::app_public.consumption_source);
CREATE UNIQUE INDEX ux_listing_consumptions_idempotency_key ON app_public.listing_consumptions USING btree (idempotency_key, dealer_id) WHERE (idempotency_key IS NOT NULL);
CREATE UNIQUE INDEX ux_listing_consumptions_number ON app_public.listing_consumptions USING btree (dealer_id, listing_id, kind, number) WHERE (listing_id IS NOT NULL);
CREATE UNIQUE INDEX ux_listing_consumptions_one_per_invoice_item ON app_public.listing_consumptions USING btree (dealer_id, invoice_item_id) WHERE (invoice_item_id IS NOT NULL);
CREATE UNIQUE INDEX ux_listing_consumptions_reverses ON app_public.listing_consumptions USING btree (reverses, dealer_id) WHERE (reverses IS NOT NULL);
CREATE TRIGGER listing_consumptions_never_changed BEFORE DELETE OR UPDATE OR TRUNCATE ON app_public.listing_consumptions FOR EACH STATEMENT EXECUTE FUNCTION app_private.refuse_change();
alter table app_public.listing_consumptions enable row level security;
alter table app_public.listing_consumptions force row level security;
create policy all_owner on app_public.listing_consumptions for all to owner using (true) with check (true);
create policy select_admin on app_public.listing_consumptions for select to forecourt_admin using (( SELECT app_public.is_admin() AS is_admin));
create policy select_member on app_public.listing_consumptions for select to forecourt_dealer using ((dealer_id = ANY (app_public.current_dealer_ids())));
grant select on table app_public.listing_consumptions to forecourt_admin;
grant select on table app_public.listing_consumptions to forecourt_dealer;
grant select on table app_public.listing_consumptions to forecourt_visitor;
comment on column app_public.listing_consumptions.api_key_id is 'The API key that published; null if a user did.';
comment on column app_public.listing_consumptions.created_at is 'When it was decided, while the dealer was locked.';
comment on column app_public.listing_consumptions.created_by is 'The user who published, as verified by the access token, or the maker of the API key.';
comment on column app_public.listing_consumptions.currency is 'The currency of all its amounts.';
comment on column app_public.listing_consumptions.dealer_id is 'The dealer that published.';
comment on column app_public.listing_consumptions.gross_amount is 'Net amount plus VAT.';
comment on column app_public.listing_consumptions.id is 'Time-ordered.';
comment on column app_public.listing_consumptions.idempotency_key is '@behavior -attribute:select -attribute:filterBy -attribute:orderBy
Made of the operation and the key that the client chose; unique per dealer. Null for the first publication, whose key the listing has.';
comment on column app_public.listing_consumptions.invoice_item_id is 'The line on the monthly invoice.';
comment on column app_public.listing_consumptions.kind is 'The action that was paid for.';
comment on column app_public.listing_consumptions.listing_id is 'The listing.';
comment on column app_public.listing_consumptions.net_amount is 'Without VAT; zero unless a price was applied, and negative for a reversal of a price.';
comment on column app_public.listing_consumptions.number is '@behavior -attribute:select -attribute:filterBy -attribute:orderBy
Counts the rows of its listing and kind, from 1. For a publication it is one more than those that were given back, so that a listing has at most one that was not.';
comment on column app_public.listing_consumptions.price_config_id is 'The price that was applied.';
comment on column app_public.listing_consumptions.reverses is 'The row that a REVERSAL gives back.';
comment on column app_public.listing_consumptions.source is 'What paid for it.';
comment on column app_public.listing_consumptions.subscription_id is 'The subscription whose quota was used.';
comment on column app_public.listing_consumptions.vat_amount is 'Rounded half away from zero to the currency''s minor units.';
comment on column app_public.listing_consumptions.vat_rate is 'In percent: 19.00 is 19 %.';
comment on constraint listing_consumptions_listing on app_public.listing_consumptions is '@backwardBehavior +singularRelation:resource:single +singularRelation:resource:connection
@foreignSingleFieldName consumption
@foreignFieldName consumptions
@backwardDescription What paid for it; nothing unless you are a member. `consumption` is its publication.';
comment on table app_public.listing_consumptions is '@unique dealer_id,listing_id
The ledger: what paid for each listing. Its rows never change.';

create table app_public.listing_promotions (
  dealer_id uuid not null,
  listing_id uuid not null,
  id uuid not null,
  kind app_public.promotion_kind not null,
  starts_at timestamp with time zone not null,
  ends_at timestamp with time zone not null,
  constraint listing_promotions_consumption FOREIGN KEY (dealer_id, id) REFERENCES app_public.listing_consumptions(dealer_id, id),
  constraint listing_promotions_ends_after_start CHECK ((ends_at > starts_at)),
  constraint listing_promotions_listing FOREIGN KEY (dealer_id, listing_id) REFERENCES app_public.listings(dealer_id, id),
  constraint listing_promotions_pkey PRIMARY KEY (dealer_id, listing_id, id)
);
CREATE TRIGGER listing_promotions_never_changed BEFORE DELETE OR UPDATE OR TRUNCATE ON app_public.listing_promotions FOR EACH STATEMENT EXECUTE FUNCTION app_private.refuse_change();
alter table app_public.listing_promotions enable row level security;
alter table app_public.listing_promotions force row level security;
create policy all_owner on app_public.listing_promotions for all to owner using (true) with check (true);
create policy select_admin on app_public.listing_promotions for select to forecourt_admin using (( SELECT app_public.is_admin() AS is_admin));
create policy select_member on app_public.listing_promotions for select to forecourt_dealer using ((dealer_id = ANY (app_public.current_dealer_ids())));
grant select on table app_public.listing_promotions to forecourt_admin;
grant select on table app_public.listing_promotions to forecourt_dealer;
grant select on table app_public.listing_promotions to forecourt_visitor;
comment on column app_public.listing_promotions.dealer_id is 'The dealer.';
comment on column app_public.listing_promotions.ends_at is 'From this moment on it is over.';
comment on column app_public.listing_promotions.id is 'Time-ordered. The ledger row that it was charged with has the same id.';
comment on column app_public.listing_promotions.kind is 'What it does to the listing.';
comment on column app_public.listing_promotions.listing_id is 'The listing.';
comment on column app_public.listing_promotions.starts_at is 'When it was bought, or the end of the promotion of its kind that was running then.';
comment on constraint listing_promotions_consumption on app_public.listing_promotions is '@forwardBehavior +singularRelation:resource:single
@fieldName consumption
@forwardDescription What paid for it.';
comment on constraint listing_promotions_listing on app_public.listing_promotions is '@backwardBehavior +manyRelation:resource:connection
@foreignFieldName promotions
@backwardDescription Its promotions; nothing unless you are a member.';
comment on table app_public.listing_promotions is 'The promotions of listings. A promotion ends earlier than it says if its listing does. Its rows never change.';

create table app_public.listings (
  dealer_id uuid not null,
  id uuid default app_private.time_ordered_uuid() not null,
  status app_public.listing_status default 'pending'::app_public.listing_status not null,
  title text not null,
  description text,
  module text not null,
  price numeric not null,
  currency text not null,
  attributes jsonb default '{}'::jsonb not null,
  images text[] default '{}'::text[] not null,
  idempotency_key uuid not null,
  payload_hash bytea not null,
  created_by uuid not null,
  created_at timestamp with time zone default clock_timestamp() not null,
  updated_at timestamp with time zone default clock_timestamp() not null,
  external_id text,
  listing_days integer default 90 not null,
  published_at timestamp with time zone,
  expires_at timestamp with time zone,
  rejected_at timestamp with time zone,
  rejection_reason text,
  moderation_reason app_public.moderation_reason,
  moderation_since timestamp with time zone,
  holds_slot boolean default false not null,
  country text not null,
  is_premium boolean default false not null,
  premium_until timestamp with time zone,
  is_highlighted boolean default false not null,
  highlighted_until timestamp with time zone,
  constraint listings_created_by_fkey FOREIGN KEY (created_by) REFERENCES app_public.users(id),
  constraint listings_currency_known FOREIGN KEY (currency) REFERENCES app_public.currencies(code),
  constraint listings_dealer FOREIGN KEY (dealer_id) REFERENCES app_public.dealers(id),
  constraint listings_idempotency_key UNIQUE (idempotency_key, dealer_id),
  constraint listings_pkey PRIMARY KEY (dealer_id, id),
  constraint listings_valid CHECK (app_private.refuse_listing(app_private.check_listing(title, description, module, price, attributes, images, external_id, published_at, expires_at, rejected_at, rejection_reason, moderation_reason, moderation_since)))
);
CREATE INDEX ix_listings_active_country_is_premium_expression_id ON app_public.listings USING btree (country, is_premium, (
CASE
    WHEN (published_at IS NULL) THEN created_at
    ELSE published_at
END), id) WHERE (status = 'active'::app_public.listing_status);
CREATE INDEX ix_listings_active_expires_at ON app_public.listings USING btree (expires_at) WHERE (status = 'active'::app_public.listing_status);
CREATE INDEX ix_listings_active_is_premium_expression_id ON app_public.listings USING btree (is_premium, (
CASE
    WHEN (published_at IS NULL) THEN created_at
    ELSE published_at
END), id) WHERE (status = 'active'::app_public.listing_status);
CREATE INDEX ix_listings_active_module_is_premium_expression_id ON app_public.listings USING btree (module, is_premium, (
CASE
    WHEN (published_at IS NULL) THEN created_at
    ELSE published_at
END), id) WHERE (status = 'active'::app_public.listing_status);
CREATE INDEX ix_listings_id ON app_public.listings USING btree (id);
CREATE INDEX ix_listings_moderation_expression_id ON app_public.listings USING btree ((
CASE status
    WHEN 'pending'::app_public.listing_status THEN COALESCE(moderation_since, created_at)
    WHEN 'active'::app_public.listing_status THEN moderation_since
    ELSE NULL::timestamp with time zone
END), id) WHERE (
CASE status
    WHEN 'pending'::app_public.listing_status THEN COALESCE(moderation_since, created_at)
    WHEN 'active'::app_public.listing_status THEN moderation_since
    ELSE NULL::timestamp with time zone
END IS NOT NULL);
CREATE INDEX ix_listings_promoted_expression ON app_public.listings USING btree (LEAST(premium_until, highlighted_until)) WHERE (is_premium OR is_highlighted);
CREATE INDEX ix_listings_slots_dealer_id_expires_at ON app_public.listings USING btree (dealer_id, expires_at) WHERE holds_slot;
CREATE INDEX ix_listings_status_created_at ON app_public.listings USING btree (status, created_at);
CREATE UNIQUE INDEX ux_listings_external_id ON app_public.listings USING btree (external_id, dealer_id) WHERE ((external_id IS NOT NULL) AND ((status = 'pending'::app_public.listing_status) OR (status = 'active'::app_public.listing_status)));
CREATE TRIGGER listings_promotions_cleared BEFORE UPDATE OF status, published_at ON app_public.listings FOR EACH ROW WHEN (((old.is_premium OR old.is_highlighted) AND ((new.status <> 'active'::app_public.listing_status) OR (new.published_at IS DISTINCT FROM old.published_at)))) EXECUTE FUNCTION app_private.clear_promotions();
CREATE TRIGGER listings_slot_released BEFORE UPDATE OF status, holds_slot ON app_public.listings FOR EACH ROW WHEN ((old.holds_slot AND (NOT (new.holds_slot AND (new.status = ANY (ARRAY['pending'::app_public.listing_status, 'active'::app_public.listing_status])))))) EXECUTE FUNCTION app_private.release_slot();
CREATE TRIGGER listings_state_audited AFTER UPDATE OF status ON app_public.listings FOR EACH ROW WHEN (((old.status <> new.status) AND ((new.status <> 'expired'::app_public.listing_status) OR (new.updated_at = old.updated_at) OR ((new.updated_at < new.expires_at) IS NOT FALSE)))) EXECUTE FUNCTION app_private.audit_state_change('LISTING');
CREATE TRIGGER listings_step BEFORE UPDATE OF status ON app_public.listings FOR EACH ROW WHEN ((old.status <> new.status)) EXECUTE FUNCTION app_private.enforce_listing_step();
alter table app_public.listings enable row level security;
alter table app_public.listings force row level security;
create policy all_owner on app_public.listings for all to owner using (true) with check (true);
create policy select_admin on app_public.listings for select to forecourt_admin using (( SELECT app_public.is_admin() AS is_admin));
create policy select_member on app_public.listings for select to forecourt_dealer using ((dealer_id = ANY (app_public.current_dealer_ids())));
create policy select_public on app_public.listings for select to forecourt_dealer, forecourt_visitor using (((status = 'active'::app_public.listing_status) AND ((expires_at > now()) IS NOT FALSE) AND app_public.is_open_dealer(dealer_id)));
grant select (dealer_id, id, status, title, description, module, price, currency, attributes, images, created_at, updated_at, external_id, published_at, expires_at, rejection_reason, country, is_premium, is_highlighted) on table app_public.listings to forecourt_visitor;
grant select (dealer_id, id, status, title, description, module, price, currency, attributes, images, created_at, updated_at, external_id, published_at, expires_at, rejection_reason, holds_slot, country, is_premium, is_highlighted) on table app_public.listings to forecourt_dealer;
grant select (dealer_id, id, status, title, description, module, price, currency, attributes, images, created_at, updated_at, external_id, published_at, expires_at, rejection_reason, moderation_reason, moderation_since, holds_slot, country, is_premium, is_highlighted) on table app_public.listings to forecourt_admin;
comment on column app_public.listings.attributes is 'An object whose content the client chooses.';
comment on column app_public.listings.country is '@behavior -attribute:select -attribute:filterBy -attribute:orderBy
The country of the dealer when the listing was created. A copy, so that one index serves the country and the order of a page.';
comment on column app_public.listings.created_at is 'When the listing was created.';
comment on column app_public.listings.created_by is 'The user who published it, or the maker of the API key that did.';
comment on column app_public.listings.currency is '@behavior +attribute:filterBy
The currency of the price, ISO 4217.';
comment on column app_public.listings.dealer_id is 'The dealer that offers it.';
comment on column app_public.listings.description is 'At most 10,000 characters.';
comment on column app_public.listings.expires_at is 'From this moment on it is not shown to the public. Null until it is active, and for listings that were active before release 0.3.';
comment on column app_public.listings.external_id is '@behavior +attribute:filterBy
Your own reference: one line of at most 100 characters, unique among the pending and active listings of a dealer.';
comment on column app_public.listings.highlighted_until is '@behavior -attribute:select -attribute:filterBy -attribute:orderBy
The end of the last highlight; null unless is_highlighted.';
comment on column app_public.listings.holds_slot is '@behavior -attribute:select -attribute:filterBy -attribute:orderBy
Whether it holds a slot of its dealer: a CONCURRENT quota has paid for it last, and it is pending or active.';
comment on column app_public.listings.id is 'Time-ordered.';
comment on column app_public.listings.idempotency_key is 'Chosen by the client; unique per dealer.';
comment on column app_public.listings.images is 'URLs of http or https, at most 50.';
comment on column app_public.listings.is_highlighted is 'Whether it is highlighted. The worker ends it within a minute.';
comment on column app_public.listings.is_premium is 'Whether it has a premium placement, which `PREMIUM_FIRST` puts first. The worker ends it within a minute.';
comment on column app_public.listings.listing_days is 'How long it is shown, in days of 24 hours: the setting of the country when it was created.';
comment on column app_public.listings.moderation_reason is '@behavior -attribute:select -attribute:filterBy -attribute:orderBy
Why it stands in the moderation queue. Null: it does not, or it has been pending since before release 0.3.';
comment on column app_public.listings.moderation_since is '@behavior -attribute:select -attribute:filterBy -attribute:orderBy
Since when it stands in the moderation queue.';
comment on column app_public.listings.module is '@behavior +attribute:filterBy
The section of the marketplace that shows it, such as auto.';
comment on column app_public.listings.payload_hash is 'SHA-256 of the input. It distinguishes a retry from another listing with the same key.';
comment on column app_public.listings.premium_until is '@behavior -attribute:select -attribute:filterBy -attribute:orderBy
The end of the last premium placement; null unless is_premium.';
comment on column app_public.listings.price is 'The price that the dealer asks for the item. It has no influence on any fee.';
comment on column app_public.listings.published_at is 'When it became active. Null: it never was, or it was active before release 0.3.';
comment on column app_public.listings.rejected_at is 'When it was rejected; null unless it is.';
comment on column app_public.listings.rejection_reason is 'Why it was rejected; null unless it is.';
comment on column app_public.listings.status is 'Its step from publication to removal.';
comment on column app_public.listings.title is '1 to 200 characters in one line.';
comment on column app_public.listings.updated_at is 'When the listing last changed.';
comment on constraint listings_currency_known on app_public.listings is '@field currency
This currency is not available. Please enter a code of ISO 4217, such as EUR.';
comment on constraint listings_dealer on app_public.listings is '@forwardBehavior +singularRelation:resource:single
@fieldName dealer
@forwardDescription The dealer that offers it; null unless you are a member.';
comment on index app_public.ux_listings_external_id is '@field externalId
Another pending or active listing of this dealer has this reference. Please change one of them.';
comment on table app_public.listings is '@behavior +query:resource:connection
A vehicle or other item that a dealer offers. The ledger has at most one publication of it that was not given back.';

create table app_public.price_configs (
  id uuid default app_private.time_ordered_uuid() not null,
  country text not null,
  segment app_public.segment not null,
  pricing_type app_public.pricing_type not null,
  unit_price_net numeric not null,
  currency text not null,
  price_version integer not null,
  valid tstzrange not null,
  duration_days integer default 30 not null,
  constraint price_configs_currency_of_country FOREIGN KEY (country, currency) REFERENCES app_public.country_currencies(country, currency),
  constraint price_configs_duration_days_range CHECK (((duration_days >= 1) AND (duration_days <= 3660))),
  constraint price_configs_one_at_a_time EXCLUDE USING gist (country WITH =, segment WITH =, pricing_type WITH =, valid WITH &&),
  constraint price_configs_pkey PRIMARY KEY (id),
  constraint price_configs_price_version_positive CHECK ((price_version > 0)),
  constraint price_configs_unit_price_net_range CHECK (((unit_price_net >= (0)::numeric) AND (unit_price_net < (1000000)::numeric))),
  constraint price_configs_valid_not_empty CHECK ((NOT isempty(valid))),
  constraint price_configs_version_key UNIQUE (country, segment, pricing_type, price_version)
);
CREATE TRIGGER price_configs_audited AFTER INSERT OR DELETE OR UPDATE ON app_public.price_configs FOR EACH ROW EXECUTE FUNCTION app_private.audit_change();
CREATE TRIGGER price_configs_never_edited BEFORE DELETE OR UPDATE ON app_public.price_configs FOR EACH ROW EXECUTE FUNCTION app_private.enforce_price_versions();
CREATE TRIGGER price_configs_truncation_audited AFTER TRUNCATE ON app_public.price_configs FOR EACH STATEMENT EXECUTE FUNCTION app_private.audit_change();
alter table app_public.price_configs enable row level security;
alter table app_public.price_configs force row level security;
create policy all_owner on app_public.price_configs for all to owner using (true) with check (true);
create policy select_all on app_public.price_configs for select to forecourt_admin, forecourt_dealer, forecourt_visitor using (true);
grant select on table app_public.price_configs to forecourt_admin;
grant select on table app_public.price_configs to forecourt_dealer;
grant select on table app_public.price_configs to forecourt_visitor;
comment on column app_public.price_configs.country is 'ISO 3166-1 alpha-2.';
comment on column app_public.price_configs.currency is 'The currency of the country.';
comment on column app_public.price_configs.duration_days is 'How long a promotion at this price lasts, in days of 24 hours. Without meaning for the price of a listing.';
comment on column app_public.price_configs.id is 'Time-ordered.';
comment on column app_public.price_configs.price_version is 'The number of the version, from 1.';
comment on column app_public.price_configs.pricing_type is 'The service that the price is for.';
comment on column app_public.price_configs.segment is 'The kind of publisher that pays it.';
comment on column app_public.price_configs.unit_price_net is 'Without VAT, in whole units of the currency.';
comment on column app_public.price_configs.valid is 'When the price is valid; its end is excluded.';
comment on constraint price_configs_duration_days_range on app_public.price_configs is '@field durationDays
Please enter a duration of 1 to 3660 days.';
comment on constraint price_configs_one_at_a_time on app_public.price_configs is '@field validFrom
A later price is scheduled already. Please choose a moment after its start.';
comment on constraint price_configs_unit_price_net_range on app_public.price_configs is '@field unitPriceNet
Please enter a net price from 0 to less than 1000000.';
comment on table app_public.price_configs is 'Prices over time. A price is never edited: `setPrice` closes it and opens the next version.';

create table app_public.rate_limit_policies (
  scope text not null,
  subject app_public.rate_limit_subject not null,
  fields text[] default '{}'::text[] not null,
  max_count integer not null,
  window_seconds integer not null,
  cost integer default 1 not null,
  mode app_public.rate_limit_mode default 'enforce'::app_public.rate_limit_mode not null,
  fallback app_public.rate_limit_fallback default 'local'::app_public.rate_limit_fallback not null,
  updated_by text default SESSION_USER not null,
  updated_at timestamp with time zone default clock_timestamp() not null,
  constraint rate_limit_policies_cost_within_limit CHECK (((cost >= 1) AND (cost <= max_count))),
  constraint rate_limit_policies_fields_form CHECK (((array_position(fields, NULL::text) IS NULL) AND (array_to_string(fields, ','::text) ~ '^((Query|Mutation)\.[A-Za-z_]+(,|$))*$'::text))),
  constraint rate_limit_policies_max_count_range CHECK (((max_count >= 1) AND (max_count <= 1000000))),
  constraint rate_limit_policies_pkey PRIMARY KEY (scope),
  constraint rate_limit_policies_scope_form CHECK ((scope ~ '^[a-z][a-z_]{2,39}$'::text)),
  constraint rate_limit_policies_window_seconds_range CHECK (((window_seconds >= 1) AND (window_seconds <= 86400)))
);
CREATE TRIGGER rate_limit_policies_announced BEFORE INSERT OR UPDATE ON app_public.rate_limit_policies FOR EACH ROW EXECUTE FUNCTION app_private.announce_rate_limit_policies();
CREATE TRIGGER rate_limit_policies_audited AFTER INSERT OR DELETE OR UPDATE ON app_public.rate_limit_policies FOR EACH ROW EXECUTE FUNCTION app_private.audit_change('scope');
CREATE TRIGGER rate_limit_policies_never_removed BEFORE DELETE OR TRUNCATE ON app_public.rate_limit_policies FOR EACH STATEMENT EXECUTE FUNCTION app_private.keep_rate_limit_policies();
CREATE TRIGGER rate_limit_policies_never_renamed BEFORE UPDATE ON app_public.rate_limit_policies FOR EACH ROW WHEN ((old.scope <> new.scope)) EXECUTE FUNCTION app_private.keep_rate_limit_policies();
CREATE TRIGGER rate_limit_policies_truncation_audited AFTER TRUNCATE ON app_public.rate_limit_policies FOR EACH STATEMENT EXECUTE FUNCTION app_private.audit_change();
alter table app_public.rate_limit_policies enable row level security;
alter table app_public.rate_limit_policies force row level security;
create policy all_owner on app_public.rate_limit_policies for all to owner using (true) with check (true);
create policy select_admin on app_public.rate_limit_policies for select to forecourt_admin using (( SELECT app_public.is_admin() AS is_admin));
create policy select_authenticator on app_public.rate_limit_policies for select to forecourt_authenticator using (true);
grant select on table app_public.rate_limit_policies to forecourt_admin;
grant select on table app_public.rate_limit_policies to forecourt_authenticator;
comment on column app_public.rate_limit_policies.cost is 'How much one request uses.';
comment on column app_public.rate_limit_policies.fallback is 'What to do while the counters cannot be reached.';
comment on column app_public.rate_limit_policies.fields is 'Root fields that count, such as Mutation.login. A policy without fields counts rows: those of the queries of users if its subject is user, otherwise those of anonymous requests. auth_account counts failed logins.';
comment on column app_public.rate_limit_policies.max_count is 'The limit: what may be used in a window.';
comment on column app_public.rate_limit_policies.mode is 'Whether the limit refuses, only counts, or does neither.';
comment on column app_public.rate_limit_policies.scope is 'The name of the limit, which a refused client gets to see.';
comment on column app_public.rate_limit_policies.subject is 'Which requests are counted together.';
comment on column app_public.rate_limit_policies.updated_at is 'When the policy last changed.';
comment on column app_public.rate_limit_policies.updated_by is 'The database login that changed the policy last.';
comment on column app_public.rate_limit_policies.window_seconds is 'Length of the sliding window.';
comment on constraint rate_limit_policies_cost_within_limit on app_public.rate_limit_policies is '@field cost
Please enter a cost from 1 to the limit.';
comment on constraint rate_limit_policies_max_count_range on app_public.rate_limit_policies is '@field maxCount
Please enter a limit of 1 to 1000000.';
comment on constraint rate_limit_policies_window_seconds_range on app_public.rate_limit_policies is '@field windowSeconds
Please enter a window of 1 to 86400 seconds.';
comment on table app_public.rate_limit_policies is '@behavior +query:resource:connection
The rate limits. Every process applies a change within a second. A policy cannot be deleted; set its mode to off.';

create table app_public.users (
  id uuid default app_private.time_ordered_uuid() not null,
  email text not null,
  full_name text not null,
  is_admin boolean default false not null,
  dealer_limit integer default 5 not null,
  created_at timestamp with time zone default clock_timestamp() not null,
  locale text default 'en'::text not null,
  email_verified_at timestamp with time zone,
  locked_at timestamp with time zone,
  deleted_at timestamp with time zone,
  constraint users_dealer_limit_not_negative CHECK ((dealer_limit >= 0)),
  constraint users_email_form CHECK (app_private.is_email(email)),
  constraint users_email_key UNIQUE (email),
  constraint users_email_normalized CHECK ((email = app_private.normalize_email(email))),
  constraint users_full_name_length CHECK (app_private.is_line(full_name, 200)),
  constraint users_locale_known CHECK ((locale = ANY (ARRAY['en'::text, 'de'::text]))),
  constraint users_pkey PRIMARY KEY (id)
);
CREATE TRIGGER users_admin_audited AFTER UPDATE OF is_admin, dealer_limit ON app_public.users FOR EACH ROW WHEN (((old.is_admin <> new.is_admin) OR (old.dealer_limit <> new.dealer_limit))) EXECUTE FUNCTION app_private.audit_change();
CREATE TRIGGER users_admin_made_audited AFTER INSERT ON app_public.users FOR EACH ROW WHEN (new.is_admin) EXECUTE FUNCTION app_private.audit_change();
CREATE TRIGGER users_admin_removed_audited AFTER DELETE ON app_public.users FOR EACH ROW WHEN (old.is_admin) EXECUTE FUNCTION app_private.audit_change();
CREATE TRIGGER users_sessions_ended AFTER UPDATE OF is_admin, locked_at, deleted_at ON app_public.users FOR EACH ROW WHEN (((old.is_admin AND (NOT new.is_admin)) OR ((old.locked_at IS NULL) AND (new.locked_at IS NOT NULL)) OR ((old.deleted_at IS NULL) AND (new.deleted_at IS NOT NULL)))) EXECUTE FUNCTION app_private.end_user_sessions();
alter table app_public.users enable row level security;
alter table app_public.users force row level security;
create policy all_owner on app_public.users for all to owner using (true) with check (true);
create policy select_admin on app_public.users for select to forecourt_admin using (( SELECT app_public.is_admin() AS is_admin));
create policy select_self on app_public.users for select to forecourt_dealer using ((id = app_public.current_user_id()));
grant select (id, email, full_name, created_at, locale, email_verified_at) on table app_public.users to forecourt_dealer;
grant select (id, email, full_name, is_admin, dealer_limit, created_at, locale, email_verified_at, locked_at, deleted_at) on table app_public.users to forecourt_admin;
comment on column app_public.users.created_at is 'When the account was created.';
comment on column app_public.users.dealer_limit is '@behavior -attribute:select -attribute:filterBy -attribute:orderBy
How many dealers the account may create.';
comment on column app_public.users.deleted_at is '@behavior -attribute:select -attribute:filterBy -attribute:orderBy
When the user deleted the account. Its e-mail address and name are replaced then; null: the account exists.';
comment on column app_public.users.email is 'As normalize_email writes it, with the domain in ASCII; no two users have the same.';
comment on column app_public.users.email_verified_at is 'When the user proved that it reads the mail of its present address; null: not yet.';
comment on column app_public.users.full_name is 'The name that the person entered.';
comment on column app_public.users.id is 'Time-ordered; the `sub` of the access token.';
comment on column app_public.users.is_admin is '@behavior -attribute:select -attribute:filterBy -attribute:orderBy
Whether access tokens of this user have the role `admin`.';
comment on column app_public.users.locale is 'The language of mails to this user: en or de.';
comment on column app_public.users.locked_at is '@behavior -attribute:select -attribute:filterBy -attribute:orderBy
When an admin locked the account; null: it is not locked. A locked user can neither log in nor use a token.';
comment on constraint users_email_form on app_public.users is '@field email
Please enter an e-mail address such as name@example.com.';
comment on constraint users_full_name_length on app_public.users is '@field fullName
Please enter a name of 1 to 200 characters, at least one of them visible, in one line.';
comment on constraint users_locale_known on app_public.users is '@field locale
Please choose one of the languages en and de.';
comment on table app_public.users is 'A person with an account.';

create table app_public.vat_rates (
  id uuid default app_private.time_ordered_uuid() not null,
  country text not null,
  rate numeric not null,
  valid tstzrange not null,
  constraint vat_rates_country_form CHECK ((country ~ '^[A-Z]{2}$'::text)),
  constraint vat_rates_one_at_a_time EXCLUDE USING gist (country WITH =, valid WITH &&),
  constraint vat_rates_pkey PRIMARY KEY (id),
  constraint vat_rates_rate_range CHECK (((rate >= (0)::numeric) AND (rate <= (100)::numeric))),
  constraint vat_rates_rate_scale CHECK ((scale(rate) <= 4)),
  constraint vat_rates_valid_not_empty CHECK ((NOT isempty(valid)))
);
CREATE TRIGGER vat_rates_audited AFTER INSERT OR DELETE OR UPDATE ON app_public.vat_rates FOR EACH ROW EXECUTE FUNCTION app_private.audit_change();
CREATE TRIGGER vat_rates_truncation_audited AFTER TRUNCATE ON app_public.vat_rates FOR EACH STATEMENT EXECUTE FUNCTION app_private.audit_change();
CREATE TRIGGER vat_rates_written BEFORE INSERT OR UPDATE OF rate ON app_public.vat_rates FOR EACH ROW EXECUTE FUNCTION app_private.write_vat_rate();
alter table app_public.vat_rates enable row level security;
alter table app_public.vat_rates force row level security;
create policy all_owner on app_public.vat_rates for all to owner using (true) with check (true);
create policy select_all on app_public.vat_rates for select to forecourt_admin, forecourt_dealer, forecourt_visitor using (true);
grant select on table app_public.vat_rates to forecourt_admin;
grant select on table app_public.vat_rates to forecourt_dealer;
grant select on table app_public.vat_rates to forecourt_visitor;
comment on column app_public.vat_rates.country is 'ISO 3166-1 alpha-2.';
comment on column app_public.vat_rates.id is 'Time-ordered.';
comment on column app_public.vat_rates.rate is 'In percent, with 2 to 4 decimal places: 19.00 is 19 %.';
comment on column app_public.vat_rates.valid is 'When the rate is valid; its end is excluded.';
comment on constraint vat_rates_one_at_a_time on app_public.vat_rates is '@field validFrom
The country has a VAT rate in this period already. Please end that rate first.';
comment on constraint vat_rates_rate_range on app_public.vat_rates is '@field vatRate
Please enter the VAT rate in percent, from 0 to 100.';
comment on constraint vat_rates_rate_scale on app_public.vat_rates is '@field vatRate
Please enter the VAT rate with at most 4 decimal places.';
comment on table app_public.vat_rates is 'VAT rates of each country over time. A country has at most one rate at any moment.';

create view app_public.accounts (
  id /* uuid */,
  email /* text */,
  full_name /* text */,
  locale /* text */,
  is_admin /* boolean */,
  dealer_limit /* integer */,
  email_verified_at /* timestamp with time zone */,
  locked_at /* timestamp with time zone */,
  is_locked /* boolean */,
  deleted_at /* timestamp with time zone */,
  created_at /* timestamp with time zone */
) with (security_invoker=true) as
 SELECT u.id,
    u.email,
    u.full_name,
    u.locale,
    u.is_admin,
    u.dealer_limit,
    u.email_verified_at,
    u.locked_at,
    l.is_locked,
    u.deleted_at,
    u.created_at
   FROM (app_public.users u
     CROSS JOIN LATERAL ( SELECT (u.locked_at IS NOT NULL) AS is_locked) l);
grant select on table app_public.accounts to forecourt_admin;
comment on column app_public.accounts.created_at is '@notNull
@behavior -attribute:filterBy -attribute:orderBy
When the account was created.';
comment on column app_public.accounts.dealer_limit is '@notNull
@behavior -attribute:filterBy -attribute:orderBy
How many dealers the account may create.';
comment on column app_public.accounts.deleted_at is '@behavior -attribute:filterBy -attribute:orderBy
When the user deleted the account; null: the account exists.';
comment on column app_public.accounts.email is '@notNull
@behavior -attribute:orderBy
Normalised: in lower case.';
comment on column app_public.accounts.email_verified_at is '@behavior -attribute:filterBy -attribute:orderBy
When the user proved that it reads the mail of its present address; null: not yet.';
comment on column app_public.accounts.full_name is '@notNull
@behavior -attribute:filterBy -attribute:orderBy
The name that the person entered.';
comment on column app_public.accounts.id is '@notNull
Time-ordered.';
comment on column app_public.accounts.is_admin is '@notNull
@behavior -attribute:orderBy
Whether the user is an admin.';
comment on column app_public.accounts.is_locked is '@notNull
@behavior -attribute:orderBy
Whether an admin locked the account.';
comment on column app_public.accounts.locale is '@notNull
@behavior -attribute:filterBy -attribute:orderBy
The language of mails to this user: en or de.';
comment on column app_public.accounts.locked_at is '@behavior -attribute:filterBy -attribute:orderBy
When an admin locked the account; null: it is not locked.';
comment on view app_public.accounts is '@behavior +query:resource:connection
@connectionField users
@primaryKey id
The accounts of all users. For admins.';

create view app_public.moderation_queue (
  dealer_id /* uuid */,
  listing_id /* uuid */,
  reason /* app_public.moderation_reason */,
  since /* timestamp with time zone */
) with (security_invoker=true) as
 SELECT l.dealer_id,
    l.id AS listing_id,
    COALESCE(l.moderation_reason, 'new'::app_public.moderation_reason) AS reason,
    q.since
   FROM (app_public.listings l
     CROSS JOIN LATERAL ( SELECT
                CASE l.status
                    WHEN 'pending'::app_public.listing_status THEN COALESCE(l.moderation_since, l.created_at)
                    WHEN 'active'::app_public.listing_status THEN l.moderation_since
                    ELSE NULL::timestamp with time zone
                END AS since) q)
  WHERE ((q.since IS NOT NULL) AND app_public.is_open_dealer(l.dealer_id));
grant select on table app_public.moderation_queue to forecourt_admin;
comment on column app_public.moderation_queue.dealer_id is '@notNull
The dealer of the listing.';
comment on column app_public.moderation_queue.listing_id is '@notNull
The listing.';
comment on column app_public.moderation_queue.reason is '@notNull
Why it has to be reviewed.';
comment on column app_public.moderation_queue.since is '@notNull
Since when it waits.';
comment on view app_public.moderation_queue is '@behavior +query:resource:connection
@connectionField moderationQueue
@primaryKey since,listing_id
@foreignKey (dealer_id, listing_id) references app_public.listings (dealer_id, id)|@fieldName listing|@forwardBehavior +singularRelation:resource:single|@forwardDescription The listing to review.
The listings that an admin has to review with `moderateListing`, oldest first. For admins.';

create view app_public.pricing_gaps (
  country /* text */,
  missing /* text */,
  starts_at /* timestamp with time zone */,
  ends_at /* timestamp with time zone */,
  since /* timestamp with time zone */,
  key /* text */
) with (security_invoker=true) as
 WITH horizon AS (
         SELECT now() AS starts_at,
            (now() + '2160:00:00'::interval) AS ends_at
        ), countries AS (
         SELECT d.country
           FROM app_public.dealers d
          WHERE d.is_active
        UNION
         SELECT p.country
           FROM app_public.dealer_packages p
          WHERE p.is_active
        ), covered AS (
         SELECT c.country,
            'currency'::text AS missing,
            ( SELECT range_agg(tstzrange(NULL::timestamp with time zone, NULL::timestamp with time zone)) AS range_agg
                   FROM app_public.country_currencies cc
                  WHERE (cc.country = c.country)) AS times
           FROM countries c
        UNION ALL
         SELECT c.country,
            'vat_rate'::text,
            ( SELECT range_agg(v.valid) AS range_agg
                   FROM app_public.vat_rates v
                  WHERE (v.country = c.country)) AS range_agg
           FROM countries c
        UNION ALL
         SELECT c.country,
            'price'::text,
            ( SELECT range_agg(p.valid) AS range_agg
                   FROM app_public.price_configs p
                  WHERE ((p.country = c.country) AND (p.segment = 'dealer'::app_public.segment) AND (p.pricing_type = 'pay_per_listing'::app_public.pricing_type))) AS range_agg
           FROM countries c
        UNION ALL
         SELECT c.country,
            'package'::text,
            ( SELECT range_agg(tstzrange(NULL::timestamp with time zone, NULL::timestamp with time zone)) AS range_agg
                   FROM app_public.dealer_packages p
                  WHERE ((p.country = c.country) AND p.is_active)) AS range_agg
           FROM countries c
        ), gaps AS (
         SELECT co.country,
            co.missing,
            co.times,
            unnest((tstzmultirange(tstzrange(h_1.starts_at, h_1.ends_at)) - COALESCE(co.times, '{}'::tstzmultirange))) AS gap
           FROM (covered co
             CROSS JOIN horizon h_1)
        )
 SELECT g.country,
    g.missing,
    lower(g.gap) AS starts_at,
    NULLIF(upper(g.gap), h.ends_at) AS ends_at,
    s.since,
    concat_ws('/'::text, g.country, g.missing, to_char((s.since AT TIME ZONE 'UTC'::text), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'::text)) AS key
   FROM ((gaps g
     CROSS JOIN horizon h)
     CROSS JOIN LATERAL ( SELECT
                CASE
                    WHEN (lower(g.gap) = h.starts_at) THEN ( SELECT max(upper(r.r)) AS max
                       FROM unnest(g.times) r(r)
                      WHERE (upper(r.r) <= h.starts_at))
                    ELSE lower(g.gap)
                END AS since) s);
grant select on table app_public.pricing_gaps to forecourt_admin;
comment on column app_public.pricing_gaps.country is '@notNull
ISO 3166-1 alpha-2.';
comment on column app_public.pricing_gaps.ends_at is 'End of the gap; null: it does not end within the next 90 days.';
comment on column app_public.pricing_gaps.key is '@notNull
Country, missing configuration and since when: the same gap keeps its key.';
comment on column app_public.pricing_gaps.missing is '@notNull
currency, vat_rate, price or package.';
comment on column app_public.pricing_gaps.since is 'Since when the configuration is missing; null: it never existed.';
comment on column app_public.pricing_gaps.starts_at is '@notNull
@behavior -orderBy
Start of the gap within the next 90 days.';
comment on view app_public.pricing_gaps is '@behavior +query:resource:connection
@primaryKey key
Countries with dealers or packages, and the periods of the next 90 days in which their currency, VAT rate, listing price or package is missing. Requests that need it are refused with 409 then. For admins.';

CREATE OR REPLACE FUNCTION app_private.account_key(normalized_email text, address text DEFAULT NULL::text)
 RETURNS bytea
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  -- The length before each part keeps any two pairs apart. A separator alone could be part of an e-mail address.
  v_message constant bytea := convert_to(
    length(normalized_email) || ':' || normalized_email || coalesce(length(address) || ':' || address, ''), 'UTF8');
begin
  -- HMAC-SHA256 (RFC 2104).
  return (select sha256(k.outer_pad || sha256(k.inner_pad || v_message)) from app_private.account_keys as k);
end
$function$;
comment on function app_private.account_key(text,text) is 'The key under which the failed logins of an account are counted; with an address, those from that known client address. It is an HMAC, so the counters do not reveal e-mail addresses.';

CREATE OR REPLACE FUNCTION app_private.acting_user_id()
 RETURNS uuid
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  if app_private.current_api_key_id() is null then
    return app_public.current_user_id();
  end if;
  -- Also of a key that was revoked since its transaction began: a row that it writes needs its maker.
  return (
    select k.created_by from app_public.dealer_api_keys as k
    where k.dealer_id = nullif(current_setting('forecourt.dealer_id', true), '')::uuid and k.id = app_private.current_api_key_id());
end
$function$;
comment on function app_private.acting_user_id() is 'The person who answers for this transaction: the current user, or the maker of the API key. For what is recorded, never for rights.';

CREATE OR REPLACE FUNCTION app_private.activate_pending_subscriptions(dealer_ids uuid[] DEFAULT NULL::uuid[])
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_now constant timestamptz := clock_timestamp();
  v_dealer_ids constant uuid[] := coalesce(
    dealer_ids, array(select distinct p.dealer_id from app_public.dealer_subscriptions as p where p.status = 'pending'));
  v_activated integer;
begin
  with startable as (
    select p.dealer_id, p.id
    from unnest(v_dealer_ids) as d (id)
    join app_public.dealer_subscriptions as p on p.dealer_id = d.id and p.status = 'pending'
    where not exists (
      select from app_public.dealer_subscriptions as other
      -- `<>` as in lock_dealer: without statistics the indexes by status would read the subscriptions of all dealers.
      where other.dealer_id = p.dealer_id and other.status <> 'expired'
        and (other.status <> 'cancelled' or other.end_at > v_now)
        and (other.status <> 'pending' or other.id < p.id))
    order by p.id
    for update of p skip locked
  ), activated as (
    update app_public.dealer_subscriptions as s
    set status = 'active', start_at = v_now, end_at = v_now + s.duration_days * interval '24 hours', updated_at = v_now
    from startable
    where s.dealer_id = startable.dealer_id and s.id = startable.id
    returning s.dealer_id, s.end_at
  )
  select count(app_private.schedule_expiry(a.dealer_id, a.end_at))::integer into v_activated from activated as a;
  return v_activated;
end
$function$;
comment on function app_private.activate_pending_subscriptions(uuid[]) is 'Starts the oldest pending subscription of each of these dealers (null: of all) that has no running one, and returns how many. Their paid time starts now.';

CREATE OR REPLACE FUNCTION app_private.alert_pricing_gaps()
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.alert_pricing_gaps() is 'Raises one alert a day (UTC) for each country and missing configuration that pricing_gaps shows, and returns the number of new alerts.';

CREATE OR REPLACE FUNCTION app_private.announce_rate_limit_policies()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  perform pg_notify('rate_limit_policies', '');
  new.updated_at := clock_timestamp();
  new.updated_by := session_user::text;
  return new;
end
$function$;
comment on function app_private.announce_rate_limit_policies() is 'Trigger: notifies every API process that the limits have changed, and records who changed them.';

CREATE OR REPLACE FUNCTION app_private.approve_listing(listing app_public.listings, at timestamp with time zone)
 RETURNS app_public.listings
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_listing app_public.listings;
begin
  if listing.status = 'active' then
    -- The trigger records changes of status only.
    perform app_private.write_audit_log(
      'APPROVE_LISTING', 'listings', listing.id, jsonb_build_object('moderationReason', listing.moderation_reason), null);
  else
    listing.published_at := at;
    listing.expires_at := at + listing.listing_days * interval '24 hours';
  end if;
  update app_public.listings as l
  set status = 'active', published_at = listing.published_at, expires_at = listing.expires_at,
    moderation_reason = null, moderation_since = null, updated_at = at
  where l.dealer_id = listing.dealer_id and l.id = listing.id
  returning l.* into v_listing;
  return v_listing;
end
$function$;
comment on function app_private.approve_listing(app_public.listings,timestamp with time zone) is 'Approves a listing: a pending one becomes active, and each leaves the moderation queue. The caller holds its lock.';

CREATE OR REPLACE FUNCTION app_private.are_urls(urls text[])
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE STRICT
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.are_urls(text[]) is 'Whether each element is a URL of http or https of at most 2,000 characters, without blanks and other invisible characters. Ignores nulls.';

CREATE OR REPLACE FUNCTION app_private.audit_change()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  -- Personal data and hashes of tokens must not enter an audit trail that nobody can edit.
  v_withheld constant text[] := array['email', 'full_name', 'token_hash', 'secret_hash'];
  v_old jsonb := to_jsonb(old) - v_withheld;
  v_new jsonb := to_jsonb(new) - v_withheld;
  v_id constant uuid := (coalesce(v_new, v_old) ->> 'id')::uuid;
begin
  if v_old = v_new then
    return null;
  end if;
  if tg_op = 'UPDATE' then
    select jsonb_object_agg(o.key, o.value), jsonb_object_agg(o.key, v_new -> o.key) into v_old, v_new
    from jsonb_each(v_old) as o
    where o.value is distinct from v_new -> o.key or o.key = any (tg_argv);
  end if;
  perform app_private.write_audit_log(tg_op, tg_table_name, v_id, v_old, v_new);
  return null;
end
$function$;
comment on function app_private.audit_change() is 'Trigger: records an insert, update, delete or truncate with the values before and after. An update records the changed columns, and the columns named by the trigger''s arguments: the key of a table without `id`.';

CREATE OR REPLACE FUNCTION app_private.audit_login(action text, normalized_email text, address text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  -- The address is 'unknown' when express has none.
  perform app_private.write_audit_log(
    audit_login.action, 'users', null, null,
    jsonb_build_object('account', left(encode(app_private.account_key(normalized_email), 'hex'), 16)),
    case when address ~ '[.:]' then address::inet end);
end
$function$;
comment on function app_private.audit_login(text,text,text) is 'Records a failed or blocked login: the client''s address, and the beginning of the account_key. The key identifies nobody, and it is computed the same way for an account that does not exist.';

CREATE OR REPLACE FUNCTION app_private.audit_state_change()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_verb constant text := case new.status::text
    when 'active' then case when tg_argv[0] <> 'LISTING' then 'START' when old.status::text = 'expired' then 'RENEW' else 'APPROVE' end
    when 'expired' then 'EXPIRE' when 'cancelled' then 'CANCEL' when 'paid' then 'PAY' when 'void' then 'VOID'
    when 'rejected' then 'REJECT' when 'withdrawn' then 'WITHDRAW' when 'sold' then 'SELL' when 'pending' then 'RESUBMIT' end;
begin
  perform app_private.write_audit_log(
    v_verb || '_' || tg_argv[0], tg_table_name, new.id,
    jsonb_build_object('status', old.status),
    jsonb_strip_nulls(jsonb_build_object(
      'status', new.status, 'grossTotal', to_jsonb(new) -> 'gross_total', 'reason', to_jsonb(new) -> 'rejection_reason')));
  return null;
end
$function$;
comment on function app_private.audit_state_change() is 'Trigger: records each new status of a subscription, an invoice or a listing, such as START_SUBSCRIPTION or PAY_INVOICE. The trigger''s argument is the noun.';

CREATE OR REPLACE FUNCTION app_private.begin_job_run(task text, worker_id text DEFAULT NULL::text)
 RETURNS uuid
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_id uuid;
begin
  perform app_private.release_dead_workers();
  -- Runs that counted something are kept: subscriptions_expired_total sums them and must not fall.
  delete from app_private.job_runs as r
  where r.task = begin_job_run.task and r.counted = 0 and r.finished_at is not null
    and r.started_at < clock_timestamp() - app_private.operation_retention();
  insert into app_private.job_runs (task, worker_id, backend_pid, backend_started_at)
  select begin_job_run.task, begin_job_run.worker_id, a.pid, a.backend_start
  from pg_stat_activity as a
  where a.pid = pg_backend_pid()
  returning id into v_id;
  return v_id;
end
$function$;
comment on function app_private.begin_job_run(text,text) is 'Starts a run of a task and returns its id. Releases dead workers, and deletes empty runs that are older than operation_retention. The run ends with finish_job_run, or with this connection.';

CREATE OR REPLACE FUNCTION app_private.charge_listing(listing app_public.listings, action app_public.consumption_kind, idempotency_key uuid, at timestamp with time zone)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_dealer app_public.dealers;
  v_number integer;
  v_subscription app_public.dealer_subscriptions;
  v_open app_public.dealer_subscriptions[];
  v_kept app_public.dealer_subscriptions[];
  v_is_kept boolean;
  v_decision app_private.publication_decision;
begin
  select d.* into v_dealer from app_public.dealers as d where d.id = listing.dealer_id;
  perform app_private.require_publisher(v_dealer);
  -- A publication that was not given back is not counted: its number is then taken, and the key refuses a second one.
  select 1 + count(*)::integer into v_number
  from app_public.listing_consumptions as lc
  where lc.dealer_id = listing.dealer_id and lc.listing_id = listing.id and lc.kind = action
    and (action <> 'publication' or exists (
      select from app_public.listing_consumptions as r where r.dealer_id = lc.dealer_id and r.reverses = lc.id));
  if listing.holds_slot then
    foreach v_subscription in array app_private.open_subscriptions(listing.dealer_id, charge_listing.at) loop
      if v_subscription.quota_kind = 'concurrent' then
        v_is_kept := v_subscription.start_at <= charge_listing.at and charge_listing.at < v_subscription.end_at
          and app_private.count_free_slots(v_subscription, charge_listing.at) >= 0;
        -- Its own slot counts as free.
        v_subscription.included_listing_quota := v_subscription.included_listing_quota + 1;
        -- It keeps its slot and costs nothing, unless more slots are in use than the package includes.
        v_kept := case when v_is_kept then array[v_subscription] else v_kept end;
      end if;
      v_open := v_open || v_subscription;
    end loop;
  end if;
  v_decision := app_private.decide_publication(
    v_dealer.id, v_dealer.country, charge_listing.at, v_dealer.has_free_quota and v_kept is null, coalesce(v_kept, v_open));
  if listing.holds_slot and v_decision.takes_slot then
    v_decision.takes_slot := false;
  end if;
  perform app_private.record_consumption(
    v_decision, listing.id, action, app_private.acting_user_id(), v_number, charge_listing.idempotency_key);
  return v_decision.takes_slot is not null;
end
$function$;
comment on function app_private.charge_listing(app_public.listings,app_public.consumption_kind,uuid,timestamp with time zone) is 'Charges the publication or renewal of an existing listing as create_listing charges a new one: one function decides both. A listing that holds a slot keeps it at no cost while no more slots are in use than its package includes. Returns whether the listing holds a slot from now on; the caller writes that. The caller holds the locks of the dealer and the listing. Raises what decide_publication and require_publisher raise.';

CREATE OR REPLACE FUNCTION app_private.check_dealer_subscription(status app_public.subscription_status, duration_days integer, start_at timestamp with time zone, end_at timestamp with time zone, included_listing_quota integer, used_listing_quota integer, included_premium_quota integer, used_premium_quota integer, included_highlight_quota integer, used_highlight_quota integer)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
AS $function$
begin
  return case
    when not duration_days > 0
      then app_private.refuse_row('dealer_subscriptions', 'dealer_subscriptions_duration_days_positive',
        format('A subscription cannot last %s days.', duration_days))
    when not end_at > start_at
      then app_private.refuse_row('dealer_subscriptions', 'dealer_subscriptions_ends_after_start', 'A subscription ends after its start.')
    when not case status
        when 'pending' then start_at is null and end_at is null
        when 'cancelled' then (start_at is null) = (end_at is null)
        else start_at is not null and end_at is not null
      end
      then app_private.refuse_row('dealer_subscriptions', 'dealer_subscriptions_started_has_times',
        format('A subscription that is %s has another start or end than its status needs.', status))
    when not (
        used_listing_quota between 0 and included_listing_quota
        and used_premium_quota between 0 and included_premium_quota
        and used_highlight_quota between 0 and included_highlight_quota)
      then app_private.refuse_row('dealer_subscriptions', 'dealer_subscriptions_used_within_included',
        'A used quota is negative or exceeds the included one.')
    else true
  end;
end
$function$;
comment on function app_private.check_dealer_subscription(app_public.subscription_status,integer,timestamp with time zone,timestamp with time zone,integer,integer,integer,integer,integer,integer) is 'The rules of a subscription. The first that is broken, in the order of their names, refuses the row; a rule that is null holds.';

CREATE OR REPLACE FUNCTION app_private.check_invoice(kind app_public.invoice_kind, status app_public.invoice_status, period_start date, paid_at timestamp with time zone, net_total numeric, vat_total numeric, gross_total numeric)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
AS $function$
begin
  return case
    when not (kind = 'monthly') = (period_start is not null)
      then app_private.refuse_row('invoices', 'invoices_monthly_has_period', 'A monthly invoice, and no other, has a month.')
    when not (status = 'paid') = (paid_at is not null)
      then app_private.refuse_row('invoices', 'invoices_paid_has_time', 'A paid invoice, and no other, has the time of its payment.')
    when not extract(day from period_start) = 1
      then app_private.refuse_row('invoices', 'invoices_period_starts_month', format('%s is not the first day of a month.', period_start))
    -- A month in which more was given back than charged is negative.
    when not (gross_total = net_total + vat_total and (kind = 'monthly' or net_total >= 0 and vat_total >= 0))
      then app_private.refuse_row('invoices', 'invoices_totals_add_up',
        format('The totals are negative or do not add up: %s + %s = %s.', net_total, vat_total, gross_total))
    else true
  end;
end
$function$;
comment on function app_private.check_invoice(app_public.invoice_kind,app_public.invoice_status,date,timestamp with time zone,numeric,numeric,numeric) is 'The rules of an invoice. The first that is broken, in the order of their names, refuses the row; a rule that is null holds.';

CREATE OR REPLACE FUNCTION app_private.check_invoice_item(price_config_id uuid, package_id uuid, price_version integer, unit_price_net numeric, discount numeric, quantity integer, net_amount numeric, vat_amount numeric, gross_amount numeric)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
AS $function$
begin
  return case
    when not (gross_amount = net_amount + vat_amount and net_amount * quantity >= 0 and vat_amount * quantity >= 0)
      then app_private.refuse_row('invoice_items', 'invoice_items_amounts_add_up',
        format('The amounts have another sign than the quantity, or do not add up: %s + %s = %s.', net_amount, vat_amount, gross_amount))
    when not discount between 0 and unit_price_net
      then app_private.refuse_row('invoice_items', 'invoice_items_discount_within_price',
        format('The discount %s is not between 0 and the price %s.', discount, unit_price_net))
    when not num_nonnulls(price_config_id, package_id) = 1
      then app_private.refuse_row('invoice_items', 'invoice_items_one_origin', 'An item is either for a price or for a package.')
    when not quantity <> 0
      then app_private.refuse_row('invoice_items', 'invoice_items_quantity_not_zero', 'An item has a quantity.')
    when not (price_config_id is null) = (price_version is null)
      then app_private.refuse_row('invoice_items', 'invoice_items_version_of_price', 'A price needs its version, and a version its price.')
    else true
  end;
end
$function$;
comment on function app_private.check_invoice_item(uuid,uuid,integer,numeric,numeric,integer,numeric,numeric,numeric) is 'The rules of an invoice item. The first that is broken, in the order of their names, refuses the row; a rule that is null holds.';

CREATE OR REPLACE FUNCTION app_private.check_ledger(listings_in_order_since timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS app_private.ledger_checks
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.check_ledger(timestamp with time zone) is 'Verifies the ledger, stores the result in ledger_checks, and raises an alert, once a day (UTC), if a rule is broken. A caller that has already checked all listings with verify_listings_from passes the start of that check; the rules about listings are then skipped.';

CREATE OR REPLACE FUNCTION app_private.check_listing(title text, description text, module text, price numeric, attributes jsonb, images text[], external_id text, published_at timestamp with time zone, expires_at timestamp with time zone, rejected_at timestamp with time zone, rejection_reason text, moderation_reason app_public.moderation_reason, moderation_since timestamp with time zone)
 RETURNS app_private.refusal
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
AS $function$
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
$function$;
comment on function app_private.check_listing(text,text,text,numeric,jsonb,text[],text,timestamp with time zone,timestamp with time zone,timestamp with time zone,text,app_public.moderation_reason,timestamp with time zone) is 'The rules of a listing. Returns the refusal of the first that is broken, in the order of their names; null if all hold. A rule that is null holds. The CHECK of the table raises the refusal, and create_listings returns it.';

CREATE OR REPLACE FUNCTION app_private.check_listing_consumption(kind app_public.consumption_kind, number integer, source app_public.consumption_source, subscription_id uuid, price_config_id uuid, invoice_item_id uuid, net_amount numeric, vat_amount numeric, gross_amount numeric, reverses uuid)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
AS $function$
begin
  return case
    when not (gross_amount = net_amount + vat_amount
        and case kind when 'reversal' then net_amount <= 0 and vat_amount <= 0 else net_amount >= 0 and vat_amount >= 0 end)
      then app_private.refuse_row('listing_consumptions', 'listing_consumptions_amounts_add_up',
        format('The amounts have the wrong sign or do not add up: %s + %s = %s.', net_amount, vat_amount, gross_amount))
    when not number > 0
      then app_private.refuse_row('listing_consumptions', 'listing_consumptions_number_positive', 'The rows of a kind are counted from 1.')
    when not (source = 'paid_extra' or net_amount = 0)
      then app_private.refuse_row('listing_consumptions', 'listing_consumptions_only_extras_cost',
        format('A %s costs nothing, but its net amount is %s.', source, net_amount))
    when not (kind = 'reversal') = (reverses is not null)
      then app_private.refuse_row('listing_consumptions', 'listing_consumptions_reversal_has_row',
        'A reversal, and no other row, refers to the row that it gives back.')
    when not case source
        when 'free_quota' then num_nonnulls(subscription_id, price_config_id, invoice_item_id) = 0
        -- Where the subscription has ended, its reversal gives no quota back and does not name it.
        when 'subscription_quota' then (subscription_id is not null or kind = 'reversal') and num_nonnulls(price_config_id, invoice_item_id) = 0
        -- Where the invoice is void, the reversal has no item.
        when 'paid_extra' then subscription_id is null and price_config_id is not null and (invoice_item_id is not null or kind = 'reversal')
      end
      then app_private.refuse_row('listing_consumptions', 'listing_consumptions_source_has_proof',
        format('A %s has another subscription, price or invoice item than its source needs.', source))
    else true
  end;
end
$function$;
comment on function app_private.check_listing_consumption(app_public.consumption_kind,integer,app_public.consumption_source,uuid,uuid,uuid,numeric,numeric,numeric,uuid) is 'The rules of a ledger row. The first that is broken, in the order of their names, refuses the row; a rule that is null holds.';

CREATE OR REPLACE FUNCTION app_private.clear_promotions()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  new.is_premium := false;
  new.premium_until := null;
  new.is_highlighted := false;
  new.highlighted_until := null;
  return new;
end
$function$;
comment on function app_private.clear_promotions() is 'Trigger: the promotions of a listing end when it is no longer active, and when it is renewed after its end.';

CREATE OR REPLACE FUNCTION app_private.close_expired_checkout(dealer_id uuid, at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  perform app_private.void_checkout(c.dealer_id, c.invoice_id, close_expired_checkout.at)
  from app_public.checkouts as c
  where c.dealer_id = close_expired_checkout.dealer_id and c.closed_at is null and c.expires_at <= close_expired_checkout.at;
end
$function$;
comment on function app_private.close_expired_checkout(uuid,timestamp with time zone) is 'Voids the dealer''s open checkout if its offer has expired, so that a new purchase can start.';

CREATE OR REPLACE FUNCTION app_private.confirm_email(user_id uuid, email text)
 RETURNS app_public.users
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_before app_public.users;
  v_user app_public.users;
begin
  select u.* into v_before from app_public.users as u where u.id = confirm_email.user_id for no key update;
  update app_public.users as u
  set email = confirm_email.email,
    email_verified_at = case when u.email = confirm_email.email then coalesce(u.email_verified_at, clock_timestamp()) else clock_timestamp() end
  where u.id = confirm_email.user_id
  returning u.* into v_user;
  if v_before.email <> v_user.email then
    perform app_private.forget_failed_logins(v_before.email);
    delete from app_private.known_addresses as k where k.account_key = app_private.account_key(v_before.email);
  end if;
  if v_before.email_verified_at is null then
    update app_public.dealers as d set has_free_quota = true
    from app_private.dealer_creations as c
    where c.user_id = confirm_email.user_id and c.number = 1 and d.id = c.created_id and not d.has_free_quota;
  end if;
  return v_user;
exception when unique_violation then
  raise exception using
    errcode = 'FC008',
    message = 'Another account has this e-mail address by now. Please choose another one.',
    detail = jsonb_build_object('field', 'email')::text;
end
$function$;
comment on function app_private.confirm_email(uuid,text) is 'Records that the user reads the mail of this address, which becomes its own, and returns the user. The first time, the first dealer of the account gets its free listings. Raises FC008 if another account has the address.';

CREATE OR REPLACE FUNCTION app_private.count_free_slots(subscription app_public.dealer_subscriptions, at timestamp with time zone)
 RETURNS integer
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_free_slots integer;
begin
  select subscription.included_listing_quota - d.slots_in_use + (
    -- From its end on a listing holds no slot, whether or not its end has been recorded.
    select count(*)::integer
    from app_public.listings as l
    where l.dealer_id = d.id and l.holds_slot and l.status = 'active' and l.expires_at <= count_free_slots.at)
  into v_free_slots
  from app_public.dealers as d
  where d.id = subscription.dealer_id and (subscription.status = 'pending' or not exists (
    select from app_public.dealer_subscriptions as s
    where s.dealer_id = d.id and s.status <> 'expired' and s.quota_kind = 'concurrent'
      and s.start_at <= count_free_slots.at and count_free_slots.at < s.end_at
      and (s.included_listing_quota, s.id) > (subscription.included_listing_quota, subscription.id)));
  return v_free_slots;
end
$function$;
comment on function app_private.count_free_slots(app_public.dealer_subscriptions,timestamp with time zone) is 'How many more listings fit into a CONCURRENT subscription at a moment, as if a pending one had been started. Slots belong to the dealer, so all its listings that hold one count. Negative where more do than it includes, such as after a downgrade; null where a larger one runs too, which has the slots of both.';

CREATE OR REPLACE FUNCTION app_private.current_api_key()
 RETURNS app_public.dealer_api_keys
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_key app_public.dealer_api_keys;
begin
  select k.* into v_key
  from app_public.dealer_api_keys as k
  where k.dealer_id = nullif(current_setting('forecourt.dealer_id', true), '')::uuid
    and k.id = app_private.current_api_key_id() and app_private.is_valid_api_key(k);
  return v_key;
end
$function$;
comment on function app_private.current_api_key() is 'The API key of this transaction, if it may be used now, whatever the API has cached; otherwise null.';

CREATE OR REPLACE FUNCTION app_private.current_api_key_id()
 RETURNS uuid
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN (NULLIF(current_setting('forecourt.api_key_id'::text, true), ''::text))::uuid;
comment on function app_private.current_api_key_id() is 'The API key of this transaction; null without one. A transaction of an API key has no current user. The API sets `forecourt.api_key_id` and, with the dealer of the key, `forecourt.dealer_id`.';

CREATE OR REPLACE FUNCTION app_private.dealers_of_account(user_id uuid)
 RETURNS uuid[]
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
  select array(
    select du.dealer_id from app_public.dealer_users as du where du.user_id = dealers_of_account.user_id
    union
    select i.dealer_id from app_public.dealer_invitations as i
    where i.created_by = dealers_of_account.user_id and i.accepted_at is null and i.revoked_at is null
    union
    select i.dealer_id from app_public.dealer_invitations as i
    join app_public.users as u on u.email = i.email
    where u.id = dealers_of_account.user_id
    order by 1)
$function$;
comment on function app_private.dealers_of_account(uuid) is 'The dealers whose members and invitations the deletion of the account changes, in the order of ids.';

CREATE OR REPLACE FUNCTION app_private.decide_promotion(listing app_public.listings, kind app_public.promotion_kind, at timestamp with time zone, OUT decision app_private.publication_decision, OUT starts_at timestamp with time zone, OUT ends_at timestamp with time zone)
 RETURNS record
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_pricing_type constant app_public.pricing_type := (decide_promotion.kind::text || '_fee')::app_public.pricing_type;
  v_dealer app_public.dealers;
  v_gate app_private.pricing_gate;
  v_price app_public.price_configs;
  v_item app_public.invoice_items;
  v_subscription app_public.dealer_subscriptions;
  v_quota integer;
  v_first app_public.dealer_subscriptions;
  v_running integer;
  v_pending app_public.dealer_subscriptions;
  v_pending_quota integer;
begin
  -- @plpgsql_check_options: extra_warnings = off
  select d.* into v_dealer from app_public.dealers as d where d.id = listing.dealer_id;
  perform app_private.require_publisher(v_dealer);
  if listing.status <> 'active' or listing.expires_at <= at then
    perform app_private.refuse_listing_status(listing.status, 'Only an active listing that has not ended can be promoted.');
  end if;
  v_gate := app_private.pass_pricing_gate(v_dealer.country, 'dealer', v_pricing_type, at);
  -- Also where quota pays: the price has the duration.
  v_price := app_private.find_price(v_dealer.country, 'dealer', v_pricing_type, at);
  foreach v_subscription in array app_private.open_subscriptions(v_dealer.id, at) loop
    v_quota := case decide_promotion.kind
      when 'premium' then v_subscription.included_premium_quota - v_subscription.used_premium_quota
      else v_subscription.included_highlight_quota - v_subscription.used_highlight_quota
    end;
    if v_subscription.start_at <= at then
      v_running := coalesce(v_running, 0) + v_quota;
      if v_quota > 0 and (v_first.id is null or v_subscription.end_at < v_first.end_at) then
        v_first := v_subscription;
      end if;
    elsif v_subscription.status = 'pending' and v_pending.id is null then
      v_pending := v_subscription;
      v_pending_quota := v_quota;
    end if;
  end loop;
  -- Where none runs, the oldest pending one is due to start.
  if v_running is null and v_pending_quota > 0 then
    v_first := v_pending;
    v_running := v_pending_quota;
  end if;
  v_item := app_private.price_item(case when v_first.id is null then v_price.unit_price_net else 0 end, v_gate);
  decision.dealer_id := v_dealer.id;
  decision.country := v_dealer.country;
  decision.at := at;
  decision.source := case when v_first.id is null then 'paid_extra' else 'subscription_quota' end::app_public.consumption_source;
  decision.subscription_id := v_first.id;
  decision.starts_subscription := v_first.status is not distinct from 'pending';
  decision.price_config_id := case when v_first.id is null then v_price.id end;
  decision.price_version := case when v_first.id is null then v_price.price_version end;
  decision.unit_price_net := v_item.unit_price_net;
  decision.net_amount := v_item.net_amount;
  decision.vat_rate := v_item.vat_rate;
  decision.vat_amount := v_item.vat_amount;
  decision.gross_amount := v_item.gross_amount;
  decision.currency := v_item.currency;
  decision.minor_units := v_gate.minor_units::integer;
  decision.subscription_remaining := coalesce(v_running, 0);
  decision.takes_slot := false;
  starts_at := greatest(at, case decide_promotion.kind when 'premium' then listing.premium_until else listing.highlighted_until end);
  ends_at := starts_at + v_price.duration_days * interval '24 hours';
end
$function$;
comment on function app_private.decide_promotion(app_public.listings,app_public.promotion_kind,timestamp with time zone) is 'Decides what pays for a promotion of a listing at a moment, and from when to when it lasts: the pricing gate, then quota of its kind in the running subscription that ends first, then the price of its kind. It starts at the end of the running one of its kind, if there is one. Without a running subscription, it decides as if the oldest pending one had been started. Quotes and charges both use it; a charge is exact because its caller holds the locks of the dealer and the listing. Raises FC003 if the dealer may not publish, FC005 and FC006 for missing or ambiguous configuration, FC008 unless the listing is active.';

CREATE OR REPLACE FUNCTION app_private.decide_publication(dealer_id uuid, country text, at timestamp with time zone, has_free_quota boolean DEFAULT true, subscriptions app_public.dealer_subscriptions[] DEFAULT NULL::app_public.dealer_subscriptions[])
 RETURNS app_private.publication_decision
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_decision app_private.publication_decision;
  v_vat_rates numeric[];
  v_free_listings integer;
  v_since timestamptz;
  v_subscription app_public.dealer_subscriptions;
  v_first app_public.dealer_subscriptions;
  v_remaining integer;
  v_is_running boolean;
  v_overage_blocked boolean;
  v_price app_public.price_configs;
begin
  select decide_publication.dealer_id, cc.country, decide_publication.at, c.code, c.minor_units::integer, 0, 0, q.quota_amount, decide_publication.at - q.period_days * interval '24 hours',
    array(select r.rate from app_public.vat_rates as r where r.country = cc.country and r.valid @> decide_publication.at)
  into v_decision.dealer_id, v_decision.country, v_decision.at, v_decision.currency, v_decision.minor_units, v_decision.free_remaining, v_decision.subscription_remaining, v_free_listings, v_since, v_vat_rates
  from app_public.country_currencies as cc join app_public.currencies as c on c.code = cc.currency
  left join app_public.free_quota_configs as q on q.country = cc.country and q.segment = 'dealer' and q.valid @> decide_publication.at
  where cc.country = decide_publication.country;
  if cardinality(v_vat_rates) is distinct from 1 then
    perform app_private.pass_pricing_gate(decide_publication.country, 'dealer', 'pay_per_listing', decide_publication.at);
  end if;
  if v_free_listings > 0 and decide_publication.has_free_quota then
    select greatest(v_free_listings - coalesce(sum(case when lc.reverses is null then 1 else -(
      select count(*)::integer from app_public.listing_consumptions as o where o.id = lc.reverses and o.dealer_id = lc.dealer_id and o.created_at > v_since) end), 0)::integer, 0)
    into v_decision.free_remaining from app_public.listing_consumptions as lc where lc.dealer_id = decide_publication.dealer_id and lc.source = 'free_quota' and lc.created_at > v_since;
  end if;
  foreach v_subscription in array coalesce(decide_publication.subscriptions, app_private.open_subscriptions(decide_publication.dealer_id, decide_publication.at)) loop
    v_remaining := case v_subscription.quota_kind when 'per_period' then v_subscription.included_listing_quota - v_subscription.used_listing_quota
      else greatest(app_private.count_free_slots(v_subscription, decide_publication.at), 0) end;
    v_is_running := v_subscription.start_at <= decide_publication.at and decide_publication.at < v_subscription.end_at;
    if v_is_running then
      v_decision.subscription_remaining := v_decision.subscription_remaining + v_remaining;
      v_overage_blocked := v_subscription.overage = 'block' and coalesce(v_overage_blocked, true);
    end if;
    if v_remaining > 0 and (v_is_running and coalesce(v_subscription.end_at < v_first.end_at, true) or v_subscription.status = 'pending' and v_first.id is null) then
      v_first := v_subscription;
      v_decision.pays_for := v_remaining;
    end if;
  end loop;
  v_decision.subscription_remaining := case v_first.status when 'pending' then v_decision.pays_for else v_decision.subscription_remaining end;
  if v_decision.free_remaining > 0 then
    v_decision.source := 'free_quota';
    v_decision.pays_for := v_decision.free_remaining;
  elsif v_first.id is not null then
    v_decision.source := 'subscription_quota';
    v_decision.subscription_id := v_first.id;
    v_decision.takes_slot := case v_first.quota_kind when 'concurrent' then true end;
  elsif v_overage_blocked then
    perform app_private.refuse_overage(decide_publication.country);
  else
    v_decision.source := 'paid_extra';
    v_price := app_private.find_price(decide_publication.country, 'dealer', 'pay_per_listing', decide_publication.at);
    v_decision.price_config_id := v_price.id;
    v_decision.price_version := v_price.price_version;
  end if;
  v_decision.starts_subscription := v_decision.source = 'subscription_quota' and v_first.status = 'pending';
  v_decision.unit_price_net := app_private.money(coalesce(v_price.unit_price_net, 0.0), v_decision.minor_units);
  v_decision.net_amount := round(v_decision.unit_price_net, v_decision.minor_units);
  v_decision.vat_rate := v_vat_rates[1];
  v_decision.vat_amount := app_private.vat_amount(v_decision.net_amount, v_decision.vat_rate, v_decision.minor_units);
  v_decision.gross_amount := v_decision.net_amount + v_decision.vat_amount;
  return v_decision;
end
$function$;
comment on function app_private.decide_publication(uuid,text,timestamp with time zone,boolean,app_public.dealer_subscriptions[]) is 'Decides what pays for a dealer''s next publication or renewal at a moment: the pricing gate, then free quota, subscription, price. A free row that was given back does not count, and neither does its reversal, even if only the reversal lies in the period. Of the subscriptions that run, cancelled ones included, the one that ends first is used first; a CONCURRENT one has as many listings left as it has free slots. `pays_for` says how many publications in a row it holds for. If no running subscription has quota left, it decides as if the oldest pending one with quota had been started. Quotes and charges both use it; a charge is exact because its caller holds the dealer''s locks and passes the subscriptions that it has locked (null: they are read). Raises FC005 and FC006 for missing or ambiguous configuration, FC009 if the package forbids overage.';

CREATE OR REPLACE FUNCTION app_private.decide_purchase(dealer app_public.dealers, package_id uuid, at timestamp with time zone)
 RETURNS app_private.purchase_decision
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_gate app_private.pricing_gate;
  v_open app_public.checkouts;
  v_decision app_private.purchase_decision;
begin
  if not dealer.is_active then
    raise exception using
      errcode = 'FC003',
      message = 'This dealer is closed. Please contact support.',
      detail = jsonb_build_object('field', 'dealerId')::text;
  end if;
  v_gate := app_private.pass_pricing_gate(dealer.country, 'dealer', null, decide_purchase.at);
  v_decision.package := app_private.find_package(decide_purchase.package_id, dealer.country);
  select c.* into v_open
  from app_public.checkouts as c
  where c.dealer_id = dealer.id and c.closed_at is null and c.expires_at > decide_purchase.at;
  if found then
    raise exception using
      errcode = 'FC008',
      message = 'Another purchase of this dealer is waiting for its payment. Pay that invoice, or cancel that checkout.',
      detail = jsonb_build_object('checkoutId', v_open.invoice_id, 'invoiceId', v_open.invoice_id, 'expiresAt', v_open.expires_at)::text;
  end if;
  v_decision.item := app_private.price_item((v_decision.package).price_net, v_gate);
  return v_decision;
end
$function$;
comment on function app_private.decide_purchase(app_public.dealers,uuid,timestamp with time zone) is 'Decides whether a dealer can buy a package at a moment, and for which amounts. Only reads, so quote_package and buy_package both call it and a quote equals its charge. Raises FC003 for a closed dealer, FC005 and FC006 by the pricing gate, FC004 and FC010 for the package, FC008 while another checkout is open.';

CREATE OR REPLACE FUNCTION app_private.describe_session(session_id uuid)
 RETURNS app_private.opened_session
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
  select s.id, s.expires_at, u.id, u.email, u.full_name, u.is_admin
  from app_private.sessions as s
  join app_public.users as u on u.id = s.user_id
  where s.id = describe_session.session_id
$function$;
comment on function app_private.describe_session(uuid) is 'What the API needs to answer with a session; null if it does not exist.';

CREATE OR REPLACE FUNCTION app_private.drop_audit_partition(month date, reason text)
 RETURNS bigint
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '2s'
AS $function$
declare
  v_name constant text := to_char(month::timestamp, '"app_private.audit_logs_"YYYY_MM');
  v_count bigint;
begin
  if month is null or month >= date_trunc('month', now() at time zone 'UTC') then
    raise exception using errcode = 'FC010', message = 'Only a month that has ended can be dropped.';
  elsif reason is null or reason !~ '\S' then
    raise exception using errcode = 'FC010', message = 'Please give a reason. It is kept in the audit trail.';
  elsif to_regclass(v_name) is null then
    raise exception using errcode = 'FC004', message = format('There is no partition %s.', v_name);
  end if;
  execute format('select count(*) from %s', v_name) into v_count;
  perform app_private.write_audit_log(
    'DROP_AUDIT_LOGS', 'audit_logs', null,
    jsonb_build_object('partition', v_name, 'count', v_count), jsonb_build_object('reason', reason));
  execute format('alter table app_public.audit_logs detach partition %s', v_name);
  execute format('drop table %s', v_name);
  return v_count;
end
$function$;
comment on function app_private.drop_audit_partition(date,text) is 'The only way to remove rows from the audit trail: drops the partition of a month that has ended, returns the number of its rows, and records the caller and the reason as DROP_AUDIT_LOGS. For the retention job and the database owner. Raises FC010 for a month that has not ended or without a reason, FC004 if there is no such partition.';

CREATE OR REPLACE FUNCTION app_private.end_expiry(is_complete boolean DEFAULT false, task text DEFAULT 'expire_subscriptions'::text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_now constant timestamptz := clock_timestamp();
  v_source record := app_private.expirable(task);
  v_is_left boolean;
begin
  if task = 'expire_subscriptions' then
    perform app_private.activate_pending_subscriptions();
  end if;
  if not is_complete then
    -- ORDER BY and LIMIT make the planner use the index; without them it reads the table when it expects many rows.
    execute format($sql$
      select true from app_public.%1$I as t where t.status = 'active' and t.%2$I <= $1 order by t.%2$I limit 1
      $sql$, v_source.table_name, v_source.end_column)
    into v_is_left using v_now;
  end if;
  if v_is_left is null and task = 'expire_subscriptions' then
    select true into v_is_left
    from app_public.dealer_subscriptions as p
    where p.status = 'pending' and not exists (
      select from app_public.dealer_subscriptions as other
      where other.dealer_id = p.dealer_id
        and (other.status = 'active' or other.status = 'cancelled' and other.end_at > v_now))
    limit 1;
  end if;
  if v_is_left then
    perform graphile_worker.add_job(task, run_at := v_now + interval '5 seconds', job_key := task || ':skipped');
  end if;
end
$function$;
comment on function app_private.end_expiry(boolean,text) is 'Ends an expiry run: starts the pending subscriptions that can start. If another transaction still holds a row that is due or could start, the worker looks again 5 seconds later. `is_complete`: all due rows were expired, so none is searched for. The search would walk over a million dead index entries, which takes a second.';

CREATE OR REPLACE FUNCTION app_private.end_listing(listing_id uuid, to_status app_public.listing_status)
 RETURNS app_public.listings
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_listing app_public.listings := app_private.lock_listing(listing_id);
begin
  if v_listing.status = end_listing.to_status then
    return v_listing;
  end if;
  perform app_private.require_listing_step(v_listing.status, end_listing.to_status);
  update app_public.listings as l
  set status = end_listing.to_status, moderation_reason = null, moderation_since = null, updated_at = clock_timestamp()
  where l.dealer_id = v_listing.dealer_id and l.id = v_listing.id
  returning l.* into v_listing;
  return v_listing;
end
$function$;
comment on function app_private.end_listing(uuid,app_public.listing_status) is 'Ends a listing of the caller''s dealer for good: withdrawn or sold. A repeated call changes nothing. Raises FC008 if its status forbids the step.';

CREATE OR REPLACE FUNCTION app_private.end_promotions(batch_size integer DEFAULT 1000)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_now constant timestamptz := clock_timestamp();
  v_ended integer;
begin
  update app_public.listings as l
  set is_premium = coalesce(l.premium_until > v_now, false),
    premium_until = case when l.premium_until > v_now then l.premium_until end,
    is_highlighted = coalesce(l.highlighted_until > v_now, false),
    highlighted_until = case when l.highlighted_until > v_now then l.highlighted_until end,
    updated_at = v_now
  -- By ctid: a join could be planned as a scan of all listings. The locks keep the ctids stable.
  where l.ctid = any (array(
    select p.ctid from app_public.listings as p
    where (p.is_premium or p.is_highlighted) and least(p.premium_until, p.highlighted_until) <= v_now
    order by least(p.premium_until, p.highlighted_until)
    limit batch_size
    for update skip locked));
  get diagnostics v_ended = row_count;
  return v_ended;
end
$function$;
comment on function app_private.end_promotions(integer) is 'Takes the flags off up to `batch_size` listings of which a promotion has ended, and returns their number; 0 means done. Listings that another transaction has locked are skipped.';

CREATE OR REPLACE FUNCTION app_private.end_sessions(user_id uuid)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  -- Two calls at once take their locks in the same order.
  delete from app_private.sessions as s
  where s.id in (
    select o.id from app_private.sessions as o
    where o.user_id = end_sessions.user_id
    order by o.id
    for update);
end
$function$;
comment on function app_private.end_sessions(uuid) is 'Ends all sessions of a user. Their access tokens are refused within a second.';

CREATE OR REPLACE FUNCTION app_private.end_user_sessions()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  perform app_private.end_sessions(new.id);
  return null;
end
$function$;
comment on function app_private.end_user_sessions() is 'Trigger: ends the sessions of a user that is locked, is deleted or is no longer an admin.';

CREATE OR REPLACE FUNCTION app_private.enforce_listing_step()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  perform app_private.require_listing_step(old.status, new.status);
  return new;
end
$function$;
comment on function app_private.enforce_listing_step() is 'Trigger: refuses a step that listing_steps does not have, for every role.';

CREATE OR REPLACE FUNCTION app_private.enforce_price_versions()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  -- The only allowed change closes the price: the same row with an earlier end.
  if tg_op = 'UPDATE'
    and (to_jsonb(new) - 'valid') = (to_jsonb(old) - 'valid')
    and (lower(new.valid), lower_inc(new.valid)) is not distinct from (lower(old.valid), lower_inc(old.valid))
    and new.valid <@ old.valid
  then
    return new;
  end if;
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = 'A price cannot be edited or deleted.',
    hint = 'Use app_private.set_price(country, segment, pricing_type, unit_price_net, starts_at).';
end
$function$;
comment on function app_private.enforce_price_versions() is 'Trigger: the validity of a price may get an earlier end; every other change is refused.';

CREATE OR REPLACE FUNCTION app_private.enforce_subscription_state()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = format(
      'A subscription cannot change from %s to %s in this way. Allowed are pending → active → expired, and pending or active → cancelled. Its dealer, id, quota kind and included quotas never change.',
      old.status, new.status);
end
$function$;
comment on function app_private.enforce_subscription_state() is 'Trigger: refuses a forbidden change of a subscription, for every role. The rule is in the trigger''s WHEN clause, which costs an allowed change a fraction of a function call.';

CREATE OR REPLACE FUNCTION app_private.expirable(task text, OUT table_name text, OUT end_column text, OUT lock_condition text)
 RETURNS record
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
 SELECT e.table_name,
     e.end_column,
     e.lock_condition
    FROM ( VALUES ('expire_subscriptions'::text,'dealer_subscriptions'::text,'end_at'::text,'true'::text), ('expire_listings'::text,'listings'::text,'expires_at'::text,'not t.holds_slot or app_private.try_lock_dealer(t.dealer_id)'::text)) e(task, table_name, end_column, lock_condition)
   WHERE (e.task = expirable.task);
END;
comment on function app_private.expirable(text) is 'The tasks of the expiry: the table of app_public whose active rows a task expires, the column with their end, and a condition on a row `t` that locks what must be locked before it. The condition is false for a row that has to be skipped. Both tables have dealer_id, id, status and updated_at, and an index of active rows by their end.';

CREATE OR REPLACE FUNCTION app_private.expire_due(task text, batch_size integer)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_now constant timestamptz := clock_timestamp();
  v_source record := app_private.expirable(task);
  v_from timestamptz := coalesce((select p.expired_until from app_private.expiry_progress as p where p.task = expire_due.task), '-infinity');
  v_is_left boolean;
  v_tids tid[];
  v_last_end_at timestamptz;
begin
  -- The condition is a constant of expirable. @plpgsql_check_options: security_warnings = off
  if batch_size is null or batch_size < 1 then
    raise exception using errcode = 'FC010', message = 'The batch size must be at least 1.';
  end if;
  loop
    execute format($sql$
      select array_agg(d.ctid), max(d.ends_at)
      from (
        select t.ctid, t.%2$I as ends_at
        from app_public.%1$I as t
        where t.status = 'active' and t.%2$I >= $1 and t.%2$I <= $2 and (%3$s)
        order by t.%2$I
        limit $3
        for update skip locked
      ) as d
      $sql$, v_source.table_name, v_source.end_column, v_source.lock_condition)
    into v_tids, v_last_end_at using v_from, v_now, batch_size;
    exit when v_tids is not null or v_from = '-infinity';
    -- Restart from -infinity once, for rows that were skipped or got an earlier end. Probe without locks first: the walk over
    -- the dead index entries takes a while.
    execute format($sql$
      select true from app_public.%1$I as t where t.status = 'active' and t.%2$I <= $1 order by t.%2$I limit 1
      $sql$, v_source.table_name, v_source.end_column)
    into v_is_left using v_now;
    exit when v_is_left is null;
    v_from := '-infinity';
  end loop;
  -- SKIP LOCKED: of two calls at once one stores its progress, and neither waits.
  update app_private.expiry_progress as p set expired_until = v_last_end_at
  from (select e.task from app_private.expiry_progress as e where e.task = expire_due.task for update skip locked) as free
  where p.task = free.task;
  if v_tids is null then
    perform app_private.end_expiry(task => expire_due.task);
    return 0;
  end if;
  return app_private.expire_rows(v_tids, task);
end
$function$;
comment on function app_private.expire_due(text,integer) is 'Expires up to `batch_size` active rows of a task whose end has passed, oldest end first; expiry_progress stores the position. Rows that another transaction has locked are skipped; the last call adds a job that looks again a few seconds later. Raises FC010 for a batch size below 1.';

CREATE OR REPLACE FUNCTION app_private.expire_ended_subscription(dealer_id uuid, at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_expired_id uuid;
begin
  update app_public.dealer_subscriptions as s set status = 'expired', updated_at = expire_ended_subscription.at
  where s.dealer_id = expire_ended_subscription.dealer_id and s.status = 'active' and s.end_at <= expire_ended_subscription.at
  returning s.id into v_expired_id;
  if v_expired_id is not null then
    perform app_private.write_audit_log(
      'SYSTEM_EXPIRE', 'dealer_subscriptions', null, null, jsonb_build_object('count', 1, 'ids', jsonb_build_array(v_expired_id)));
  end if;
end
$function$;
comment on function app_private.expire_ended_subscription(uuid,timestamp with time zone) is 'Expires the dealer''s active subscription if it has ended and no expiry run has recorded that yet, so that it does not delay the next one. Writes one SYSTEM_EXPIRE audit row. The caller holds the dealer''s lock.';

CREATE OR REPLACE FUNCTION app_private.expire_listings(batch_size integer DEFAULT 1000)
 RETURNS integer
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
  select app_private.expire_due('expire_listings', batch_size)
$function$;
comment on function app_private.expire_listings(integer) is 'Expires up to `batch_size` active listings whose end has passed, oldest end first. From its end on a listing is not shown anyway; this records it. Locks the dealers of listings that hold a slot before the listings, skips those that are locked, and writes one SYSTEM_EXPIRE audit row. Returns how many it expired; 0 means done. Call it in a loop, each call in a transaction of its own. Raises FC010 for a batch size below 1.';

CREATE OR REPLACE FUNCTION app_private.expire_rows(tids tid[], task text DEFAULT 'expire_subscriptions'::text)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_now constant timestamptz := clock_timestamp();
  v_source constant record := app_private.expirable(task);
  v_ids uuid[];
  v_dealer_ids uuid[];
begin
  -- The condition is a constant of expirable. @plpgsql_check_options: security_warnings = off
  execute format($sql$
    with due as (
      select t.dealer_id, t.ctid
      from app_public.%1$I as t
      -- A ctid is a hint: check the status again. The sub-select hides the number of ctids from the planner, which would
      -- otherwise read a small table in full, or the index of ends, for each batch.
      where t.ctid = any ((select $1)::tid[]) and t.status = 'active' and t.%2$I <= $2 and (%3$s)
      for update skip locked
    ), changed as (
      update app_public.%1$I as t
      -- updated_at after the end tells the audit trigger that this row is in the entry below.
      set status = 'expired', updated_at = $2
      from due
      -- The lock keeps the ctid stable, so no index look-up is needed.
      where t.dealer_id = due.dealer_id and t.ctid = due.ctid
      returning t.dealer_id, t.id
    )
    select array_agg(c.id), array_agg(c.dealer_id) from changed as c
    $sql$, v_source.table_name, v_source.end_column, v_source.lock_condition)
  into v_ids, v_dealer_ids
  using tids, v_now;
  if v_ids is null then
    return 0;
  end if;
  perform app_private.write_audit_log(
    'SYSTEM_EXPIRE', v_source.table_name, null, null, jsonb_build_object('count', cardinality(v_ids), 'ids', to_jsonb(v_ids)));
  if task = 'expire_subscriptions' then
    perform app_private.activate_pending_subscriptions(v_dealer_ids);
  end if;
  return cardinality(v_ids);
end
$function$;
comment on function app_private.expire_rows(tid[],text) is 'Expires the active rows with these ctids whose end has passed, except those that another session has locked, or whose slot is counted by a dealer that another session has locked. Starts the subscriptions that waited for them, and writes one SYSTEM_EXPIRE audit row. Returns the number of expired rows.';

CREATE OR REPLACE FUNCTION app_private.expire_subscriptions(batch_size integer DEFAULT 1000)
 RETURNS integer
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
  select app_private.expire_due('expire_subscriptions', batch_size)
$function$;
comment on function app_private.expire_subscriptions(integer) is 'Expires up to `batch_size` active subscriptions whose end has passed, oldest end first. Starts the subscriptions that waited for them and writes one SYSTEM_EXPIRE audit row. Returns how many it expired; 0 means done. Call it in a loop, each call in a transaction of its own. Raises FC010 for a batch size below 1.';

CREATE OR REPLACE FUNCTION app_private.expiry_metrics()
 RETURNS TABLE(metric text, labels jsonb, value double precision)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  return query
  with runs as (
    select t.noun, max(r.finished_at) filter (where r.error is null) as succeeded_at, sum(r.counted) as expired
    from (values ('expire_subscriptions', 'subscription'), ('expire_listings', 'listing')) as t (task, noun)
    left join app_private.job_runs as r on r.task = t.task
    group by t.noun
  )
  select r.noun || '_expiry_last_success_timestamp_seconds', '{}'::jsonb, extract(epoch from r.succeeded_at)::double precision
  from runs as r
  where r.succeeded_at is not null
  union all
  select r.noun || 's_expired_total', '{}', coalesce(r.expired, 0)::double precision from runs as r;
end
$function$;
comment on function app_private.expiry_metrics() is 'When an expiry run of subscriptions and one of listings last succeeded, in Unix seconds (no row before the first one), and how many rows all runs have expired. See operation_metrics.';

CREATE OR REPLACE FUNCTION app_private.find_due_batches(from_at timestamp with time zone, until_at timestamp with time zone, batch_size integer, batches integer, task text DEFAULT 'expire_subscriptions'::text)
 RETURNS TABLE(tids tid[], last_end_at timestamp with time zone)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET enable_sort TO 'off'
 SET jit TO 'off'
AS $function$
declare
  v_source record := app_private.expirable(task);
begin
  -- @plpgsql_check_options: extra_warnings = off
  return query execute format($sql$
    select array_agg(b.tid order by b.tid), max(max(b.ends_at)) over ()
    from (
      select d.tid, d.ends_at, (row_number() over (order by d.tid) - 1) / $3 as number
      from (
        select t.ctid as tid, t.%2$I as ends_at
        from app_public.%1$I as t
        where t.status = 'active' and t.%2$I >= $1 and t.%2$I <= $2
        order by t.%2$I
        limit $3 * $4
      ) as d
    ) as b
    group by b.number
    order by b.number
    $sql$, v_source.table_name, v_source.end_column)
  using from_at, until_at, batch_size, batches;
end
$function$;
comment on function app_private.find_due_batches(timestamp with time zone,timestamp with time zone,integer,integer,text) is 'Finds active rows whose end is in a range, oldest end first, as at most `batches` arrays of ctids in the order of the table. Neighbours share pages of the table and of most indexes; rows that only share an end do not. last_end_at is the last end of all batches. The next call starts there, because the index entries before it are dead, and walking over them on each call would make a long run quadratic.';

CREATE OR REPLACE FUNCTION app_private.find_listing(listing_id uuid)
 RETURNS app_public.listings
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_listing app_public.listings;
begin
  select l.* into v_listing from app_public.listings as l where l.id = find_listing.listing_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no listing with this id. Please check it.',
      detail = jsonb_build_object('field', 'listingId')::text;
  end if;
  return v_listing;
end
$function$;
comment on function app_private.find_listing(uuid) is 'The listing with this id. Takes no lock and does not check the caller. Raises FC004 if there is none.';

CREATE OR REPLACE FUNCTION app_private.find_package(package_id uuid, country text)
 RETURNS app_public.dealer_packages
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.find_package(uuid,text) is 'Returns a package that is on sale in the country. Raises FC004 if no such package is on sale, FC010 if it is sold in another country.';

CREATE OR REPLACE FUNCTION app_private.find_price(country text, segment app_public.segment, pricing_type app_public.pricing_type, at timestamp with time zone)
 RETURNS app_public.price_configs
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.find_price(text,app_public.segment,app_public.pricing_type,timestamp with time zone) is 'Returns the price that is valid at a moment. Raises FC005 if there is none, FC006 if several are valid.';

CREATE OR REPLACE FUNCTION app_private.find_pricing_gate(country text, at timestamp with time zone)
 RETURNS app_private.pricing_gate
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_gate app_private.pricing_gate;
begin
  select c.code, c.minor_units, max(r.rate) into v_gate
  from app_public.country_currencies as cc
  join app_public.currencies as c on c.code = cc.currency
  join app_public.vat_rates as r on r.country = cc.country and r.valid @> find_pricing_gate.at
  where cc.country = find_pricing_gate.country
  group by c.code
  having count(*) = 1;
  return v_gate;
end
$function$;
comment on function app_private.find_pricing_gate(text,timestamp with time zone) is 'Currency and VAT rate of a country at a moment; all columns are null if one is missing or several VAT rates are valid.';

CREATE OR REPLACE FUNCTION app_private.finish_job_run(run_id uuid, error text DEFAULT NULL::text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  update app_private.job_runs as r set finished_at = clock_timestamp(), error = finish_job_run.error
  where r.id = finish_job_run.run_id and r.finished_at is null;
end
$function$;
comment on function app_private.finish_job_run(uuid,text) is 'Ends a run. `error` says why it failed; null: it succeeded.';

CREATE OR REPLACE FUNCTION app_private.force_row_security(relation regclass)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  execute format('alter table %s enable row level security', relation);
  execute format('alter table %s force row level security', relation);
  execute format('drop policy if exists all_owner on %s', relation);
  execute format('create policy all_owner on %s to current_user using (true) with check (true)', relation);
end
$function$;
comment on function app_private.force_row_security(regclass) is 'Enables row-level security on a table and forces it, so that it also holds for the owner, who gets a policy of its own. Migrations call it for each new table.';

CREATE OR REPLACE FUNCTION app_private.forget_account(account app_public.users, at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_mail_id uuid;
begin
  update app_public.dealer_invitations as i set revoked_at = forget_account.at
  where i.created_by = account.id and i.accepted_at is null and i.revoked_at is null;
  -- Its invitations contain its name, the notice to a former address its present one.
  for v_mail_id in
    delete from app_private.mails as m
    where m.recipient = account.email or m.parameters ->> 'newEmail' = account.email
      or (m.recipient, m.expires_at) in (
        select t.email, t.expires_at from app_private.one_time_tokens as t where t.user_id = account.id
        union all
        select i.email, i.expires_at from app_public.dealer_invitations as i where i.created_by = account.id)
    returning m.id
  loop
    perform graphile_worker.remove_job('send_mail:' || v_mail_id);
  end loop;
  delete from app_public.dealer_invitations as i where i.email = account.email;
  delete from app_private.one_time_tokens as t where t.user_id = account.id or t.email = account.email;
  perform app_private.forget_failed_logins(account.email);
  delete from app_private.known_addresses as k where k.account_key = app_private.account_key(account.email);
  delete from app_private.user_passwords as p where p.user_id = account.id;
  -- Random, so that nobody can register the address before. The trigger users_sessions_ended ends the sessions.
  update app_public.users as u
  set email = 'deleted-' || gen_random_uuid() || '@deleted.invalid', full_name = 'Deleted user', email_verified_at = null,
    is_admin = false, deleted_at = forget_account.at
  where u.id = account.id;
end
$function$;
comment on function app_private.forget_account(app_public.users,timestamp with time zone) is 'Removes what identifies the person from every table: docs/privacy.md lists them. The row of the account stays, because invoices, ledger and audit trail refer to it. The caller has locked the account and its dealers.';

CREATE OR REPLACE FUNCTION app_private.forget_failed_logins(email text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_key constant bytea := app_private.account_key(forget_failed_logins.email);
begin
  delete from app_private.login_failures as f
  where f.email_hash = v_key
    or f.email_hash in (
      select app_private.account_key(forget_failed_logins.email, k.address)
      from app_private.known_addresses as k where k.account_key = v_key);
end
$function$;
comment on function app_private.forget_failed_logins(text) is 'Lifts the limit auth_account of a normalised e-mail address, also for the known client addresses of its account.';

CREATE OR REPLACE FUNCTION app_private.guard_audit_partition(partition regclass)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  perform app_private.force_row_security(partition);
  -- Partitions do not inherit statement-level triggers.
  execute format(
    'create or replace trigger audit_logs_append_only before update or delete or truncate on %s
       for each statement execute function app_private.refuse_change()',
    partition);
end
$function$;
comment on function app_private.guard_audit_partition(regclass) is 'Gives a partition of the audit trail the protection that it does not inherit: row-level security, and the trigger that refuses changes.';

CREATE OR REPLACE FUNCTION app_private.has_owner(dealer_id uuid, except_user_id uuid DEFAULT NULL::uuid)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  perform from app_public.dealer_users as du
  join app_public.users as u on u.id = du.user_id
  where du.dealer_id = has_owner.dealer_id and du.user_id is distinct from has_owner.except_user_id and du.role = 'owner'
    and u.locked_at is null and u.deleted_at is null;
  return found;
end
$function$;
comment on function app_private.has_owner(uuid,uuid) is 'Whether the dealer has an owner, or one other than `except_user_id`. An owner whose account is locked or deleted does not count. The caller has locked the dealer.';

CREATE OR REPLACE FUNCTION app_private.has_prices(country text, vat_rate numeric, unit_price_net numeric)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.has_prices(text,numeric,numeric) is 'Whether a country has this VAT rate now, and this net price of a listing for every segment; null is not compared.';

CREATE OR REPLACE FUNCTION app_private.hash_listing(title text, module text, price numeric, currency text, description text, attributes jsonb, images text[], external_id text)
 RETURNS bytea
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN sha256(convert_to((CASE WHEN (external_id IS NULL) THEN jsonb_build_array(title, module, trim_scale(price), currency, description, attributes, to_jsonb(images)) ELSE jsonb_build_array(title, module, trim_scale(price), currency, description, attributes, to_jsonb(images), external_id) END)::text, 'UTF8'::name));
comment on function app_private.hash_listing(text,text,numeric,text,text,jsonb,text[],text) is 'SHA-256 of the input of createListing. It distinguishes a retry from another listing with the same key.';

CREATE OR REPLACE FUNCTION app_private.invisible_characters()
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN '\u0001-\u0020\u007f-\u00a0\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ue000-\uf8ff\ufdd0-\ufdef\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U0010ffff'::text;
comment on function app_private.invisible_characters() is 'For the brackets of a regular expression: blanks, control and format characters, private use, and whatever else Unicode shows as nothing. Written out, because the classes of Postgres depend on the locale.';

CREATE OR REPLACE FUNCTION app_private.is_charged(listing app_public.listings, idempotency_key uuid)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_listing_id uuid;
begin
  select lc.listing_id into v_listing_id
  from app_public.listing_consumptions as lc
  where lc.dealer_id = listing.dealer_id and lc.idempotency_key = is_charged.idempotency_key;
  if v_listing_id <> listing.id then
    raise exception using
      errcode = 'FC007',
      message = 'This idempotency key was used for another listing. Use a new key for each listing.',
      detail = jsonb_build_object('field', 'idempotencyKey')::text;
  end if;
  return v_listing_id is not null;
end
$function$;
comment on function app_private.is_charged(app_public.listings,uuid) is 'Whether the listing was charged with this operation_key before, so that the call is a retry. Raises FC007 if another listing of the dealer was.';

CREATE OR REPLACE FUNCTION app_private.is_email(value text)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  -- RFC 5321: a dot-string, @, and labels of letters, digits and hyphens. RFC 6531: any visible letters before the @.
  return length(value) <= 254
    and value !~ ('[' || app_private.invisible_characters() || ']')
    and value ~ '^[^]["(),:;<>@\\.]+(\.[^]["(),:;<>@\\.]+)*@([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$';
end
$function$;
comment on function app_private.is_email(text) is 'Whether a normalised e-mail address is well formed. The domain is in ASCII: the API converts other domains, because a domain in two spellings would be two accounts.';

CREATE OR REPLACE FUNCTION app_private.is_line(value text, most integer)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN ((length(value) <= most) AND (value IS NFC NORMALIZED) AND (value ~ (('[^'::text || app_private.invisible_characters()) || ']'::text)) AND (value !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]'::text));
comment on function app_private.is_line(text,integer) is 'Whether a name or a title can be stored: Unicode form NFC, at least one visible character, no line breaks or other control characters, and no more characters than allowed.';

CREATE OR REPLACE FUNCTION app_private.is_text(value text, most integer)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN ((length(value) <= most) AND (value IS NFC NORMALIZED) AND (value !~ '[\u0001-\u0008\u000b-\u001f\u007f-\u009f]'::text));
comment on function app_private.is_text(text,integer) is 'Whether a text of several lines can be stored: Unicode form NFC, no control characters except line breaks and tabs, and no more characters than allowed.';

CREATE OR REPLACE FUNCTION app_private.is_valid_api_key(key app_public.dealer_api_keys)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  return key.revoked_at is null and coalesce(clock_timestamp() < key.expires_at, true)
    and exists (select from app_public.users as u where u.id = key.created_by and u.locked_at is null and u.deleted_at is null);
end
$function$;
comment on function app_private.is_valid_api_key(app_public.dealer_api_keys) is 'Whether an API key may be used: it is neither revoked nor expired, and the account of its maker is neither locked nor deleted. The maker need not be a member any more.';

CREATE OR REPLACE FUNCTION app_private.iso_minor_units(currency text)
 RETURNS smallint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
  select case
    when currency in ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'VND', 'VUV', 'XAF', 'XOF', 'XPF') then 0
    when currency in ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') then 3
    else 2
  end::smallint
$function$;
comment on function app_private.iso_minor_units(text) is 'Decimal places of a currency by ISO 4217, for currencies that have no row yet: 2, unless the currency is one of the exceptions.';

CREATE OR REPLACE FUNCTION app_private.issue_token(kind text, user_id uuid, email text, token_hash bytea, lifetime interval)
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_expires_at constant timestamptz := clock_timestamp() + lifetime;
begin
  insert into app_private.one_time_tokens (token_hash, kind, user_id, holder, email, expires_at)
  values (
    issue_token.token_hash, issue_token.kind, issue_token.user_id, coalesce(issue_token.user_id, md5(issue_token.email)::uuid),
    issue_token.email, v_expires_at)
  on conflict on constraint one_time_tokens_one_of_a_kind do update
  set token_hash = excluded.token_hash, email = excluded.email, expires_at = excluded.expires_at, used_at = null;
  return v_expires_at;
end
$function$;
comment on function app_private.issue_token(text,uuid,text,bytea,interval) is 'Stores the hash of a new token, which replaces the last one of this kind of the user, and returns when it ends. Without a user the token cannot be used; it is written so that an unknown address causes the same work.';

CREATE OR REPLACE FUNCTION app_private.job_metrics()
 RETURNS TABLE(metric text, labels jsonb, value double precision)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  return query
  with due as (
    select count(*) as jobs, min(j.run_at) as oldest
    from (
      select d.run_at from graphile_worker.jobs as d
      where d.locked_at is null and d.attempts < d.max_attempts and d.run_at <= statement_timestamp()
      limit 100000
    ) as j
  ), failed as (
    select j.task_identifier, j.attempts >= j.max_attempts as is_given_up, count(*) as jobs
    from (select f.* from graphile_worker.jobs as f where f.last_error is not null limit 100000) as j
    group by 1, 2
  )
  select 'worker_jobs_due'::text, '{}'::jsonb, d.jobs::double precision from due as d
  union all
  select 'worker_oldest_due_job_age_seconds', '{}',
    coalesce(extract(epoch from statement_timestamp() - d.oldest), 0)::double precision
  from due as d
  union all
  select case when f.is_given_up then 'worker_jobs_given_up' else 'worker_jobs_failing' end,
    jsonb_build_object('task', f.task_identifier), f.jobs::double precision
  from failed as f;
end
$function$;
comment on function app_private.job_metrics() is 'The worker''s queue: due jobs and the age of the oldest one, failed jobs that will be retried, and jobs that have failed for the last time. Each count stops at 100,000. See operation_metrics.';

CREATE OR REPLACE FUNCTION app_private.keep_rate_limit_policies()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = 'A rate limit policy cannot be deleted or renamed.',
    hint = 'To end a limit: update app_public.rate_limit_policies set mode = ''off'' where scope = ...';
end
$function$;
comment on function app_private.keep_rate_limit_policies() is 'Trigger: refuses to delete or rename a rate limit policy, for every role. A limit ends by its mode.';

CREATE OR REPLACE FUNCTION app_private.known_address_lifetime()
 RETURNS interval
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN ((30)::double precision * '24:00:00'::interval);
comment on function app_private.known_address_lifetime() is 'How long after its last successful login an address counts as known for an account.';

CREATE OR REPLACE FUNCTION app_private.ledger_metrics()
 RETURNS TABLE(metric text, labels jsonb, value double precision)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  return query
  with last as (
    select c.broken, c.finished_at from app_private.ledger_checks as c order by c.id desc limit 1
  )
  select 'ledger_broken_rows'::text, '{}'::jsonb, l.broken::double precision from last as l
  union all
  select 'ledger_last_check_timestamp_seconds', '{}', extract(epoch from l.finished_at)::double precision from last as l;
end
$function$;
comment on function app_private.ledger_metrics() is 'Result and time of the last ledger check; no row before the first one. See operation_metrics.';

CREATE OR REPLACE FUNCTION app_private.listing_metrics()
 RETURNS TABLE(metric text, labels jsonb, value double precision)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  return query
  select 'listings_due'::text, '{}'::jsonb, count(*)::double precision
  from (
    select from app_public.listings as l
    where l.status = 'active' and l.expires_at <= statement_timestamp()
    limit 100000
  ) as due
  union all
  select 'promotions_due', '{}', count(*)::double precision
  from (
    select from app_public.listings as l
    where (l.is_premium or l.is_highlighted) and least(l.premium_until, l.highlighted_until) <= statement_timestamp()
    limit 100000
  ) as due;
end
$function$;
comment on function app_private.listing_metrics() is 'Number of active listings whose end has passed, and of listings with a promotion whose end has passed, counted in the indexes and up to 100,000. See operation_metrics.';

CREATE OR REPLACE FUNCTION app_private.live_token(kind text, token_hash bytea)
 RETURNS app_private.one_time_tokens
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_token app_private.one_time_tokens;
begin
  select t.* into v_token
  from app_private.one_time_tokens as t
  join app_public.users as u on u.id = t.user_id and u.locked_at is null and u.deleted_at is null
  where t.token_hash = live_token.token_hash and t.kind = live_token.kind
    and t.used_at is null and t.expires_at > clock_timestamp()
    -- The mailbox of an address that the account had before must not open it.
    and (t.kind <> 'password_reset' or t.email = u.email);
  if not found then
    raise exception using
      errcode = 'FC010',
      message = 'This token is unknown, was used already or has expired. Please ask for a new mail.',
      detail = jsonb_build_object('field', 'token')::text;
  end if;
  return v_token;
end
$function$;
comment on function app_private.live_token(text,bytea) is 'Returns the token with this hash and kind, if it can be used now. Raises FC010 for a token that is unknown, of another kind, used, replaced or expired, and for that of a locked or deleted user.';

CREATE OR REPLACE FUNCTION app_private.lock_country(country text)
 RETURNS app_public.country_currencies
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.lock_country(text) is 'The first step of each change of a country''s prices, VAT rates, free listings and packages: locks the country, so that two changes wait for each other. Raises FC004 for a country that was never opened.';

CREATE OR REPLACE FUNCTION app_private.lock_dealer(dealer_id uuid)
 RETURNS app_public.dealers
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_dealer app_public.dealers;
begin
  -- create_listing takes the same locks in its own statements: change both.
  -- FOR NO KEY UPDATE, so that inserts that reference the dealer are not blocked.
  select d.* into v_dealer from app_public.dealers as d where d.id = lock_dealer.dealer_id for no key update;
  -- In the order of ids, as every other lock of several subscriptions: two transactions cannot deadlock.
  -- `<>` cannot use the index by status, which looks cheap as long as there are no statistics and then reads all dealers' rows.
  perform from app_public.dealer_subscriptions as s
  where s.dealer_id = lock_dealer.dealer_id and s.status <> 'expired'
    and (s.end_at is null or s.status = 'active' or s.end_at > now())
  order by s.id
  for update;
  return v_dealer;
end
$function$;
comment on function app_private.lock_dealer(uuid) is 'The first step of every write for a dealer: locks the dealer''s row, then its running and pending subscriptions. The caller must read again all that it read before, including the clock.';

CREATE OR REPLACE FUNCTION app_private.lock_leaving_account(user_id uuid)
 RETURNS app_public.users
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_dealer_ids constant uuid[] := app_private.dealers_of_account(lock_leaving_account.user_id);
  v_dealer_id uuid;
  v_user app_public.users;
begin
  foreach v_dealer_id in array v_dealer_ids loop
    perform app_private.lock_dealer(v_dealer_id);
  end loop;
  if app_public.is_admin() then
    -- All admins, in the order of ids: of two who leave at once, the second one sees that it is the last.
    perform from app_public.users as u where u.is_admin order by u.id for no key update;
  end if;
  v_user := app_private.require_account(lock_leaving_account.user_id);
  if not app_private.dealers_of_account(v_user.id) <@ v_dealer_ids then
    raise exception using
      errcode = '40001',
      message = 'The account became a member of another dealer, or was invited to one, while it waited for its locks.';
  end if;
  return v_user;
end
$function$;
comment on function app_private.lock_leaving_account(uuid) is 'Locks the dealers of an account in the order of ids, then the account, and returns it. Raises FC001 if it no longer exists, and 40001 if it has got another dealer meanwhile: that one would have to be locked before the account.';

CREATE OR REPLACE FUNCTION app_private.lock_listing(listing_id uuid, by_member boolean DEFAULT true)
 RETURNS app_public.listings
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_listing app_public.listings := app_private.find_listing(listing_id);
  v_dealer_id constant uuid := v_listing.dealer_id;
begin
  if by_member then
    perform app_private.require_member(v_dealer_id);
  end if;
  perform app_private.lock_dealer(v_dealer_id);
  -- The dealer's lock keeps off other requests, this one keeps off an expiry run.
  select l.* into v_listing
  from app_public.listings as l
  where l.dealer_id = v_dealer_id and l.id = lock_listing.listing_id
  for update;
  return v_listing;
end
$function$;
comment on function app_private.lock_listing(uuid,boolean) is 'The first step of every write for a listing: locks its dealer, then the listing, and returns it as it is under these locks. Raises what find_listing raises, and what require_member raises unless `by_member` is false.';

CREATE OR REPLACE FUNCTION app_private.lock_metrics()
 RETURNS TABLE(metric text, labels jsonb, value double precision)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  return query
  with waiting as (
    select count(distinct l.pid) as sessions, min(l.waitstart) as since
    from pg_locks as l
    join pg_stat_activity as a on a.pid = l.pid
    where not l.granted and a.datname = current_database()
  )
  select 'database_sessions_waiting_for_locks'::text, '{}'::jsonb, w.sessions::double precision from waiting as w
  union all
  select 'database_longest_lock_wait_seconds', '{}',
    coalesce(greatest(0, extract(epoch from clock_timestamp() - w.since)), 0)::double precision
  from waiting as w;
end
$function$;
comment on function app_private.lock_metrics() is 'How many sessions of this database wait for a lock, and the longest wait in seconds. See operation_metrics.';

CREATE OR REPLACE FUNCTION app_private.lock_own_dealer(dealer_id uuid, is_leaving boolean DEFAULT false)
 RETURNS app_public.dealers
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_dealer app_public.dealers;
begin
  -- Before the lock, so that a stranger cannot lock a dealer; after it, because the right may have ended while this session waited.
  perform case when is_leaving then app_private.require_member(dealer_id) else app_private.require_owner(dealer_id) end;
  v_dealer := app_private.lock_dealer(dealer_id);
  perform case when is_leaving then app_private.require_member(dealer_id) else app_private.require_owner(dealer_id) end;
  if not is_leaving and not v_dealer.is_active then
    raise exception using
      errcode = 'FC003',
      message = 'This dealer is closed. Please contact support.',
      detail = jsonb_build_object('field', 'dealerId')::text;
  end if;
  return v_dealer;
end
$function$;
comment on function app_private.lock_own_dealer(uuid,boolean) is 'The first step of every change of a dealer and of its members: locks the dealer for its owner. With `is_leaving`, any member may lock it, even if it is closed; without, a closed dealer raises FC003. Raises what require_owner or require_member raises.';

CREATE OR REPLACE FUNCTION app_private.lock_tables(VARIADIC tables regclass[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '300ms'
AS $function$
begin
  while clock_timestamp() < statement_timestamp() + interval '40 seconds' loop
    begin
      execute format('lock table %s in access exclusive mode', array_to_string(tables, ', '));
      return;
    exception when lock_not_available then
      -- The locks that it got are free again. Let the requests pass that have queued behind it.
      perform pg_sleep(0.5);
    end;
  end loop;
  raise exception using
    errcode = '55P03',
    message = format('Other transactions hold locks on %s. Please run the migration again when they have ended.', array_to_string(tables, ', '));
end
$function$;
comment on function app_private.lock_tables(regclass[]) is 'For migrations: locks tables in this order, exclusively, until the transaction ends. It waits 300 ms for each and then gives way and tries again, for 40 s, because every request queues behind a waiting lock. Raises 55P03.';

CREATE OR REPLACE FUNCTION app_private.lock_user(user_id uuid, reason text)
 RETURNS app_public.users
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_reason constant text := app_private.require_reason(lock_user.reason);
  v_user app_public.users := app_private.lock_user_row(lock_user.user_id);
begin
  if v_user.locked_at is null then
    update app_public.users as u set locked_at = clock_timestamp() where u.id = v_user.id returning u.* into v_user;
    perform app_private.write_audit_log(
      'LOCK_USER', 'users', v_user.id, jsonb_build_object('lockedAt', null),
      jsonb_build_object('lockedAt', v_user.locked_at, 'reason', v_reason));
  end if;
  return v_user;
end
$function$;
comment on function app_private.lock_user(uuid,text) is 'Locks an account: it can no longer log in, and the trigger users_sessions_ended ends its sessions. Records LOCK_USER with the reason. A second call changes nothing. Raises FC004 if there is no such user, and what require_reason raises.';

CREATE OR REPLACE FUNCTION app_private.lock_user_row(user_id uuid)
 RETURNS app_public.users
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_user app_public.users;
begin
  select u.* into v_user from app_public.users as u where u.id = lock_user_row.user_id for no key update;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no user with this id. Please check it.',
      detail = jsonb_build_object('field', 'userId')::text;
  end if;
  return v_user;
end
$function$;
comment on function app_private.lock_user_row(uuid) is 'Locks the row of a user and returns it. Raises FC004 if there is no such user.';

CREATE OR REPLACE FUNCTION app_private.maintain_audit_logs(OUT made integer, OUT dropped integer)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_today constant timestamp := now() at time zone 'UTC';
  v_keep constant integer := (select s.audit_retention_months from app_private.operation_settings as s);
  v_months date[];
  v_month date;
begin
  made := 0;
  dropped := 0;
  -- Materialise first: DDL fails while a cursor is open on the table.
  v_months := array(
    select generate_series(date_trunc('month', v_today), v_today + interval '3 months', interval '1 month')::date
    union
    select date_trunc('month', d.created_at at time zone 'UTC')::date from app_private.audit_logs_default as d
    order by 1);
  foreach v_month in array v_months loop
    made := made + app_private.make_audit_partition(v_month)::integer;
  end loop;
  for v_month in
    select to_date(right(c.relname, 7), 'YYYY_MM')
    from pg_inherits as i
    join pg_class as c on c.oid = i.inhrelid
    where i.inhparent = 'app_public.audit_logs'::regclass and c.relname ~ '_\d{4}_\d{2}$'
      and to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' <= v_today - v_keep * interval '1 month'
    order by 1
  loop
    perform app_private.drop_audit_partition(v_month, format('retention of %s months', v_keep));
    dropped := dropped + 1;
  end loop;
end
$function$;
comment on function app_private.maintain_audit_logs() is 'Creates the audit trail''s partitions for this month and the next three, and drops the partitions that are older than operation_settings.audit_retention_months. Returns both counts. A second call changes nothing.';

CREATE OR REPLACE FUNCTION app_private.maintain_mails()
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_settings constant app_private.operation_settings := (select s from app_private.operation_settings as s);
  v_removed integer;
begin
  -- The pauses of graphile-worker grow to 6 hours, and it gives up in the end. A token in a mail may last for an hour only.
  perform graphile_worker.reschedule_jobs(
    array(
      select j.id from graphile_worker.jobs as j
      where j.task_identifier = 'send_mail' and j.locked_at is null and j.attempts > 5
        -- A mail that the server refuses for good is tried less and less often.
        and coalesce(j.last_error, '') !~ '(EENVELOPE|EMESSAGE) 5'),
    run_at := now(), attempts := 5);
  delete from app_private.one_time_tokens as t where t.expires_at < clock_timestamp();
  delete from app_public.dealer_invitations as i
  where i.expires_at < clock_timestamp() - v_settings.invitation_retention_days * interval '24 hours';
  delete from app_private.mails as m where m.created_at < clock_timestamp() - v_settings.mail_retention_days * interval '24 hours';
  get diagnostics v_removed = row_count;
  return v_removed;
end
$function$;
comment on function app_private.maintain_mails() is 'Makes the mails due that were tried more than five times, removes mails that were asked for more than operation_settings.mail_retention_days ago, sent or not, removes invitations that ended more than invitation_retention_days ago, and removes expired tokens. Returns how many mails it removed.';

CREATE OR REPLACE FUNCTION app_private.make_audit_partition(month date)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '2s'
AS $function$
declare
  v_from constant timestamptz := date_trunc('month', month::timestamp) at time zone 'UTC';
  v_to constant timestamptz := (date_trunc('month', month::timestamp) + interval '1 month') at time zone 'UTC';
  v_name constant text := to_char(month::timestamp, '"app_private.audit_logs_"YYYY_MM');
begin
  if to_regclass(v_name) is not null then
    return false;
  end if;
  execute format('create table %s (like app_public.audit_logs including defaults including constraints including storage)', v_name);
  perform from app_private.audit_logs_default as d where d.created_at >= v_from and d.created_at < v_to limit 1;
  if found then
    -- These rows were written while their month had no partition.
    alter table app_private.audit_logs_default disable trigger audit_logs_append_only;
    execute format(
      'with moved as (delete from app_private.audit_logs_default where created_at >= %L and created_at < %L returning *)
       insert into %s select * from moved',
      v_from, v_to, v_name);
    alter table app_private.audit_logs_default enable trigger audit_logs_append_only;
  end if;
  execute format('alter table app_public.audit_logs attach partition %s for values from (%L) to (%L)', v_name, v_from, v_to);
  perform app_private.guard_audit_partition(v_name::regclass);
  return true;
end
$function$;
comment on function app_private.make_audit_partition(date) is 'Creates the audit trail''s partition for the month (UTC) of the given day, and moves that month''s rows out of the default partition. Returns false if the partition exists.';

CREATE OR REPLACE FUNCTION app_private.minor_units(currency text)
 RETURNS integer
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  -- Unknown currency: 0; the foreign key refuses the row.
  return coalesce((select c.minor_units::integer from app_public.currencies as c where c.code = minor_units.currency), 0);
end
$function$;
comment on function app_private.minor_units(text) is 'Decimal places of a currency, ISO 4217.';

CREATE OR REPLACE FUNCTION app_private.money(amount numeric, minor_units integer)
 RETURNS numeric
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN round(amount, GREATEST(scale(amount), minor_units));
comment on function app_private.money(numeric,integer) is 'The same amount with at least the decimal places of its currency: 5 EUR becomes 5.00. It pads with zeros and never rounds. Without a currency the amount is returned unchanged.';

CREATE OR REPLACE FUNCTION app_private.normalize_email(email text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE STRICT
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
  -- The collation of ICU, because the database's own may know only ASCII letters or map them as one language does.
  -- Twice to NFC: J with a caron is two characters, and j with a caron is one.
  select normalize(lower(btrim(normalize(normalize_email.email, nfc)) collate "und-x-icu"), nfc)
$function$;
comment on function app_private.normalize_email(text) is 'The form in which an e-mail address is stored, looked up and counted: without surrounding blanks, in lower case, Unicode form NFC. The API applies the same rules, and writes the domain in ASCII.';

CREATE OR REPLACE FUNCTION app_private.open_country(country text, currency text, vat_rate numeric, unit_price_net numeric)
 RETURNS app_public.currencies
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.open_country(text,text,numeric,numeric) is 'Opens a country from now on: its currency, its VAT rate in percent, and the net price of a listing for every segment, in one transaction. Adds the currency if it is new, and returns it. Changes nothing if the country is open with these values; raises FC008 if it was opened before with others. The triggers of the tables record each row. For a DBA.';

CREATE OR REPLACE FUNCTION app_private.open_session(user_id uuid, refresh_hash bytea)
 RETURNS uuid
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_expires_at constant timestamptz := clock_timestamp() + app_private.refresh_lifetime();
  v_id uuid;
begin
  -- A transaction that locks the account waits for this lock, and then ends this session too.
  perform from app_public.users as u
  where u.id = open_session.user_id and u.locked_at is null and u.deleted_at is null
  for share;
  if not found then
    raise exception using
      errcode = 'FC003',
      message = 'This account is locked. Please contact support.';
  end if;
  insert into app_private.sessions (user_id, expires_at) values (open_session.user_id, v_expires_at) returning id into v_id;
  insert into app_private.refresh_tokens (token_hash, session_id, expires_at)
  values (open_session.refresh_hash, v_id, v_expires_at);
  return v_id;
end
$function$;
comment on function app_private.open_session(uuid,bytea) is 'Opens a session of a user who has proved who it is, with its first refresh token, and returns its id. `refresh_hash` is the SHA-256 of the token. Raises FC003 if the account is locked.';

CREATE OR REPLACE FUNCTION app_private.open_subscriptions(dealer_id uuid, at timestamp with time zone)
 RETURNS app_public.dealer_subscriptions[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  -- With `<>` and `is not false` only an index by dealer can be used.
  return array(
    select s from app_public.dealer_subscriptions as s
    where s.dealer_id = open_subscriptions.dealer_id and s.status <> 'expired' and (open_subscriptions.at < s.end_at) is not false
    order by s.id);
end
$function$;
comment on function app_private.open_subscriptions(uuid,timestamp with time zone) is 'The dealer''s subscriptions that have not ended at a moment, running and pending, oldest first, without a lock: for a quote.';

CREATE OR REPLACE FUNCTION app_private.operation_key(operation text, idempotency_key uuid)
 RETURNS uuid
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN (encode(substr(sha256(convert_to(((operation || ' '::text) || idempotency_key), 'UTF8'::name)), 1, 16), 'hex'::text))::uuid;
comment on function app_private.operation_key(text,uuid) is 'The key under which the ledger keeps a client''s key of an operation: each operation has keys of its own.';

CREATE OR REPLACE FUNCTION app_private.operation_retention()
 RETURNS interval
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN ((90)::double precision * '24:00:00'::interval);
comment on function app_private.operation_retention() is 'How long alerts, and runs of jobs that had nothing to do, are kept.';

CREATE OR REPLACE FUNCTION app_private.pass_pricing_gate(country text, segment app_public.segment, pricing_type app_public.pricing_type, at timestamp with time zone)
 RETURNS app_private.pricing_gate
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_gate constant app_private.pricing_gate := app_private.find_pricing_gate(pass_pricing_gate.country, pass_pricing_gate.at);
begin
  if v_gate.currency is not null then
    return v_gate;
  end if;
  perform from app_public.country_currencies as cc where cc.country = pass_pricing_gate.country;
  if not found then
    raise exception using
      errcode = 'FC005',
      message = format('No currency is configured for %s, so nothing can be published or sold there yet. Please contact support.', pass_pricing_gate.country),
      detail = (jsonb_build_object('missing', 'currency') || app_private.pricing_detail(
        pass_pricing_gate.country, pass_pricing_gate.segment, pass_pricing_gate.pricing_type, pass_pricing_gate.at))::text,
      hint = 'Insert it into country_currencies.';
  end if;
  perform from app_public.vat_rates as r where r.country = pass_pricing_gate.country and r.valid @> pass_pricing_gate.at;
  if not found then
    raise exception using
      errcode = 'FC005',
      message = format('No VAT rate is configured for %s, so nothing can be published or sold there yet. Please contact support.', pass_pricing_gate.country),
      detail = (jsonb_build_object('missing', 'vat_rate') || app_private.pricing_detail(
        pass_pricing_gate.country, pass_pricing_gate.segment, pass_pricing_gate.pricing_type, pass_pricing_gate.at))::text,
      hint = 'Insert it into vat_rates.';
  end if;
  raise exception using
    errcode = 'FC006',
    message = format('More than one VAT rate applies in %s. Please contact support.', pass_pricing_gate.country),
    detail = (jsonb_build_object('ambiguous', 'vat_rate') || app_private.pricing_detail(
      pass_pricing_gate.country, pass_pricing_gate.segment, pass_pricing_gate.pricing_type, pass_pricing_gate.at))::text,
    hint = 'End all but one in vat_rates.';
end
$function$;
comment on function app_private.pass_pricing_gate(text,app_public.segment,app_public.pricing_type,timestamp with time zone) is 'Returns currency and VAT rate of a country at a moment. Nothing is published or sold without both, not even for free. `segment` and `pricing_type` (null: a package) only describe the request in the error. Raises FC005 if one is missing, FC006 if several VAT rates are valid.';

CREATE OR REPLACE FUNCTION app_private.plan_expiry(task text DEFAULT 'expire_subscriptions'::text, OUT due bigint, OUT middle timestamp with time zone, OUT until_at timestamp with time zone)
 RETURNS record
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_source record := app_private.expirable(task);
begin
  until_at := clock_timestamp();
  execute format($sql$
    select count(*) from app_public.%1$I as t where t.status = 'active' and t.%2$I <= $1
    $sql$, v_source.table_name, v_source.end_column)
  into due using until_at;
  execute format($sql$
    select t.%2$I from app_public.%1$I as t where t.status = 'active' and t.%2$I <= $1 order by t.%2$I offset $2 / 2 limit 1
    $sql$, v_source.table_name, v_source.end_column)
  into middle using until_at, due;
end
$function$;
comment on function app_private.plan_expiry(text) is 'How many rows of a task are due at `until_at`, the present time, and the median of their ends; null if none is due.';

CREATE OR REPLACE FUNCTION app_private.price_item(unit_price_net numeric, gate app_private.pricing_gate)
 RETURNS app_public.invoice_items
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_item app_public.invoice_items;
begin
  v_item.unit_price_net := app_private.money(price_item.unit_price_net, gate.minor_units);
  v_item.quantity := 1;
  v_item.discount := app_private.money(0, gate.minor_units);
  v_item.net_amount := round(price_item.unit_price_net, gate.minor_units);
  v_item.vat_rate := gate.vat_rate;
  v_item.vat_amount := app_private.vat_amount(v_item.net_amount, gate.vat_rate, gate.minor_units);
  v_item.gross_amount := v_item.net_amount + v_item.vat_amount;
  v_item.currency := gate.currency;
  return v_item;
end
$function$;
comment on function app_private.price_item(numeric,app_private.pricing_gate) is 'The amounts of a package: net, VAT and gross amount of its price, rounded to the currency''s minor units. The caller fills in the other columns of the item.';

CREATE OR REPLACE FUNCTION app_private.pricing_detail(country text, segment app_public.segment, pricing_type app_public.pricing_type, at timestamp with time zone)
 RETURNS jsonb
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
  select jsonb_strip_nulls(jsonb_build_object(
    'country', pricing_detail.country, 'segment', upper(pricing_detail.segment::text collate "C"),
    'pricingType', upper(pricing_detail.pricing_type::text collate "C"), 'at', pricing_detail.at))
$function$;
comment on function app_private.pricing_detail(text,app_public.segment,app_public.pricing_type,timestamp with time zone) is 'The details of FC005 and FC006: the configuration that was searched for, and the moment. A null pricing_type means a package.';

CREATE OR REPLACE FUNCTION app_private.queue_mail(kind text, recipient text, locale text, parameters jsonb DEFAULT '{}'::jsonb, sealed_token bytea DEFAULT NULL::bytea, expires_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_id uuid;
begin
  insert into app_private.mails (kind, recipient, locale, parameters, sealed_token, expires_at)
  values (queue_mail.kind, queue_mail.recipient, queue_mail.locale, queue_mail.parameters, queue_mail.sealed_token, queue_mail.expires_at)
  returning id into v_id;
  -- After all other jobs: each attempt takes 10 s while the mail server is silent. A serial queue would send one mail a second.
  perform graphile_worker.add_job(
    'send_mail', json_build_object('id', v_id), job_key := 'send_mail:' || v_id, max_attempts := 25, priority := 10);
end
$function$;
comment on function app_private.queue_mail(text,text,text,jsonb,bytea,timestamp with time zone) is 'Writes a mail to the outbox; the worker sends it after this transaction has committed. The text is the row of app_private.mail_templates with this kind and locale, in which {name} stands for a member of `parameters`, {token} for the token, and {expiresAt} for its end. `sealed_token` is the token as the API has encrypted it, so that the database never contains it in clear. A mail that has expired is not sent.';

CREATE OR REPLACE FUNCTION app_private.rate_limit_counter_at(counter app_private.rate_limit_counters, window_seconds double precision, now double precision)
 RETURNS app_private.rate_limit_counters
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_started_at constant double precision := counter.ends_at - counter.window_seconds;
begin
  if now < v_started_at + window_seconds then
    counter.ends_at := v_started_at + window_seconds;
    counter.decay := counter.decay * counter.window_seconds / window_seconds;
  elsif now < v_started_at + 2 * window_seconds then
    counter.ends_at := v_started_at + 2 * window_seconds;
    counter.decay := counter.current / window_seconds;
    counter.current := 0;
  else
    counter.ends_at := now + window_seconds;
    counter.decay := 0;
    counter.current := 0;
  end if;
  counter.window_seconds := window_seconds;
  return counter;
end
$function$;
comment on function app_private.rate_limit_counter_at(app_private.rate_limit_counters,double precision,double precision) is 'The counter at the moment `now`, for a window of the given length. A counter whose window has ended is moved to the next window. A new counter, and one that counted nothing for a whole window, starts at zero.';

CREATE OR REPLACE FUNCTION app_private.rate_limit_used(counter app_private.rate_limit_counters, now double precision)
 RETURNS double precision
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN ((counter).current + ((counter).decay * LEAST(((counter).ends_at - now), (counter).window_seconds)));
comment on function app_private.rate_limit_used(app_private.rate_limit_counters,double precision) is 'The used part of the sliding window: the count of the running window, plus the share of the window before that the sliding window still covers. Exact in the first window, which starts at the key''s first hit. It allows no double burst at the end of a window. Setting the clock back does not increase it.';

CREATE OR REPLACE FUNCTION app_private.rate_limit_wait(counter app_private.rate_limit_counters, max_count double precision, cost double precision, now double precision)
 RETURNS integer
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_room constant double precision := max_count - cost;
  v_passes_at double precision;
begin
  if app_private.rate_limit_used(counter, now) <= v_room then
    return null;
  end if;
  -- In the running window only the share of the previous window shrinks. If the running count alone leaves too little
  -- room, the charge has to wait for the next window.
  v_passes_at := case
    when v_room < 0 then now + counter.window_seconds
    when counter.current <= v_room then counter.ends_at - (v_room - counter.current) / counter.decay
    else counter.ends_at + counter.window_seconds * (1 - v_room / counter.current)
  end;
  return greatest(1, ceil(v_passes_at - now))::integer;
end
$function$;
comment on function app_private.rate_limit_wait(app_private.rate_limit_counters,double precision,double precision,double precision) is 'Seconds, at least 1, until the charge passes if no other charge comes: the client''s Retry-After. window_seconds when cost > max_count; null when the charge passes now. The counter is a result of rate_limit_counter_at.';

CREATE OR REPLACE FUNCTION app_private.read_listings(listings app_public.new_listing[])
 RETURNS TABLE(number integer, idempotency_key uuid, payload_hash bytea, title text, module text, price numeric, currency text, has_currency boolean, description text, attributes jsonb, images text[], external_id text)
 LANGUAGE sql
 STABLE PARALLEL SAFE ROWS 100
BEGIN ATOMIC
 SELECT (i.ordinality)::integer AS ordinality,
     i.idempotency_key,
     app_private.hash_listing(i.title, i.module, i.price, i.currency, i.description, i.attributes, i.images, i.external_id) AS hash_listing,
     app_private.to_nfc(btrim(i.title)) AS to_nfc,
     i.module,
     app_private.money(i.price, (c.minor_units)::integer) AS money,
     i.currency,
     (c.code IS NOT NULL),
     app_private.to_nfc(replace(i.description, (chr(13) || chr(10)), chr(10))) AS to_nfc,
     COALESCE(i.attributes, '{}'::jsonb) AS "coalesce",
     COALESCE(i.images, '{}'::text[]) AS "coalesce",
     NULLIF(app_private.to_nfc(btrim(i.external_id)), ''::text) AS "nullif"
    FROM (unnest(read_listings.listings) WITH ORDINALITY i(idempotency_key, title, module, price, currency, description, attributes, images, external_id, ordinality)
      LEFT JOIN app_public.currencies c ON ((c.code = i.currency)));
END;
comment on function app_private.read_listings(app_public.new_listing[]) is 'The listings of a batch with the values that create_listing would store for each, numbered from 1.';

CREATE OR REPLACE FUNCTION app_private.record_alert_delivery(alert_id uuid, channel text, error text DEFAULT NULL::text)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
  insert into app_private.alert_deliveries as d (alert_id, channel, attempts, delivered_at, last_error)
  values (
    record_alert_delivery.alert_id, record_alert_delivery.channel, 1,
    case when record_alert_delivery.error is null then clock_timestamp() end, record_alert_delivery.error)
  on conflict (alert_id, channel) do update set
    attempts = d.attempts + 1,
    delivered_at = coalesce(d.delivered_at, excluded.delivered_at),
    last_error = excluded.last_error
$function$;
comment on function app_private.record_alert_delivery(uuid,text,text) is 'Records the worker''s attempt to send an alert on a channel. `error` says why it failed; null: the alert was delivered.';

CREATE OR REPLACE FUNCTION app_private.record_consumption(decision app_private.publication_decision, listing_id uuid, action app_public.consumption_kind, user_id uuid, number integer DEFAULT 1, idempotency_key uuid DEFAULT NULL::uuid, reverses uuid DEFAULT NULL::uuid)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
    net_amount, vat_rate, vat_amount, gross_amount, currency, created_by, api_key_id, created_at)
  values (
    decision.dealer_id, record_consumption.listing_id, record_consumption.action, record_consumption.number,
    record_consumption.idempotency_key, record_consumption.reverses, decision.source, decision.subscription_id,
    decision.price_config_id, v_item_id, decision.net_amount, decision.vat_rate, decision.vat_amount, decision.gross_amount,
    decision.currency, record_consumption.user_id, app_private.current_api_key_id(), decision.at);
end
$function$;
comment on function app_private.record_consumption(app_private.publication_decision,uuid,app_public.consumption_kind,uuid,integer,uuid,uuid) is 'Carries out a decision: starts the pending subscription that it needs, uses the quota or a slot, or adds the price to the dealer''s draft invoice of the month (UTC), and writes the ledger row. A reversal does the opposite, with negative amounts; the slot of its listing is released with the step that follows. The caller holds the dealer''s lock.';

CREATE OR REPLACE FUNCTION app_private.record_publications(decision app_private.publication_decision, listing_ids uuid[], user_id uuid)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
    net_amount, vat_rate, vat_amount, gross_amount, currency, created_by, api_key_id, created_at)
  select
    decision.dealer_id, unnest(v_further), 'publication', decision.source, decision.subscription_id, decision.price_config_id,
    unnest(v_item_ids), decision.net_amount, decision.vat_rate, decision.vat_amount, decision.gross_amount, decision.currency,
    record_publications.user_id, app_private.current_api_key_id(), decision.at;
end
$function$;
comment on function app_private.record_publications(app_private.publication_decision,uuid[],uuid) is 'Does what record_consumption does, for as many new listings as the decision pays for. The caller holds the dealer''s lock.';

CREATE OR REPLACE FUNCTION app_private.refresh_lifetime()
 RETURNS interval
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN ((30)::double precision * '24:00:00'::interval);
comment on function app_private.refresh_lifetime() is 'How long a refresh token lasts, and so a session that nobody refreshes.';

CREATE OR REPLACE FUNCTION app_private.refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = format('Rows of %I.%I cannot be changed or deleted.', tg_table_schema, tg_table_name);
end
$function$;
comment on function app_private.refuse_change() is 'Trigger: makes a table append-only for every role, including its owner.';

CREATE OR REPLACE FUNCTION app_private.refuse_listing(refusal app_private.refusal)
 RETURNS boolean
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE STRICT
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  raise exception using
    errcode = refusal.sqlstate,
    schema = 'app_public', table = 'listings', constraint = refusal.rule,
    message = refusal.message,
    detail = refusal.detail;
end
$function$;
comment on function app_private.refuse_listing(app_private.refusal) is 'Raises the refusal of a row of listings. The function is STRICT: without a refusal Postgres does not run it, the result is null, and the CHECK passes.';

CREATE OR REPLACE FUNCTION app_private.refuse_listing_status(status app_public.listing_status, sentence text)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  raise exception using
    errcode = 'FC008',
    message = format('This listing is %s. %s', refuse_listing_status.status, refuse_listing_status.sentence),
    detail = jsonb_build_object('field', 'listingId', 'status', upper(refuse_listing_status.status::text collate "C"))::text;
end
$function$;
comment on function app_private.refuse_listing_status(app_public.listing_status,text) is 'Raises FC008 with the present status of a listing, which forbids the step. `sentence` says what the caller can do.';

CREATE OR REPLACE FUNCTION app_private.refuse_overage(country text)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  raise exception using
    errcode = 'FC009',
    message = 'The listing quota of your package is used up, and the package allows no further listings. Please buy another package. If yours counts live listings, you can also withdraw one.',
    detail = jsonb_build_object('country', refuse_overage.country, 'segment', 'DEALER')::text;
end
$function$;
comment on function app_private.refuse_overage(text) is 'Raises FC009: the quota or the slots are used up, and each running subscription forbids overage.';

CREATE OR REPLACE FUNCTION app_private.refuse_row(table_name text, rule text, message text, field text DEFAULT NULL::text)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  -- Stable: the planner would call an immutable function already while it plans the rules.
  raise exception using
    errcode = 'check_violation',
    schema = 'app_public', table = table_name, constraint = rule,
    message = refuse_row.message,
    detail = jsonb_strip_nulls(jsonb_build_object('field', field));
end
$function$;
comment on function app_private.refuse_row(text,text,text,text) is 'Refuses a row of app_public as a constraint with the name of the rule would. With a field, the message is for clients: the API names the field of the input. Without one, only the log gets the message.';

CREATE OR REPLACE FUNCTION app_private.reject_listing(listing app_public.listings, reason text, at timestamp with time zone)
 RETURNS app_public.listings
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_listing app_public.listings;
begin
  if listing.status = 'pending' then
    perform app_private.reverse_consumption(listing, at);
  end if;
  update app_public.listings as l
  -- A listing that was active before release 0.3 has no times.
  set status = 'rejected', published_at = case listing.status when 'active' then coalesce(l.published_at, l.created_at) else l.published_at end,
    expires_at = case listing.status when 'active' then least(l.expires_at, at) else l.expires_at end, rejected_at = at,
    rejection_reason = reason, moderation_reason = null, moderation_since = null, updated_at = at
  where l.dealer_id = listing.dealer_id and l.id = listing.id
  returning l.* into v_listing;
  return v_listing;
end
$function$;
comment on function app_private.reject_listing(app_public.listings,text,timestamp with time zone) is 'Rejects a pending listing and gives back what paid for it, or takes an active one down, which ends it and gives nothing back. The caller holds its lock.';

CREATE OR REPLACE FUNCTION app_private.release_dead_workers()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_dead text[];
begin
  with abandoned as (
    update app_private.job_runs as r
    set finished_at = clock_timestamp(), error = 'The worker of this run died.'
    where r.finished_at is null
      and not exists (
        select from pg_stat_activity as a where a.pid = r.backend_pid and a.backend_start = r.backend_started_at)
    returning r.worker_id
  )
  select array_agg(d.worker_id) into v_dead
  from (
    select a.worker_id from abandoned as a where a.worker_id is not null
    union
    -- A worker keeps one listening connection from its start. If none is older than the lock, the worker that locked is dead.
    select j.locked_by from graphile_worker.jobs as j
    where j.locked_by is not null and not exists (
      select from pg_stat_activity as a
      where a.datname = current_database() and a.application_name = 'forecourt worker' and a.backend_start <= j.locked_at)
  ) as d;
  if v_dead is not null then
    -- Without this, the dead worker's job and its queue would stay locked for 4 hours.
    perform graphile_worker.force_unlock_workers(v_dead);
  end if;
end
$function$;
comment on function app_private.release_dead_workers() is 'Closes the runs whose connection is gone, and unlocks the jobs of dead workers.';

CREATE OR REPLACE FUNCTION app_private.release_slot()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  new.holds_slot := false;
  update app_public.dealers as d set slots_in_use = d.slots_in_use - 1 where d.id = old.dealer_id;
  return new;
end
$function$;
comment on function app_private.release_slot() is 'Trigger: a listing that held a slot and is no longer pending or active, or was paid by something else, releases its slot. No step can forget that. The caller holds the dealer''s lock.';

CREATE OR REPLACE FUNCTION app_private.remove_ended_sessions(batch_size integer DEFAULT 10000)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_now constant timestamptz := clock_timestamp();
  v_tokens integer;
  v_sessions integer;
begin
  delete from app_private.revoked_sessions as r where r.revoked_at < v_now - app_private.revocation_lifetime();
  delete from app_private.sessions as s
  where s.id in (
    select o.id from app_private.sessions as o where o.expires_at < v_now
    limit remove_ended_sessions.batch_size for update skip locked);
  get diagnostics v_sessions = row_count;
  delete from app_private.refresh_tokens as t
  where t.token_hash in (
    select o.token_hash from app_private.refresh_tokens as o where o.expires_at < v_now
    limit remove_ended_sessions.batch_size for update skip locked);
  get diagnostics v_tokens = row_count;
  return v_sessions + v_tokens;
end
$function$;
comment on function app_private.remove_ended_sessions(integer) is 'Removes up to `batch_size` sessions that nobody refreshed in time, as many expired refresh tokens, and revocations without effect. Returns how many sessions and tokens; 0 means done. Call it in a loop, each call in a transaction of its own.';

CREATE OR REPLACE FUNCTION app_private.remove_idle_rate_limit_counters(batch_size integer DEFAULT 10000)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_now constant double precision := extract(epoch from clock_timestamp())::double precision;
  v_removed integer;
begin
  with idle as (
    select c.key
    from app_private.rate_limit_counters as c
    where c.ends_at + c.window_seconds < v_now
    limit remove_idle_rate_limit_counters.batch_size
    for update skip locked
  ), removed as (
    delete from app_private.rate_limit_counters as c using idle where c.key = idle.key returning c.key
  )
  select count(*)::integer into v_removed from removed;
  delete from app_private.known_addresses as k where k.last_login_at < now() - app_private.known_address_lifetime();
  delete from app_private.login_failures as f where f.window_started_at < now() - interval '48 hours';
  return v_removed;
end
$function$;
comment on function app_private.remove_idle_rate_limit_counters(integer) is 'Removes up to `batch_size` counters that no sliding window covers any more, and returns how many; 0 means done. Also removes outdated login failures and known addresses. Call it in a loop, each call in a transaction of its own.';

CREATE OR REPLACE FUNCTION app_private.remove_old_alerts()
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_before constant timestamptz := clock_timestamp() - app_private.operation_retention();
  v_removed integer;
begin
  delete from app_private.alert_deliveries as d
  using app_private.alerts as a
  where a.id = d.alert_id and a.created_at < v_before;
  delete from app_private.alerts as a where a.created_at < v_before;
  get diagnostics v_removed = row_count;
  return v_removed;
end
$function$;
comment on function app_private.remove_old_alerts() is 'Removes alerts that are older than operation_retention, delivered or not, and returns how many.';

CREATE OR REPLACE FUNCTION app_private.replay_checkout(dealer_id uuid, idempotency_key uuid, payload_hash bytea)
 RETURNS app_public.checkouts
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.replay_checkout(uuid,uuid,bytea) is 'Returns the checkout that the dealer created with this idempotency key; all columns are null if there is none. Raises FC007 if the key was used with other input.';

CREATE OR REPLACE FUNCTION app_private.replay_dealer(user_id uuid, idempotency_key uuid, payload_hash bytea)
 RETURNS app_public.dealers
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_creation app_private.dealer_creations;
  v_dealer app_public.dealers;
begin
  select c.* into v_creation
  from app_private.dealer_creations as c
  where c.user_id = replay_dealer.user_id and c.idempotency_key = replay_dealer.idempotency_key;
  if v_creation.payload_hash <> replay_dealer.payload_hash then
    raise exception using
      errcode = 'FC007',
      message = 'This idempotency key was used for another dealer. Use a new key for a new dealer.',
      detail = jsonb_build_object('field', 'idempotencyKey')::text;
  end if;
  select d.* into v_dealer from app_public.dealers as d where d.id = v_creation.created_id;
  return v_dealer;
end
$function$;
comment on function app_private.replay_dealer(uuid,uuid,bytea) is 'Returns the dealer that the user created with this idempotency key; all columns are null if there is none. Raises FC007 if the key was used with other input.';

CREATE OR REPLACE FUNCTION app_private.replay_listing(dealer_id uuid, idempotency_key uuid, payload_hash bytea)
 RETURNS app_public.listings
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.replay_listing(uuid,uuid,bytea) is 'Returns the listing that the dealer created with this idempotency key; all columns are null if there is none. Raises FC007 if the key was used with other input.';

CREATE OR REPLACE FUNCTION app_private.require_account(user_id uuid)
 RETURNS app_public.users
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_user app_public.users;
begin
  select u.* into v_user from app_public.users as u
  where u.id = require_account.user_id and u.locked_at is null and u.deleted_at is null for no key update;
  if not found then
    raise exception using
      errcode = 'FC001',
      message = 'This account no longer exists or is locked. Please log in with another one.';
  end if;
  return v_user;
end
$function$;
comment on function app_private.require_account(uuid) is 'Locks and returns the user. Raises FC001 if there is none, or if it is locked or deleted.';

CREATE OR REPLACE FUNCTION app_private.require_admin()
 RETURNS uuid
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  if not app_public.is_admin() then
    raise exception using
      errcode = 'FC003',
      message = 'Only admins may do this. Please log in with the account of an admin.';
  end if;
  return app_public.current_user_id();
end
$function$;
comment on function app_private.require_admin() is 'Returns the current user, who must be an admin now, whatever its access token says. Raises FC003.';

CREATE OR REPLACE FUNCTION app_private.require_batch(listings app_public.new_listing[])
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.require_batch(app_public.new_listing[]) is 'Raises FC010 unless there are 1 to 100 listings, each with another idempotency key.';

CREATE OR REPLACE FUNCTION app_private.require_future(valid_from timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.require_future(timestamp with time zone) is 'Returns the moment from which a price, a VAT rate or a quota is valid; null stands for now. Call it after lock_country: it reads the clock, so a change that waited for the lock starts after the change that it waited for. Raises FC010 for a moment that has passed.';

CREATE OR REPLACE FUNCTION app_private.require_listing_step(from_status app_public.listing_status, to_status app_public.listing_status)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  perform from app_private.listing_steps as s
  where s.from_status = require_listing_step.from_status and s.to_status = require_listing_step.to_status;
  if not found then
    perform app_private.refuse_listing_status(
      require_listing_step.from_status, format('It cannot become %s.', require_listing_step.to_status));
  end if;
end
$function$;
comment on function app_private.require_listing_step(app_public.listing_status,app_public.listing_status) is 'Raises FC008 with the present status unless listing_steps has the step.';

CREATE OR REPLACE FUNCTION app_private.require_member(dealer_id uuid)
 RETURNS uuid
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_user_id constant uuid := app_public.current_user_id();
  v_key app_public.dealer_api_keys;
begin
  if v_user_id is null then
    v_key := app_private.current_api_key();
    if v_key.id is null then
      raise exception using
        errcode = 'FC001',
        message = 'Please log in and send the access token, or send an API key that is valid.';
    elsif v_key.dealer_id = require_member.dealer_id then
      return v_key.created_by;
    end if;
  end if;
  perform from app_public.dealer_users as du
  where du.dealer_id = require_member.dealer_id and du.user_id = v_user_id;
  if found then
    return v_user_id;
  end if;
  perform from app_public.dealers as d where d.id = require_member.dealer_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no dealer with this id. Please check it.',
      detail = jsonb_build_object('field', 'dealerId')::text;
  end if;
  raise exception using
    errcode = 'FC003',
    message = case when v_key.id is null then 'You are not a member of this dealer. Please ask one of its owners to invite you.' else 'This API key belongs to another dealer. Please use a key of this dealer.' end,
    detail = jsonb_build_object('field', 'dealerId')::text;
end
$function$;
comment on function app_private.require_member(uuid) is 'Returns the current user, who must be a member of the dealer. An API key of the dealer has the rights of staff, and its maker is returned. Raises FC001 without a user and a valid key, FC003 if the user is not a member or the key is of another dealer, FC004 if there is no such dealer.';

CREATE OR REPLACE FUNCTION app_private.require_name(name text, field text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  -- Not a constraint, which would refuse every change of a row that has such a name already.
  if name ~ '[\u202a-\u202e\u2066-\u2069]' then
    raise exception using
      errcode = 'FC010',
      message = 'Please enter the name without invisible characters that change the direction of text.',
      detail = jsonb_build_object('field', field)::text;
  end if;
  return app_private.to_nfc(btrim(name));
end
$function$;
comment on function app_private.require_name(text,text) is 'Returns the name of a user, a company, a package or an API key as it is stored: without surrounding blanks, in Unicode form NFC. Raises FC010 for bidirectional controls, which can make a mail or a page show other text. Joiners and direction marks are allowed, because languages need them.';

CREATE OR REPLACE FUNCTION app_private.require_open_invitation(dealer app_public.dealers, invitation_id uuid, invited app_public.users)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_invitation app_public.dealer_invitations;
  v_status text;
begin
  select i.* into strict v_invitation
  from app_public.dealer_invitations as i where i.dealer_id = dealer.id and i.id = require_open_invitation.invitation_id;
  if v_invitation.email <> invited.email then
    raise exception using
      errcode = 'FC003',
      message = 'This invitation was sent to another e-mail address than that of your account. Please log in with the other address, or ask the dealer to invite yours.',
      detail = jsonb_build_object('field', 'token')::text;
  elsif not dealer.is_active then
    raise exception using
      errcode = 'FC003',
      message = 'This dealer is closed. Please contact support.',
      detail = jsonb_build_object('field', 'token')::text;
  elsif v_invitation.accepted_at is not null then
    perform from app_public.dealer_users as du where du.dealer_id = dealer.id and du.user_id = invited.id;
    v_status := case when not found then 'ACCEPTED' end;
  elsif v_invitation.revoked_at is not null or not exists (
    -- Somebody who is no longer an owner must not come back, or bring others, by an invitation from before.
    select from app_public.dealer_users as du
    join app_public.users as u on u.id = du.user_id
    where du.dealer_id = dealer.id and du.user_id = v_invitation.created_by and du.role = 'owner'
      and u.locked_at is null and u.deleted_at is null)
  then
    v_status := 'REVOKED';
  elsif v_invitation.expires_at <= clock_timestamp() then
    v_status := 'EXPIRED';
  end if;
  if v_status is not null then
    raise exception using
      errcode = 'FC008',
      message = 'This invitation is no longer valid. Please ask the dealer for a new one.',
      detail = jsonb_build_object('field', 'token', 'status', v_status)::text;
  end if;
end
$function$;
comment on function app_private.require_open_invitation(app_public.dealers,uuid,app_public.users) is 'Raises FC003 if the invitation is for another e-mail address or its dealer is closed, and FC008 if it is used, revoked or has expired, or if its sender is no longer an owner. A member may use it again. The caller has locked the dealer and the user.';

CREATE OR REPLACE FUNCTION app_private.require_other_owner(dealer_id uuid, user_id uuid)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  if not app_private.has_owner(dealer_id, user_id) then
    raise exception using
      errcode = 'FC008',
      message = 'A dealer needs an owner. Please make another member an owner first.',
      detail = jsonb_build_object('field', 'userId')::text;
  end if;
end
$function$;
comment on function app_private.require_other_owner(uuid,uuid) is 'Raises FC008 unless the dealer has another owner than this user. One whose account is locked or deleted does not count. The caller has locked the dealer.';

CREATE OR REPLACE FUNCTION app_private.require_owner(dealer_id uuid)
 RETURNS uuid
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  -- Not the user that it returns: for an API key that is its maker, who may be an owner.
  perform app_private.require_member(dealer_id);
  perform from app_public.dealer_users as du
  where du.dealer_id = require_owner.dealer_id and du.user_id = app_public.current_user_id() and du.role = 'owner';
  if not found then
    raise exception using
      errcode = 'FC003',
      message = case when app_private.current_api_key_id() is null then 'Only owners of this dealer may do this. Please ask one of them.'
        else 'An API key cannot do this. Please ask an owner of this dealer.' end,
      detail = jsonb_build_object('field', 'dealerId')::text;
  end if;
  return app_public.current_user_id();
end
$function$;
comment on function app_private.require_owner(uuid) is 'Returns the current user, who must be an owner of the dealer. Raises what require_member raises, and FC003 for staff and for API keys. Functions that staff may call have require_member instead.';

CREATE OR REPLACE FUNCTION app_private.require_package_name(name jsonb)
 RETURNS jsonb
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.require_package_name(jsonb) is 'Returns the name of a package by language as it is stored. `en` and `de`, the languages of mails, are required. Raises FC010 for any other value, and what require_name raises.';

CREATE OR REPLACE FUNCTION app_private.require_price(price numeric, currency text, field text)
 RETURNS numeric
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.require_price(numeric,text,text) is 'Returns a price with the decimal places of its currency, as it is stored: 6 EUR becomes 6.00. Raises FC010 for one that has more, because invoices would round it.';

CREATE OR REPLACE FUNCTION app_private.require_publisher(dealer app_public.dealers)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  if not dealer.is_active or not dealer.can_publish then
    raise exception using
      errcode = 'FC003',
      message = case when dealer.is_active then 'Publication is suspended for this dealer. Please contact support.' else 'This dealer is closed. Please contact support.' end,
      detail = jsonb_build_object('field', 'dealerId')::text;
  end if;
end
$function$;
comment on function app_private.require_publisher(app_public.dealers) is 'Raises FC003 if the dealer is closed or its publication is suspended.';

CREATE OR REPLACE FUNCTION app_private.require_reason(reason text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_reason constant text := app_private.to_nfc(btrim(replace(reason, E'\r\n', E'\n')));
begin
  if (app_private.is_text(v_reason, 1000) and v_reason ~ ('[^' || app_private.invisible_characters() || ']')) is not true then
    raise exception using
      errcode = 'FC010',
      message = 'Please give a reason of 1 to 1,000 characters. It is kept in the audit trail.',
      detail = jsonb_build_object('field', 'reason')::text;
  end if;
  return v_reason;
end
$function$;
comment on function app_private.require_reason(text) is 'Returns the reason of an admin as it is stored. Raises FC010 if it is null, has no visible character, is longer than 1,000 characters, or has control characters.';

CREATE OR REPLACE FUNCTION app_private.require_settled_dealer(dealer_id uuid, at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_reason text;
begin
  perform app_private.close_expired_checkout(require_settled_dealer.dealer_id, require_settled_dealer.at);
  v_reason := case
    when exists (
      select from app_public.checkouts as c where c.dealer_id = require_settled_dealer.dealer_id and c.closed_at is null) then 'CHECKOUT'
    -- A negative total is what the dealer is owed.
    when exists (
      select from app_public.invoices as i
      where i.dealer_id = require_settled_dealer.dealer_id and i.status = 'draft' and i.gross_total <> 0) then 'INVOICE'
    when exists (
      select from app_public.dealer_subscriptions as s
      where s.dealer_id = require_settled_dealer.dealer_id
        and (s.status = 'pending' or s.status = 'active' and s.end_at > require_settled_dealer.at)) then 'SUBSCRIPTION'
  end;
  if v_reason is not null then
    raise exception using
      errcode = 'FC008',
      message = case v_reason
        when 'CHECKOUT' then 'You are the last owner of a dealer with an open checkout. Please cancel it, or make another member an owner.'
        when 'INVOICE' then 'You are the last owner of a dealer with an unpaid invoice. Please settle it with support, or make another member an owner.'
        else 'You are the last owner of a dealer with a subscription. Please cancel it, or make another member an owner.' end,
      detail = jsonb_build_object('dealerId', require_settled_dealer.dealer_id, 'reason', v_reason)::text;
  end if;
end
$function$;
comment on function app_private.require_settled_dealer(uuid,timestamp with time zone) is 'Raises FC008 if a dealer that loses its last owner has an open checkout, a draft invoice with an amount, or a subscription that is pending or runs. One that was cancelled does not count. The caller has locked the dealer.';

CREATE OR REPLACE FUNCTION app_private.require_user()
 RETURNS uuid
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  if app_private.current_api_key_id() is not null then
    raise exception using
      errcode = 'FC003',
      message = 'An API key cannot do this. Please log in and send the access token of a user.';
  end if;
  return app_public.current_user_id();
end
$function$;
comment on function app_private.require_user() is 'Returns the current user; null for a visitor. Raises FC003 for an API key. The first step of what only a person may do for itself.';

CREATE OR REPLACE FUNCTION app_private.require_valid_indexes()
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_statements text;
begin
  select string_agg(format('%s index concurrently app_public.%I;', case when c.relname ~ '_cc(new|old)[0-9]*$' then 'drop' else 'reindex' end, c.relname), ' ')
  into v_statements
  from pg_index as i
  join pg_class as c on c.oid = i.indexrelid
  where c.relnamespace = 'app_public'::regnamespace and not i.indisvalid;
  if v_statements is not null then
    raise exception using
      errcode = '55000',
      message = 'The build of an index was interrupted. Please run as the owner, then migrate again: ' || v_statements;
  end if;
end
$function$;
comment on function app_private.require_valid_indexes() is 'For migrations: raises 55000 if an index of app_public is not valid, and names the statements that repair it. An interrupted build leaves such an index, a second `create index if not exists` keeps it, and its migration is then recorded as run.';

CREATE OR REPLACE FUNCTION app_private.restrict_database()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  -- By default every login of the cluster may connect to a database and fill its disk with temporary tables.
  execute format('revoke connect, temporary on database %I from public', current_database());
  execute format('grant connect on database %I to forecourt_authenticator', current_database());
end
$function$;
comment on function app_private.restrict_database() is 'Lets only the owner and the API''s login connect to this database, and only the owner make temporary tables. The first migration calls it. Call it again in a database that was restored or cloned, because neither copies these rights.';

CREATE OR REPLACE FUNCTION app_private.reverse_consumption(listing app_public.listings, at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_paid app_public.listing_consumptions;
  v_reversal app_private.publication_decision;
  v_number integer;
begin
  select lc.* into strict v_paid
  from app_public.listing_consumptions as lc
  where lc.dealer_id = listing.dealer_id and lc.listing_id = listing.id and lc.kind in ('publication', 'renewal')
    and not exists (select from app_public.listing_consumptions as r where r.dealer_id = lc.dealer_id and r.reverses = lc.id)
  -- Not by time, because the clock can be set back. A listing with a renewal was published before, and its publication stays.
  order by lc.kind desc, lc.number desc
  limit 1;
  v_reversal.dealer_id := v_paid.dealer_id;
  v_reversal.at := at;
  v_reversal.source := v_paid.source;
  v_reversal.price_config_id := v_paid.price_config_id;
  v_reversal.net_amount := -v_paid.net_amount;
  v_reversal.vat_rate := v_paid.vat_rate;
  v_reversal.vat_amount := -v_paid.vat_amount;
  v_reversal.gross_amount := -v_paid.gross_amount;
  v_reversal.currency := v_paid.currency;
  -- An ended subscription gets nothing back, and its reversal does not name it.
  select s.id, case s.quota_kind when 'concurrent' then false end into v_reversal.subscription_id, v_reversal.takes_slot
  from app_public.dealer_subscriptions as s
  where s.dealer_id = v_paid.dealer_id and s.id = v_paid.subscription_id and s.status <> 'expired' and at < s.end_at;
  -- Nobody owes a void invoice, so its items are not credited.
  select it.country, it.price_version, it.unit_price_net, c.minor_units::integer
  into v_reversal.country, v_reversal.price_version, v_reversal.unit_price_net, v_reversal.minor_units
  from app_public.invoice_items as it
  join app_public.invoices as i on i.dealer_id = it.dealer_id and i.id = it.invoice_id and i.status <> 'void'
  join app_public.currencies as c on c.code = it.currency
  where it.dealer_id = v_paid.dealer_id and it.id = v_paid.invoice_item_id;
  select 1 + count(*)::integer into v_number
  from app_public.listing_consumptions as lc
  where lc.dealer_id = listing.dealer_id and lc.listing_id = listing.id and lc.kind = 'reversal';
  perform app_private.record_consumption(
    v_reversal, listing.id, 'reversal', app_private.acting_user_id(), v_number, reverses => v_paid.id);
end
$function$;
comment on function app_private.reverse_consumption(app_public.listings,timestamp with time zone) is 'Gives back what paid for a listing last: a free listing, a listing of a PER_PERIOD subscription that still runs, or a price, as an item of negative quantity on the open draft invoice of the month. A price on a void invoice gets no item. A slot is released by the rejection, not by the reversal. A unique key lets it happen once. The caller holds the locks of the dealer and the listing.';

CREATE OR REPLACE FUNCTION app_private.review_listings(dealer_id uuid, listings app_public.new_listing[])
 RETURNS TABLE(number integer, fits boolean, refusal app_private.refusal)
 LANGUAGE sql
 STABLE PARALLEL SAFE ROWS 100
BEGIN ATOMIC
 SELECT r.number,
     (r.is_new AND (r.refusal IS NULL)),
         CASE
             WHEN (r.is_new AND (r.refusal IS NULL) AND (r.external_id IS NOT NULL) AND (row_number() OVER (PARTITION BY r.external_id, (r.is_new AND (r.refusal IS NULL)) ORDER BY r.number) > 1)) THEN ROW('23505'::text, NULL::text, NULL::text, 'ux_listings_external_id'::text)::app_private.refusal
             ELSE r.refusal
         END AS refusal
    FROM ( SELECT b.number,
             b.external_id,
             (known.payload_hash IS NULL) AS is_new,
                 CASE
                     WHEN (known.payload_hash <> b.payload_hash) THEN ROW('FC007'::text, 'This idempotency key was used for another listing. Use a new key for a new listing.'::text, '{"field": "idempotencyKey"}'::text, NULL::text)::app_private.refusal
                     WHEN (known.payload_hash IS NULL) THEN COALESCE(app_private.check_listing(b.title, b.description, b.module, b.price, b.attributes, b.images, b.external_id, NULL::timestamp with time zone, NULL::timestamp with time zone, NULL::timestamp with time zone, NULL::text, NULL::app_public.moderation_reason, NULL::timestamp with time zone),
                     CASE
                         WHEN (NOT b.has_currency) THEN ROW('23503'::text, NULL::text, NULL::text, 'listings_currency_known'::text)::app_private.refusal
                         ELSE NULL::app_private.refusal
                     END,
                     CASE
                         WHEN live.is_live THEN ROW('23505'::text, NULL::text, NULL::text, 'ux_listings_external_id'::text)::app_private.refusal
                         ELSE NULL::app_private.refusal
                     END)
                     ELSE NULL::app_private.refusal
                 END AS refusal
            FROM ((( SELECT n.number,
                     n.idempotency_key,
                     n.payload_hash,
                     n.title,
                     n.module,
                     n.price,
                     n.currency,
                     n.has_currency,
                     n.description,
                     n.attributes,
                     n.images,
                     n.external_id
                    FROM app_private.read_listings(review_listings.listings) n(number, idempotency_key, payload_hash, title, module, price, currency, has_currency, description, attributes, images, external_id)
                  OFFSET 0) b
              LEFT JOIN LATERAL ( SELECT l.payload_hash
                    FROM app_public.listings l
                   WHERE ((l.dealer_id = review_listings.dealer_id) AND (l.idempotency_key = b.idempotency_key))
                  LIMIT 1) known ON (true))
              LEFT JOIN LATERAL ( SELECT true AS "?column?"
                    FROM app_public.listings l
                   WHERE ((l.dealer_id = review_listings.dealer_id) AND (l.external_id = b.external_id) AND ((l.status = 'pending'::app_public.listing_status) OR (l.status = 'active'::app_public.listing_status)))
                  LIMIT 1) live(is_live) ON (true))
          OFFSET 0) r;
END;
comment on function app_private.review_listings(uuid,app_public.new_listing[]) is 'Reviews the listings of a batch. `fits`: it is new and breaks no rule of its own. `refusal`: its key was used with other input, it breaks a rule, or its currency or reference would break a constraint. Of several that fit with the same reference, only the first is not refused. The caller holds the dealer''s lock.';

CREATE OR REPLACE FUNCTION app_private.revocation_lifetime()
 RETURNS interval
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN ((16)::double precision * '00:01:00'::interval);
comment on function app_private.revocation_lifetime() is 'How long the access tokens of an ended session must be refused: they last 15 minutes, and clocks differ.';

CREATE OR REPLACE FUNCTION app_private.revoke_sessions()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  -- @plpgsql_check_options: oldtable = ended
  insert into app_private.revoked_sessions (session_id)
  select e.id from ended as e
  where e.expires_at - app_private.refresh_lifetime() > clock_timestamp() - app_private.revocation_lifetime();
  if found then
    perform pg_notify('revoked_sessions', '');
  end if;
  return null;
end
$function$;
comment on function app_private.revoke_sessions() is 'Trigger: makes every API process refuse the access tokens of the deleted sessions. A session that was not refreshed within revocation_lifetime has no valid one.';

CREATE OR REPLACE FUNCTION app_private.row_refusal(rule text, message text, field text DEFAULT NULL::text)
 RETURNS app_private.refusal
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  return row('23514', message, jsonb_strip_nulls(jsonb_build_object('field', field))::text, rule)::app_private.refusal;
end
$function$;
comment on function app_private.row_refusal(text,text,text) is 'The refusal of a row by a rule, as a value: with the SQLSTATE of a broken constraint that has the name of the rule. With a field, the message is for clients: the API names the field of the input. Without one, only the log gets the message. Not in SQL: inlined, its expressions would be prepared for each row that breaks no rule.';

CREATE OR REPLACE FUNCTION app_private.run_expiry_batch(run_id uuid, tids tid[], OUT expired integer, OUT is_publishing boolean)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  -- The next run repeats a batch that is lost in a crash, so it need not wait for the disk with its rows locked.
  perform set_config('synchronous_commit', 'off', true);
  -- Write evicted pages back bit by bit: a burst of writes would hold up the commits of others.
  perform set_config('backend_flush_after', '256kB', true);
  expired := app_private.expire_rows(
    tids, coalesce((select r.task from app_private.job_runs as r where r.id = run_expiry_batch.run_id), 'expire_subscriptions'));
  update app_private.job_runs as r set counted = r.counted + run_expiry_batch.expired
  where r.id = run_expiry_batch.run_id and run_expiry_batch.expired > 0;
  is_publishing := coalesce(
    (select l.created_at from app_public.listings as l order by l.id desc limit 1) > clock_timestamp() - interval '1 second', false);
end
$function$;
comment on function app_private.run_expiry_batch(uuid,tid[]) is 'Expires one batch of a run and counts it in job_runs, in one transaction, so that the count is exact even if the worker dies. The run names the task. Returns how many rows expired, and whether a listing was created within the last second; the run slows down then.';

CREATE OR REPLACE FUNCTION app_private.schedule_expiry(dealer_id uuid, at timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  perform from app_public.dealer_subscriptions as s
  where s.dealer_id = schedule_expiry.dealer_id and s.status = 'pending';
  if found then
    perform graphile_worker.add_job(
      'expire_subscriptions', run_at := schedule_expiry.at, job_key := 'expire_subscriptions:' || schedule_expiry.dealer_id);
  end if;
  return schedule_expiry.at;
end
$function$;
comment on function app_private.schedule_expiry(uuid,timestamp with time zone) is 'If the dealer has a pending subscription, schedules an expiry run at the end of the running one, so that the next one starts at once and not in the following night.';

CREATE OR REPLACE FUNCTION app_private.schedule_missed_expiry()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  perform app_private.release_dead_workers();
  -- A starting runner inserts its task names in this order. In another order the two can deadlock on a new database.
  perform graphile_worker.add_job('expire_listings', job_key := 'expire_listings:missed');
  perform graphile_worker.add_job('expire_subscriptions', job_key := 'expire_subscriptions:missed');
end
$function$;
comment on function app_private.schedule_missed_expiry() is 'Unlocks the jobs of dead workers and queues an expiry run of subscriptions and one of listings. Each worker calls it at its start, whatever has finished since 00:00 UTC: a run may have died since, and the crontab only makes up for tasks that it knew before. Several workers queue one run of each; a run without due work costs a few index reads.';

CREATE OR REPLACE FUNCTION app_private.send_alert(kind text, key text, message text, details jsonb DEFAULT '{}'::jsonb)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_now constant timestamptz := clock_timestamp();
  v_id uuid;
begin
  insert into app_private.alerts (kind, key, message, details, created_at)
  values (send_alert.kind, send_alert.key, send_alert.message, send_alert.details, v_now)
  on conflict on constraint alerts_kind_key_key do nothing
  returning id into v_id;
  if v_id is null then
    return false;
  end if;
  -- Users can cause some kinds as often as they like, for example with a dealer in each country, so at most 50 of a kind are sent
  -- per hour.
  perform from app_private.alerts as a
  where a.kind = send_alert.kind and a.created_at > v_now - interval '1 hour'
  offset 50 limit 1;
  if not found then
    perform graphile_worker.add_job('send_alert', json_build_object('id', v_id), job_key := 'send_alert:' || v_id);
  elsif send_alert.kind <> 'alert_flood' then
    perform app_private.send_alert(
      'alert_flood',
      send_alert.kind || to_char(v_now at time zone 'UTC', ' YYYY-MM-DD"T"HH24"Z"'),
      format('There were more than 50 alerts of the kind %s within an hour. The others are not sent; please read them in app_private.alerts.', send_alert.kind));
  end if;
  return true;
end
$function$;
comment on function app_private.send_alert(text,text,text,jsonb) is 'Writes an alert to the outbox; the worker sends it after this transaction has committed. An alert of the same kind and key is stored and sent only once, so to send it once per hour or day, put the hour or the day into the key. `message` is a sentence for people, `details` an object for programs. At most 50 alerts of a kind are sent per hour, and one more that says so. Returns whether the alert is new.';

CREATE OR REPLACE FUNCTION app_private.send_verification(account app_public.users, kind text, email text, token_hash bytea, sealed_token bytea)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  perform app_private.queue_mail(
    send_verification.kind, send_verification.email, account.locale, '{}', sealed_token,
    app_private.issue_token('email_verification', account.id, send_verification.email, token_hash, interval '48 hours'));
end
$function$;
comment on function app_private.send_verification(app_public.users,text,text,bytea,bytea) is 'Sends the user a token that verifies the address within 48 hours.';

CREATE OR REPLACE FUNCTION app_private.set_admin(email text, is_admin boolean)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_user app_public.users;
begin
  select u.* into v_user
  from app_public.users as u where u.email = app_private.normalize_email(set_admin.email) for no key update;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = format('There is no account with the e-mail address %s.', set_admin.email),
      hint = 'Please check it, or register it first: docs/operations.md, "First steps", shows how.';
  end if;
  update app_public.users as u set is_admin = set_admin.is_admin where u.id = v_user.id and u.is_admin <> set_admin.is_admin;
  return found;
end
$function$;
comment on function app_private.set_admin(text,boolean) is 'Makes the account of an e-mail address an admin, or takes the right away. Returns false if nothing changes. Raises FC004 if there is no such account. The trigger users_admin_audited records the change. For a DBA.';

CREATE OR REPLACE FUNCTION app_private.set_password(user_id uuid, password_hash text, refresh_hash bytea)
 RETURNS uuid
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  update app_private.user_passwords as p set password_hash = set_password.password_hash, updated_at = clock_timestamp()
  where p.user_id = set_password.user_id;
  -- Also a change of the address: whoever knew the old password may have asked for it.
  update app_private.one_time_tokens as t set used_at = clock_timestamp()
  from app_public.users as u
  where u.id = set_password.user_id and t.user_id = u.id and t.used_at is null and (t.kind = 'password_reset' or t.email <> u.email);
  -- Not to an address that nobody has verified: it may be that of a stranger.
  perform app_private.queue_mail('password_changed', u.email, u.locale)
  from app_public.users as u where u.id = set_password.user_id and u.email_verified_at is not null;
  perform app_private.end_sessions(set_password.user_id);
  return app_private.open_session(set_password.user_id, set_password.refresh_hash);
end
$function$;
comment on function app_private.set_password(uuid,text,bytea) is 'Sets the password of a user, ends all of its sessions, its open reset and its open change of the address, tells it by mail, and returns a new session.';

CREATE OR REPLACE FUNCTION app_private.set_price(country text, segment app_public.segment, pricing_type app_public.pricing_type, unit_price_net numeric, starts_at timestamp with time zone DEFAULT now(), duration_days integer DEFAULT NULL::integer)
 RETURNS app_public.price_configs
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.set_price(text,app_public.segment,app_public.pricing_type,numeric,timestamp with time zone,integer) is 'Opens a new version of a price at `starts_at` and closes the version before it, in one transaction. `duration_days` says how long a promotion at this price lasts; null: as in the version before, or 30. A price that is valid then already is returned, and nothing changes. Raises FC010 for a price with more decimal places than its currency. For a DBA.';

CREATE OR REPLACE FUNCTION app_private.set_vat_rate(country text, vat_rate numeric, starts_at timestamp with time zone DEFAULT now())
 RETURNS app_public.vat_rates
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.set_vat_rate(text,numeric,timestamp with time zone) is 'Opens a VAT rate of a country, in percent, at `starts_at` and ends the rate before it then. A rate that is valid then already is returned, and nothing changes. For a DBA.';

CREATE OR REPLACE FUNCTION app_private.settle_invoice(dealer_id uuid, invoice_id uuid)
 RETURNS app_public.invoices
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
  elsif v_invoice.gross_total < 0 then
    raise exception using
      errcode = 'FC008',
      message = 'More was given back on this invoice than charged, so there is nothing to pay.',
      detail = jsonb_build_object('field', 'invoiceId', 'status', upper(v_invoice.status::text collate "C"))::text;
  end if;
  update app_public.invoices as i set status = 'paid', paid_at = v_at, updated_at = v_at
  where i.dealer_id = v_invoice.dealer_id and i.id = v_invoice.id
  returning i.* into v_invoice;
  if v_invoice.kind = 'package' then
    perform app_private.start_subscription(v_invoice.dealer_id, v_invoice.id, v_at);
  end if;
  return v_invoice;
end
$function$;
comment on function app_private.settle_invoice(uuid,uuid) is 'Marks an invoice as paid and starts or queues its subscription. Every payment provider calls this function when the money has arrived; a repeated call changes nothing. Raises FC008 for a voided invoice, and for a monthly invoice whose month has not ended or whose total is negative.';

CREATE OR REPLACE FUNCTION app_private.start_or_queue(dealer_id uuid, at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.start_or_queue(uuid,timestamp with time zone) is 'Starts a new pending subscription of a dealer, or leaves it pending behind a running one. The caller holds the dealer''s lock.';

CREATE OR REPLACE FUNCTION app_private.start_pending_subscription(dealer_id uuid, subscription_id uuid, at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_started_id uuid;
begin
  perform app_private.expire_ended_subscription(start_pending_subscription.dealer_id, start_pending_subscription.at);
  -- Oldest first, as in an expiry run: a run whose snapshot still shows the oldest one as pending rechecks it and skips it.
  loop
    update app_public.dealer_subscriptions as s set status = 'cancelled', updated_at = start_pending_subscription.at
    where s.dealer_id = start_pending_subscription.dealer_id and s.status = 'active';
    update app_public.dealer_subscriptions as s
    set status = 'active', start_at = start_pending_subscription.at,
      end_at = start_pending_subscription.at + s.duration_days * interval '24 hours', updated_at = start_pending_subscription.at
    where s.dealer_id = start_pending_subscription.dealer_id and s.id = (
      select p.id from app_public.dealer_subscriptions as p
      where p.dealer_id = start_pending_subscription.dealer_id and p.status = 'pending'
      order by p.id
      limit 1)
    returning s.id into strict v_started_id;
    exit when v_started_id = start_pending_subscription.subscription_id;
  end loop;
  perform app_private.schedule_expiry(
    start_pending_subscription.dealer_id,
    (select max(s.end_at) from app_public.dealer_subscriptions as s
     where s.dealer_id = start_pending_subscription.dealer_id and s.status not in ('pending', 'expired')));
end
$function$;
comment on function app_private.start_pending_subscription(uuid,uuid,timestamp with time zone) is 'Starts a pending subscription of a dealer whose running ones have ended or have no listing quota or slot left, and the older pending ones before it. A subscription that still runs becomes cancelled and keeps its other quotas until its end. The caller holds the dealer''s lock.';

CREATE OR REPLACE FUNCTION app_private.start_subscription(dealer_id uuid, invoice_id uuid, at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.start_subscription(uuid,uuid,timestamp with time zone) is 'Creates the subscription of a paid checkout with the quotas as they were bought: active at once, or pending behind a running one. The caller holds the dealer''s lock.';

CREATE OR REPLACE FUNCTION app_private.subscription_metrics()
 RETURNS TABLE(metric text, labels jsonb, value double precision)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  return query
  select 'subscriptions_due'::text, '{}'::jsonb, count(*)::double precision
  from (
    select from app_public.dealer_subscriptions as s
    where s.status = 'active' and s.end_at <= statement_timestamp()
    limit 100000
  ) as due;
end
$function$;
comment on function app_private.subscription_metrics() is 'Number of active subscriptions whose end has passed, counted in the index and up to 100,000. See operation_metrics.';

CREATE OR REPLACE FUNCTION app_private.take_mail_limit(email text, OUT account_key bytea, OUT max_count integer, OUT over_limit boolean, OUT retry_after_seconds integer)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_policy app_public.rate_limit_policies;
  v_outcome app_private.rate_limit_outcome;
begin
  -- STRICT: without its policy no mail is sent, rather than any number.
  select p.* into strict v_policy from app_public.rate_limit_policies as p where p.scope = 'auth_mail';
  max_count := v_policy.max_count;
  -- No client address reads like this, so the key is that of no counter of failed logins.
  account_key := app_private.account_key(take_mail_limit.email, 'auth_mail');
  over_limit := false;
  if v_policy.mode <> 'off' then
    v_outcome := app_public.take_rate_limit(
      account_key, case when v_policy.mode = 'enforce' then max_count else 'Infinity'::double precision end,
      v_policy.window_seconds, v_policy.cost);
    retry_after_seconds := v_outcome.retry_after;
    over_limit := retry_after_seconds is not null or v_outcome.used > max_count;
  end if;
end
$function$;
comment on function app_private.take_mail_limit(text) is 'Counts a mail that somebody asks for against the limit auth_mail of the address, whether an account has it or not. retry_after_seconds is set when the mail is refused. over_limit says that the limit is exceeded, also by a policy in shadow mode, which refuses nobody.';

CREATE OR REPLACE FUNCTION app_private.take_rate_limit_at_edge(key bytea, max_count double precision, window_seconds double precision, cost double precision, now double precision, OUT outcome app_private.rate_limit_outcome)
 RETURNS app_private.rate_limit_outcome
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_seen app_private.rate_limit_counters;
  v_counter app_private.rate_limit_counters;
  v_wait integer;
begin
  -- A plain read decides about a refusal: a refusal writes nothing and waits for no lock.
  select c.* into v_seen from app_private.rate_limit_counters as c where c.key = take_rate_limit_at_edge.key;
  v_counter := app_private.rate_limit_counter_at(v_seen, window_seconds, now);
  v_wait := app_private.rate_limit_wait(v_counter, max_count, cost, now);
  if v_wait is not null then
    outcome := row(null::double precision, now + v_wait, v_wait);
    return;
  end if;
  v_counter.current := v_counter.current + cost;
  -- Written only if the row has not changed since it was read: of many sessions at the end of a window, one starts the next.
  if v_seen.key is null then
    insert into app_private.rate_limit_counters (key, window_seconds, ends_at, decay, current)
    values (take_rate_limit_at_edge.key, v_counter.window_seconds, v_counter.ends_at, v_counter.decay, v_counter.current)
    on conflict do nothing;
  else
    update app_private.rate_limit_counters as c
    set window_seconds = v_counter.window_seconds, ends_at = v_counter.ends_at, decay = v_counter.decay, current = v_counter.current
    where c.key = take_rate_limit_at_edge.key
      and c.window_seconds = v_seen.window_seconds and c.ends_at = v_seen.ends_at and c.current = v_seen.current;
  end if;
  if found then
    outcome := row(app_private.rate_limit_used(v_counter, now), v_counter.ends_at, null::integer);
  end if;
end
$function$;
comment on function app_private.take_rate_limit_at_edge(bytea,double precision,double precision,double precision,double precision) is 'Takes a charge that starts a window: the key''s first charge, or the first one after the window has ended or its length has changed. Refuses a charge over the limit without writing. Returns null and writes nothing if another session started the window first.';

CREATE OR REPLACE FUNCTION app_private.take_slots(dealer_id uuid, subscription_id uuid, count integer, at timestamp with time zone)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.take_slots(uuid,uuid,integer,timestamp with time zone) is 'Adds to the slots in use of a dealer. If they take slots of listings that have ended, it expires the ended listings of the dealer that hold slots, at most 100. The caller has found as many free slots with count_free_slots, and holds the dealer''s lock.';

CREATE OR REPLACE FUNCTION app_private.time_ordered_uuid()
 RETURNS uuid
 LANGUAGE sql
 PARALLEL SAFE
RETURN ((OVERLAY(lpad(to_hex(((EXTRACT(epoch FROM clock_timestamp()) * (4096000)::numeric))::bigint), 15, '0'::text) PLACING '7'::text FROM 13 FOR 0) || substr((gen_random_uuid())::text, 20)))::uuid;
comment on function app_private.time_ordered_uuid() is 'A UUID of version 7 (RFC 9562). Its order is the order of creation, so new rows go to the right edge of an index. Also works on Postgres before 18.';

CREATE OR REPLACE FUNCTION app_private.to_nfc(value text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN (value IS NFC NORMALIZED) THEN value ELSE NORMALIZE(value, NFC) END;
comment on function app_private.to_nfc(text) is 'The text in Unicode form NFC: a letter and its accent are one character where Unicode has one.';

CREATE OR REPLACE FUNCTION app_private.try_lock_dealer(dealer_id uuid)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  perform from app_public.dealers as d where d.id = try_lock_dealer.dealer_id for no key update skip locked;
  return found;
end
$function$;
comment on function app_private.try_lock_dealer(uuid) is 'Locks the dealer''s row as lock_dealer does, unless another session has locked it. Returns whether it is locked by this one.';

CREATE OR REPLACE FUNCTION app_private.unlock_user(user_id uuid, reason text)
 RETURNS app_public.users
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_reason constant text := app_private.require_reason(unlock_user.reason);
  v_user app_public.users := app_private.lock_user_row(unlock_user.user_id);
begin
  if v_user.locked_at is not null then
    perform app_private.write_audit_log(
      'UNLOCK_USER', 'users', v_user.id, jsonb_build_object('lockedAt', v_user.locked_at),
      jsonb_build_object('lockedAt', null, 'reason', v_reason));
    update app_public.users as u set locked_at = null where u.id = v_user.id returning u.* into v_user;
  end if;
  return v_user;
end
$function$;
comment on function app_private.unlock_user(uuid,text) is 'Unlocks an account, which can log in again. Records UNLOCK_USER with the reason. A second call changes nothing. Raises FC004 if there is no such user, and what require_reason raises.';

CREATE OR REPLACE FUNCTION app_private.use_token(kind text, token_hash bytea)
 RETURNS app_private.one_time_tokens
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_token app_private.one_time_tokens;
begin
  -- The lock makes requests with the same token wait for each other: the second one finds it used.
  perform from app_public.users as u
  join app_private.one_time_tokens as t on t.user_id = u.id
  where t.token_hash = use_token.token_hash
  for no key update of u;
  v_token := app_private.live_token(use_token.kind, use_token.token_hash);
  update app_private.one_time_tokens as t set used_at = clock_timestamp() where t.token_hash = v_token.token_hash;
  return v_token;
end
$function$;
comment on function app_private.use_token(text,bytea) is 'Uses a token once: locks its user, and marks the token. Raises FC010 as live_token does.';

CREATE OR REPLACE FUNCTION app_private.vat_amount(net_amount numeric, vat_rate numeric, minor_units integer)
 RETURNS numeric
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN round(((net_amount * vat_rate) / (100)::numeric), minor_units);
comment on function app_private.vat_amount(numeric,numeric,integer) is 'The only place where VAT is computed: rounded half away from zero to the currency''s minor units. `vat_rate` is in percent.';

CREATE OR REPLACE FUNCTION app_private.verify_invoices()
 RETURNS SETOF app_private.ledger_fault
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.verify_invoices() is 'Finds invoices whose totals differ from the sums of their items, items without an invoice (`id` is the invoice''s), and items whose currency or country differs from the invoice''s (`id` is the item''s).';

CREATE OR REPLACE FUNCTION app_private.verify_ledger(listings boolean DEFAULT true)
 RETURNS SETOF app_private.ledger_fault
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET work_mem TO '64MB'
 SET max_parallel_workers_per_gather TO '0'
AS $function$
begin
  -- One core and little memory: publications need the rest. Each rule gives its memory back before the next one runs.
  if listings then
    return query select * from app_private.verify_listings();
  end if;
  return query select * from app_private.verify_subscriptions();
  return query select * from app_private.verify_slots();
  return query select * from app_private.verify_reversals();
  return query select * from app_private.verify_promotions();
  return query select * from app_private.verify_paid_extras();
  return query select * from app_private.verify_invoices();
  return query select * from app_private.verify_purchases();
end
$function$;
comment on function app_private.verify_ledger(boolean) is 'Checks the rules of the ledger and returns one row per violation; no row means that the ledger is in order. Reads every row once or twice by set operations, in the snapshot of the calling statement, and locks no rows. With `listings` false, verify_listings is left out.';

CREATE OR REPLACE FUNCTION app_private.verify_listings(first_dealer_id uuid DEFAULT '00000000-0000-0000-0000-000000000000'::uuid, last_dealer_id uuid DEFAULT 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
 RETURNS SETOF app_private.ledger_fault
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
  -- Both sides come in order from an index alone, without reading the tables. A join would be planned by the
  -- statistics, and where these are wrong it reads a whole table for each range.
  with differing as materialized (
    select coalesce(l.dealer_id, p.dealer_id) as dealer_id, coalesce(l.id, p.listing_id) as id, l.id is not null as is_listing
    from (
      select dealer_id, id from app_public.listings where dealer_id between first_dealer_id and last_dealer_id
    ) as l
    full join (
      select dealer_id, listing_id, count(*) filter (where kind = 'publication') as publications, bool_or(kind = 'reversal') as is_reversed
      from app_public.listing_consumptions
      where dealer_id between first_dealer_id and last_dealer_id
        -- Each id is. The condition lets the database use the partial index; IS NOT NULL would be removed before that.
        and listing_id >= '00000000-0000-0000-0000-000000000000'
      group by dealer_id, listing_id
    ) as p on p.dealer_id = l.dealer_id and p.listing_id = l.id
    where l.id is null or p.publications is distinct from 1 or p.is_reversed
  )
  -- Few listings are left, and their rows are read.
  select
    case when d.is_listing then 'a listing does not have exactly one publication in the ledger' else 'a publication in the ledger has no listing' end,
    d.dealer_id, d.id, jsonb_build_object('publications', p.standing)
  from differing as d
  cross join lateral (
    select count(*) filter (where r.id is null) as standing, count(*) as publications
    from app_public.listing_consumptions as lc
    left join app_public.listing_consumptions as r on r.dealer_id = lc.dealer_id and r.reverses = lc.id
    where lc.dealer_id = d.dealer_id and lc.listing_id = d.id and lc.kind = 'publication'
  ) as p
  where not d.is_listing or p.standing <> 1 and not exists (
    select from app_public.listings as l
    where l.dealer_id = d.dealer_id and l.id = d.id and p.standing = 0 and p.publications > 0
      and l.status = 'rejected' and l.published_at is null)
$function$;
comment on function app_private.verify_listings(uuid,uuid) is 'Finds listings that do not have exactly one publication in the ledger that was not given back (none if the listing was rejected before it was ever active), and publications without a listing, for all dealers or a range of dealer ids. `id` is the listing''s.';

CREATE OR REPLACE FUNCTION app_private.verify_listings_from(first_dealer_id uuid, size integer DEFAULT 10000, OUT in_order boolean, OUT next_dealer_id uuid)
 RETURNS record
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET max_parallel_workers_per_gather TO '0'
 SET plan_cache_mode TO 'force_custom_plan'
AS $function$
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
$function$;
comment on function app_private.verify_listings_from(uuid,integer) is 'Runs verify_listings for the given dealer and the next ones, up to about `size` listings and to the end of a dealer. Returns whether it found nothing, and the next dealer; null at the end. One short statement per call, so the check of a large ledger blocks nobody.';

CREATE OR REPLACE FUNCTION app_private.verify_paid_extras()
 RETURNS SETOF app_private.ledger_fault
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
  select
    case
      when lc.listing_id is null then 'an item of a monthly invoice does not belong to exactly one listing'
      else 'a paid listing has no invoice item with the same amounts'
    end,
    coalesce(lc.dealer_id, it.dealer_id),
    coalesce(lc.listing_id, it.id),
    jsonb_build_object('ledger_gross', lc.gross_amount, 'item_gross', it.gross_amount)
  from (
    -- A reversal without an item is a matter of verify_reversals.
    select * from app_public.listing_consumptions where source = 'paid_extra' and (invoice_item_id is not null or kind <> 'reversal')
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
$function$;
comment on function app_private.verify_paid_extras() is 'Finds paid ledger rows without exactly one item of the same amounts on a monthly invoice (`id` is the listing''s), and items of monthly invoices without exactly one ledger row (`id` is the item''s).';

CREATE OR REPLACE FUNCTION app_private.verify_promotions()
 RETURNS SETOF app_private.ledger_fault
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
  with charged as materialized (
    select dealer_id, id, listing_id, kind, subscription_id from app_public.listing_consumptions where kind in ('premium', 'highlight')
  )
  select 'a promotion does not belong to exactly one ledger row of its listing and kind',
    coalesce(p.dealer_id, lc.dealer_id), coalesce(p.id, lc.id), jsonb_build_object('promotion', p.kind, 'ledger_row', lc.kind)
  from app_public.listing_promotions as p
  full join charged as lc on lc.dealer_id = p.dealer_id and lc.id = p.id
  where (lc.listing_id, lc.kind::text) is distinct from (p.listing_id, p.kind::text)
  union all
  select 'the used quota of a subscription is not the number of its promotions', s.dealer_id, s.id,
    jsonb_build_object('premium', s.used_premium_quota, 'highlight', s.used_highlight_quota,
      'premium_rows', coalesce(lc.premium, 0), 'highlight_rows', coalesce(lc.highlight, 0))
  from app_public.dealer_subscriptions as s
  left join (
    select dealer_id, subscription_id, count(*) filter (where kind = 'premium') as premium, count(*) filter (where kind = 'highlight') as highlight
    from charged
    group by dealer_id, subscription_id
  ) as lc on lc.dealer_id = s.dealer_id and lc.subscription_id = s.id
  where (s.used_premium_quota, s.used_highlight_quota) <> (coalesce(lc.premium, 0), coalesce(lc.highlight, 0))
  union all
  select 'a listing is shown as promoted without a promotion', l.dealer_id, l.id,
    jsonb_build_object('status', l.status, 'premium_until', l.premium_until, 'highlighted_until', l.highlighted_until)
  from app_public.listings as l
  where (l.is_premium or l.is_highlighted) and (
    l.status <> 'active'
    or l.is_premium and not exists (
      select from app_public.listing_promotions as p
      where p.dealer_id = l.dealer_id and p.listing_id = l.id and p.kind = 'premium' and p.ends_at = l.premium_until)
    or l.is_highlighted and not exists (
      select from app_public.listing_promotions as p
      where p.dealer_id = l.dealer_id and p.listing_id = l.id and p.kind = 'highlight' and p.ends_at = l.highlighted_until))
$function$;
comment on function app_private.verify_promotions() is 'Finds promotions without exactly one ledger row of the same listing and kind, and such rows without a promotion (`id` is that of both); subscriptions whose used quota of a kind differs from the number of their ledger rows of that kind (`id` is the subscription''s); and listings that show a promotion but are not active or have none with that end (`id` is the listing''s).';

CREATE OR REPLACE FUNCTION app_private.verify_purchases()
 RETURNS SETOF app_private.ledger_fault
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
comment on function app_private.verify_purchases() is 'Finds package invoices that are paid without exactly one subscription or unpaid with a subscription, subscriptions that refer to another kind of invoice, and granted ones that have an invoice. `id` is the invoice''s.';

CREATE OR REPLACE FUNCTION app_private.verify_reversals()
 RETURNS SETOF app_private.ledger_fault
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
  select 'a reversal is not the opposite of the row that it gives back', r.dealer_id, r.id, jsonb_build_object('reverses', r.reverses)
  from app_public.listing_consumptions as r
  left join app_public.listing_consumptions as o on o.dealer_id = r.dealer_id and o.id = r.reverses
  where r.reverses is not null and (
    o.kind is null or o.kind not in ('publication', 'renewal') or r.created_at < o.created_at
    or r.subscription_id <> o.subscription_id
    -- Only an ended subscription gets nothing back, and only a price on a void invoice.
    or r.subscription_id is null and exists (
      select from app_public.dealer_subscriptions as s
      where s.dealer_id = o.dealer_id and s.id = o.subscription_id and r.created_at < s.end_at)
    or r.invoice_item_id is null and exists (
      select from app_public.invoice_items as it
      join app_public.invoices as i on i.dealer_id = it.dealer_id and i.id = it.invoice_id
      where it.dealer_id = o.dealer_id and it.id = o.invoice_item_id and i.status <> 'void')
    or (r.listing_id, r.source, r.currency, r.vat_rate, r.net_amount, r.vat_amount, r.gross_amount, r.price_config_id)
      is distinct from (o.listing_id, o.source, o.currency, o.vat_rate, -o.net_amount, -o.vat_amount, -o.gross_amount, o.price_config_id))
  union all
  select 'a renewal was given back, but its listing is not rejected', r.dealer_id, r.id, jsonb_build_object('reverses', r.reverses)
  from app_public.listing_consumptions as r
  join app_public.listing_consumptions as o on o.dealer_id = r.dealer_id and o.id = r.reverses and o.kind = 'renewal'
  join app_public.listings as l on l.dealer_id = r.dealer_id and l.id = r.listing_id and l.status <> 'rejected'
  where r.reverses is not null and not exists (
    select from app_public.listing_consumptions as later
    where later.dealer_id = o.dealer_id and later.listing_id = o.listing_id and later.kind = 'renewal' and later.number > o.number)
  union all
  select 'the charge of a rejected listing was not given back', l.dealer_id, l.id, jsonb_build_object('consumption', lc.id)
  from app_public.listings as l
  join app_public.listing_consumptions as lc on lc.dealer_id = l.dealer_id and lc.listing_id = l.id and lc.kind <> 'reversal'
  where l.status = 'rejected' and l.rejected_at is not null
    -- The end of a listing that was taken down is that moment. A later renewal paid for its resubmission.
    and (l.published_at is null or lc.kind = 'renewal' and lc.created_at > l.expires_at)
    and not exists (select from app_public.listing_consumptions as r where r.dealer_id = lc.dealer_id and r.reverses = lc.id)
$function$;
comment on function app_private.verify_reversals() is 'Finds reversals that are not the opposite of the row that they give back, and those of a renewal whose listing is not rejected (`id` is the reversal''s), and listings that were rejected while they were pending and not given back (`id` is the listing''s).';

CREATE OR REPLACE FUNCTION app_private.verify_slots()
 RETURNS SETOF app_private.ledger_fault
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
  select
    case
      when l.holding <> l.live then 'a listing holds a slot although it is neither pending nor active'
      else 'the slots in use of a dealer are not its pending and active listings that hold one'
    end,
    d.id, d.id, jsonb_build_object('slots_in_use', d.slots_in_use, 'listings', coalesce(l.live, 0))
  from app_public.dealers as d
  left join (
    select dealer_id, count(*) as holding, count(*) filter (where status in ('pending', 'active')) as live
    from app_public.listings
    where holds_slot
    group by dealer_id
  ) as l on l.dealer_id = d.id
  where d.slots_in_use <> coalesce(l.live, 0) or l.holding <> l.live
$function$;
comment on function app_private.verify_slots() is 'Finds dealers whose slots in use differ from the number of their pending and active listings that hold one, or which have other listings that hold one. `id` is the dealer''s.';

CREATE OR REPLACE FUNCTION app_private.verify_subscriptions()
 RETURNS SETOF app_private.ledger_fault
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
  select
    case
      when s.id is null then 'a ledger row uses a subscription that does not exist'
      when s.used_listing_quota <> counted.ledger_rows then 'the used quota of a subscription is not the number of its ledger rows'
      else 'the used quota of a subscription exceeds its included quota'
    end,
    coalesce(s.dealer_id, lc.dealer_id),
    coalesce(s.id, lc.subscription_id),
    jsonb_build_object('used', s.used_listing_quota, 'included', s.included_listing_quota, 'ledger_rows', counted.ledger_rows)
  from app_public.dealer_subscriptions as s
  full join (
    select dealer_id, subscription_id, sum(case kind when 'reversal' then -1 else 1 end) as ledger_rows
    from app_public.listing_consumptions
    where source = 'subscription_quota' and subscription_id is not null and kind not in ('premium', 'highlight')
    group by dealer_id, subscription_id
  ) as lc on lc.dealer_id = s.dealer_id and lc.subscription_id = s.id
  -- The listings of a CONCURRENT subscription are counted as slots.
  cross join lateral (
    select case s.quota_kind when 'concurrent' then 0 else coalesce(lc.ledger_rows, 0) end as ledger_rows
  ) as counted
  where s.id is null
    or s.used_listing_quota <> counted.ledger_rows
    or s.used_listing_quota not between 0 and s.included_listing_quota
$function$;
comment on function app_private.verify_subscriptions() is 'Finds subscriptions whose used quota of listings differs from the number of their ledger rows that were not given back (0 for a CONCURRENT one), or exceeds the included quota, and ledger rows whose subscription does not exist. `id` is the subscription''s.';

CREATE OR REPLACE FUNCTION app_private.void_checkout(dealer_id uuid, invoice_id uuid, at timestamp with time zone)
 RETURNS app_public.checkouts
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_checkout app_public.checkouts;
begin
  update app_public.invoices as i set status = 'void', updated_at = void_checkout.at
  where i.dealer_id = void_checkout.dealer_id and i.id = void_checkout.invoice_id;
  update app_public.checkouts as c set closed_at = void_checkout.at
  where c.dealer_id = void_checkout.dealer_id and c.invoice_id = void_checkout.invoice_id
  returning c.* into v_checkout;
  return v_checkout;
end
$function$;
comment on function app_private.void_checkout(uuid,uuid,timestamp with time zone) is 'Closes an open checkout without a payment, and voids its invoice. The caller holds the dealer''s lock.';

CREATE OR REPLACE FUNCTION app_private.write_audit_log(action text, resource_type text, resource_id uuid, old_values jsonb, new_values jsonb, ip inet DEFAULT (NULLIF(current_setting('forecourt.client_ip'::text, true), ''::text))::inet)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  -- PL/pgSQL keeps the plan. Planning the route to a partition takes longer than the insert.
  insert into app_public.audit_logs (action, resource_type, resource_id, actor, old_values, new_values, ip, api_key_id)
  values (
    write_audit_log.action, write_audit_log.resource_type, write_audit_log.resource_id, app_private.acting_user_id(),
    write_audit_log.old_values, write_audit_log.new_values, write_audit_log.ip, app_private.current_api_key_id()
  );
end
$function$;
comment on function app_private.write_audit_log(text,text,uuid,jsonb,jsonb,inet) is 'Writes one row to the audit trail. The actor is the current user, or the maker of the API key, which the row then names too; the address is that of the transaction''s settings, unless the caller gives another one.';

CREATE OR REPLACE FUNCTION app_private.write_price_as_money()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  new.price_net := app_private.money(new.price_net, app_private.minor_units(new.currency));
  return new;
end
$function$;
comment on function app_private.write_price_as_money() is 'Trigger: stores the price of a package with at least the decimal places of its currency.';

CREATE OR REPLACE FUNCTION app_private.write_vat_rate()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  new.rate := app_private.money(trim_scale(new.rate), 2);
  return new;
end
$function$;
comment on function app_private.write_vat_rate() is 'Trigger: stores a VAT rate with at least 2 decimal places. It never rounds; a check refuses a rate with more than 4.';

CREATE OR REPLACE FUNCTION app_public.accept_invitation(token_hash bytea)
 RETURNS app_public.dealers
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_user_id constant uuid := app_private.require_user();
  v_user app_public.users;
  v_invitation app_public.dealer_invitations;
  v_dealer app_public.dealers;
begin
  select i.* into v_invitation from app_public.dealer_invitations as i where i.token_hash = accept_invitation.token_hash;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no invitation with this token. Please copy the whole token from the mail.',
      detail = jsonb_build_object('field', 'token')::text;
  end if;
  v_dealer := app_private.lock_dealer(v_invitation.dealer_id);
  -- Its lock keeps the e-mail address until the end.
  v_user := app_private.require_account(v_user_id);
  perform app_private.require_open_invitation(v_dealer, v_invitation.id, v_user);
  update app_public.dealer_invitations as i set accepted_at = clock_timestamp()
  where i.dealer_id = v_dealer.id and i.id = v_invitation.id and i.accepted_at is null;
  if found then
    insert into app_public.dealer_users (dealer_id, user_id, role)
    values (v_dealer.id, v_user.id, v_invitation.role)
    on conflict on constraint dealer_users_pkey do nothing;
    perform app_private.confirm_email(v_user.id, v_user.email);
  end if;
  return v_dealer;
end
$function$;
grant execute on function app_public.accept_invitation(bytea) to forecourt_admin;
grant execute on function app_public.accept_invitation(bytea) to forecourt_dealer;
comment on function app_public.accept_invitation(bytea) is 'Makes the current user a member of the dealer that invited its e-mail address; a member keeps its role. The token came by mail, so the address is verified too. A member may repeat the call, which then changes nothing. Raises what require_open_invitation raises, FC003 for an API key, and FC004 for an unknown token. Not a field of GraphQL: `acceptInvitation` calls it.';

CREATE OR REPLACE FUNCTION app_public.applied_migrations()
 RETURNS text[]
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  return array(select m.hash from graphile_migrate.migrations as m order by m.filename);
end
$function$;
grant execute on function app_public.applied_migrations() to forecourt_authenticator;
comment on function app_public.applied_migrations() is 'Hashes of the migrations that this database has run, in their order. For the API''s readiness check only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.begin_login(email text, address text, OUT user_id uuid, OUT normalized_email text, OUT full_name text, OUT is_admin boolean, OUT password_parameters text, OUT account_key bytea, OUT max_count integer, OUT over_limit boolean, OUT retry_after_seconds integer)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_policy app_public.rate_limit_policies;
  v_window interval;
  v_now constant timestamptz := clock_timestamp();
  v_count app_private.login_failures;
begin
  -- STRICT: without its policy every login fails, rather than being unlimited.
  select p.* into strict v_policy from app_public.rate_limit_policies as p where p.scope = 'auth_account';
  v_window := v_policy.window_seconds * interval '1 second';
  max_count := v_policy.max_count;
  normalized_email := app_private.normalize_email(begin_login.email);
  account_key := app_private.account_key(normalized_email);
  perform from app_private.known_addresses as k
  where k.account_key = begin_login.account_key and k.address = begin_login.address
    and k.last_login_at > v_now - app_private.known_address_lifetime();
  if found then
    account_key := app_private.account_key(normalized_email, begin_login.address);
  end if;
  insert into app_private.login_failures as f (email_hash, failures, window_started_at)
  values (account_key, 1, v_now)
  on conflict (email_hash) do update set
    failures = case when f.window_started_at + v_window <= v_now then 1 else f.failures + 1 end,
    window_started_at = case when f.window_started_at + v_window <= v_now then v_now else f.window_started_at end
  returning f.* into v_count;
  over_limit := v_policy.mode <> 'off' and v_count.failures > max_count;
  if v_policy.mode = 'enforce' and over_limit then
    -- The first refusal of a window writes the only entry.
    if v_count.failures = max_count + 1 then
      perform app_private.audit_login('LOGIN_BLOCKED', normalized_email, begin_login.address);
    end if;
    retry_after_seconds := greatest(1, ceil(extract(epoch from v_count.window_started_at + v_window - v_now))::integer);
    return;
  end if;
  -- The PHC string without its last part, which is the hash.
  select u.id, u.full_name, u.is_admin, regexp_replace(p.password_hash, '\$[^$]*$', '')
  into begin_login.user_id, begin_login.full_name, begin_login.is_admin, begin_login.password_parameters
  from app_public.users as u
  join app_private.user_passwords as p on p.user_id = u.id
  where u.email = normalized_email;
end
$function$;
grant execute on function app_public.begin_login(text,text) to forecourt_authenticator;
comment on function app_public.begin_login(text,text) is 'Counts the attempt as a failure before the password is checked, so that parallel guesses cannot pass the limit auth_account; complete_login takes the failure back when the password was right. An address from which the account has logged in within known_address_lifetime has a counter of its own. Returns the parameters and the salt of the password''s hash, never the hash, and nulls for an unknown account. over_limit says that the limit is exceeded, also by a policy in shadow mode, which refuses nobody; retry_after_seconds is set when the attempt is refused. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.begin_password_check(user_id uuid, address text, OUT normalized_email text, OUT password_parameters text, OUT account_key bytea, OUT max_count integer, OUT over_limit boolean, OUT retry_after_seconds integer)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
begin
  normalized_email := (app_private.require_account(begin_password_check.user_id)).email;
  select b.password_parameters, b.account_key, b.max_count, b.over_limit, b.retry_after_seconds
  into begin_password_check.password_parameters, begin_password_check.account_key, begin_password_check.max_count,
    begin_password_check.over_limit, begin_password_check.retry_after_seconds
  from app_public.begin_login(normalized_email, begin_password_check.address) as b;
end
$function$;
grant execute on function app_public.begin_password_check(uuid,text) to forecourt_authenticator;
comment on function app_public.begin_password_check(uuid,text) is 'begin_login for a user who is logged in and enters the password again. A wrong one counts as a failed login of the account. Raises FC001 without such a user. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.begin_password_reset(token_hash bytea)
 RETURNS text
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  return (app_private.live_token('password_reset', token_hash)).email;
end
$function$;
grant execute on function app_public.begin_password_reset(bytea) to forecourt_authenticator;
comment on function app_public.begin_password_reset(bytea) is 'Returns the e-mail address of the account that the token resets, for the rules of passwords. Raises FC010 for a token that cannot be used. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.buy_package(dealer_id uuid, package_id uuid, idempotency_key uuid, success_url text DEFAULT NULL::text, cancel_url text DEFAULT NULL::text)
 RETURNS app_public.checkouts
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_payload_hash constant bytea := sha256(convert_to(jsonb_build_array(package_id, success_url, cancel_url)::text, 'UTF8'));
  v_dealer app_public.dealers;
  v_decision app_private.purchase_decision;
  v_package app_public.dealer_packages;
  v_checkout app_public.checkouts;
  v_item app_public.invoice_items;
  v_at timestamptz;
begin
  perform app_private.require_owner(buy_package.dealer_id);
  v_dealer := app_private.lock_dealer(buy_package.dealer_id);
  -- Again: the right may have ended while this session waited.
  perform app_private.require_owner(buy_package.dealer_id);
  v_checkout := app_private.replay_checkout(buy_package.dealer_id, buy_package.idempotency_key, v_payload_hash);
  if v_checkout.invoice_id is not null then
    return v_checkout;
  end if;
  v_at := clock_timestamp();
  v_decision := app_private.decide_purchase(v_dealer, buy_package.package_id, v_at);
  perform app_private.close_expired_checkout(buy_package.dealer_id, v_at);
  v_package := v_decision.package;
  v_item := v_decision.item;
  insert into app_public.invoices (dealer_id, kind, country, currency, net_total, vat_total, gross_total, created_at, updated_at)
  values (v_dealer.id, 'package', v_dealer.country, v_item.currency, v_item.net_amount, v_item.vat_amount, v_item.gross_amount, v_at, v_at)
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
    duration_days, listing_limit, quota_kind, premium_quota, highlight_quota, overage, expires_at, created_at)
  values (
    v_dealer.id, v_item.invoice_id, v_package.id, buy_package.idempotency_key, v_payload_hash, 'manual', buy_package.success_url, buy_package.cancel_url,
    v_package.duration_days, v_package.listing_limit, v_package.quota_kind, v_package.premium_quota, v_package.highlight_quota, v_package.overage,
    v_at + interval '336 hours', v_at)
  returning * into v_checkout;
  return v_checkout;
end
$function$;
grant execute on function app_public.buy_package(uuid,uuid,uuid,text,text) to forecourt_admin;
grant execute on function app_public.buy_package(uuid,uuid,uuid,text,text) to forecourt_dealer;
comment on function app_public.buy_package(uuid,uuid,uuid,text,text) is '@behavior +mutationField
@resultFieldName checkout
For owners: starts the purchase of a package that is on sale in the dealer''s country: creates a draft invoice with a snapshot of price and VAT. The offer is open for 14 days. The same idempotency key with the same input returns the same checkout.';

CREATE OR REPLACE FUNCTION app_public.cancel_checkout(checkout_id uuid)
 RETURNS app_public.checkouts
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_checkout app_public.checkouts;
  v_status app_public.checkout_status;
  v_at timestamptz;
begin
  -- A checkout has the id of its invoice.
  select c.* into v_checkout from app_public.checkouts as c where c.invoice_id = cancel_checkout.checkout_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no checkout with this id. Please check it.',
      detail = jsonb_build_object('field', 'checkoutId')::text;
  end if;
  perform app_private.require_owner(v_checkout.dealer_id);
  perform app_private.lock_dealer(v_checkout.dealer_id);
  -- Again: the right may have ended while this session waited.
  perform app_private.require_owner(v_checkout.dealer_id);
  v_at := clock_timestamp();
  v_status := app_public.status_of_checkout(v_checkout.dealer_id, v_checkout.invoice_id, v_at);
  if v_status = 'open' then
    return app_private.void_checkout(v_checkout.dealer_id, v_checkout.invoice_id, v_at);
  elsif v_status <> 'cancelled' then
    raise exception using
      errcode = 'FC008',
      message = case v_status
        when 'paid' then 'This checkout is paid, so it cannot be cancelled. You can cancel its subscription.'
        else 'The offer of this checkout has expired. You need not cancel it: please start a new purchase.' end,
      detail = jsonb_build_object('field', 'checkoutId', 'status', upper(v_status::text collate "C"))::text;
  end if;
  select c.* into v_checkout
  from app_public.checkouts as c
  where c.dealer_id = v_checkout.dealer_id and c.invoice_id = v_checkout.invoice_id;
  return v_checkout;
end
$function$;
grant execute on function app_public.cancel_checkout(uuid) to forecourt_admin;
grant execute on function app_public.cancel_checkout(uuid) to forecourt_dealer;
comment on function app_public.cancel_checkout(uuid) is '@behavior +mutationField
@resultFieldName checkout
For owners: cancels an open checkout of the dealer and voids its invoice, so that another purchase can start. One that is paid or has expired cannot be cancelled (409). A second call changes nothing.';

CREATE OR REPLACE FUNCTION app_public.cancel_subscription(subscription_id uuid)
 RETURNS app_public.dealer_subscriptions
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_dealer_id uuid;
  v_subscription app_public.dealer_subscriptions;
begin
  select s.dealer_id into v_dealer_id from app_public.dealer_subscriptions as s where s.id = cancel_subscription.subscription_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no subscription with this id. Please check it.',
      detail = jsonb_build_object('field', 'subscriptionId')::text;
  end if;
  perform app_private.require_owner(v_dealer_id);
  perform app_private.lock_dealer(v_dealer_id);
  -- Again: the right may have ended while this session waited.
  perform app_private.require_owner(v_dealer_id);
  select s.* into v_subscription
  from app_public.dealer_subscriptions as s
  where s.dealer_id = v_dealer_id and s.id = cancel_subscription.subscription_id;
  if v_subscription.status = 'cancelled' then
    return v_subscription;
  elsif v_subscription.status = 'expired' or v_subscription.end_at <= clock_timestamp() then
    raise exception using
      errcode = 'FC008',
      message = 'This subscription has already ended, so it cannot be cancelled.',
      detail = jsonb_build_object('field', 'subscriptionId', 'endAt', v_subscription.end_at)::text;
  elsif v_subscription.status = 'pending' and v_subscription.invoice_id is not null then
    raise exception using
      errcode = 'FC008',
      message = 'This subscription is paid and has not started, so it cannot be cancelled. Please contact support if you do not want it.',
      detail = jsonb_build_object('field', 'subscriptionId', 'status', 'PENDING')::text;
  end if;
  update app_public.dealer_subscriptions as s
  set status = 'cancelled', updated_at = clock_timestamp()
  where s.dealer_id = v_dealer_id and s.id = cancel_subscription.subscription_id
  returning s.* into v_subscription;
  return v_subscription;
end
$function$;
grant execute on function app_public.cancel_subscription(uuid) to forecourt_admin;
grant execute on function app_public.cancel_subscription(uuid) to forecourt_dealer;
comment on function app_public.cancel_subscription(uuid) is '@behavior +mutationField
@resultFieldName subscription
For owners: cancels a subscription of the dealer. It keeps its quota until `endAt`. A pending one that is paid cannot be cancelled (409); one that was granted never starts. A second call changes nothing.';

CREATE OR REPLACE FUNCTION app_public.change_email(user_id uuid, address text, counted_under bytea, max_failures integer, password_hash text, new_email text, token_hash bytea, sealed_token bytea, OUT password_matches boolean, OUT account_key bytea, OUT max_count integer, OUT over_limit boolean, OUT retry_after_seconds integer)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_user constant app_public.users := app_private.require_account(change_email.user_id);
  v_email constant text := app_private.normalize_email(new_email);
  v_recipient app_public.users := v_user;
  v_is_taken boolean;
begin
  password_matches := app_public.complete_login(v_user.email, address, counted_under, max_failures, change_email.password_hash);
  if not password_matches then
    return;
  end if;
  select l.* into account_key, max_count, over_limit, retry_after_seconds from app_private.take_mail_limit(v_email) as l;
  if retry_after_seconds is not null then
    return;
  end if;
  select u.locale into v_recipient.locale from app_public.users as u where u.email = v_email and u.id <> v_user.id;
  v_is_taken := found;
  v_recipient.locale := coalesce(v_recipient.locale, v_user.locale);
  -- The same work for an address that another account has. Its mail has no token, so nobody knows this one.
  perform app_private.send_verification(
    v_recipient, case when v_is_taken then 'email_taken' else 'email_change' end, v_email, token_hash,
    case when not v_is_taken then sealed_token end);
  if v_user.email_verified_at is not null then
    perform app_private.queue_mail('email_change_notice', v_user.email, v_user.locale, jsonb_build_object('newEmail', v_email));
  end if;
end
$function$;
grant execute on function app_public.change_email(uuid,text,bytea,integer,text,text,bytea,bytea) to forecourt_authenticator;
comment on function app_public.change_email(uuid,text,bytea,integer,text,text,bytea,bytea) is 'Sends a token to the new address, which verify_email turns into the address of the user, and a notice to the old one, if it is verified. The result and the work are the same if another account has the new address: that account gets a notice without a token. password_matches is false if `password_hash` is wrong; `counted_under` and `max_failures` are those of begin_password_check. retry_after_seconds is set when the limit auth_mail refuses the mail. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.change_password(user_id uuid, address text, counted_under bytea, max_failures integer, current_hash text, password_hash text, refresh_hash bytea, OUT email text, OUT full_name text, OUT is_admin boolean, OUT session_id uuid, OUT refresh_expires_at timestamp with time zone)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_user constant app_public.users := app_private.require_account(change_password.user_id);
begin
  if app_public.complete_login(v_user.email, address, counted_under, max_failures, current_hash) then
    refresh_expires_at := clock_timestamp() + app_private.refresh_lifetime();
    session_id := app_private.set_password(v_user.id, change_password.password_hash, refresh_hash);
    email := v_user.email;
    full_name := v_user.full_name;
    is_admin := v_user.is_admin;
  end if;
end
$function$;
grant execute on function app_public.change_password(uuid,text,bytea,integer,text,text,bytea) to forecourt_authenticator;
comment on function app_public.change_password(uuid,text,bytea,integer,text,text,bytea) is 'Sets another password, ends all sessions and opens a new one. All results are null if `current_hash` is wrong. `counted_under` and `max_failures` are those of begin_password_check. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.close_country(country text)
 RETURNS app_public.country_currencies
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
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
$function$;
grant execute on function app_public.close_country(text) to forecourt_admin;
comment on function app_public.close_country(text) is '@behavior +mutationField
@resultFieldName country
For admins: accepts no new dealer in the country and takes its packages off sale. Its dealers keep what they have paid for, and publish on. A second call changes nothing.';

CREATE OR REPLACE FUNCTION app_public.complete_login(email text, address text, counted_under bytea, max_count integer, password_hash text)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_email constant text := app_private.normalize_email(complete_login.email);
begin
  -- A change of the password waits for this lock, and then ends the session that this login opens.
  perform from app_public.users as u
  join app_private.user_passwords as p on p.user_id = u.id
  where u.email = v_email and p.password_hash = complete_login.password_hash
  for share of u, p;
  if found then
    update app_private.login_failures as f set failures = f.failures - 1
    where f.email_hash = complete_login.counted_under and f.failures > 0;
    insert into app_private.known_addresses as k (account_key, address, last_login_at)
    values (app_private.account_key(v_email), complete_login.address, clock_timestamp())
    on conflict on constraint known_addresses_pkey do update set last_login_at = excluded.last_login_at;
    return true;
  end if;
  perform from app_private.login_failures as f
  where f.email_hash = complete_login.counted_under and f.failures <= complete_login.max_count;
  if found then
    perform app_private.audit_login('LOGIN_FAILED', v_email, complete_login.address);
  end if;
  return false;
end
$function$;
grant execute on function app_public.complete_login(text,text,bytea,integer,text) to forecourt_authenticator;
comment on function app_public.complete_login(text,text,bytea,integer,text) is 'Compares the hash that the API has computed with the stored one, which never leaves the database, and returns whether they are equal. If so, it takes back the failure that begin_login counted, and remembers the address. If not, it records LOGIN_FAILED, the same way for an account that does not exist, and at most as often per window as the limit auth_account allows, so that nobody can flood the audit trail. `counted_under` and `max_count` are those of begin_login. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.complete_password_reset(token_hash bytea, password_hash text, refresh_hash bytea, OUT user_id uuid, OUT email text, OUT full_name text, OUT is_admin boolean, OUT session_id uuid, OUT refresh_expires_at timestamp with time zone)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_token constant app_private.one_time_tokens := app_private.use_token('password_reset', token_hash);
  v_user constant app_public.users := app_private.confirm_email(v_token.user_id, v_token.email);
begin
  perform app_private.forget_failed_logins(v_user.email);
  refresh_expires_at := clock_timestamp() + app_private.refresh_lifetime();
  session_id := app_private.set_password(v_user.id, complete_password_reset.password_hash, refresh_hash);
  user_id := v_user.id;
  email := v_user.email;
  full_name := v_user.full_name;
  is_admin := v_user.is_admin;
end
$function$;
grant execute on function app_public.complete_password_reset(bytea,text,bytea) to forecourt_authenticator;
comment on function app_public.complete_password_reset(bytea,text,bytea) is 'Uses a token of request_password_reset: sets the password, ends all sessions, lifts the limit of failed logins, and opens a session. The token came by mail, so the address counts as verified too. Raises FC010 for a token that cannot be used. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.complete_registration(user_id uuid, locale text, token_hash bytea, sealed_token bytea)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_user app_public.users;
begin
  update app_public.users as u set locale = coalesce(complete_registration.locale, u.locale)
  where u.id = complete_registration.user_id
  returning u.* into v_user;
  perform app_private.send_verification(v_user, 'email_verification', v_user.email, token_hash, sealed_token);
end
$function$;
grant execute on function app_public.complete_registration(uuid,text,bytea,bytea) to forecourt_authenticator;
comment on function app_public.complete_registration(uuid,text,bytea,bytea) is 'Sets the language of an account that register_user has just made, and sends the mail that verifies its address. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.consumption_of_listing(dealer_id uuid, listing_id uuid)
 RETURNS SETOF app_public.listing_consumptions
 LANGUAGE plpgsql
 ROWS 1
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  -- Volatile although it only reads: a stable function would not see the row that the calling statement has just written.
  -- @plpgsql_check_options: performance_warnings = off
  return query
  select lc.*
  from app_public.listing_consumptions as lc
  where lc.dealer_id = consumption_of_listing.dealer_id and lc.listing_id = consumption_of_listing.listing_id
    and lc.kind = 'publication'
  order by lc.number desc
  limit 1;
end
$function$;
grant execute on function app_public.consumption_of_listing(uuid,uuid) to forecourt_admin;
grant execute on function app_public.consumption_of_listing(uuid,uuid) to forecourt_dealer;
comment on function app_public.consumption_of_listing(uuid,uuid) is 'The ledger row of a listing''s last publication, read within the statement that publishes it, with the caller''s own rights. Not a field of GraphQL: FreshRowsPlugin of the API calls it.';

CREATE OR REPLACE FUNCTION app_public.create_api_key(dealer_id uuid, name text, expires_at timestamp with time zone, prefix text, secret_hash bytea)
 RETURNS app_public.dealer_api_keys
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_most constant integer := 10;
  v_dealer constant app_public.dealers := app_private.lock_own_dealer(dealer_id);
  v_at constant timestamptz := clock_timestamp();
  v_count integer;
  v_key app_public.dealer_api_keys;
begin
  select count(*)::integer into v_count
  from app_public.dealer_api_keys as k
  where k.dealer_id = v_dealer.id and k.revoked_at is null and coalesce(v_at < k.expires_at, true);
  if v_count >= v_most then
    raise exception using
      errcode = 'FC008',
      message = format('This dealer has %s API keys, and may have no more. Please revoke one that is not in use.', v_count),
      detail = jsonb_build_object('apiKeyLimit', v_most)::text;
  end if;
  insert into app_public.dealer_api_keys (dealer_id, name, prefix, secret_hash, created_by, created_at, expires_at)
  values (
    v_dealer.id, app_private.require_name(create_api_key.name, 'name'), create_api_key.prefix, create_api_key.secret_hash,
    app_public.current_user_id(), v_at, create_api_key.expires_at)
  returning * into v_key;
  return v_key;
end
$function$;
grant execute on function app_public.create_api_key(uuid,text,timestamp with time zone,text,bytea) to forecourt_admin;
grant execute on function app_public.create_api_key(uuid,text,timestamp with time zone,text,bytea) to forecourt_dealer;
comment on function app_public.create_api_key(uuid,text,timestamp with time zone,text,bytea) is 'Stores a new API key of the dealer. `prefix` and `secret_hash` come from the API, which makes the key. Raises FC008 if the dealer has ten keys that are neither revoked nor expired, and what lock_own_dealer raises. Not a field of GraphQL: `createApiKey` calls it.';

CREATE OR REPLACE FUNCTION app_public.create_dealer(company_name text, country text, dealer_type app_public.dealer_type, idempotency_key uuid DEFAULT NULL::uuid)
 RETURNS app_public.dealers
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_payload_hash constant bytea := sha256(convert_to(jsonb_build_array(company_name, country, dealer_type)::text, 'UTF8'));
  v_user app_public.users;
  v_dealer app_public.dealers;
  v_number integer;
begin
  -- The lock makes the count exact. An access token can be valid longer than its user exists.
  v_user := app_private.require_account(app_private.require_user());
  v_dealer := app_private.replay_dealer(v_user.id, create_dealer.idempotency_key, v_payload_hash);
  if v_dealer.id is not null then
    return v_dealer;
  end if;
  select coalesce(max(c.number), 0) + 1 into v_number from app_private.dealer_creations as c where c.user_id = v_user.id;
  if v_number > v_user.dealer_limit then
    raise exception using
      errcode = 'FC008',
      message = format('This account has created %s dealers already, and may create no more. Please contact support.', v_number - 1),
      detail = jsonb_build_object('dealerLimit', v_user.dealer_limit)::text;
  end if;
  perform from app_public.country_currencies as cc where cc.country = create_dealer.country and cc.closed_at is null;
  if not found then
    raise exception using
      errcode = 'FC010',
      message = 'Forecourt is not available in this country. Please enter a country that is open as two capital letters, such as DE.',
      detail = jsonb_build_object('field', 'country')::text;
  end if;
  insert into app_public.dealers (company_name, country, dealer_type, has_free_quota)
  values (app_private.require_name(create_dealer.company_name, 'companyName'), create_dealer.country, create_dealer.dealer_type, v_number = 1 and v_user.email_verified_at is not null)
  returning * into v_dealer;
  insert into app_public.dealer_users (dealer_id, user_id, role) values (v_dealer.id, v_user.id, 'owner');
  insert into app_private.dealer_creations (user_id, number, created_id, idempotency_key, payload_hash)
  values (v_user.id, v_number, v_dealer.id, create_dealer.idempotency_key, v_payload_hash);
  return v_dealer;
end
$function$;
grant execute on function app_public.create_dealer(text,text,app_public.dealer_type,uuid) to forecourt_admin;
grant execute on function app_public.create_dealer(text,text,app_public.dealer_type,uuid) to forecourt_dealer;
comment on function app_public.create_dealer(text,text,app_public.dealer_type,uuid) is '@behavior +mutationField
@resultFieldName dealer
Creates a dealer in an open country and makes the caller its owner. An account creates at most five, and only the first has free listings, from the moment on at which the account has a verified e-mail address. The same idempotency key with the same input returns the same dealer.';

CREATE OR REPLACE FUNCTION app_public.create_listing(dealer_id uuid, idempotency_key uuid, title text, module text, price numeric, currency text, description text DEFAULT NULL::text, attributes jsonb DEFAULT NULL::jsonb, images text[] DEFAULT NULL::text[], external_id text DEFAULT NULL::text)
 RETURNS app_public.listings
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_payload_hash constant bytea := app_private.hash_listing(title, module, price, currency, description, attributes, images, external_id);
  v_user_id uuid := app_public.current_user_id();
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
  -- Starting a statement takes longer than running it, so there are few. This one locks the dealer of a member; an API key is none.
  select d.* into v_dealer from app_public.dealers as d
  where d.id = create_listing.dealer_id and exists (
    select from app_public.dealer_users as du where du.dealer_id = create_listing.dealer_id and du.user_id = v_user_id) for no key update of d;
  if not found then
    v_user_id := app_private.require_member(create_listing.dealer_id);
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
$function$;
grant execute on function app_public.create_listing(uuid,uuid,text,text,numeric,text,text,jsonb,text[],text) to forecourt_admin;
grant execute on function app_public.create_listing(uuid,uuid,text,text,numeric,text,text,jsonb,text[],text) to forecourt_dealer;
comment on function app_public.create_listing(uuid,uuid,text,text,numeric,text,text,jsonb,text[],text) is '@behavior +mutationField
@resultFieldName listing
Publishes a listing: decides what pays for it (free quota, subscription, price), charges that, and creates the listing, in one transaction. It is PENDING until an admin approves it; it is ACTIVE at once for a trusted dealer, and in a country that moderates afterwards. The same idempotency key with the same input returns the same listing.';

CREATE OR REPLACE FUNCTION app_public.create_listings(dealer_id uuid, listings app_public.new_listing[])
 RETURNS SETOF app_public.listing_result
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
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
$function$;
grant execute on function app_public.create_listings(uuid,app_public.new_listing[]) to forecourt_admin;
grant execute on function app_public.create_listings(uuid,app_public.new_listing[]) to forecourt_dealer;
comment on function app_public.create_listings(uuid,app_public.new_listing[]) is '@behavior +mutationField
@resultFieldName results
@notNull
Publishes 1 to 100 listings of one dealer in one transaction. Each is created or refused on its own, as `createListing` would: `results` has one for each, in their order. Quota is used in this order. Keys are those of `createListing`: a listing that was created is returned again, and one that was refused is tried again.';

CREATE OR REPLACE FUNCTION app_public.current_dealer_ids()
 RETURNS uuid[]
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  if app_private.current_api_key_id() is not null then
    return array(select k.dealer_id from app_private.current_api_key() as k where k.id is not null);
  end if;
  return array(
    select du.dealer_id from app_public.dealer_users as du where du.user_id = app_public.current_user_id()
  );
end
$function$;
grant execute on function app_public.current_dealer_ids() to forecourt_dealer;
comment on function app_public.current_dealer_ids() is 'Ids of the dealers of which the current user is a member, or of the dealer of the API key. Policies compare a row''s own dealer_id with them.';

CREATE OR REPLACE FUNCTION app_public.current_owned_dealer_ids()
 RETURNS uuid[]
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  return array(
    select du.dealer_id from app_public.dealer_users as du
    where du.user_id = app_public.current_user_id() and du.role = 'owner'
  );
end
$function$;
grant execute on function app_public.current_owned_dealer_ids() to forecourt_dealer;
comment on function app_public.current_owned_dealer_ids() is 'Ids of the dealers of which the current user is an owner. Policies compare a row''s own dealer_id with them.';

CREATE OR REPLACE FUNCTION app_public.current_user_id()
 RETURNS uuid
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN (NULLIF(current_setting('forecourt.user_id'::text, true), ''::text))::uuid;
grant execute on function app_public.current_user_id() to forecourt_admin;
grant execute on function app_public.current_user_id() to forecourt_dealer;
grant execute on function app_public.current_user_id() to forecourt_visitor;
comment on function app_public.current_user_id() is 'The verified user of this transaction; null for a visitor. The API sets `forecourt.user_id` from the access token.';

CREATE OR REPLACE FUNCTION app_public.dealer_packages_price_gross(dealer_package app_public.dealer_packages)
 RETURNS numeric
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_gate constant app_private.pricing_gate := app_private.find_pricing_gate(dealer_package.country, now());
begin
  -- Null without a gate, as every amount that is computed from nulls.
  return (app_private.price_item(dealer_package.price_net, v_gate)).gross_amount;
end
$function$;
grant execute on function app_public.dealer_packages_price_gross(app_public.dealer_packages) to forecourt_admin;
grant execute on function app_public.dealer_packages_price_gross(app_public.dealer_packages) to forecourt_dealer;
grant execute on function app_public.dealer_packages_price_gross(app_public.dealer_packages) to forecourt_visitor;
comment on function app_public.dealer_packages_price_gross(app_public.dealer_packages) is '@behavior +typeField
The price with VAT, as buyPackage would charge it now. Null if the VAT rate of the country is missing or ambiguous; the package cannot be bought then.';

CREATE OR REPLACE FUNCTION app_public.dealer_packages_vat_rate(dealer_package app_public.dealer_packages)
 RETURNS numeric
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  return (app_private.find_pricing_gate(dealer_package.country, now())).vat_rate;
end
$function$;
grant execute on function app_public.dealer_packages_vat_rate(app_public.dealer_packages) to forecourt_admin;
grant execute on function app_public.dealer_packages_vat_rate(app_public.dealer_packages) to forecourt_dealer;
grant execute on function app_public.dealer_packages_vat_rate(app_public.dealer_packages) to forecourt_visitor;
comment on function app_public.dealer_packages_vat_rate(app_public.dealer_packages) is '@behavior +typeField
The VAT rate of the country now, in percent: 19.00 is 19 %. Null if it is missing or ambiguous; the package cannot be bought then.';

CREATE OR REPLACE FUNCTION app_public.delete_my_account(password_hash text)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_user constant app_public.users := app_private.lock_leaving_account(app_public.current_user_id());
  v_at constant timestamptz := clock_timestamp();
  v_dealer_id uuid;
  v_closed uuid[] := array[]::uuid[];
begin
  perform from app_private.user_passwords as p
  where p.user_id = v_user.id and p.password_hash = delete_my_account.password_hash;
  if not found then
    return false;
  end if;
  perform from app_public.users as u where u.is_admin and u.id <> v_user.id and u.locked_at is null and u.deleted_at is null;
  if v_user.is_admin and not found then
    raise exception using
      errcode = 'FC008',
      message = 'You are the last admin. Please ask an operator to make another user an admin first.',
      detail = jsonb_build_object('reason', 'LAST_ADMIN')::text;
  end if;
  for v_dealer_id in
    delete from app_public.dealer_users as du where du.user_id = v_user.id
    returning case when du.role = 'owner' and not app_private.has_owner(du.dealer_id, du.user_id) then du.dealer_id end
  loop
    if v_dealer_id is not null then
      perform app_private.require_settled_dealer(v_dealer_id, v_at);
      v_closed := v_closed || v_dealer_id;
    end if;
  end loop;
  update app_public.dealers as d set is_active = false, updated_at = v_at where d.id = any (v_closed) and d.is_active;
  perform app_private.forget_account(v_user, v_at);
  perform app_private.write_audit_log(
    'DELETE_ACCOUNT', 'users', v_user.id, null, jsonb_build_object('deletedAt', v_at, 'ownerlessDealerIds', v_closed));
  return true;
end
$function$;
grant execute on function app_public.delete_my_account(text) to forecourt_admin;
grant execute on function app_public.delete_my_account(text) to forecourt_dealer;
comment on function app_public.delete_my_account(text) is 'Deletes the account of the current user if `password_hash` is the hash of its password, which the API computes; otherwise returns false. Raises FC008 for the last admin, and what require_settled_dealer raises for each dealer that it leaves without an owner; such a dealer is closed. Not a field of GraphQL: `deleteMyAccount` calls it.';

CREATE OR REPLACE FUNCTION app_public.export_my_data()
 RETURNS jsonb
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET "TimeZone" TO 'UTC'
AS $function$
  with account as (
    select u.*, app_private.account_key(u.email) as key from app_public.users as u where u.id = app_private.require_user()
  ), membership_changes as (
    select a.created_at, a.action, coalesce(a.new_values, a.old_values) as changed
    from app_public.audit_logs as a, account as u
    where a.resource_type = 'dealer_users' and coalesce(a.new_values, a.old_values) ->> 'user_id' = u.id::text
  ), dealers_ever as (
    select du.dealer_id from account as u join app_public.dealer_users as du on du.user_id = u.id
    union select c.created_id from account as u join app_private.dealer_creations as c on c.user_id = u.id
    union select (m.changed ->> 'dealer_id')::uuid from membership_changes as m
  )
  select jsonb_build_object(
    'account', jsonb_build_object(
      'id', u.id, 'email', u.email, 'fullName', u.full_name, 'locale', u.locale, 'isAdmin', u.is_admin, 'dealerLimit', u.dealer_limit,
      'createdAt', u.created_at, 'emailVerifiedAt', u.email_verified_at, 'passwordSetAt', (
        select p.updated_at from app_private.user_passwords as p where p.user_id = u.id)),
    'memberships', to_jsonb(array(
      select jsonb_build_object('dealerId', d.id, 'companyName', d.company_name, 'role', upper(du.role::text collate "C"), 'createdAt', du.created_at)
      from app_public.dealer_users as du join app_public.dealers as d on d.id = du.dealer_id
      where du.user_id = u.id order by du.created_at, d.id)),
    'membershipChanges', to_jsonb(array(
      select jsonb_build_object('dealerId', m.changed ->> 'dealer_id', 'action', m.action, 'role', upper((m.changed ->> 'role') collate "C"), 'createdAt', m.created_at)
      from membership_changes as m order by m.created_at)),
    'dealersCreated', to_jsonb(array(
      select jsonb_build_object('dealerId', d.id, 'companyName', d.company_name, 'createdAt', d.created_at)
      from app_private.dealer_creations as c join app_public.dealers as d on d.id = c.created_id
      where c.user_id = u.id order by c.number)),
    'invitationsSent', to_jsonb(array(
      select jsonb_build_object('id', i.id, 'dealerId', i.dealer_id, 'role', upper(i.role::text collate "C"), 'createdAt', i.created_at,
        'expiresAt', i.expires_at, 'acceptedAt', i.accepted_at, 'revokedAt', i.revoked_at)
      from app_public.dealer_invitations as i where i.created_by = u.id order by i.id)),
    'invitationsReceived', to_jsonb(array(
      select jsonb_build_object('id', i.id, 'dealerId', i.dealer_id, 'role', upper(i.role::text collate "C"), 'createdAt', i.created_at,
        'expiresAt', i.expires_at, 'acceptedAt', i.accepted_at, 'revokedAt', i.revoked_at)
      from app_public.dealer_invitations as i where i.email = u.email order by i.id)),
    'apiKeysMade', to_jsonb(array(
      select jsonb_build_object('dealerId', k.dealer_id, 'name', k.name, 'createdAt', k.created_at, 'revokedAt', k.revoked_at, 'lastUsedAt', k.last_used_at)
      from app_public.dealer_api_keys as k where k.created_by = u.id order by k.id)),
    'sessions', to_jsonb(array(
      select jsonb_build_object('createdAt', s.created_at, 'expiresAt', s.expires_at) from app_private.sessions as s where s.user_id = u.id order by s.id)),
    'clientAddresses', to_jsonb(array(
      select jsonb_build_object('address', k.address, 'lastLoginAt', k.last_login_at) from app_private.known_addresses as k where k.account_key = u.key order by k.last_login_at)),
    'failedLogins', to_jsonb(array(
      select jsonb_build_object('failures', f.failures, 'since', f.window_started_at)
      from app_private.login_failures as f
      where f.email_hash = u.key or f.email_hash in (
        select app_private.account_key(u.email, k.address) from app_private.known_addresses as k where k.account_key = u.key)
      order by f.window_started_at)),
    'mails', to_jsonb(array(
      select jsonb_build_object('kind', m.kind, 'createdAt', m.created_at, 'sentAt', m.sent_at) from app_private.mails as m where m.recipient = u.email order by m.id)),
    'mailTokens', to_jsonb(array(
      select jsonb_build_object('kind', t.kind, 'email', t.email, 'expiresAt', t.expires_at, 'usedAt', t.used_at)
      from app_private.one_time_tokens as t where t.user_id = u.id order by t.kind)),
    'publications', to_jsonb(array(
      select jsonb_build_object('dealerId', l.dealer_id, 'listingId', l.id, 'title', l.title, 'kind', upper(c.kind::text collate "C"), 'createdAt', c.created_at)
      from app_public.listing_consumptions as c join app_public.listings as l on l.dealer_id = c.dealer_id and l.id = c.listing_id
      where c.dealer_id in (select e.dealer_id from dealers_ever as e) and c.created_by = u.id order by c.created_at, c.id)),
    'auditEntries', to_jsonb(array(
      select jsonb_build_object('action', a.action, 'resourceType', a.resource_type, 'resourceId', a.resource_id, 'clientAddress', host(a.ip), 'createdAt', a.created_at)
      from app_public.audit_logs as a where a.actor = u.id order by a.created_at, a.id)),
    'auditEntriesAboutAccount', to_jsonb(array(
      select jsonb_build_object('action', a.action, 'oldValues', a.old_values, 'newValues', a.new_values, 'createdAt', a.created_at)
      from app_public.audit_logs as a where a.resource_id = u.id order by a.created_at, a.id)))
  from account as u
$function$;
grant execute on function app_public.export_my_data() to forecourt_admin;
grant execute on function app_public.export_my_data() to forecourt_dealer;
comment on function app_public.export_my_data() is '@behavior +mutationField
@resultFieldName data
All that is stored about the caller, without hashes and tokens, and without what is about other persons. Times are ISO 8601 in UTC.';

CREATE OR REPLACE FUNCTION app_public.find_api_keys(prefixes text[])
 RETURNS TABLE(prefix text, secret_hash bytea, api_key_id uuid, dealer_id uuid)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER ROWS 1
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  return query
  select k.prefix, k.secret_hash, k.id, k.dealer_id
  from app_public.dealer_api_keys as k
  where k.prefix = any (find_api_keys.prefixes) and app_private.is_valid_api_key(k);
end
$function$;
grant execute on function app_public.find_api_keys(text[]) to forecourt_authenticator;
comment on function app_public.find_api_keys(text[]) is 'The valid API keys with these prefixes. For the API''s identity code only, not for GraphQL: the API compares the hash of the secret.';

CREATE OR REPLACE FUNCTION app_public.get_current_user()
 RETURNS app_public.users
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
  select u.id, u.email, u.full_name, null::boolean, null::integer, u.created_at, u.locale, u.email_verified_at, null::timestamptz, null::timestamptz
  from app_public.users as u
  where u.id = app_public.current_user_id()
$function$;
grant execute on function app_public.get_current_user() to forecourt_admin;
grant execute on function app_public.get_current_user() to forecourt_dealer;
comment on function app_public.get_current_user() is '@behavior +queryField
@name currentUser
The user of the access token; null for an API key, which is no user. Without a token the field fails with `unauthenticated`.';

CREATE OR REPLACE FUNCTION app_public.grant_subscription(dealer_id uuid, package_id uuid, reason text)
 RETURNS app_public.dealer_subscriptions
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
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
$function$;
grant execute on function app_public.grant_subscription(uuid,uuid,text) to forecourt_admin;
comment on function app_public.grant_subscription(uuid,uuid,text) is '@behavior +mutationField
@resultFieldName subscription
For admins: gives a dealer a package that is on sale in its country, without an invoice. It starts at once, or waits behind a running subscription as one that was bought. The dealer reads the `reason`. While a grant of the same package with the same `reason` waits or runs, a second call returns it and changes nothing.';

CREATE OR REPLACE FUNCTION app_public.invite_member(dealer_id uuid, email text, role app_public.dealer_role, token_hash bytea, sealed_token bytea)
 RETURNS app_public.dealer_invitations
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_email constant text := app_private.normalize_email(invite_member.email);
  v_dealer app_public.dealers := app_private.lock_own_dealer(invite_member.dealer_id);
  v_at constant timestamptz := clock_timestamp();
  v_inviter app_public.users;
  v_invitation app_public.dealer_invitations;
begin
  perform from app_public.users as u
  join app_public.dealer_users as du on du.dealer_id = v_dealer.id and du.user_id = u.id
  where u.email = v_email;
  if found then
    raise exception using
      errcode = 'FC008',
      message = 'The user with this e-mail address is a member already. You can change the role of a member.',
      detail = jsonb_build_object('field', 'email')::text;
  end if;
  select u.* into v_inviter from app_public.users as u where u.id = app_public.current_user_id();
  if v_inviter.email_verified_at is null then
    raise exception using
      errcode = 'FC003',
      message = 'Please verify your e-mail address before you invite others. requestEmailVerification sends you a token.';
  end if;
  update app_public.dealer_invitations as i set revoked_at = v_at
  where i.dealer_id = v_dealer.id and i.email = v_email and i.accepted_at is null and i.revoked_at is null;
  insert into app_public.dealer_invitations (dealer_id, email, role, token_hash, created_by, created_at, expires_at)
  values (v_dealer.id, v_email, invite_member.role, invite_member.token_hash, v_inviter.id, v_at, v_at + interval '168 hours')
  returning * into v_invitation;
  perform app_private.queue_mail(
    'invitation', v_email, v_inviter.locale,
    jsonb_build_object('dealer', v_dealer.company_name, 'inviter', v_inviter.full_name),
    invite_member.sealed_token, v_invitation.expires_at);
  return v_invitation;
end
$function$;
grant execute on function app_public.invite_member(uuid,text,app_public.dealer_role,bytea,bytea) to forecourt_admin;
grant execute on function app_public.invite_member(uuid,text,app_public.dealer_role,bytea,bytea) to forecourt_dealer;
comment on function app_public.invite_member(uuid,text,app_public.dealer_role,bytea,bytea) is 'Invites an e-mail address to become a member of the dealer, and queues the mail with the token. An earlier open invitation of the address is revoked. `token_hash` is the SHA-256 of the token, `sealed_token` the token as queue_mail takes it. Raises FC008 if the address belongs to a member, and FC003 if the address of the caller is not verified. Not a field of GraphQL: `inviteMember` calls it.';

CREATE OR REPLACE FUNCTION app_public.is_admin()
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  perform from app_public.users as u
  where u.id = app_public.current_user_id() and u.is_admin and u.locked_at is null and u.deleted_at is null;
  return found;
end
$function$;
grant execute on function app_public.is_admin() to forecourt_admin;
comment on function app_public.is_admin() is 'Whether the current user is an admin now, whatever its access token says.';

CREATE OR REPLACE FUNCTION app_public.is_open_dealer(dealer_id uuid)
 RETURNS boolean
 LANGUAGE sql
 STABLE PARALLEL SAFE SECURITY DEFINER
RETURN (EXISTS (SELECT FROM app_public.dealers d WHERE ((d.id = is_open_dealer.dealer_id) AND d.is_active)));
grant execute on function app_public.is_open_dealer(uuid) to forecourt_admin;
grant execute on function app_public.is_open_dealer(uuid) to forecourt_dealer;
grant execute on function app_public.is_open_dealer(uuid) to forecourt_visitor;
comment on function app_public.is_open_dealer(uuid) is 'Whether the dealer is not closed. The policy by which everybody sees active listings and the moderation queue call it with a row''s own dealer_id.';

CREATE OR REPLACE FUNCTION app_public.lock_user(user_id uuid, reason text)
 RETURNS app_public.accounts
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
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
$function$;
grant execute on function app_public.lock_user(uuid,text) to forecourt_admin;
comment on function app_public.lock_user(uuid,text) is '@behavior +mutationField
@resultFieldName user
For admins: locks an account. Its sessions end within a second, and it can neither log in nor use a token. An admin cannot lock its own account (409). A second call changes nothing.';

CREATE OR REPLACE FUNCTION app_public.log_in(email text, address text, counted_under bytea, max_count integer, password_hash text, refresh_hash bytea)
 RETURNS app_private.opened_session
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_session_id uuid;
begin
  if app_public.complete_login(email, address, counted_under, max_count, password_hash) then
    select app_private.open_session(u.id, log_in.refresh_hash) into v_session_id
    from app_public.users as u where u.email = app_private.normalize_email(log_in.email);
  end if;
  return app_private.describe_session(v_session_id);
end
$function$;
grant execute on function app_public.log_in(text,text,bytea,integer,text,bytea) to forecourt_authenticator;
comment on function app_public.log_in(text,text,bytea,integer,text,bytea) is 'Compares the hash as complete_login does, which release 0.3 calls itself, and opens a session if it is equal; otherwise returns nulls. `refresh_hash` is the SHA-256 of the first refresh token. Raises FC003 if the account is locked. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.logout(session_id uuid, everywhere boolean)
 RETURNS boolean
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_user_id constant uuid := app_private.require_user();
begin
  if logout.everywhere then
    perform app_private.end_sessions(v_user_id);
  else
    delete from app_private.sessions as s where s.id = logout.session_id and s.user_id = v_user_id;
  end if;
  return true;
end
$function$;
grant execute on function app_public.logout(uuid,boolean) to forecourt_admin;
grant execute on function app_public.logout(uuid,boolean) to forecourt_dealer;
comment on function app_public.logout(uuid,boolean) is 'Ends a session of the current user, or all with `everywhere`. Another user''s session is left alone. Not a field of GraphQL: the mutation `logout` calls it, with the session of the access token.';

CREATE OR REPLACE FUNCTION app_public.mark_listing_sold(listing_id uuid)
 RETURNS app_public.listings
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
begin
  return app_private.end_listing(listing_id, 'sold');
end
$function$;
grant execute on function app_public.mark_listing_sold(uuid) to forecourt_admin;
grant execute on function app_public.mark_listing_sold(uuid) to forecourt_dealer;
comment on function app_public.mark_listing_sold(uuid) is '@behavior +mutationField
@resultFieldName listing
Marks an active listing of one of the caller''s dealers as sold, so that it is no longer shown. Nothing is given back. A second call changes nothing.';

CREATE OR REPLACE FUNCTION app_public.moderate_listing(listing_id uuid, decision app_public.moderation_decision, reason text DEFAULT NULL::text, updated_at timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS app_public.listings
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_reason constant text := nullif(app_private.to_nfc(btrim(replace(reason, E'\r\n', E'\n'))), '');
  v_listing app_public.listings;
begin
  perform app_private.require_admin();
  if moderate_listing.decision = 'reject' and v_reason is null then
    raise exception using
      errcode = 'FC010',
      message = 'Please say why the listing is rejected. The dealer reads the reason.',
      detail = jsonb_build_object('field', 'reason')::text;
  end if;
  v_listing := app_private.lock_listing(moderate_listing.listing_id, by_member => false);
  if moderate_listing.decision = 'approve' and v_listing.status = 'active' and v_listing.moderation_since is null
    or moderate_listing.decision = 'reject' and v_listing.status = 'rejected'
  then
    return v_listing;
  elsif v_listing.status not in ('pending', 'active') then
    perform app_private.refuse_listing_status(v_listing.status, 'Only a pending or active listing can be reviewed.');
  elsif v_listing.updated_at <> moderate_listing.updated_at then
    perform app_private.refuse_listing_status(v_listing.status, 'It has changed since you read it. Please read it again.');
  elsif moderate_listing.decision = 'approve' then
    return app_private.approve_listing(v_listing, clock_timestamp());
  end if;
  return app_private.reject_listing(v_listing, v_reason, clock_timestamp());
end
$function$;
grant execute on function app_public.moderate_listing(uuid,app_public.moderation_decision,text,timestamp with time zone) to forecourt_admin;
comment on function app_public.moderate_listing(uuid,app_public.moderation_decision,text,timestamp with time zone) is '@behavior +mutationField
@resultFieldName listing
For admins: approves or rejects a pending or active listing, and takes it out of the moderation queue. REJECT needs a `reason`, which the dealer reads. With `updatedAt`, a listing that has changed since then is refused (409). The same decision again changes nothing.';

CREATE OR REPLACE FUNCTION app_public.oldest_release()
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN '0.2.0'::text;
grant execute on function app_public.oldest_release() to forecourt_authenticator;
comment on function app_public.oldest_release() is 'The oldest release that works with this schema. A migration that older releases do not work with replaces it. For the readiness check and the start only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.open_country(country text, currency text, vat_rate numeric DEFAULT NULL::numeric, unit_price_net numeric DEFAULT NULL::numeric, moderation app_public.moderation DEFAULT NULL::app_public.moderation, listing_days integer DEFAULT NULL::integer)
 RETURNS app_public.country_currencies
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
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
$function$;
grant execute on function app_public.open_country(text,text,numeric,numeric,app_public.moderation,integer) to forecourt_admin;
comment on function app_public.open_country(text,text,numeric,numeric,app_public.moderation,integer) is '@behavior +mutationField
@resultFieldName country
For admins: opens a country from now on with its currency, its VAT rate and the net price of a listing for every segment. A country that was closed is opened again with the same currency, and its packages stay retired. Then `vatRate` and `unitPriceNet` are required. In a country that is open it changes `moderation` and `listingDays` where they are given; another currency, VAT rate or price is a conflict (409), because `setVatRate` and `setPrice` change them.';

CREATE OR REPLACE FUNCTION app_public.operation_metrics()
 RETURNS TABLE(metric text, labels jsonb, value double precision)
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '100ms'
AS $function$
begin
  return query select m.* from app_private.subscription_metrics() as m;
  return query select m.* from app_private.listing_metrics() as m;
  return query select m.* from app_private.expiry_metrics() as m;
  return query select m.* from app_private.ledger_metrics() as m;
  return query select m.* from app_private.job_metrics() as m;
  return query select m.* from app_private.lock_metrics() as m;
end
$function$;
grant execute on function app_public.operation_metrics() to forecourt_authenticator;
comment on function app_public.operation_metrics() is 'Metrics from the database: name, labels and value of each one; docs/metrics.md explains them. Cheap at any size: counts stop at 100,000. For the API''s /metrics only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.pay_invoice(invoice_id uuid)
 RETURNS app_public.invoices
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_dealer_id uuid;
begin
  perform app_private.require_admin();
  select i.dealer_id into v_dealer_id from app_public.invoices as i where i.id = pay_invoice.invoice_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no invoice with this id. Please check it.',
      detail = jsonb_build_object('field', 'invoiceId')::text;
  end if;
  return app_private.settle_invoice(v_dealer_id, pay_invoice.invoice_id);
end
$function$;
grant execute on function app_public.pay_invoice(uuid) to forecourt_admin;
comment on function app_public.pay_invoice(uuid) is '@behavior +mutationField
@resultFieldName invoice
For admins: marks an invoice as paid that was paid outside of Forecourt, and starts or queues its subscription. A second call changes nothing.';

CREATE OR REPLACE FUNCTION app_public.promote_listing(listing_id uuid, kind app_public.promotion_kind, idempotency_key uuid)
 RETURNS app_public.listing_promotions
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_key constant uuid := app_private.operation_key('promoteListing', idempotency_key);
  v_listing constant app_public.listings := app_private.lock_listing(listing_id);
  v_at constant timestamptz := clock_timestamp();
  v_decided record;
  v_promotion app_public.listing_promotions;
begin
  if app_private.is_charged(v_listing, v_key) then
    select p.* into strict v_promotion
    from app_public.listing_consumptions as lc
    join app_public.listing_promotions as p on p.dealer_id = lc.dealer_id and p.listing_id = lc.listing_id and p.id = lc.id
    where lc.dealer_id = v_listing.dealer_id and lc.idempotency_key = v_key;
    if v_promotion.kind <> promote_listing.kind then
      raise exception using
        errcode = 'FC007',
        message = 'This idempotency key was used for another kind of promotion. Use a new key for each promotion.',
        detail = jsonb_build_object('field', 'idempotencyKey')::text;
    end if;
    return v_promotion;
  end if;
  v_decided := app_private.decide_promotion(v_listing, promote_listing.kind, v_at);
  perform app_private.record_consumption(
    v_decided.decision, v_listing.id, promote_listing.kind::text::app_public.consumption_kind, app_private.acting_user_id(), (
      select 1 + count(*)::integer from app_public.listing_promotions as p
      where p.dealer_id = v_listing.dealer_id and p.listing_id = v_listing.id and p.kind = promote_listing.kind), v_key);
  -- Not in record_consumption, because every publication waits for it.
  update app_public.dealer_subscriptions as s
  set used_premium_quota = s.used_premium_quota + (promote_listing.kind = 'premium')::integer,
    used_highlight_quota = s.used_highlight_quota + (promote_listing.kind = 'highlight')::integer
  where s.dealer_id = v_listing.dealer_id and s.id = (v_decided.decision).subscription_id;
  insert into app_public.listing_promotions (dealer_id, listing_id, id, kind, starts_at, ends_at)
  select lc.dealer_id, lc.listing_id, lc.id, promote_listing.kind, v_decided.starts_at, v_decided.ends_at
  from app_public.listing_consumptions as lc
  where lc.dealer_id = v_listing.dealer_id and lc.idempotency_key = v_key
  returning * into strict v_promotion;
  update app_public.listings as l
  set is_premium = l.is_premium or promote_listing.kind = 'premium',
    premium_until = case promote_listing.kind when 'premium' then v_promotion.ends_at else l.premium_until end,
    is_highlighted = l.is_highlighted or promote_listing.kind = 'highlight',
    highlighted_until = case promote_listing.kind when 'highlight' then v_promotion.ends_at else l.highlighted_until end,
    updated_at = v_at
  where l.dealer_id = v_listing.dealer_id and l.id = v_listing.id;
  return v_promotion;
end
$function$;
grant execute on function app_public.promote_listing(uuid,app_public.promotion_kind,uuid) to forecourt_admin;
grant execute on function app_public.promote_listing(uuid,app_public.promotion_kind,uuid) to forecourt_dealer;
comment on function app_public.promote_listing(uuid,app_public.promotion_kind,uuid) is '@behavior +mutationField
@resultFieldName promotion
Promotes an active listing: quota of that kind of the running subscription pays for it, otherwise the price of that kind. A second promotion of the kind starts when the running one ends. It ends with the listing, and nothing is given back. The same idempotency key with the same input returns the same promotion.';

CREATE OR REPLACE FUNCTION app_public.quote_listing(dealer_id uuid)
 RETURNS app_public.listing_quote
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
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
$function$;
grant execute on function app_public.quote_listing(uuid) to forecourt_admin;
grant execute on function app_public.quote_listing(uuid) to forecourt_dealer;
comment on function app_public.quote_listing(uuid) is '@behavior +queryField
What the dealer''s next listing would cost now: the decision of createListing without its writes. For members of the dealer.';

CREATE OR REPLACE FUNCTION app_public.quote_package(dealer_id uuid, package_id uuid)
 RETURNS app_public.package_quote
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_dealer app_public.dealers;
  v_item app_public.invoice_items;
begin
  perform app_private.require_member(quote_package.dealer_id);
  select d.* into v_dealer from app_public.dealers as d where d.id = quote_package.dealer_id;
  v_item := (app_private.decide_purchase(v_dealer, quote_package.package_id, clock_timestamp())).item;
  return (v_item.net_amount, v_item.vat_rate, v_item.vat_amount, v_item.gross_amount, v_item.currency);
end
$function$;
grant execute on function app_public.quote_package(uuid,uuid) to forecourt_admin;
grant execute on function app_public.quote_package(uuid,uuid) to forecourt_dealer;
comment on function app_public.quote_package(uuid,uuid) is '@behavior +queryField
What buyPackage would charge the dealer for a package now: its decision without the writes, with the same refusals. For members of the dealer.';

CREATE OR REPLACE FUNCTION app_public.quote_promotion(listing_id uuid, kind app_public.promotion_kind)
 RETURNS app_public.promotion_quote
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_listing constant app_public.listings := app_private.find_listing(listing_id);
  v_decided record;
  v_decision app_private.publication_decision;
begin
  perform app_private.require_member(v_listing.dealer_id);
  v_decided := app_private.decide_promotion(v_listing, quote_promotion.kind, clock_timestamp());
  v_decision := v_decided.decision;
  return (
    v_decision.source, v_decision.net_amount, v_decision.vat_rate, v_decision.gross_amount, v_decision.currency,
    v_decision.subscription_remaining, v_decided.starts_at, v_decided.ends_at);
end
$function$;
grant execute on function app_public.quote_promotion(uuid,app_public.promotion_kind) to forecourt_admin;
grant execute on function app_public.quote_promotion(uuid,app_public.promotion_kind) to forecourt_dealer;
comment on function app_public.quote_promotion(uuid,app_public.promotion_kind) is '@behavior +queryField
What a promotion of a listing would cost now, and when it would start and end: the decision of promoteListing without its writes. For members of the dealer.';

CREATE OR REPLACE FUNCTION app_public.record_api_key_use(dealer_id uuid, api_key_id uuid)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
begin
  update app_public.dealer_api_keys as k set last_used_at = clock_timestamp()
  where k.dealer_id = record_api_key_use.dealer_id and k.id = record_api_key_use.api_key_id
    and coalesce(k.last_used_at <= clock_timestamp() - interval '1 minute', true);
end
$function$;
grant execute on function app_public.record_api_key_use(uuid,uuid) to forecourt_authenticator;
comment on function app_public.record_api_key_use(uuid,uuid) is 'Records that an API key is in use, at most once a minute, however many processes call it. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.record_pricing_conflicts(conflicts jsonb)
 RETURNS void
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '2s'
AS $function$
declare
  v_now constant timestamptz := clock_timestamp();
  v_conflict app_private.pricing_conflicts;
begin
  -- In a fixed order, so that two processes cannot deadlock.
  for v_conflict in
    select * from jsonb_populate_recordset(null::app_private.pricing_conflicts, conflicts) as c
    order by c.country, c.segment, c.pricing_type, c.configuration, c.code
  loop
    insert into app_private.pricing_conflicts as c (country, segment, pricing_type, configuration, code, count, first_seen_at, last_seen_at)
    values (
      v_conflict.country, v_conflict.segment, v_conflict.pricing_type, v_conflict.configuration, v_conflict.code,
      v_conflict.count, v_now, v_now)
    on conflict on constraint pricing_conflicts_key do update set
      count = c.count + excluded.count,
      last_seen_at = greatest(c.last_seen_at, excluded.last_seen_at)
    returning c.* into v_conflict;
    perform app_private.send_alert(
      'pricing_conflict',
      concat_ws(' ', v_conflict.country, v_conflict.segment, v_conflict.pricing_type, v_conflict.configuration, v_conflict.code,
        to_char(v_now at time zone 'UTC', 'YYYY-MM-DD"T"HH24"Z"')),
      format('Customers in %s are refused: the %s is %s.', v_conflict.country, replace(v_conflict.configuration, '_', ' '),
        replace(v_conflict.code, 'pricing_config_', '')),
      to_jsonb(v_conflict) - 'id');
  end loop;
end
$function$;
grant execute on function app_public.record_pricing_conflicts(jsonb) to forecourt_authenticator;
comment on function app_public.record_pricing_conflicts(jsonb) is 'Adds up refusals for missing or ambiguous configuration: an array of {country, segment, pricing_type, configuration, code, count}. Raises one alert per conflict and hour. The API calls it outside of the refused transaction. Not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.refresh_session(token_hash bytea, successor_hash bytea, address text)
 RETURNS app_private.opened_session
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_session app_private.sessions;
  v_token app_private.refresh_tokens;
  v_now timestamptz;
begin
  select s.* into v_session
  from app_private.refresh_tokens as t
  join app_private.sessions as s on s.id = t.session_id
  where t.token_hash = refresh_session.token_hash
  for update of s;
  -- Read under the lock: another use of this token may have held it.
  v_now := clock_timestamp();
  select t.* into v_token
  from app_private.refresh_tokens as t
  where t.token_hash = refresh_session.token_hash and t.expires_at > v_now;
  if not found then
    return null;
  elsif v_token.used_at is null then
    v_session.expires_at := v_now + app_private.refresh_lifetime();
    update app_private.refresh_tokens as t set used_at = v_now where t.token_hash = v_token.token_hash;
    insert into app_private.refresh_tokens (token_hash, session_id, expires_at)
    values (refresh_session.successor_hash, v_session.id, v_session.expires_at);
    update app_private.sessions as s set expires_at = v_session.expires_at where s.id = v_session.id;
    return app_private.describe_session(v_session.id);
  end if;
  -- The client may have lost the response. It gets the same successor again.
  perform from app_private.refresh_tokens as t
  where t.token_hash = refresh_session.successor_hash and t.session_id = v_session.id and t.used_at is null
    and v_now < v_token.used_at + interval '10 seconds';
  if found then
    return app_private.describe_session(v_session.id);
  end if;
  perform app_private.write_audit_log(
    'REUSE_REFRESH_TOKEN', 'users', v_session.user_id, null, jsonb_build_object('sessionId', v_session.id),
    case when address ~ '[.:]' then address::inet end);
  delete from app_private.sessions as s where s.id = v_session.id;
  -- Not an exception, which would bring the session back.
  return null;
end
$function$;
grant execute on function app_public.refresh_session(bytea,bytea,text) to forecourt_authenticator;
comment on function app_public.refresh_session(bytea,bytea,text) is 'Uses a refresh token: stores its successor, which the API derives from it, and returns the session; nulls if the token is unknown or has expired. Within 10 seconds, and while the successor is unused, a second use returns the same again. Any other second use ends the session, records REUSE_REFRESH_TOKEN and returns nulls. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.register_user(email text, full_name text, password_hash text, OUT user_id uuid, OUT normalized_email text, OUT trimmed_full_name text)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  insert into app_public.users as u (email, full_name)
  values (app_private.normalize_email(register_user.email), app_private.require_name(register_user.full_name, 'fullName'))
  on conflict on constraint users_email_key do nothing
  returning u.id, u.email, u.full_name into user_id, normalized_email, trimmed_full_name;
  if user_id is null then
    raise exception using
      errcode = 'FC008',
      message = 'This e-mail address is already registered. Please log in instead.',
      detail = jsonb_build_object('field', 'email')::text;
  end if;
  insert into app_private.user_passwords (user_id, password_hash)
  values (register_user.user_id, register_user.password_hash);
end
$function$;
grant execute on function app_public.register_user(text,text,text) to forecourt_authenticator;
comment on function app_public.register_user(text,text,text) is 'Creates an account and returns it as stored. `password_hash` is Argon2id in PHC format. Raises FC008 if the e-mail address is already registered. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.remove_member(dealer_id uuid, user_id uuid)
 RETURNS app_public.dealers
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_is_self constant boolean := remove_member.user_id = app_public.current_user_id();
  v_dealer app_public.dealers := app_private.lock_own_dealer(remove_member.dealer_id, is_leaving => v_is_self is true);
  v_role app_public.dealer_role;
begin
  delete from app_public.dealer_users as du
  where du.dealer_id = v_dealer.id and du.user_id = remove_member.user_id
  returning du.role into v_role;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no member with this id. Please check it.',
      detail = jsonb_build_object('field', 'userId')::text;
  elsif v_role = 'owner' then
    perform app_private.require_other_owner(v_dealer.id, remove_member.user_id);
  end if;
  return v_dealer;
end
$function$;
grant execute on function app_public.remove_member(uuid,uuid) to forecourt_admin;
grant execute on function app_public.remove_member(uuid,uuid) to forecourt_dealer;
comment on function app_public.remove_member(uuid,uuid) is '@behavior +mutationField
@resultFieldName dealer
For owners: removes a member. Every member may leave, by its own `userId`, even if the dealer is closed. The last owner can neither leave nor be removed (409).';

CREATE OR REPLACE FUNCTION app_public.renew_listing(listing_id uuid, idempotency_key uuid)
 RETURNS app_public.listings
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_key constant uuid := app_private.operation_key('renewListing', idempotency_key);
  v_listing app_public.listings := app_private.lock_listing(listing_id);
  v_at constant timestamptz := clock_timestamp();
  -- An ended listing that no expiry run has recorded yet is expired already.
  v_has_ended constant boolean := v_listing.status = 'expired' or v_listing.status = 'active' and v_listing.expires_at <= v_at;
  v_ends_at constant timestamptz := case when v_has_ended then v_at else v_listing.expires_at end + v_listing.listing_days * interval '24 hours';
  v_holds_slot boolean;
begin
  if app_private.is_charged(v_listing, v_key) then
    return v_listing;
  elsif v_listing.status not in ('active', 'expired') then
    perform app_private.refuse_listing_status(v_listing.status, 'Only an active or expired listing can be renewed.');
  elsif v_has_ended and v_listing.expires_at + interval '4320 hours' > v_at is not true then
    perform app_private.refuse_listing_status(v_listing.status, 'Its end was more than 180 days ago. Please publish it as a new listing.');
  elsif v_has_ended is not true and v_listing.expires_at - least(interval '720 hours', v_listing.listing_days * interval '24 hours') <= v_at is not true then
    perform app_private.refuse_listing_status(v_listing.status, format('It can be renewed in its last %s days.', least(30, v_listing.listing_days)));
  end if;
  if v_has_ended and v_listing.holds_slot then
    -- Its slot is free since its end, and another listing may take it.
    update app_public.listings as l set holds_slot = false
    where l.dealer_id = v_listing.dealer_id and l.id = v_listing.id
    returning l.* into v_listing;
  end if;
  v_holds_slot := app_private.charge_listing(v_listing, 'renewal', v_key, v_at);
  if v_listing.status = 'active' then
    -- The trigger records changes of status only.
    perform app_private.write_audit_log('RENEW_LISTING', 'listings', v_listing.id,
      jsonb_build_object('expiresAt', v_listing.expires_at), jsonb_build_object('expiresAt', v_ends_at));
  end if;
  update app_public.listings as l
  set status = 'active', holds_slot = v_holds_slot, published_at = case when v_has_ended then v_at else l.published_at end,
    expires_at = v_ends_at, updated_at = v_at
  where l.dealer_id = v_listing.dealer_id and l.id = v_listing.id
  returning l.* into v_listing;
  return v_listing;
end
$function$;
grant execute on function app_public.renew_listing(uuid,uuid) to forecourt_admin;
grant execute on function app_public.renew_listing(uuid,uuid) to forecourt_dealer;
comment on function app_public.renew_listing(uuid,uuid) is '@behavior +mutationField
@resultFieldName listing
Charges a listing like a new one, and shows it for another period. In its last 30 days (if the period is shorter, in the last period) that is added to its end; within 180 days after its end it starts now, with a new `publishedAt`. The same idempotency key for the same listing changes nothing.';

CREATE OR REPLACE FUNCTION app_public.request_email_verification(user_id uuid, token_hash bytea, sealed_token bytea, OUT account_key bytea, OUT max_count integer, OUT over_limit boolean, OUT retry_after_seconds integer)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_user constant app_public.users := app_private.require_account(request_email_verification.user_id);
begin
  select l.* into account_key, max_count, over_limit, retry_after_seconds from app_private.take_mail_limit(v_user.email) as l;
  if retry_after_seconds is null then
    perform app_private.send_verification(v_user, 'email_verification', v_user.email, token_hash, sealed_token);
  end if;
end
$function$;
grant execute on function app_public.request_email_verification(uuid,bytea,bytea) to forecourt_authenticator;
comment on function app_public.request_email_verification(uuid,bytea,bytea) is 'Sends a mail that verifies the address of the user. retry_after_seconds is set when the limit auth_mail refuses it. Raises FC001 without such a user. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.request_password_reset(email text, token_hash bytea, sealed_token bytea, OUT account_key bytea, OUT max_count integer, OUT over_limit boolean, OUT retry_after_seconds integer)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_email constant text := app_private.normalize_email(request_password_reset.email);
  v_user app_public.users;
  v_expires_at timestamptz;
begin
  select l.* into account_key, max_count, over_limit, retry_after_seconds from app_private.take_mail_limit(v_email) as l;
  if retry_after_seconds is not null then
    return;
  end if;
  select u.* into v_user from app_public.users as u where u.email = v_email and u.locked_at is null and u.deleted_at is null;
  v_expires_at := app_private.issue_token('password_reset', v_user.id, v_email, token_hash, interval '1 hour');
  -- The same work for an unknown address, so that the time of the response tells nothing. The worker drops the expired mail.
  perform app_private.queue_mail(
    'password_reset', v_email, coalesce(v_user.locale, 'en'), '{}', sealed_token,
    case when v_user.id is null then clock_timestamp() else v_expires_at end);
end
$function$;
grant execute on function app_public.request_password_reset(text,bytea,bytea) to forecourt_authenticator;
comment on function app_public.request_password_reset(text,bytea,bytea) is 'Sends a token that sets a new password within an hour, if an account has the address. The result and the work are the same if none has it. retry_after_seconds is set when the limit auth_mail refuses the mail. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.resubmit_listing(listing_id uuid, idempotency_key uuid)
 RETURNS app_public.listings
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_key constant uuid := app_private.operation_key('resubmitListing', idempotency_key);
  v_listing app_public.listings := app_private.lock_listing(listing_id);
  v_at constant timestamptz := clock_timestamp();
  v_holds_slot boolean;
begin
  if app_private.is_charged(v_listing, v_key) then
    return v_listing;
  end if;
  perform app_private.require_listing_step(v_listing.status, 'pending');
  if v_listing.rejected_at + interval '720 hours' > v_at is not true then
    perform app_private.refuse_listing_status(v_listing.status, 'More than 30 days have passed since. Please publish it as a new listing.');
  end if;
  -- The publication of a listing that was taken down stays in the ledger, so its second time is a renewal.
  v_holds_slot := app_private.charge_listing(
    v_listing, case when v_listing.published_at is null then 'publication' else 'renewal' end::app_public.consumption_kind, v_key, v_at);
  update app_public.listings as l
  set status = 'pending', holds_slot = v_holds_slot, rejected_at = null, rejection_reason = null, moderation_reason = 'resubmitted', moderation_since = v_at, updated_at = v_at
  where l.dealer_id = v_listing.dealer_id and l.id = v_listing.id
  returning l.* into v_listing;
  return v_listing;
end
$function$;
grant execute on function app_public.resubmit_listing(uuid,uuid) to forecourt_admin;
grant execute on function app_public.resubmit_listing(uuid,uuid) to forecourt_dealer;
comment on function app_public.resubmit_listing(uuid,uuid) is '@behavior +mutationField
@resultFieldName listing
Submits a listing again that was rejected in the last 30 days: charges it like a new one, and makes it PENDING. The same idempotency key for the same listing changes nothing.';

CREATE OR REPLACE FUNCTION app_public.retire_package(package_id uuid)
 RETURNS app_public.dealer_packages
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
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
$function$;
grant execute on function app_public.retire_package(uuid) to forecourt_admin;
comment on function app_public.retire_package(uuid) is '@behavior +mutationField
@resultFieldName package
For admins: takes a package off sale. Checkouts that are open and subscriptions keep it, and `savePackage` puts it on sale again. A second call changes nothing.';

CREATE OR REPLACE FUNCTION app_public.revoke_api_key(api_key_id uuid)
 RETURNS app_public.dealer_api_keys
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_key app_public.dealer_api_keys;
begin
  select k.* into v_key from app_public.dealer_api_keys as k where k.id = revoke_api_key.api_key_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no API key with this id. Please check it.',
      detail = jsonb_build_object('field', 'apiKeyId')::text;
  end if;
  -- Not lock_own_dealer: a key that has leaked must be revocable while the dealer is closed.
  perform app_private.require_owner(v_key.dealer_id);
  perform app_private.lock_dealer(v_key.dealer_id);
  -- Again: the right may have ended while this session waited.
  perform app_private.require_owner(v_key.dealer_id);
  update app_public.dealer_api_keys as k set revoked_at = coalesce(k.revoked_at, clock_timestamp())
  where k.dealer_id = v_key.dealer_id and k.id = v_key.id
  returning k.* into v_key;
  return v_key;
end
$function$;
grant execute on function app_public.revoke_api_key(uuid) to forecourt_admin;
grant execute on function app_public.revoke_api_key(uuid) to forecourt_dealer;
comment on function app_public.revoke_api_key(uuid) is '@behavior +mutationField
@resultFieldName apiKey
For owners: revokes an API key. Within a second every server refuses it. A second call changes nothing.';

CREATE OR REPLACE FUNCTION app_public.revoke_invitation(invitation_id uuid)
 RETURNS app_public.dealer_invitations
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_invitation app_public.dealer_invitations;
begin
  select i.* into v_invitation from app_public.dealer_invitations as i where i.id = revoke_invitation.invitation_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no invitation with this id. Please check it.',
      detail = jsonb_build_object('field', 'invitationId')::text;
  end if;
  perform app_private.lock_own_dealer(v_invitation.dealer_id);
  update app_public.dealer_invitations as i set revoked_at = coalesce(i.revoked_at, clock_timestamp())
  where i.dealer_id = v_invitation.dealer_id and i.id = v_invitation.id and i.accepted_at is null
  returning i.* into v_invitation;
  if not found then
    raise exception using
      errcode = 'FC008',
      message = 'This invitation is accepted, so it cannot be revoked. You can remove the member.',
      detail = jsonb_build_object('field', 'invitationId', 'status', 'ACCEPTED')::text;
  end if;
  return v_invitation;
end
$function$;
grant execute on function app_public.revoke_invitation(uuid) to forecourt_admin;
grant execute on function app_public.revoke_invitation(uuid) to forecourt_dealer;
comment on function app_public.revoke_invitation(uuid) is '@behavior +mutationField
@resultFieldName invitation
For owners: revokes an invitation, so that its token is no longer valid. One that is accepted cannot be revoked (409). A second call changes nothing.';

CREATE OR REPLACE FUNCTION app_public.revoked_session_ids()
 RETURNS uuid[]
 LANGUAGE plpgsql
 STABLE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  return array(
    select r.session_id from app_private.revoked_sessions as r
    where r.revoked_at > clock_timestamp() - app_private.revocation_lifetime());
end
$function$;
grant execute on function app_public.revoked_session_ids() to forecourt_authenticator;
comment on function app_public.revoked_session_ids() is 'The sessions whose access tokens must be refused. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.role_at_dealer(dealer_id uuid)
 RETURNS app_public.dealer_role
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_role app_public.dealer_role;
begin
  -- A stranger sees the dealer of a listing as null, and a visitor may not read members.
  if role_at_dealer.dealer_id is null then
    return null;
  end if;
  -- Volatile although it only reads: a stable function would not see the member that the calling statement has just written.
  -- @plpgsql_check_options: performance_warnings = off
  select du.role into v_role
  from app_public.dealer_users as du
  where du.dealer_id = role_at_dealer.dealer_id and du.user_id = app_public.current_user_id();
  return v_role;
end
$function$;
grant execute on function app_public.role_at_dealer(uuid) to forecourt_admin;
grant execute on function app_public.role_at_dealer(uuid) to forecourt_dealer;
grant execute on function app_public.role_at_dealer(uuid) to forecourt_visitor;
comment on function app_public.role_at_dealer(uuid) is 'The role of the current user at a dealer, with the caller''s own rights; null if it is no member. Not a field of GraphQL: `Dealer.myRole` calls it.';

CREATE OR REPLACE FUNCTION app_public.save_package(key text, country text, name jsonb, price_net numeric, duration_days integer, listing_limit integer, id uuid DEFAULT NULL::uuid, quota_kind app_public.quota_kind DEFAULT NULL::app_public.quota_kind, premium_quota integer DEFAULT NULL::integer, highlight_quota integer DEFAULT NULL::integer, overage app_public.overage DEFAULT NULL::app_public.overage)
 RETURNS app_public.dealer_packages
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
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
$function$;
grant execute on function app_public.save_package(text,text,jsonb,numeric,integer,integer,uuid,app_public.quota_kind,integer,integer,app_public.overage) to forecourt_admin;
comment on function app_public.save_package(text,text,jsonb,numeric,integer,integer,uuid,app_public.quota_kind,integer,integer,app_public.overage) is '@behavior +mutationField
@resultFieldName package
For admins: puts a new package on sale, or changes the one with this `id` and puts it on sale again. The `name` is an object by language and needs `en` and `de`. A change is for later purchases: checkouts and subscriptions keep what they were made with. A package stays in its country, whose currency its price has. A new package is a conflict (409) if the country has another one with its `key`. A second call changes nothing.';

CREATE OR REPLACE FUNCTION app_public.seller_of_listing(dealer_id uuid)
 RETURNS app_public.seller
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_seller app_public.seller;
begin
  select d.id, d.company_name, d.country, d.dealer_type into v_seller
  from app_public.dealers as d
  where d.id = seller_of_listing.dealer_id;
  return v_seller;
end
$function$;
grant execute on function app_public.seller_of_listing(uuid) to forecourt_admin;
grant execute on function app_public.seller_of_listing(uuid) to forecourt_dealer;
grant execute on function app_public.seller_of_listing(uuid) to forecourt_visitor;
comment on function app_public.seller_of_listing(uuid) is 'What everybody may see of the dealer of a listing. The columns of `dealers` have one grant for all rows, so strangers read this instead. Not a field of GraphQL: `Listing.seller` calls it.';

CREATE OR REPLACE FUNCTION app_public.set_dealer_status(dealer_id uuid, is_active boolean, can_publish boolean, reason text, is_trusted boolean DEFAULT NULL::boolean)
 RETURNS app_public.dealers
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
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
$function$;
grant execute on function app_public.set_dealer_status(uuid,boolean,boolean,text,boolean) to forecourt_admin;
comment on function app_public.set_dealer_status(uuid,boolean,boolean,text,boolean) is '@behavior +mutationField
@resultFieldName dealer
For admins: closes or opens a dealer, and suspends its publications or allows them. Strangers do not see the listings of a closed dealer, and its members can neither publish nor buy. The listings of a trusted dealer are active at once. A dealer without an owner who can log in stays closed (409). A second call changes nothing.';

CREATE OR REPLACE FUNCTION app_public.set_free_quota(country text, segment app_public.segment, quota_amount integer, period_days integer, valid_from timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS app_public.free_quota_configs
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
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
$function$;
grant execute on function app_public.set_free_quota(text,app_public.segment,integer,integer,timestamp with time zone) to forecourt_admin;
comment on function app_public.set_free_quota(text,app_public.segment,integer,integer,timestamp with time zone) is '@behavior +mutationField
@resultFieldName freeQuota
For admins: sets how many listings are free in a country from `validFrom` on, and ends the free listings before then. It is a conflict (409) if later ones are scheduled already. The free listings that are valid then already change nothing.';

CREATE OR REPLACE FUNCTION app_public.set_member_role(dealer_id uuid, user_id uuid, role app_public.dealer_role)
 RETURNS app_public.dealer_users
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_dealer app_public.dealers := app_private.lock_own_dealer(set_member_role.dealer_id);
  v_member app_public.dealer_users;
begin
  update app_public.dealer_users as du set role = set_member_role.role
  where du.dealer_id = v_dealer.id and du.user_id = set_member_role.user_id
  returning du.* into v_member;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no member with this id. Please check it.',
      detail = jsonb_build_object('field', 'userId')::text;
  elsif v_member.role <> 'owner' then
    perform app_private.require_other_owner(v_dealer.id, v_member.user_id);
  end if;
  return v_member;
end
$function$;
grant execute on function app_public.set_member_role(uuid,uuid,app_public.dealer_role) to forecourt_admin;
grant execute on function app_public.set_member_role(uuid,uuid,app_public.dealer_role) to forecourt_dealer;
comment on function app_public.set_member_role(uuid,uuid,app_public.dealer_role) is '@behavior +mutationField
@resultFieldName member
For owners: changes the role of a member, at once. The last owner stays one (409).';

CREATE OR REPLACE FUNCTION app_public.set_price(country text, segment app_public.segment, pricing_type app_public.pricing_type, unit_price_net numeric, valid_from timestamp with time zone DEFAULT NULL::timestamp with time zone, duration_days integer DEFAULT NULL::integer)
 RETURNS app_public.price_configs
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
begin
  perform app_private.require_admin();
  perform app_private.lock_country(set_price.country);
  return app_private.set_price(
    set_price.country, set_price.segment, set_price.pricing_type, set_price.unit_price_net,
    app_private.require_future(set_price.valid_from), set_price.duration_days);
end
$function$;
grant execute on function app_public.set_price(text,app_public.segment,app_public.pricing_type,numeric,timestamp with time zone,integer) to forecourt_admin;
comment on function app_public.set_price(text,app_public.segment,app_public.pricing_type,numeric,timestamp with time zone,integer) is '@behavior +mutationField
@resultFieldName price
For admins: sets a price from `validFrom` on, and ends the price before it then. It is a conflict (409) if a later price is scheduled already. The price that is valid then already changes nothing.';

CREATE OR REPLACE FUNCTION app_public.set_rate_limit_policy(scope text, max_count integer DEFAULT NULL::integer, window_seconds integer DEFAULT NULL::integer, cost integer DEFAULT NULL::integer, mode app_public.rate_limit_mode DEFAULT NULL::app_public.rate_limit_mode, fallback app_public.rate_limit_fallback DEFAULT NULL::app_public.rate_limit_fallback)
 RETURNS app_public.rate_limit_policies
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
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
$function$;
grant execute on function app_public.set_rate_limit_policy(text,integer,integer,integer,app_public.rate_limit_mode,app_public.rate_limit_fallback) to forecourt_admin;
comment on function app_public.set_rate_limit_policy(text,integer,integer,integer,app_public.rate_limit_mode,app_public.rate_limit_fallback) is '@behavior +mutationField
@resultFieldName rateLimitPolicy
For admins: changes a rate limit. Every process applies it within a second. What is absent stays as it is, and a second call changes nothing.';

CREATE OR REPLACE FUNCTION app_public.set_vat_rate(country text, vat_rate numeric, valid_from timestamp with time zone DEFAULT NULL::timestamp with time zone)
 RETURNS app_public.vat_rates
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
begin
  perform app_private.require_admin();
  perform app_private.lock_country(set_vat_rate.country);
  return app_private.set_vat_rate(set_vat_rate.country, set_vat_rate.vat_rate, app_private.require_future(set_vat_rate.valid_from));
end
$function$;
grant execute on function app_public.set_vat_rate(text,numeric,timestamp with time zone) to forecourt_admin;
comment on function app_public.set_vat_rate(text,numeric,timestamp with time zone) is '@behavior +mutationField
@resultFieldName vatRate
For admins: sets the VAT rate of a country from `validFrom` on, and ends the rate before it then. It is a conflict (409) if a later rate is scheduled already. The rate that is valid then already changes nothing.';

CREATE OR REPLACE FUNCTION app_public.sign_up(email text, full_name text, password_hash text, refresh_hash bytea)
 RETURNS app_private.opened_session
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_user_id uuid;
begin
  select r.user_id into v_user_id
  from app_public.register_user(sign_up.email, sign_up.full_name, sign_up.password_hash) as r;
  return app_private.describe_session(app_private.open_session(v_user_id, sign_up.refresh_hash));
end
$function$;
grant execute on function app_public.sign_up(text,text,text,bytea) to forecourt_authenticator;
comment on function app_public.sign_up(text,text,text,bytea) is 'Creates an account as register_user does, which release 0.3 calls itself, and opens a session. `refresh_hash` is the SHA-256 of the first refresh token. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.slots_of_dealer(dealer_id uuid)
 RETURNS app_public.slot_usage
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_at constant timestamptz := clock_timestamp();
  v_usage app_public.slot_usage;
begin
  -- A stranger sees the dealer of a listing as null, and a visitor may not read subscriptions.
  if slots_of_dealer.dealer_id is null then
    return null;
  end if;
  select
    d.slots_in_use - (
      select count(*)::integer
      from app_public.listings as l
      where l.dealer_id = d.id and l.holds_slot and l.status = 'active' and l.expires_at <= v_at),
    coalesce((
      select max(s.included_listing_quota)
      from app_public.dealer_subscriptions as s
      where s.dealer_id = d.id and s.status <> 'expired' and s.quota_kind = 'concurrent' and s.start_at <= v_at and v_at < s.end_at), 0)
  into v_usage.used, v_usage.capacity
  from app_public.dealers as d
  where d.id = slots_of_dealer.dealer_id;
  return v_usage;
end
$function$;
grant execute on function app_public.slots_of_dealer(uuid) to forecourt_admin;
grant execute on function app_public.slots_of_dealer(uuid) to forecourt_dealer;
grant execute on function app_public.slots_of_dealer(uuid) to forecourt_visitor;
comment on function app_public.slots_of_dealer(uuid) is 'How many slots a dealer uses and has, with the caller''s own rights: nothing for a stranger. Not a field of GraphQL: `Dealer.slots` calls it.';

CREATE OR REPLACE FUNCTION app_public.status_of_checkout(dealer_id uuid, invoice_id uuid, at timestamp with time zone DEFAULT clock_timestamp())
 RETURNS app_public.checkout_status
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_status app_public.checkout_status;
begin
  -- Volatile although it only reads: a stable function would not see the rows that the calling statement has just written.
  -- @plpgsql_check_options: performance_warnings = off
  select case
    when i.status = 'paid' then 'paid'
    when coalesce(c.closed_at, status_of_checkout.at) >= c.expires_at then 'expired'
    when i.status = 'void' then 'cancelled'
    else 'open'
  end::app_public.checkout_status into v_status
  from app_public.checkouts as c
  join app_public.invoices as i on i.dealer_id = c.dealer_id and i.id = c.invoice_id
  where c.dealer_id = status_of_checkout.dealer_id and c.invoice_id = status_of_checkout.invoice_id;
  return v_status;
end
$function$;
grant execute on function app_public.status_of_checkout(uuid,uuid,timestamp with time zone) to forecourt_admin;
grant execute on function app_public.status_of_checkout(uuid,uuid,timestamp with time zone) to forecourt_dealer;
comment on function app_public.status_of_checkout(uuid,uuid,timestamp with time zone) is 'The status of a checkout at a moment, with the caller''s own rights. Follows from its times and its invoice: one that was voided before the end of its offer was cancelled. Not a field of GraphQL: `Checkout.status` calls it.';

CREATE OR REPLACE FUNCTION app_public.take_rate_limit(key bytea, max_count double precision, window_seconds double precision, cost double precision, now double precision DEFAULT date_part('epoch'::text, clock_timestamp()), OUT outcome app_private.rate_limit_outcome)
 RETURNS app_private.rate_limit_outcome
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
begin
  loop
    -- Nearly every charge falls into a running window and passes. This statement has few operators, because setting
    -- up each one takes longer than running it. A row that does not match is neither locked nor written. The share of
    -- the window before is that of rate_limit_used.
    update app_private.rate_limit_counters as c
    set current = c.current + take_rate_limit.cost
    where c.key = take_rate_limit.key
      and c.window_seconds = take_rate_limit.window_seconds and take_rate_limit.now < c.ends_at
      and c.current + c.decay * (c.ends_at - take_rate_limit.now) + take_rate_limit.cost <= take_rate_limit.max_count
    returning c.current + c.decay * (c.ends_at - take_rate_limit.now), c.ends_at, null::integer into outcome;
    exit when found;
    -- If another session has started the window meanwhile, try the statement above again.
    outcome := app_private.take_rate_limit_at_edge(key, max_count, window_seconds, cost, now);
    -- A null clock has no result, and would repeat the loop for ever. The function is not strict, because the planner would
    -- skip the check of EXECUTE.
    exit when outcome.reset_at is not null or now is null;
  end loop;
end
$function$;
grant execute on function app_public.take_rate_limit(bytea,double precision,double precision,double precision,double precision) to forecourt_authenticator;
comment on function app_public.take_rate_limit(bytea,double precision,double precision,double precision,double precision) is 'Takes one charge, or refuses it without writing. A limit that is not enforced has a max_count of Infinity: it counts and never refuses. `now` is the database''s clock, in Unix seconds. The caller sets lock_timeout. For the API''s limiter only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.take_rate_limit_batch(keys bytea[], max_counts double precision[], windows double precision[], costs double precision[])
 RETURNS SETOF app_private.rate_limit_outcome
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_now constant double precision := date_part('epoch', clock_timestamp());
begin
  -- The keys are in ascending order, so that two calls cannot deadlock.
  for v_index in 1 .. cardinality(keys) loop
    return next app_public.take_rate_limit(keys[v_index], max_counts[v_index], windows[v_index], costs[v_index], v_now);
  end loop;
end
$function$;
grant execute on function app_public.take_rate_limit_batch(bytea[],double precision[],double precision[],double precision[]) to forecourt_authenticator;
comment on function app_public.take_rate_limit_batch(bytea[],double precision[],double precision[],double precision[]) is 'Takes the charges of several requests, each by itself: a refusal of one does not affect the others. The arrays have one element per request, the keys in ascending order, requests of one key in the order of their arrival. Returns the result of take_rate_limit for each, in this order. The caller sets lock_timeout. For the API''s limiter only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.take_rate_limits(keys bytea[], max_counts double precision[], windows double precision[], costs double precision[])
 RETURNS SETOF app_private.rate_limit_outcome
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_now constant double precision := date_part('epoch', clock_timestamp());
  v_counter app_private.rate_limit_counters;
  v_waits integer[];
  v_outcome app_private.rate_limit_outcome;
begin
  -- Plain reads decide about a refusal: a refusal writes nothing and waits for no lock.
  for v_index in 1 .. cardinality(keys) loop
    select c.* into v_counter from app_private.rate_limit_counters as c where c.key = keys[v_index];
    v_counter := app_private.rate_limit_counter_at(v_counter, windows[v_index], v_now);
    v_waits[v_index] := app_private.rate_limit_wait(v_counter, max_counts[v_index], costs[v_index], v_now);
  end loop;
  if num_nonnulls(variadic v_waits) > 0 then
    return query select null::double precision, v_now + wait, wait from unnest(v_waits) as wait;
    return;
  end if;
  -- The keys are in ascending order, so that two calls cannot deadlock.
  for v_index in 1 .. cardinality(keys) loop
    v_outcome := app_public.take_rate_limit(keys[v_index], max_counts[v_index], windows[v_index], costs[v_index], v_now);
    return next v_outcome;
    if v_outcome.used is null then
      -- Other sessions have used up the limit meanwhile: give back the charges taken so far.
      update app_private.rate_limit_counters as c set current = c.current - taken.cost
      from unnest(keys[: v_index - 1], costs[: v_index - 1]) as taken (key, cost)
      where c.key = taken.key;
      return;
    end if;
  end loop;
end
$function$;
grant execute on function app_public.take_rate_limits(bytea[],double precision[],double precision[],double precision[]) to forecourt_authenticator;
comment on function app_public.take_rate_limits(bytea[],double precision[],double precision[],double precision[]) is 'Takes all charges of a request, or none. The arrays have one element per charge, the keys in ascending order. Returns the result of take_rate_limit for each charge, in this order. If one charge is refused, none is taken, and the charges after it may have no row. The caller sets lock_timeout. For the API''s limiter only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.unlock_user(user_id uuid, reason text)
 RETURNS app_public.accounts
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_account app_public.accounts;
begin
  perform app_private.require_admin();
  perform app_private.unlock_user(unlock_user.user_id, unlock_user.reason);
  select a.* into v_account from app_public.accounts as a where a.id = unlock_user.user_id;
  return v_account;
end
$function$;
grant execute on function app_public.unlock_user(uuid,text) to forecourt_admin;
comment on function app_public.unlock_user(uuid,text) is '@behavior +mutationField
@resultFieldName user
For admins: unlocks an account, which can log in again. A second call changes nothing.';

CREATE OR REPLACE FUNCTION app_public.update_dealer(dealer_id uuid, company_name text DEFAULT NULL::text)
 RETURNS app_public.dealers
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_dealer app_public.dealers := app_private.lock_own_dealer(update_dealer.dealer_id);
  v_name constant text := app_private.require_name(update_dealer.company_name, 'companyName');
begin
  if v_name <> v_dealer.company_name then
    update app_public.dealers as d
    set company_name = v_name, updated_at = clock_timestamp()
    where d.id = v_dealer.id
    returning d.* into v_dealer;
  end if;
  return v_dealer;
end
$function$;
grant execute on function app_public.update_dealer(uuid,text) to forecourt_admin;
grant execute on function app_public.update_dealer(uuid,text) to forecourt_dealer;
comment on function app_public.update_dealer(uuid,text) is '@behavior +mutationField
@resultFieldName dealer
For owners: changes the company''s name. What is absent or null stays.';

CREATE OR REPLACE FUNCTION app_public.update_listing(listing_id uuid, title text DEFAULT NULL::text, description text DEFAULT NULL::text, attributes jsonb DEFAULT NULL::jsonb, images text[] DEFAULT NULL::text[], price numeric DEFAULT NULL::numeric, external_id text DEFAULT NULL::text)
 RETURNS app_public.listings
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_old constant app_public.listings := app_private.lock_listing(listing_id);
  v_new app_public.listings := v_old;
  v_dealer app_public.dealers;
begin
  select d.* into v_dealer from app_public.dealers as d where d.id = v_old.dealer_id;
  if not v_dealer.is_active then
    perform app_private.require_publisher(v_dealer);
  elsif v_old.status not in ('pending', 'active', 'rejected') then
    perform app_private.refuse_listing_status(v_old.status, 'It can no longer be changed.');
  end if;
  v_new.title := coalesce(app_private.to_nfc(btrim(update_listing.title)), v_old.title);
  -- An empty text clears the column.
  v_new.description := nullif(coalesce(app_private.to_nfc(replace(update_listing.description, E'\r\n', E'\n')), v_old.description), '');
  v_new.external_id := nullif(coalesce(app_private.to_nfc(btrim(update_listing.external_id)), v_old.external_id), '');
  v_new.attributes := coalesce(update_listing.attributes, v_old.attributes);
  v_new.images := coalesce(update_listing.images, v_old.images);
  v_new.price := coalesce(
    app_private.money(update_listing.price, (
      select c.minor_units::integer from app_public.currencies as c where c.code = v_old.currency)),
    v_old.price);
  if v_new is not distinct from v_old then
    return v_old;
  end if;
  if v_old.status = 'active' and v_old.moderation_since is null and not v_dealer.is_trusted
    and (v_new.title, v_new.description, v_new.attributes, v_new.images)
      is distinct from (v_old.title, v_old.description, v_old.attributes, v_old.images)
  then
    v_new.moderation_reason := 'edited';
    v_new.moderation_since := clock_timestamp();
  end if;
  update app_public.listings as l
  set title = v_new.title, description = v_new.description, attributes = v_new.attributes, images = v_new.images, price = v_new.price,
    external_id = v_new.external_id, moderation_reason = v_new.moderation_reason, moderation_since = v_new.moderation_since,
    updated_at = clock_timestamp()
  where l.dealer_id = v_old.dealer_id and l.id = v_old.id
  returning l.* into v_new;
  return v_new;
end
$function$;
grant execute on function app_public.update_listing(uuid,text,text,jsonb,text[],numeric,text) to forecourt_admin;
grant execute on function app_public.update_listing(uuid,text,text,jsonb,text[],numeric,text) to forecourt_dealer;
comment on function app_public.update_listing(uuid,text,text,jsonb,text[],numeric,text) is '@behavior +mutationField
@resultFieldName listing
Changes a pending, active or rejected listing of one of the caller''s dealers. A field that is absent or null stays; an empty text clears `description` and `externalId`. An active listing stays active. A change of more than its price and its reference puts it into the moderation queue, unless the dealer is trusted.';

CREATE OR REPLACE FUNCTION app_public.update_profile(full_name text DEFAULT NULL::text, locale text DEFAULT NULL::text)
 RETURNS app_public.users
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_user app_public.users := app_private.require_account(app_private.require_user());
begin
  update app_public.users as u
  set full_name = coalesce(app_private.require_name(update_profile.full_name, 'fullName'), u.full_name),
    locale = coalesce(update_profile.locale, u.locale)
  where u.id = v_user.id;
  -- Without the columns that nobody may read.
  select c.* into v_user from app_public.get_current_user() as c;
  return v_user;
end
$function$;
grant execute on function app_public.update_profile(text,text) to forecourt_admin;
grant execute on function app_public.update_profile(text,text) to forecourt_dealer;
comment on function app_public.update_profile(text,text) is '@behavior +mutationField
@resultFieldName user
Changes the name of the caller and the language of its mails: `en` or `de`. What is not given stays.';

CREATE OR REPLACE FUNCTION app_public.user_of_member(dealer_id uuid, user_id uuid)
 RETURNS app_public.member_user
 LANGUAGE plpgsql
 STABLE PARALLEL SAFE SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
AS $function$
declare
  v_user app_public.member_user;
begin
  if user_of_member.dealer_id = any (app_public.current_dealer_ids()) or app_public.is_admin() then
    select u.id, u.full_name, u.email into v_user
    from app_public.dealer_users as du
    join app_public.users as u on u.id = du.user_id
    where du.dealer_id = user_of_member.dealer_id and du.user_id = user_of_member.user_id;
  end if;
  return v_user;
end
$function$;
grant execute on function app_public.user_of_member(uuid,uuid) to forecourt_admin;
grant execute on function app_public.user_of_member(uuid,uuid) to forecourt_dealer;
comment on function app_public.user_of_member(uuid,uuid) is 'What the members of a dealer, and admins, may see of the user of a member. Everybody else gets nothing. The columns of `users` have one grant for all rows, so members read this instead. Not a field of GraphQL: `Member.user` calls it.';

CREATE OR REPLACE FUNCTION app_public.verify_email(token_hash bytea, OUT user_id uuid, OUT normalized_email text, OUT full_name text, OUT email_verified_at timestamp with time zone)
 RETURNS record
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
declare
  v_token constant app_private.one_time_tokens := app_private.use_token('email_verification', token_hash);
  v_user constant app_public.users := app_private.confirm_email(v_token.user_id, v_token.email);
begin
  user_id := v_user.id;
  normalized_email := v_user.email;
  full_name := v_user.full_name;
  email_verified_at := v_user.email_verified_at;
end
$function$;
grant execute on function app_public.verify_email(bytea) to forecourt_authenticator;
comment on function app_public.verify_email(bytea) is 'Uses a token of register, request_email_verification or change_email: the address to which it was sent becomes the verified address of the user. Raises FC010 for a token that cannot be used, FC008 if another account has the address by now. For the API''s identity code only, not for GraphQL.';

CREATE OR REPLACE FUNCTION app_public.withdraw_listing(listing_id uuid)
 RETURNS app_public.listings
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'app_public', 'app_private', 'pg_temp'
 SET lock_timeout TO '3s'
AS $function$
begin
  return app_private.end_listing(listing_id, 'withdrawn');
end
$function$;
grant execute on function app_public.withdraw_listing(uuid) to forecourt_admin;
grant execute on function app_public.withdraw_listing(uuid) to forecourt_dealer;
comment on function app_public.withdraw_listing(uuid) is '@behavior +mutationField
@resultFieldName listing
Withdraws a pending or active listing of one of the caller''s dealers for good. Nothing is given back. A second call changes nothing.';
