--! Previous: sha1:f75cb644396835342bdb4f732932021124ef27fe
--! Hash: sha1:1796720f596e2b6fee1d3af35f268a23688d6dd4
--! Message: listing life

set local lock_timeout to '2s';
set local statement_timeout to '60s';

create table if not exists app_private.listing_steps (
  from_status app_public.listing_status not null,
  to_status app_public.listing_status not null,
  primary key (from_status, to_status)
);
comment on table app_private.listing_steps is 'The steps of a listing. Every other change of its status is refused, whatever the role.';
comment on column app_private.listing_steps.from_status is 'The status before the step.';
comment on column app_private.listing_steps.to_status is 'The status after the step.';
insert into app_private.listing_steps (from_status, to_status) values
  ('pending', 'active'), ('pending', 'rejected'), ('pending', 'withdrawn'),
  ('active', 'rejected'), ('active', 'withdrawn'), ('active', 'sold'), ('active', 'expired'),
  ('rejected', 'pending'), ('expired', 'active')
on conflict do nothing;
select app_private.force_row_security('app_private.listing_steps');

do $$ begin
  create type app_public.moderation_decision as enum ('approve', 'reject');
exception when duplicate_object then null; end $$;
comment on type app_public.moderation_decision is 'What an admin decides about a listing.';

comment on index app_public.ux_listings_external_id is E'@field externalId\nAnother pending or active listing of this dealer has this reference. Please change one of them.';

insert into app_public.rate_limit_policies (scope, subject, fields, max_count, window_seconds)
values ('listing_write', 'user', '{Mutation.updateListing,Mutation.withdrawListing,Mutation.markListingSold}', 300, 60)
on conflict (scope) do nothing;
update app_public.rate_limit_policies
set fields = fields || '{Mutation.renewListing,Mutation.resubmitListing}'
where scope = 'listing_create' and not fields && '{Mutation.renewListing,Mutation.resubmitListing}';

--! Included listing/refuse_listing_status.sql
create or replace function app_private.refuse_listing_status(status app_public.listing_status, sentence text) returns void
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  raise exception using
    errcode = 'FC008',
    message = format('This listing is %s. %s', refuse_listing_status.status, refuse_listing_status.sentence),
    detail = jsonb_build_object('field', 'listingId', 'status', upper(refuse_listing_status.status::text collate "C"))::text;
end
$$;

comment on function app_private.refuse_listing_status(app_public.listing_status, text) is 'Raises FC008 with the present status of a listing, which forbids the step. `sentence` says what the caller can do.';
--! EndIncluded listing/refuse_listing_status.sql
--! Included listing/require_listing_step.sql
create or replace function app_private.require_listing_step(from_status app_public.listing_status, to_status app_public.listing_status) returns void
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform from app_private.listing_steps as s
  where s.from_status = require_listing_step.from_status and s.to_status = require_listing_step.to_status;
  if not found then
    perform app_private.refuse_listing_status(
      require_listing_step.from_status, format('It cannot become %s.', require_listing_step.to_status));
  end if;
end
$$;

comment on function app_private.require_listing_step(app_public.listing_status, app_public.listing_status) is 'Raises FC008 with the present status unless listing_steps has the step.';
--! EndIncluded listing/require_listing_step.sql
--! Included listing/enforce_listing_step.sql
create or replace function app_private.enforce_listing_step() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform app_private.require_listing_step(old.status, new.status);
  return new;
end
$$;

comment on function app_private.enforce_listing_step() is 'Trigger: refuses a step that listing_steps does not have, for every role.';
--! EndIncluded listing/enforce_listing_step.sql
--! Included audit/audit_state_change.sql
create or replace function app_private.audit_state_change() returns trigger
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
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
$$;

comment on function app_private.audit_state_change() is 'Trigger: records each new status of a subscription, an invoice or a listing, such as START_SUBSCRIPTION or PAY_INVOICE. The trigger''s argument is the noun.';
--! EndIncluded audit/audit_state_change.sql

-- Moved and not dropped: a request that has parsed its statement and not run it yet has found this one. The last migration drops it.
do $$ begin
  alter function app_public.create_listing(uuid, uuid, text, text, numeric, text, text, jsonb, text[]) set schema app_private;
