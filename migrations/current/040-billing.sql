--! Message: packages, invoices, subscriptions

-- Gives up rather than queue behind a long transaction with everyone else behind it.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

do $$ begin
  create type app_public.overage as enum ('charge', 'block');
exception when duplicate_object then null; end $$;
comment on type app_public.overage is 'What happens beyond the listing quota: a price per listing, or a refusal.';

do $$ begin
  create type app_public.subscription_status as enum ('pending', 'active', 'expired', 'cancelled');
exception when duplicate_object then null; end $$;
comment on type app_public.subscription_status is 'pending → active → expired, and pending or active → cancelled.';

do $$ begin
  create type app_public.invoice_kind as enum ('package', 'monthly');
exception when duplicate_object then null; end $$;
comment on type app_public.invoice_kind is 'package: a purchase. monthly: what was published beyond the quotas in a month.';

do $$ begin
  create type app_public.invoice_status as enum ('draft', 'paid', 'void');
exception when duplicate_object then null; end $$;
comment on type app_public.invoice_status is 'draft: not yet paid. paid and void are final.';

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
comment on table app_public.dealer_packages is E'@behavior +query:resource:connection\nWhat a dealer can buy in its country.';
comment on column app_public.dealer_packages.id is 'Time-ordered.';
comment on column app_public.dealer_packages.key is 'The same over all countries, such as basic.';
comment on column app_public.dealer_packages.country is 'Where it is sold, ISO 3166-1 alpha-2.';
comment on column app_public.dealer_packages.name is 'By language: {"de": "Basis", "en": "Basic"}.';
comment on column app_public.dealer_packages.price_net is 'Without VAT, in whole units of the currency.';
comment on column app_public.dealer_packages.currency is 'The currency of its country.';
comment on column app_public.dealer_packages.duration_days is 'Days of 24 hours that a subscription lasts.';
comment on column app_public.dealer_packages.listing_limit is 'Listings included.';
comment on column app_public.dealer_packages.premium_quota is 'Premium placements included.';
comment on column app_public.dealer_packages.highlight_quota is 'Highlights included.';
comment on column app_public.dealer_packages.overage is 'What happens beyond the listings included.';
comment on column app_public.dealer_packages.is_active is 'Whether it is on sale.';

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
  constraint invoices_monthly_has_period check ((kind = 'monthly') = (period_start is not null)),
  constraint invoices_period_starts_month check (extract(day from period_start) = 1),
  constraint invoices_paid_has_time check ((status = 'paid') = (paid_at is not null)),
  constraint invoices_totals_add_up check (gross_total = net_total + vat_total and net_total >= 0 and vat_total >= 0)
) with (fillfactor = 80);
comment on table app_public.invoices is E'@behavior +query:resource:connection\nWhat a dealer owes. Totals are the sums of the items.';
comment on column app_public.invoices.dealer_id is 'Who owes it.';
comment on column app_public.invoices.id is 'Time-ordered.';
comment on column app_public.invoices.kind is 'A package''s purchase, or a month''s listings beyond the quotas.';
comment on column app_public.invoices.status is 'Whether it is paid.';
comment on column app_public.invoices.country is 'The dealer''s country at that time.';
comment on column app_public.invoices.currency is 'Of every amount on it.';
comment on column app_public.invoices.period_start is 'First day of the month (UTC) that a monthly invoice is for.';
comment on column app_public.invoices.net_total is 'Without VAT.';
comment on column app_public.invoices.vat_total is 'The VAT, rounded on each item.';
comment on column app_public.invoices.gross_total is 'What is to be paid.';
comment on column app_public.invoices.created_at is 'When it was begun.';
comment on column app_public.invoices.updated_at is 'When it last changed.';
comment on column app_public.invoices.paid_at is 'When it was paid.';
comment on constraint invoices_dealer on app_public.invoices is E'@forwardBehavior +singularRelation:resource:single\n@fieldName dealer\n@forwardDescription Who owes it.';
-- not unique: an id alone is looked up here, and the ids are the server's
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
  primary key (dealer_id, id),
  constraint invoice_items_invoice foreign key (dealer_id, invoice_id) references app_public.invoices (dealer_id, id),
  constraint invoice_items_one_origin check (num_nonnulls(price_config_id, package_id) = 1),
  constraint invoice_items_version_of_price check ((price_config_id is null) = (price_version is null)),
  constraint invoice_items_discount_within_price check (discount between 0 and unit_price_net),
  constraint invoice_items_amounts_add_up check (gross_amount = net_amount + vat_amount and net_amount >= 0 and vat_amount >= 0)
);
comment on table app_public.invoice_items is 'A line of an invoice: a snapshot, never changed.';
comment on column app_public.invoice_items.dealer_id is 'Who owes it.';
comment on column app_public.invoice_items.id is 'Time-ordered.';
comment on column app_public.invoice_items.invoice_id is 'The invoice it stands on.';
comment on column app_public.invoice_items.description is 'What it is for, in English.';
comment on column app_public.invoice_items.price_config_id is 'The price that was applied to a listing.';
comment on column app_public.invoice_items.package_id is 'The package that was bought.';
comment on column app_public.invoice_items.price_version is 'The version of that price.';
comment on column app_public.invoice_items.unit_price_net is 'The price without VAT, before discount.';
comment on column app_public.invoice_items.discount is 'Taken off the price, without VAT.';
comment on column app_public.invoice_items.net_amount is 'Price less discount, rounded to the currency''s minor units.';
comment on column app_public.invoice_items.vat_rate is 'In percent.';
comment on column app_public.invoice_items.vat_amount is 'Net amount times VAT rate, rounded half away from zero to the currency''s minor units.';
comment on column app_public.invoice_items.gross_amount is 'Net amount and VAT.';
comment on column app_public.invoice_items.country is 'Whose price and VAT rate were applied.';
comment on column app_public.invoice_items.currency is 'Of every amount of it.';
comment on column app_public.invoice_items.created_at is 'When it was added.';
comment on constraint invoice_items_invoice on app_public.invoice_items is E'@backwardBehavior +manyRelation:resource:connection\n@foreignFieldName items\n@backwardDescription Its lines.';
create index if not exists ix_invoice_items_dealer_id_invoice_id on app_public.invoice_items (dealer_id, invoice_id);

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
  primary key (dealer_id, invoice_id),
  constraint checkouts_invoice foreign key (dealer_id, invoice_id) references app_public.invoices (dealer_id, id),
  constraint checkouts_idempotency_key unique (dealer_id, idempotency_key),
  constraint checkouts_success_url_form check (success_url ~ '^https?://[^[:space:][:cntrl:]]+$' and length(success_url) <= 2000),
  constraint checkouts_cancel_url_form check (cancel_url ~ '^https?://[^[:space:][:cntrl:]]+$' and length(cancel_url) <= 2000)
);
comment on table app_public.checkouts is 'A purchase on its way: the invoice, where to pay it, and what the package held when it was bought.';
comment on column app_public.checkouts.dealer_id is 'Who buys.';
comment on column app_public.checkouts.invoice_id is 'The invoice to be paid.';
comment on column app_public.checkouts.package_id is 'What is bought.';
comment on column app_public.checkouts.idempotency_key is 'The client''s; unique for the dealer.';
comment on column app_public.checkouts.payload_hash is 'SHA-256 of the input, to tell a repetition from another purchase under the same key.';
comment on column app_public.checkouts.provider is 'Who takes the payment. manual: an admin marks the invoice as paid.';
comment on column app_public.checkouts.url is 'Where to pay; null where payment is made outside, as with the provider manual.';
comment on column app_public.checkouts.success_url is 'Where the client wants to be after payment.';
comment on column app_public.checkouts.cancel_url is 'Where the client wants to be without payment.';
comment on column app_public.checkouts.duration_days is 'Snapshot of the package.';
comment on column app_public.checkouts.listing_limit is 'Snapshot of the package.';
comment on column app_public.checkouts.premium_quota is 'Snapshot of the package.';
comment on column app_public.checkouts.highlight_quota is 'Snapshot of the package.';
comment on column app_public.checkouts.overage is 'Snapshot of the package.';
comment on column app_public.checkouts.expires_at is 'Until when the offer holds; past it the next purchase voids the invoice.';
comment on column app_public.checkouts.closed_at is 'When it was paid or voided; null while it is open.';
comment on column app_public.checkouts.created_at is 'When it was begun.';
comment on constraint checkouts_invoice on app_public.checkouts is E'@forwardBehavior +singularRelation:resource:single\n@fieldName invoice\n@forwardDescription The invoice to be paid.';
comment on constraint checkouts_success_url_form on app_public.checkouts is E'@field successUrl\nPlease give a URL that begins with https:// or http:// and has at most 2000 characters.';
comment on constraint checkouts_cancel_url_form on app_public.checkouts is E'@field cancelUrl\nPlease give a URL that begins with https:// or http:// and has at most 2000 characters.';
create unique index if not exists ux_checkouts_one_open on app_public.checkouts (dealer_id) where closed_at is null;

