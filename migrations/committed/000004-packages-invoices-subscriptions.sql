--! Previous: sha1:2e56c215df5b52689877a24d8a8abc349b68da95
--! Hash: sha1:eacb2ad0d2398861157c8fdeaf03f30d9deb8d5d
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

--! Included identity/lock_dealer.sql
create or replace function app_private.lock_dealer(dealer_id uuid) returns app_public.dealers
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_dealer app_public.dealers;
begin
  -- no key: rows that refer to the dealer can still be inserted
  select d.* into v_dealer from app_public.dealers as d where d.id = lock_dealer.dealer_id for no key update;
  -- in the order of ids, like every other lock of more than one of them
  perform from app_public.dealer_subscriptions as s
  where s.dealer_id = lock_dealer.dealer_id and s.status in ('pending', 'active', 'cancelled')
    and (s.end_at is null or s.status = 'active' or s.end_at > now())
  order by s.id
  for update;
  return v_dealer;
end
$$;

comment on function app_private.lock_dealer(uuid) is
  'The first step of every write for a dealer: locks its row, then its subscriptions that run or wait. What was read before is to be read again, the clock included.';
--! EndIncluded identity/lock_dealer.sql
--! Included subscription/enforce_subscription_state.sql
create or replace function app_private.enforce_subscription_state() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  if (old.dealer_id, old.id, old.included_listing_quota, old.included_premium_quota, old.included_highlight_quota)
    is distinct from
    (new.dealer_id, new.id, new.included_listing_quota, new.included_premium_quota, new.included_highlight_quota)
  then
    raise exception using
      errcode = 'object_not_in_prerequisite_state',
      message = 'whose a subscription is and what it includes never change';
  end if;
  if (old.status, new.status) not in (
    ('pending', 'active'), ('pending', 'cancelled'), ('active', 'expired'), ('active', 'cancelled')
  ) and old.status <> new.status then
    raise exception using
      errcode = 'object_not_in_prerequisite_state',
      message = format('a subscription does not go from %s to %s', old.status, new.status);
  end if;
  return new;
end
$$;

comment on function app_private.enforce_subscription_state() is
  'Trigger: holds the states of a subscription against every role: pending → active → expired, pending or active → cancelled.';
--! EndIncluded subscription/enforce_subscription_state.sql
--! Included subscription/schedule_expiry.sql
create or replace function app_private.schedule_expiry(dealer_id uuid, at timestamptz) returns timestamptz
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform from app_public.dealer_subscriptions as s
  where s.dealer_id = schedule_expiry.dealer_id and s.status = 'pending';
  if found then
    perform graphile_worker.add_job(
      'expire_subscriptions', run_at := schedule_expiry.at, job_key := 'expire_subscriptions:' || schedule_expiry.dealer_id);
  end if;
  return schedule_expiry.at;
end
$$;

comment on function app_private.schedule_expiry(uuid, timestamptz) is
  'Where a dealer has a subscription waiting, has the expiry run at the very end of the running one, so that the next starts then and not in the following night.';