exception when undefined_function then null; end $$;
--! Included listing/hash_listing.sql
create or replace function app_private.hash_listing(
  title text, module text, price numeric, currency text, description text, attributes jsonb, images text[], external_id text
) returns bytea
  language sql stable security invoker parallel safe
  -- No search_path, so that the planner can inline it. A body of this form is bound to its objects at creation.
  return sha256(convert_to(case when external_id is null
    then jsonb_build_array(title, module, trim_scale(price), currency, description, attributes, to_jsonb(images))
    -- A later field is part of the payload only where it is given, so that a retry across an upgrade still matches.
    else jsonb_build_array(title, module, trim_scale(price), currency, description, attributes, to_jsonb(images), external_id) end::text, 'UTF8'));

comment on function app_private.hash_listing(text, text, numeric, text, text, jsonb, text[], text) is 'SHA-256 of the input of createListing. It distinguishes a retry from another listing with the same key.';
--! EndIncluded listing/hash_listing.sql
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
    published_at, expires_at, moderation_reason, moderation_since, idempotency_key, payload_hash, created_by, created_at, updated_at)
  values (
    v_dealer.id, app_private.to_nfc(btrim(create_listing.title)), create_listing.module,
    app_private.money(create_listing.price, coalesce(v_minor_units, v_decision.minor_units)), create_listing.currency,
    app_private.to_nfc(replace(create_listing.description, E'\r\n', E'\n')), coalesce(create_listing.attributes, '{}'),
    coalesce(create_listing.images, '{}'), nullif(app_private.to_nfc(btrim(create_listing.external_id)), ''),
    case when v_is_active then 'active' else 'pending' end::app_public.listing_status, v_listing_days,
    case when v_is_active then v_at end, case when v_is_active then v_at + v_listing_days * interval '24 hours' end,
    case when v_dealer.is_trusted then null when v_is_active then 'published' else 'new' end::app_public.moderation_reason,
    case when not v_dealer.is_trusted then v_at end, create_listing.idempotency_key, v_payload_hash, v_user_id, v_at, v_at)
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

--! Included pricing/price_item.sql
create or replace function app_private.price_item(unit_price_net numeric, gate app_private.pricing_gate) returns app_public.invoice_items
  language plpgsql immutable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
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
$$;

comment on function app_private.price_item(numeric, app_private.pricing_gate) is 'The amounts of a package: net, VAT and gross amount of its price, rounded to the currency''s minor units. The caller fills in the other columns of the item.';
--! EndIncluded pricing/price_item.sql
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
    -- A month in which more was given back than charged is negative.
    when not (gross_total = net_total + vat_total and (kind = 'monthly' or net_total >= 0 and vat_total >= 0))
      then app_private.refuse_row('invoices', 'invoices_totals_add_up',
        format('The totals are negative or do not add up: %s + %s = %s.', net_total, vat_total, gross_total))
    else true
  end;
end
$$;

comment on function app_private.check_invoice(app_public.invoice_kind, app_public.invoice_status, date, timestamptz, numeric, numeric, numeric) is 'The rules of an invoice. The first that is broken, in the order of their names, refuses the row; a rule that is null holds.';
--! EndIncluded billing/check_invoice.sql
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
$$;

comment on function app_private.settle_invoice(uuid, uuid) is 'Marks an invoice as paid and starts or queues its subscription. Every payment provider calls this function when the money has arrived; a repeated call changes nothing. Raises FC008 for a voided invoice, and for a monthly invoice whose month has not ended or whose total is negative.';
--! EndIncluded billing/settle_invoice.sql
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
  v_since timestamptz;
  v_subscription app_public.dealer_subscriptions;
  v_first app_public.dealer_subscriptions;
  v_remaining integer;
  v_overage_blocked boolean;
  v_running integer := 0;
  v_price app_public.price_configs;
begin
  select decide_publication.dealer_id, cc.country, decide_publication.at, c.code, c.minor_units::integer, q.quota_amount, decide_publication.at - q.period_days * interval '24 hours', 0,
    array(select r.rate from app_public.vat_rates as r where r.country = cc.country and r.valid @> decide_publication.at)
  into v_decision.dealer_id, v_decision.country, v_decision.at, v_decision.currency, v_decision.minor_units, v_free_listings, v_since, v_decision.free_remaining, v_vat_rates
  from app_public.country_currencies as cc
  join app_public.currencies as c on c.code = cc.currency
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