create table if not exists app_public.dealer_subscriptions (
  dealer_id uuid not null constraint dealer_subscriptions_dealer references app_public.dealers,
  id uuid not null default app_private.time_ordered_uuid(),
  package_id uuid not null constraint dealer_subscriptions_package references app_public.dealer_packages,
  invoice_id uuid,
  status app_public.subscription_status not null default 'pending',
  duration_days integer not null constraint dealer_subscriptions_duration_days_positive check (duration_days > 0),
  start_at timestamptz,
  end_at timestamptz,
  overage app_public.overage not null default 'charge',
  included_listing_quota integer not null,
  used_listing_quota integer not null default 0,
  included_premium_quota integer not null default 0,
  used_premium_quota integer not null default 0,
  included_highlight_quota integer not null default 0,
  used_highlight_quota integer not null default 0,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (dealer_id, id),
  constraint dealer_subscriptions_invoice_key unique (dealer_id, invoice_id),
  constraint dealer_subscriptions_invoice foreign key (dealer_id, invoice_id) references app_public.invoices (dealer_id, id),
  constraint dealer_subscriptions_started_has_times check (
    case status when 'pending' then start_at is null and end_at is null
      when 'cancelled' then (start_at is null) = (end_at is null)
      else start_at is not null and end_at is not null end),
  constraint dealer_subscriptions_ends_after_start check (end_at > start_at),
  constraint dealer_subscriptions_used_within_included check (
    used_listing_quota between 0 and included_listing_quota
    and used_premium_quota between 0 and included_premium_quota
    and used_highlight_quota between 0 and included_highlight_quota)
) with (fillfactor = 80);
comment on table app_public.dealer_subscriptions is E'@behavior +query:resource:connection\nA package that a dealer bought, with its quotas as they were at the purchase.';
comment on column app_public.dealer_subscriptions.dealer_id is 'Whose subscription.';
comment on column app_public.dealer_subscriptions.id is 'Time-ordered.';
comment on column app_public.dealer_subscriptions.package_id is 'What was bought.';
comment on column app_public.dealer_subscriptions.invoice_id is 'The paid invoice it stems from; null where it was granted without one.';
comment on column app_public.dealer_subscriptions.status is 'pending until it starts; active; expired once its end is recorded; cancelled: keeps its quota until end_at.';
comment on column app_public.dealer_subscriptions.duration_days is 'Days of 24 hours from start to end.';
comment on column app_public.dealer_subscriptions.start_at is 'Null until it starts.';
comment on column app_public.dealer_subscriptions.end_at is 'From this moment it gives no quota.';
comment on column app_public.dealer_subscriptions.overage is 'What happens beyond the listing quota.';
comment on column app_public.dealer_subscriptions.included_listing_quota is 'Listings included.';
comment on column app_public.dealer_subscriptions.used_listing_quota is 'Listings used: its rows in the ledger.';
comment on column app_public.dealer_subscriptions.included_premium_quota is 'Premium placements included.';
comment on column app_public.dealer_subscriptions.used_premium_quota is 'Premium placements used.';
comment on column app_public.dealer_subscriptions.included_highlight_quota is 'Highlights included.';
comment on column app_public.dealer_subscriptions.used_highlight_quota is 'Highlights used.';
comment on column app_public.dealer_subscriptions.created_at is 'When it was made.';
comment on column app_public.dealer_subscriptions.updated_at is 'When it last changed.';
comment on constraint dealer_subscriptions_dealer on app_public.dealer_subscriptions is E'@forwardBehavior +singularRelation:resource:single\n@fieldName dealer\n@forwardDescription Whose subscription.';
comment on constraint dealer_subscriptions_package on app_public.dealer_subscriptions is E'@forwardBehavior +singularRelation:resource:single\n@fieldName package\n@forwardDescription What was bought; null where it is no longer on sale.';
create index if not exists ix_dealer_subscriptions_id on app_public.dealer_subscriptions (id);
create index if not exists ix_dealer_subscriptions_status_end_at on app_public.dealer_subscriptions (status, end_at);
create unique index if not exists ux_dealer_subscriptions_one_active on app_public.dealer_subscriptions (dealer_id) where status = 'active';