--! EndIncluded subscription/schedule_expiry.sql
--! Included subscription/activate_pending_subscriptions.sql
create or replace function app_private.activate_pending_subscriptions(dealer_ids uuid[] default null) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_activated integer;
begin
  with startable as (
    select p.dealer_id, p.id
    from app_public.dealer_subscriptions as p
    where p.status = 'pending'
      and (activate_pending_subscriptions.dealer_ids is null or p.dealer_id = any (activate_pending_subscriptions.dealer_ids))
      and not exists (
        select from app_public.dealer_subscriptions as other
        where other.dealer_id = p.dealer_id
          and (other.status = 'active'
            or other.status = 'cancelled' and other.end_at > v_now
            or other.status = 'pending' and other.id < p.id))
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
$$;

comment on function app_private.activate_pending_subscriptions(uuid[]) is
  'Starts the oldest pending subscription of each of these dealers (null: of all) that has none running, and returns how many. Its paid time counts from that moment.';
--! EndIncluded subscription/activate_pending_subscriptions.sql
--! Included subscription/expire_subscriptions.sql
create or replace function app_private.expire_subscriptions(batch_size integer default 1000) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_ids uuid[];
  v_dealer_ids uuid[];
  v_count integer;
begin
  if batch_size is null or batch_size < 1 then
    raise exception using errcode = 'FC010', message = 'The batch size must be at least 1.';
  end if;
  with due as (
    select s.dealer_id, s.id
    from app_public.dealer_subscriptions as s
    where s.status = 'active' and s.end_at <= v_now
    order by s.end_at
    limit expire_subscriptions.batch_size
    for update skip locked
  ), expired as (
    update app_public.dealer_subscriptions as s
    set status = 'expired', updated_at = v_now
    from due
    where s.dealer_id = due.dealer_id and s.id = due.id
    returning s.dealer_id, s.id
  )
  select count(*)::integer, array_agg(e.id), array_agg(e.dealer_id) into v_count, v_ids, v_dealer_ids from expired as e;
  if v_count > 0 then
    perform app_private.write_audit_log(
      'SYSTEM_EXPIRE', 'dealer_subscriptions', null, null, jsonb_build_object('count', v_count, 'ids', to_jsonb(v_ids)));
    perform app_private.activate_pending_subscriptions(v_dealer_ids);
  else
    -- whatever an interrupted or skipped start has left waiting
    perform app_private.activate_pending_subscriptions();
    -- what a publication holds at this moment is taken soon after: what is due, and what could start
    perform from app_public.dealer_subscriptions as s
    where s.status = 'active' and s.end_at <= v_now
      or s.status = 'pending' and not exists (
        select from app_public.dealer_subscriptions as other
        where other.dealer_id = s.dealer_id
          and (other.status = 'active' or other.status = 'cancelled' and other.end_at > v_now))
    limit 1;
    if found then
      perform graphile_worker.add_job(
        'expire_subscriptions', run_at := v_now + interval '5 seconds', job_key := 'expire_subscriptions:skipped');
    end if;
  end if;
  return v_count;
end
$$;

comment on function app_private.expire_subscriptions(integer) is
  'Expires up to `batch_size` active subscriptions whose end has come, oldest end first, starts those that waited for them, writes one SYSTEM_EXPIRE audit row, and returns how many expired; 0: done. Rows that a publication holds are left for the next call, which a worker job makes a few seconds after the last. Call it in a loop, each call a transaction.';
--! EndIncluded subscription/expire_subscriptions.sql
--! Included subscription/cancel_subscription.sql
create or replace function app_public.cancel_subscription(subscription_id uuid) returns app_public.dealer_subscriptions
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_dealer_id uuid;
  v_subscription app_public.dealer_subscriptions;
  v_before app_public.subscription_status;
begin
  select s.dealer_id into v_dealer_id from app_public.dealer_subscriptions as s where s.id = cancel_subscription.subscription_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no subscription with this id. Please check it.',
      detail = jsonb_build_object('field', 'subscriptionId')::text;
  end if;
  perform app_private.require_member(v_dealer_id);
  perform app_private.lock_dealer(v_dealer_id);
  select s.* into v_subscription
  from app_public.dealer_subscriptions as s
  where s.dealer_id = v_dealer_id and s.id = cancel_subscription.subscription_id;
  v_before := v_subscription.status;
  if v_before = 'cancelled' then
    return v_subscription;
  elsif v_before = 'expired' or v_subscription.end_at <= clock_timestamp() then
    raise exception using
      errcode = 'FC008',
      message = 'This subscription has ended already, there is nothing to cancel.',
      detail = jsonb_build_object('field', 'subscriptionId', 'endAt', v_subscription.end_at)::text;
  end if;
  update app_public.dealer_subscriptions as s
  set status = 'cancelled', updated_at = clock_timestamp()
  where s.dealer_id = v_dealer_id and s.id = cancel_subscription.subscription_id
  returning s.* into v_subscription;
  perform app_private.write_audit_log(
    'CANCEL_SUBSCRIPTION', 'dealer_subscriptions', v_subscription.id,
    jsonb_build_object('status', v_before), jsonb_build_object('status', v_subscription.status));
  return v_subscription;
end
$$;

comment on function app_public.cancel_subscription(uuid) is
  E'@behavior +mutationField\n@resultFieldName subscription\nCancels a subscription of a dealer of the caller. It keeps its quota until `endAt`; one that has not started never will. A second call changes nothing.';

grant execute on function app_public.cancel_subscription(uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded subscription/cancel_subscription.sql
--! Included billing/add_invoice_item.sql
create or replace function app_private.add_invoice_item(item app_public.invoice_items) returns uuid
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_period_start constant date := (date_trunc('month', item.created_at, 'UTC') at time zone 'UTC')::date;
begin
  -- the month's draft is made by its first item, and takes the amounts of every later one
  insert into app_public.invoices as i (dealer_id, kind, country, currency, period_start, net_total, vat_total, gross_total)
  values (item.dealer_id, 'monthly', item.country, item.currency, v_period_start, item.net_amount, item.vat_amount, item.gross_amount)
  on conflict (dealer_id, period_start, country, currency) where kind = 'monthly' and status = 'draft' do update set
    net_total = i.net_total + excluded.net_total,
    vat_total = i.vat_total + excluded.vat_total,
    gross_total = i.gross_total + excluded.gross_total,
    updated_at = item.created_at
  returning i.id into item.invoice_id;
  item.id := app_private.time_ordered_uuid();
  insert into app_public.invoice_items values (item.*);
  return item.id;
end
$$;

comment on function app_private.add_invoice_item(app_public.invoice_items) is
  'Puts an item on the dealer''s open draft invoice of the month (UTC) in which it was made, and returns its id. `id` and `invoice_id` of the argument are not read.';
--! EndIncluded billing/add_invoice_item.sql
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
  -- numeric's round() rounds half away from zero
  v_item.net_amount := round(price_item.unit_price_net, gate.minor_units);
  v_item.vat_rate := gate.vat_rate;
  v_item.vat_amount := round(v_item.net_amount * gate.vat_rate / 100, gate.minor_units);
  v_item.gross_amount := v_item.net_amount + v_item.vat_amount;
  v_item.currency := gate.currency;
  return v_item;
end
$$;

comment on function app_private.price_item(numeric, app_private.pricing_gate) is
  'The one place where money is computed: net, VAT and gross of a price, rounded half away from zero to the currency''s minor units. The rest of the item is the caller''s.';
--! EndIncluded pricing/price_item.sql
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

comment on function app_private.replay_checkout(uuid, uuid, bytea) is
  'The checkout that this key of the dealer has made, nulls where it has made none. Raises FC007 when its input was another.';
--! EndIncluded billing/replay_checkout.sql
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
      message = format('This package is sold in %s, the dealer is in %s. Choose one of dealerPackages for that country.', v_package.country, find_package.country),
      detail = jsonb_build_object('field', 'packageId', 'country', find_package.country)::text;
  end if;
  return v_package;
end
$$;

comment on function app_private.find_package(uuid, text) is
  'A package that is on sale in the country. Raises FC004 where there is none, FC010 where it is another country''s.';
--! EndIncluded billing/find_package.sql
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

comment on function app_private.close_expired_checkout(uuid, timestamptz) is
  'Makes room for a purchase: voids the dealer''s open checkout if it has expired. Raises FC008 while the offer still holds.';
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
  v_gate := app_private.pass_pricing_gate(v_dealer.country, v_at);
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

comment on function app_public.buy_package(uuid, uuid, uuid, text, text) is
  E'@behavior +mutationField\n@resultFieldName checkout\nBegins the purchase of a package on sale in the dealer''s country: a draft invoice with a snapshot of price and VAT, open for 14 days. The same idempotency key with the same input answers with the same invoice.';

grant execute on function app_public.buy_package(uuid, uuid, uuid, text, text) to forecourt_dealer, forecourt_admin;
--! EndIncluded billing/buy_package.sql
--! Included subscription/start_subscription.sql
create or replace function app_private.start_subscription(dealer_id uuid, invoice_id uuid, at timestamptz) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_running_until timestamptz;
  v_expired_id uuid;
begin
  update app_public.checkouts as c set closed_at = start_subscription.at
  where c.dealer_id = start_subscription.dealer_id and c.invoice_id = start_subscription.invoice_id;
  insert into app_public.dealer_subscriptions (
    dealer_id, package_id, invoice_id, duration_days, overage, included_listing_quota, included_premium_quota, included_highlight_quota)
  select c.dealer_id, c.package_id, c.invoice_id, c.duration_days, c.overage, c.listing_limit, c.premium_quota, c.highlight_quota
  from app_public.checkouts as c
  where c.dealer_id = start_subscription.dealer_id and c.invoice_id = start_subscription.invoice_id;
  -- one that has ended, and that the nightly run has not seen yet, does not hold up the next
  update app_public.dealer_subscriptions as s set status = 'expired', updated_at = start_subscription.at
  where s.dealer_id = start_subscription.dealer_id and s.status = 'active' and s.end_at <= start_subscription.at
  returning s.id into v_expired_id;
  if found then
    perform app_private.write_audit_log(
      'SYSTEM_EXPIRE', 'dealer_subscriptions', null, null, jsonb_build_object('count', 1, 'ids', jsonb_build_array(v_expired_id)));
  end if;
  if app_private.activate_pending_subscriptions(array[start_subscription.dealer_id]) = 0 then
    select max(s.end_at) into v_running_until
    from app_public.dealer_subscriptions as s
    where s.dealer_id = start_subscription.dealer_id and s.status in ('active', 'cancelled');
    perform app_private.schedule_expiry(start_subscription.dealer_id, v_running_until);
  end if;
end
$$;

comment on function app_private.start_subscription(uuid, uuid, timestamptz) is
  'Makes the subscription of a paid checkout, with the quotas as they were bought: active at once, or pending behind one that runs. The dealer is locked by the caller.';
--! EndIncluded subscription/start_subscription.sql
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
      message = 'This invoice was voided. The dealer has to buy again.',
      detail = jsonb_build_object('field', 'invoiceId', 'status', 'VOID')::text;
  elsif v_invoice.period_start + interval '1 month' > v_at at time zone 'UTC' then
    raise exception using
      errcode = 'FC008',
      message = 'The month of this invoice has not ended yet. Please wait until it has.',
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

comment on function app_private.settle_invoice(uuid, uuid) is
  'What every payment provider calls once the money is there: marks the invoice as paid and starts or queues its subscription, once, however often it is called. Raises FC008 for a voided invoice or a month that still runs.';
--! EndIncluded billing/settle_invoice.sql
--! Included billing/pay_invoice.sql
create or replace function app_public.pay_invoice(invoice_id uuid) returns app_public.invoices
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_dealer_id uuid;
  v_before app_public.invoice_status;
  v_invoice app_public.invoices;
begin
  select i.dealer_id into v_dealer_id from app_public.invoices as i where i.id = pay_invoice.invoice_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no invoice with this id. Please check it.',
      detail = jsonb_build_object('field', 'invoiceId')::text;
  end if;
  perform app_private.lock_dealer(v_dealer_id);
  select i.status into v_before from app_public.invoices as i where i.dealer_id = v_dealer_id and i.id = pay_invoice.invoice_id;
  v_invoice := app_private.settle_invoice(v_dealer_id, pay_invoice.invoice_id);
  if v_before <> v_invoice.status then
    perform app_private.write_audit_log(
      'PAY_INVOICE', 'invoices', v_invoice.id,
      jsonb_build_object('status', v_before), jsonb_build_object('status', v_invoice.status, 'grossTotal', v_invoice.gross_total));
  end if;
  return v_invoice;
end
$$;

comment on function app_public.pay_invoice(uuid) is
  E'@behavior +mutationField\n@resultFieldName invoice\nFor admins: marks an invoice that was paid outside as paid, once, and starts or queues the subscription it was for. A second call changes nothing.';

grant execute on function app_public.pay_invoice(uuid) to forecourt_admin;
--! EndIncluded billing/pay_invoice.sql

create or replace trigger invoice_items_never_changed before update or delete or truncate on app_public.invoice_items
  for each statement execute function app_private.refuse_change();
create or replace trigger dealer_packages_price_as_money before insert or update of price_net, currency on app_public.dealer_packages
  for each row execute function app_private.write_price_as_money();
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