comment on function app_private.decide_publication(uuid, text, timestamptz, boolean, app_public.dealer_subscriptions[]) is 'Decides what pays for a dealer''s next publication or renewal at a moment: the pricing gate, then free quota, subscription, price. A free row that was given back does not count, nor does its reversal, also where only the reversal is in the period. If no running subscription has quota left, it decides as if the oldest pending one with quota had been started. Quotes and charges both use it; a charge is exact because its caller holds the dealer''s locks and passes the subscriptions that it has locked (null: they are read). Raises FC005 and FC006 for missing or ambiguous configuration, FC009 if the package forbids overage.';
--! EndIncluded quota/decide_publication.sql
drop function if exists app_private.record_consumption(app_private.publication_decision, uuid, app_public.consumption_kind, uuid);
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
    update app_public.dealer_subscriptions as s
    set used_listing_quota = s.used_listing_quota + case when record_consumption.reverses is null then 1 else -1 end, updated_at = decision.at
    where s.dealer_id = decision.dealer_id and s.id = decision.subscription_id;
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

comment on function app_private.record_consumption(app_private.publication_decision, uuid, app_public.consumption_kind, uuid, integer, uuid, uuid) is 'Carries out a decision: starts the pending subscription that it needs, uses the quota or adds the price to the dealer''s draft invoice of the month (UTC), and writes the ledger row. A reversal does the opposite, with negative amounts. The caller holds the dealer''s lock.';
--! EndIncluded listing/record_consumption.sql
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
    and lc.kind = 'publication'
  order by lc.number desc
  limit 1;
end
$$;

comment on function app_public.consumption_of_listing(uuid, uuid) is 'The ledger row of a listing''s last publication, read within the statement that publishes it, with the caller''s own rights. Not a field of GraphQL: FreshRowsPlugin of the API calls it.';

grant execute on function app_public.consumption_of_listing(uuid, uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/consumption_of_listing.sql
--! Included listing/reverse_consumption.sql
create or replace function app_private.reverse_consumption(listing app_public.listings, at timestamptz) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
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
  select s.id into v_reversal.subscription_id
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
    v_reversal, listing.id, 'reversal', app_public.current_user_id(), v_number, reverses => v_paid.id);
end
$$;

comment on function app_private.reverse_consumption(app_public.listings, timestamptz) is 'Gives back what paid for a listing last: a free listing, a listing of a subscription that still runs, or a price, as an item of negative quantity on the open draft invoice of the month. A price on a void invoice gets no item. A unique key lets it happen once. The caller holds the locks of the dealer and the listing.';
--! EndIncluded listing/reverse_consumption.sql
--! Included listing/charge_listing.sql
create or replace function app_private.charge_listing(
  listing app_public.listings, action app_public.consumption_kind, idempotency_key uuid, at timestamptz
) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_dealer app_public.dealers;
  v_number integer;
begin
  select d.* into v_dealer from app_public.dealers as d where d.id = listing.dealer_id;
  perform app_private.require_publisher(v_dealer);
  -- A publication that was not given back is not counted: its number is then taken, and the key refuses a second one.
  select 1 + count(*)::integer into v_number
  from app_public.listing_consumptions as lc
  where lc.dealer_id = listing.dealer_id and lc.listing_id = listing.id and lc.kind = action
    and (action <> 'publication' or exists (
      select from app_public.listing_consumptions as r where r.dealer_id = lc.dealer_id and r.reverses = lc.id));
  perform app_private.record_consumption(
    app_private.decide_publication(v_dealer.id, v_dealer.country, at, v_dealer.has_free_quota),
    listing.id, action, app_public.current_user_id(), v_number, charge_listing.idempotency_key);
end
$$;

comment on function app_private.charge_listing(app_public.listings, app_public.consumption_kind, uuid, timestamptz) is 'Charges the publication or renewal of an existing listing as create_listing charges a new one: one function decides both. The caller holds the locks of the dealer and the listing. Raises what decide_publication and require_publisher raise.';
--! EndIncluded listing/charge_listing.sql
--! Included listing/operation_key.sql
create or replace function app_private.operation_key(operation text, idempotency_key uuid) returns uuid
  language sql stable security invoker parallel safe
  -- No search_path, so that the planner can inline it. A body of this form is bound to its objects at creation.
  -- SHA-256, because servers in FIPS mode have no MD5.
  return encode(substr(sha256(convert_to(operation || ' ' || idempotency_key, 'UTF8')), 1, 16), 'hex')::uuid;

comment on function app_private.operation_key(text, uuid) is 'The key under which the ledger keeps a client''s key of an operation: each operation has keys of its own.';
--! EndIncluded listing/operation_key.sql
--! Included listing/is_charged.sql
create or replace function app_private.is_charged(listing app_public.listings, idempotency_key uuid) returns boolean
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
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
$$;