--!include identity/lock_dealer.sql
--!include subscription/enforce_subscription_state.sql
--!include subscription/schedule_expiry.sql
--!include subscription/activate_pending_subscriptions.sql
--!include subscription/expire_subscriptions.sql
--!include subscription/cancel_subscription.sql
--!include billing/add_invoice_item.sql
--!include pricing/price_item.sql
--!include billing/replay_checkout.sql
--!include billing/find_package.sql
--!include billing/close_expired_checkout.sql
--!include billing/buy_package.sql
--!include subscription/start_subscription.sql
--!include billing/settle_invoice.sql
--!include billing/pay_invoice.sql

create or replace trigger invoice_items_never_changed before update or delete or truncate on app_public.invoice_items
  for each statement execute function app_private.refuse_change();
create or replace trigger invoices_final_never_changed before update on app_public.invoices
  for each row when (old.status <> 'draft') execute function app_private.refuse_change();
create or replace trigger invoices_never_removed before delete or truncate on app_public.invoices
  for each statement execute function app_private.refuse_change();
-- the condition keeps the trigger off the hot path, where only the used quota changes
create or replace trigger dealer_subscriptions_state before update on app_public.dealer_subscriptions
  for each row when (
    (old.status, old.dealer_id, old.id, old.included_listing_quota, old.included_premium_quota, old.included_highlight_quota)
    is distinct from
    (new.status, new.dealer_id, new.id, new.included_listing_quota, new.included_premium_quota, new.included_highlight_quota)
  ) execute function app_private.enforce_subscription_state();
create or replace trigger dealer_subscriptions_never_removed before delete or truncate on app_public.dealer_subscriptions
  for each statement execute function app_private.refuse_change();

do $$
declare
  v_table text;
begin
  foreach v_table in array array['invoices', 'invoice_items', 'checkouts', 'dealer_subscriptions'] loop
    execute format('drop policy if exists select_member on app_public.%I', v_table);
    execute format('create policy select_member on app_public.%I for select to forecourt_dealer using (dealer_id = any (app_public.current_dealer_ids()))', v_table);
    execute format('drop policy if exists select_admin on app_public.%I', v_table);
    execute format('create policy select_admin on app_public.%I for select to forecourt_admin using (true)', v_table);
  end loop;
end
$$;
grant select on app_public.invoices, app_public.invoice_items, app_public.dealer_subscriptions to forecourt_dealer, forecourt_admin;
grant select (dealer_id, invoice_id, package_id, provider, url, expires_at, closed_at, created_at) on app_public.checkouts to forecourt_dealer, forecourt_admin;

drop policy if exists select_active on app_public.dealer_packages;
create policy select_active on app_public.dealer_packages for select to forecourt_visitor, forecourt_dealer using (is_active);
drop policy if exists select_admin on app_public.dealer_packages;
create policy select_admin on app_public.dealer_packages for select to forecourt_admin using (true);
grant select on app_public.dealer_packages to forecourt_visitor, forecourt_dealer, forecourt_admin;