comment on function app_private.is_charged(app_public.listings, uuid) is 'Whether the listing was charged with this operation_key before, so that the call is a retry. Raises FC007 if another listing of the dealer was.';
--! EndIncluded listing/is_charged.sql
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
$$;

comment on function app_private.verify_listings(uuid, uuid) is 'Finds listings that do not have exactly one publication in the ledger that was not given back (none if the listing was rejected before it was ever active), and publications without a listing, for all dealers or a range of dealer ids. `id` is the listing''s.';
--! EndIncluded ledger/verify_listings.sql
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
    select dealer_id, subscription_id, sum(case kind when 'reversal' then -1 else 1 end) as ledger_rows
    from app_public.listing_consumptions
    where source = 'subscription_quota' and subscription_id is not null
    group by dealer_id, subscription_id
  ) as lc on lc.dealer_id = s.dealer_id and lc.subscription_id = s.id
  where s.id is null
    or s.used_listing_quota <> coalesce(lc.ledger_rows, 0)
    or s.used_listing_quota not between 0 and s.included_listing_quota
$$;

comment on function app_private.verify_subscriptions() is 'Finds subscriptions whose used quota differs from the number of their ledger rows that were not given back, or exceeds the included quota, and ledger rows whose subscription does not exist. `id` is the subscription''s.';
--! EndIncluded ledger/verify_subscriptions.sql
--! Included ledger/verify_reversals.sql
create or replace function app_private.verify_reversals() returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select 'a reversal is not the opposite of the row that it gives back', r.dealer_id, r.id, jsonb_build_object('reverses', r.reverses)
  from app_public.listing_consumptions as r
  left join app_public.listing_consumptions as o on o.dealer_id = r.dealer_id and o.id = r.reverses
  where r.reverses is not null and (
    o.kind is null or o.kind = 'reversal' or r.created_at < o.created_at
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
$$;

comment on function app_private.verify_reversals() is 'Finds reversals that are not the opposite of the row that they give back, and those of a renewal whose listing is not rejected (`id` is the reversal''s), and listings that were rejected while they were pending and not given back (`id` is the listing''s).';
--! EndIncluded ledger/verify_reversals.sql
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
$$;

comment on function app_private.verify_paid_extras() is 'Finds paid ledger rows without exactly one item of the same amounts on a monthly invoice (`id` is the listing''s), and items of monthly invoices without exactly one ledger row (`id` is the item''s).';
--! EndIncluded ledger/verify_paid_extras.sql
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
  return query select * from app_private.verify_reversals();
  return query select * from app_private.verify_paid_extras();
  return query select * from app_private.verify_invoices();
  return query select * from app_private.verify_purchases();
end
$$;

comment on function app_private.verify_ledger(boolean) is 'Checks the rules of the ledger and returns one row per violation; no row means that the ledger is in order. Reads every row once or twice by set operations, in the snapshot of the calling statement, and locks no rows. With `listings` false, verify_listings is left out.';
--! EndIncluded ledger/verify_ledger.sql

--! Included listing/lock_listing.sql
create or replace function app_private.lock_listing(listing_id uuid, by_member boolean default true) returns app_public.listings
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_dealer_id uuid;
  v_listing app_public.listings;
begin
  select l.dealer_id into v_dealer_id from app_public.listings as l where l.id = lock_listing.listing_id;
  if not found then
    raise exception using
      errcode = 'FC004',
      message = 'There is no listing with this id. Please check it.',
      detail = jsonb_build_object('field', 'listingId')::text;
  elsif by_member then
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
$$;

comment on function app_private.lock_listing(uuid, boolean) is 'The first step of every write for a listing: locks its dealer, then the listing, and returns it as it is under these locks. Raises FC004 if there is no such listing, and what require_member raises unless `by_member` is false.';
--! EndIncluded listing/lock_listing.sql
--! Included listing/end_listing.sql
create or replace function app_private.end_listing(listing_id uuid, to_status app_public.listing_status) returns app_public.listings
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
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
$$;

comment on function app_private.end_listing(uuid, app_public.listing_status) is 'Ends a listing of the caller''s dealer for good: withdrawn or sold. A repeated call changes nothing. Raises FC008 if its status forbids the step.';
--! EndIncluded listing/end_listing.sql
--! Included listing/withdraw_listing.sql
create or replace function app_public.withdraw_listing(listing_id uuid) returns app_public.listings
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
begin
  return app_private.end_listing(listing_id, 'withdrawn');
end
$$;

comment on function app_public.withdraw_listing(uuid) is E'@behavior +mutationField\n@resultFieldName listing\nWithdraws a pending or active listing of one of the caller''s dealers for good. Nothing is given back. A second call changes nothing.';

grant execute on function app_public.withdraw_listing(uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/withdraw_listing.sql
--! Included listing/mark_listing_sold.sql
create or replace function app_public.mark_listing_sold(listing_id uuid) returns app_public.listings
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
begin
  return app_private.end_listing(listing_id, 'sold');
end
$$;

comment on function app_public.mark_listing_sold(uuid) is E'@behavior +mutationField\n@resultFieldName listing\nMarks an active listing of one of the caller''s dealers as sold, so that it is no longer shown. Nothing is given back. A second call changes nothing.';

grant execute on function app_public.mark_listing_sold(uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/mark_listing_sold.sql
--! Included listing/update_listing.sql
create or replace function app_public.update_listing(
  listing_id uuid, title text default null, description text default null, attributes jsonb default null, images text[] default null,
  price numeric default null, external_id text default null
) returns app_public.listings
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
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
$$;

comment on function app_public.update_listing(uuid, text, text, jsonb, text[], numeric, text) is E'@behavior +mutationField\n@resultFieldName listing\nChanges a pending, active or rejected listing of one of the caller''s dealers. A field that is absent or null stays; an empty text clears `description` and `externalId`. An active listing stays active. A change of more than its price and its reference puts it into the moderation queue, unless the dealer is trusted.';

grant execute on function app_public.update_listing(uuid, text, text, jsonb, text[], numeric, text) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/update_listing.sql
--! Included listing/resubmit_listing.sql
create or replace function app_public.resubmit_listing(listing_id uuid, idempotency_key uuid) returns app_public.listings
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_key constant uuid := app_private.operation_key('resubmitListing', idempotency_key);
  v_listing app_public.listings := app_private.lock_listing(listing_id);
  v_at constant timestamptz := clock_timestamp();
begin
  if app_private.is_charged(v_listing, v_key) then
    return v_listing;
  end if;
  perform app_private.require_listing_step(v_listing.status, 'pending');
  if v_listing.rejected_at + interval '720 hours' > v_at is not true then
    perform app_private.refuse_listing_status(v_listing.status, 'More than 30 days have passed since. Please publish it as a new listing.');
  end if;
  -- The publication of a listing that was taken down stays in the ledger, so its second time is a renewal.
  perform app_private.charge_listing(
    v_listing, case when v_listing.published_at is null then 'publication' else 'renewal' end::app_public.consumption_kind, v_key, v_at);
  update app_public.listings as l
  set status = 'pending', rejected_at = null, rejection_reason = null, moderation_reason = 'resubmitted', moderation_since = v_at, updated_at = v_at
  where l.dealer_id = v_listing.dealer_id and l.id = v_listing.id
  returning l.* into v_listing;
  return v_listing;
end
$$;

comment on function app_public.resubmit_listing(uuid, uuid) is E'@behavior +mutationField\n@resultFieldName listing\nSubmits a listing again that was rejected in the last 30 days: charges it like a new one, and makes it PENDING. The same idempotency key for the same listing changes nothing.';

grant execute on function app_public.resubmit_listing(uuid, uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/resubmit_listing.sql
--! Included listing/renew_listing.sql
create or replace function app_public.renew_listing(listing_id uuid, idempotency_key uuid) returns app_public.listings
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_key constant uuid := app_private.operation_key('renewListing', idempotency_key);
  v_listing app_public.listings := app_private.lock_listing(listing_id);
  v_at constant timestamptz := clock_timestamp();
  -- An ended listing that no expiry run has recorded yet is expired already.
  v_has_ended constant boolean := v_listing.status = 'expired' or v_listing.status = 'active' and v_listing.expires_at <= v_at;
  v_ends_at constant timestamptz := case when v_has_ended then v_at else v_listing.expires_at end + v_listing.listing_days * interval '24 hours';
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
  perform app_private.charge_listing(v_listing, 'renewal', v_key, v_at);
  if v_listing.status = 'active' then
    -- The trigger records changes of status only.
    perform app_private.write_audit_log('RENEW_LISTING', 'listings', v_listing.id,
      jsonb_build_object('expiresAt', v_listing.expires_at), jsonb_build_object('expiresAt', v_ends_at));
  end if;
  update app_public.listings as l
  set status = 'active', published_at = case when v_has_ended then v_at else l.published_at end,
    expires_at = v_ends_at, updated_at = v_at
  where l.dealer_id = v_listing.dealer_id and l.id = v_listing.id
  returning l.* into v_listing;
  return v_listing;
end
$$;

comment on function app_public.renew_listing(uuid, uuid) is E'@behavior +mutationField\n@resultFieldName listing\nCharges a listing like a new one, and shows it for another period. In its last 30 days (if the period is shorter, in the last period) that is added to its end; within 180 days after its end it starts now, with a new `publishedAt`. The same idempotency key for the same listing changes nothing.';

grant execute on function app_public.renew_listing(uuid, uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/renew_listing.sql
--! Included moderation/approve_listing.sql
create or replace function app_private.approve_listing(listing app_public.listings, at timestamptz) returns app_public.listings
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
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
$$;

comment on function app_private.approve_listing(app_public.listings, timestamptz) is 'Approves a listing: a pending one becomes active, and each leaves the moderation queue. The caller holds its lock.';
--! EndIncluded moderation/approve_listing.sql
--! Included moderation/reject_listing.sql
create or replace function app_private.reject_listing(listing app_public.listings, reason text, at timestamptz) returns app_public.listings
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
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
$$;

comment on function app_private.reject_listing(app_public.listings, text, timestamptz) is 'Rejects a pending listing and gives back what paid for it, or takes an active one down, which ends it and gives nothing back. The caller holds its lock.';
--! EndIncluded moderation/reject_listing.sql
--! Included moderation/moderate_listing.sql
create or replace function app_public.moderate_listing(
  listing_id uuid, decision app_public.moderation_decision, reason text default null, updated_at timestamptz default null
) returns app_public.listings
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
declare
  v_reason constant text := nullif(app_private.to_nfc(btrim(replace(reason, E'\r\n', E'\n'))), '');
  v_listing app_public.listings;
begin
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
$$;

comment on function app_public.moderate_listing(uuid, app_public.moderation_decision, text, timestamptz) is E'@behavior +mutationField\n@resultFieldName listing\nFor admins: approves or rejects a pending or active listing, and takes it out of the moderation queue. REJECT needs a `reason`, which the dealer reads. With `updatedAt`, a listing that has changed since then is refused (409). The same decision again changes nothing.';

grant execute on function app_public.moderate_listing(uuid, app_public.moderation_decision, text, timestamptz) to forecourt_admin;
--! EndIncluded moderation/moderate_listing.sql
--! Included identity/is_open_dealer.sql
create or replace function app_public.is_open_dealer(dealer_id uuid) returns boolean
  language sql stable security definer parallel safe
  -- No search_path, which would be set for each row. A body of this form is bound to its objects at creation.
  return exists (select from app_public.dealers as d where d.id = is_open_dealer.dealer_id and d.is_active);

comment on function app_public.is_open_dealer(uuid) is 'Whether the dealer is not closed. The policy by which everybody sees active listings and the moderation queue call it with a row''s own dealer_id.';

grant execute on function app_public.is_open_dealer(uuid) to forecourt_visitor, forecourt_dealer, forecourt_admin;
--! EndIncluded identity/is_open_dealer.sql
--! Included moderation/moderation_queue.sql
create or replace view app_public.moderation_queue with (security_invoker = true) as
select
  l.dealer_id,
  l.id as listing_id,
  -- A listing that was pending before release 0.3 has no reason.
  coalesce(l.moderation_reason, 'new') as reason,
  q.since
from app_public.listings as l
cross join lateral (
  -- The expression of the index. A listing that was pending before release 0.3 has no moderation_since.
  select case l.status when 'pending' then coalesce(l.moderation_since, l.created_at) when 'active' then l.moderation_since end as since
) as q
-- Nobody sees the listings of a closed dealer. No join, so that the index gives the order also where statistics are missing.
where q.since is not null and app_public.is_open_dealer(l.dealer_id);

comment on view app_public.moderation_queue is E'@behavior +query:resource:connection\n@connectionField moderationQueue\n@primaryKey since,listing_id\n@foreignKey (dealer_id, listing_id) references app_public.listings (dealer_id, id)|@fieldName listing|@forwardBehavior +singularRelation:resource:single|@forwardDescription The listing to review.\nThe listings that an admin has to review with `moderateListing`, oldest first. For admins.';
comment on column app_public.moderation_queue.dealer_id is E'@notNull\nThe dealer of the listing.';
comment on column app_public.moderation_queue.listing_id is E'@notNull\nThe listing.';
comment on column app_public.moderation_queue.reason is E'@notNull\nWhy it has to be reviewed.';
comment on column app_public.moderation_queue.since is E'@notNull\nSince when it waits.';

grant select on app_public.moderation_queue to forecourt_admin;
--! EndIncluded moderation/moderation_queue.sql
--! Included listing/check_listing.sql
create or replace function app_private.check_listing(
  title text, description text, module text, price numeric, attributes jsonb, images text[], external_id text,
  published_at timestamptz, expires_at timestamptz, rejected_at timestamptz, rejection_reason text,
  moderation_reason app_public.moderation_reason, moderation_since timestamptz
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
    when not coalesce(expires_at > published_at, expires_at is null and published_at is null) then app_private.refuse_row('listings', 'listings_expires_after_publication',
      'A listing that was published has an end after that, and no other listing has one.')
    when not app_private.is_line(external_id, 100) then app_private.refuse_row('listings', 'listings_external_id_length',
      'Please enter your reference as one line of at most 100 characters, at least one of them visible.', 'externalId')
    when not (images = '{}' or cardinality(images) <= 50 and array_ndims(images) = 1) then app_private.refuse_row('listings', 'listings_images_count',
      'Please send at most 50 images, as a flat list.', 'images')
    when not (images = '{}' or app_private.are_urls(images)) then app_private.refuse_row('listings', 'listings_images_form',
      'Please send each image as a URL that starts with https:// or http:// and has at most 2,000 characters.', 'images')
    when not array_position(images, null) is null then app_private.refuse_row('listings', 'listings_images_present',
      'Please send no image that is null.', 'images')
    when not (moderation_reason is null) = (moderation_since is null) then app_private.refuse_row('listings', 'listings_moderation_has_time',
      'A listing in the moderation queue has a reason and a time, and no other listing has one.')
    when not module ~ '^[A-Za-z][A-Za-z0-9_-]{0,39}$' then app_private.refuse_row('listings', 'listings_module_form',
      'Please enter the module as a word of at most 40 letters, digits, - or _ that starts with a letter, such as auto.', 'module')
    when not (price >= 0 and price < 1000000000000) then app_private.refuse_row('listings', 'listings_price_range',
      'Please enter a price of at least 0 and below 1,000,000,000,000.', 'price')
    when not scale(price) <= 4 then app_private.refuse_row('listings', 'listings_price_scale',
      'Please enter a price with at most 4 decimal places.', 'price')
    when not (rejected_at is null) = (rejection_reason is null) then app_private.refuse_row('listings', 'listings_rejected_has_reason',
      'A rejected listing has a time and a reason, and no other listing has one.')
    when not (app_private.is_text(rejection_reason, 1000) and rejection_reason ~ '\S') then app_private.refuse_row('listings', 'listings_rejection_reason_length',
      'Please enter a reason of 1 to 1,000 characters, without control characters except line breaks and tabs.', 'reason')
    when not app_private.is_line(title, 200) then app_private.refuse_row('listings', 'listings_title_length',
      'Please enter a title of 1 to 200 characters, at least one of them visible, in one line.', 'title')
    else true
  end;
end
$$;

comment on function app_private.check_listing(text, text, text, numeric, jsonb, text[], text, timestamptz, timestamptz, timestamptz, text, app_public.moderation_reason, timestamptz) is 'The rules of a listing. The first that is broken, in the order of their names, refuses the row; a rule that is null holds.';
--! EndIncluded listing/check_listing.sql
--! Included listing/check_listing_consumption.sql
create or replace function app_private.check_listing_consumption(
  kind app_public.consumption_kind, number integer, source app_public.consumption_source, subscription_id uuid, price_config_id uuid, invoice_item_id uuid,
  net_amount numeric, vat_amount numeric, gross_amount numeric, reverses uuid
) returns boolean
  language plpgsql immutable security invoker parallel safe
  -- No search_path, which takes time for each row: only a CHECK calls it, and each name outside pg_catalog has its schema.
as $$
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
$$;

comment on function app_private.check_listing_consumption(app_public.consumption_kind, integer, app_public.consumption_source, uuid, uuid, uuid, numeric, numeric, numeric, uuid) is 'The rules of a ledger row. The first that is broken, in the order of their names, refuses the row; a rule that is null holds.';
--! EndIncluded listing/check_listing_consumption.sql
--! Included billing/check_invoice_item.sql
create or replace function app_private.check_invoice_item(
  price_config_id uuid, package_id uuid, price_version integer, unit_price_net numeric, discount numeric, quantity integer,
  net_amount numeric, vat_amount numeric, gross_amount numeric
) returns boolean
  language plpgsql immutable security invoker parallel safe
  -- No search_path, which takes time for each row: only a CHECK calls it, and each name outside pg_catalog has its schema.
as $$
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
$$;

comment on function app_private.check_invoice_item(uuid, uuid, integer, numeric, numeric, integer, numeric, numeric, numeric) is 'The rules of an invoice item. The first that is broken, in the order of their names, refuses the row; a rule that is null holds.';
--! EndIncluded billing/check_invoice_item.sql

-- Everything below is quick, and waits for these locks at one place. They come in the order in which publications, quotes, purchases and
-- the check of the ledger take them, so that none of these deadlocks with this migration.
select app_private.lock_tables(
  'app_public.listings', 'app_public.country_currencies', 'app_public.listing_consumptions', 'app_public.invoice_items');

-- Few rows, so the rule is checked at once.
alter table app_public.country_currencies drop constraint if exists country_currencies_listing_days_range;
alter table app_public.country_currencies
  -- squawk-ignore constraint-missing-not-valid
  add constraint country_currencies_listing_days_range check (listing_days between 1 and 3660);

-- In one transaction with the functions that fill it.
alter table app_public.invoice_items add column if not exists quantity integer not null default 1;
comment on column app_public.invoice_items.quantity is '1, or -1 where a price is given back.';
comment on column app_public.invoice_items.net_amount is 'Price minus discount, times the quantity, rounded to the currency''s minor units.';

create or replace trigger listings_step before update of status on app_public.listings
  for each row when (old.status <> new.status) execute function app_private.enforce_listing_step();
-- An expiry run records its batch as one SYSTEM_EXPIRE entry, as with subscriptions.
create or replace trigger listings_state_audited after update of status on app_public.listings
  for each row when (
    old.status <> new.status
    and (new.status <> 'expired' or new.updated_at = old.updated_at or (new.updated_at < new.expires_at) is not false)
  ) execute function app_private.audit_state_change('LISTING');

alter table app_public.listings
  drop constraint if exists listings_valid,
  add constraint listings_valid check (app_private.check_listing(
    title, description, module, price, attributes, images, external_id, published_at, expires_at, rejected_at, rejection_reason,
    moderation_reason, moderation_since)) not valid;
drop function if exists app_private.check_listing(text, text, text, numeric, jsonb, text[]);

alter table app_public.listing_consumptions
  drop constraint if exists listing_consumptions_valid,
  drop constraint if exists listing_consumptions_reverses,
  add constraint listing_consumptions_valid check (app_private.check_listing_consumption(
    kind, number, source, subscription_id, price_config_id, invoice_item_id, net_amount, vat_amount, gross_amount, reverses)) not valid,
  add constraint listing_consumptions_reverses foreign key (dealer_id, reverses)
    references app_public.listing_consumptions (dealer_id, id) not valid;
drop function if exists app_private.check_listing_consumption(app_public.consumption_source, uuid, uuid, uuid, numeric, numeric, numeric);
comment on constraint listing_consumptions_listing on app_public.listing_consumptions is E'@backwardBehavior +singularRelation:resource:single +singularRelation:resource:connection\n@foreignSingleFieldName consumption\n@foreignFieldName consumptions\n@backwardDescription What paid for it; nothing unless you are a member. `consumption` is its publication.';

alter table app_public.invoice_items
  drop constraint if exists invoice_items_valid,
  add constraint invoice_items_valid check (app_private.check_invoice_item(
    price_config_id, package_id, price_version, unit_price_net, discount, quantity, net_amount, vat_amount, gross_amount)) not valid;
drop function if exists app_private.check_invoice_item(uuid, uuid, integer, numeric, numeric, numeric, numeric, numeric);

alter policy select_public on app_public.listings
  using (status = 'active' and (expires_at is null or expires_at > now()) and app_public.is_open_dealer(dealer_id));
grant select (external_id, published_at, expires_at, rejection_reason)
  on app_public.listings to forecourt_visitor, forecourt_dealer, forecourt_admin;
grant select (moderation_reason, moderation_since) on app_public.listings to forecourt_admin;
