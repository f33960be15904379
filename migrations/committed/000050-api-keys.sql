--! Previous: sha1:bb252d6cd1a1c0644bb6f4542d381ddcd4bb8497
--! Hash: sha1:ab194e8a797f851d3106f642df096b553c71eaf1
--! Message: api keys

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- The foreign keys of the new table lock both against writes.
select app_private.lock_tables('app_public.dealers', 'app_public.users');
create table if not exists app_public.dealer_api_keys (
  dealer_id uuid not null references app_public.dealers,
  id uuid not null default app_private.time_ordered_uuid(),
  name text not null,
  prefix text not null,
  secret_hash bytea not null,
  created_by uuid not null references app_public.users,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz,
  primary key (dealer_id, id),
  constraint dealer_api_keys_expires_later check (expires_at > created_at),
  constraint dealer_api_keys_name_length check (app_private.is_line(name, 100)),
  constraint dealer_api_keys_prefix_form check (prefix ~ '^[A-Za-z0-9_-]{12}$'),
  constraint dealer_api_keys_secret_hash_length check (length(secret_hash) = 32)
);
comment on table app_public.dealer_api_keys is E'@name api_key\nA key with which software acts for a dealer, with the rights of staff. Owners and admins see the keys, also those that are revoked.';
comment on column app_public.dealer_api_keys.dealer_id is 'The dealer.';
comment on column app_public.dealer_api_keys.id is 'Time-ordered.';
comment on column app_public.dealer_api_keys.name is 'The name that its maker gave it.';
comment on column app_public.dealer_api_keys.prefix is E'@behavior -filterBy -orderBy\nThe part after `fc_`, by which you recognise the key. It is no secret.';
comment on column app_public.dealer_api_keys.secret_hash is 'SHA-256 of the secret, which the database never contains.';
comment on column app_public.dealer_api_keys.created_by is 'The owner who made it. The key stays valid when its maker leaves the dealer, but not while the account of its maker is locked or deleted.';
comment on column app_public.dealer_api_keys.created_at is 'When it was made.';
comment on column app_public.dealer_api_keys.expires_at is 'From this moment on it is no longer valid; null: it is valid until it is revoked.';
comment on column app_public.dealer_api_keys.revoked_at is 'When an owner revoked it; null: it is not revoked.';
comment on column app_public.dealer_api_keys.last_used_at is 'When it was last used, exact to a minute; null: not yet.';
comment on constraint dealer_api_keys_expires_later on app_public.dealer_api_keys is E'@field expiresAt\nPlease choose a time in the future, or none.';
comment on constraint dealer_api_keys_name_length on app_public.dealer_api_keys is E'@field name\nPlease enter a name of 1 to 100 characters in one line.';
comment on constraint dealer_api_keys_dealer_id_fkey on app_public.dealer_api_keys is E'@backwardBehavior +manyRelation:resource:connection\n@foreignFieldName apiKeys\n@backwardDescription Its API keys, also those that are revoked. Only owners and admins see them.';
create index if not exists ix_dealer_api_keys_id on app_public.dealer_api_keys (id);
-- Not unique, because such a key would need the dealer. A prefix has 72 random bits.
create index if not exists ix_dealer_api_keys_prefix on app_public.dealer_api_keys (prefix);

comment on type app_public.dealer_role is 'The role of a member of a dealer. STAFF may publish, edit, end, renew and promote listings, ask for quotes, and read what belongs to the dealer. An OWNER may also buy and cancel, change the dealer, and manage its members and API keys.';
comment on type app_public.rate_limit_subject is 'Which requests are counted together. user: those of the verified user or API key. user_or_ip: the same, otherwise those of the address. account: those for an e-mail address, even without an account.';

--! Included audit/audit_change.sql
create or replace function app_private.audit_change() returns trigger
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
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
$$;

comment on function app_private.audit_change() is 'Trigger: records an insert, update, delete or truncate with the values before and after. An update records the changed columns, and the columns named by the trigger''s arguments: the key of a table without `id`.';
--! EndIncluded audit/audit_change.sql
--! Included apikey/current_api_key_id.sql
create or replace function app_private.current_api_key_id() returns uuid
  language sql stable security invoker parallel safe
  -- No search_path, so that the planner can inline it. A body of this form is bound to its objects at creation.
  return nullif(current_setting('forecourt.api_key_id', true), '')::uuid;

comment on function app_private.current_api_key_id() is 'The API key of this transaction; null without one. A transaction of an API key has no current user. The API sets `forecourt.api_key_id` and, with the dealer of the key, `forecourt.dealer_id`.';
--! EndIncluded apikey/current_api_key_id.sql
--! Included apikey/is_valid_api_key.sql
create or replace function app_private.is_valid_api_key(key app_public.dealer_api_keys) returns boolean
  language plpgsql stable security invoker parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return key.revoked_at is null and coalesce(clock_timestamp() < key.expires_at, true)
    and exists (select from app_public.users as u where u.id = key.created_by and u.locked_at is null and u.deleted_at is null);
end
$$;

comment on function app_private.is_valid_api_key(app_public.dealer_api_keys) is 'Whether an API key may be used: it is neither revoked nor expired, and the account of its maker is neither locked nor deleted. The maker need not be a member any more.';
--! EndIncluded apikey/is_valid_api_key.sql
--! Included apikey/current_api_key.sql
create or replace function app_private.current_api_key() returns app_public.dealer_api_keys
  language plpgsql stable security invoker parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_key app_public.dealer_api_keys;
begin
  select k.* into v_key
  from app_public.dealer_api_keys as k
  where k.dealer_id = nullif(current_setting('forecourt.dealer_id', true), '')::uuid
    and k.id = app_private.current_api_key_id() and app_private.is_valid_api_key(k);
  return v_key;
end
$$;

comment on function app_private.current_api_key() is 'The API key of this transaction, if it may be used now, whatever the API has cached; otherwise null.';
--! EndIncluded apikey/current_api_key.sql
--! Included apikey/acting_user_id.sql
create or replace function app_private.acting_user_id() returns uuid
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  if app_private.current_api_key_id() is null then
    return app_public.current_user_id();
  end if;
  -- Also of a key that was revoked since its transaction began: a row that it writes needs its maker.
  return (
    select k.created_by from app_public.dealer_api_keys as k
    where k.dealer_id = nullif(current_setting('forecourt.dealer_id', true), '')::uuid and k.id = app_private.current_api_key_id());
end
$$;

comment on function app_private.acting_user_id() is 'The person who answers for this transaction: the current user, or the maker of the API key. For what is recorded, never for rights.';
--! EndIncluded apikey/acting_user_id.sql
--! Included apikey/require_user.sql
create or replace function app_private.require_user() returns uuid
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  if app_private.current_api_key_id() is not null then
    raise exception using
      errcode = 'FC003',
      message = 'An API key cannot do this. Please log in and send the access token of a user.';
  end if;
  return app_public.current_user_id();
end
$$;

comment on function app_private.require_user() is 'Returns the current user; null for a visitor. Raises FC003 for an API key. The first step of what only a person may do for itself.';
--! EndIncluded apikey/require_user.sql
--! Included audit/write_audit_log.sql
create or replace function app_private.write_audit_log(
  action text, resource_type text, resource_id uuid, old_values jsonb, new_values jsonb,
  ip inet default nullif(current_setting('forecourt.client_ip', true), '')::inet
) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- PL/pgSQL keeps the plan. Planning the route to a partition takes longer than the insert.
  insert into app_public.audit_logs (action, resource_type, resource_id, actor, old_values, new_values, ip, api_key_id)
  values (
    write_audit_log.action, write_audit_log.resource_type, write_audit_log.resource_id, app_private.acting_user_id(),
    write_audit_log.old_values, write_audit_log.new_values, write_audit_log.ip, app_private.current_api_key_id()
  );
end
$$;

comment on function app_private.write_audit_log(text, text, uuid, jsonb, jsonb, inet) is 'Writes one row to the audit trail. The actor is the current user, or the maker of the API key, which the row then names too; the address is that of the transaction''s settings, unless the caller gives another one.';
--! EndIncluded audit/write_audit_log.sql
--! Included identity/require_member.sql
create or replace function app_private.require_member(dealer_id uuid) returns uuid
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
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
$$;

comment on function app_private.require_member(uuid) is 'Returns the current user, who must be a member of the dealer. An API key of the dealer has the rights of staff, and its maker is returned. Raises FC001 without a user and a valid key, FC003 if the user is not a member or the key is of another dealer, FC004 if there is no such dealer.';
--! EndIncluded identity/require_member.sql
--! Included identity/current_owned_dealer_ids.sql
create or replace function app_public.current_owned_dealer_ids() returns uuid[]
  language plpgsql stable security definer parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return array(
    select du.dealer_id from app_public.dealer_users as du
    where du.user_id = app_public.current_user_id() and du.role = 'owner'
  );
end
$$;

comment on function app_public.current_owned_dealer_ids() is 'Ids of the dealers of which the current user is an owner. Policies compare a row''s own dealer_id with them.';

grant execute on function app_public.current_owned_dealer_ids() to forecourt_dealer;
--! EndIncluded identity/current_owned_dealer_ids.sql
--! Included identity/current_dealer_ids.sql
create or replace function app_public.current_dealer_ids() returns uuid[]
  language plpgsql stable security definer parallel safe
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  if app_private.current_api_key_id() is not null then
    return array(select k.dealer_id from app_private.current_api_key() as k where k.id is not null);
  end if;
  return array(
    select du.dealer_id from app_public.dealer_users as du where du.user_id = app_public.current_user_id()
  );
end
$$;

comment on function app_public.current_dealer_ids() is 'Ids of the dealers of which the current user is a member, or of the dealer of the API key. Policies compare a row''s own dealer_id with them.';

grant execute on function app_public.current_dealer_ids() to forecourt_dealer;
--! EndIncluded identity/current_dealer_ids.sql
--! Included identity/get_current_user.sql
create or replace function app_public.get_current_user() returns app_public.users
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select u.id, u.email, u.full_name, null::boolean, null::integer, u.created_at, u.locale, u.email_verified_at, null::timestamptz, null::timestamptz
  from app_public.users as u
  where u.id = app_public.current_user_id()
$$;

comment on function app_public.get_current_user() is E'@behavior +queryField\n@name currentUser\nThe user of the access token; null for an API key, which is no user. Without a token the field fails with `unauthenticated`.';

grant execute on function app_public.get_current_user() to forecourt_dealer, forecourt_admin;
--! EndIncluded identity/get_current_user.sql
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
    net_amount, vat_rate, vat_amount, gross_amount, currency, created_by, api_key_id, created_at)
  values (
    decision.dealer_id, record_consumption.listing_id, record_consumption.action, record_consumption.number,
    record_consumption.idempotency_key, record_consumption.reverses, decision.source, decision.subscription_id,
    decision.price_config_id, v_item_id, decision.net_amount, decision.vat_rate, decision.vat_amount, decision.gross_amount,
    decision.currency, record_consumption.user_id, app_private.current_api_key_id(), decision.at);
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
    net_amount, vat_rate, vat_amount, gross_amount, currency, created_by, api_key_id, created_at)
  select
    decision.dealer_id, unnest(v_further), 'publication', decision.source, decision.subscription_id, decision.price_config_id,
    unnest(v_item_ids), decision.net_amount, decision.vat_rate, decision.vat_amount, decision.gross_amount, decision.currency,
    record_publications.user_id, app_private.current_api_key_id(), decision.at;
end
$$;

comment on function app_private.record_publications(app_private.publication_decision, uuid[], uuid) is 'Does what record_consumption does, for as many new listings as the decision pays for. The caller holds the dealer''s lock.';
--! EndIncluded listing/record_publications.sql
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
$$;

comment on function app_private.reverse_consumption(app_public.listings, timestamptz) is 'Gives back what paid for a listing last: a free listing, a listing of a PER_PERIOD subscription that still runs, or a price, as an item of negative quantity on the open draft invoice of the month. A price on a void invoice gets no item. A slot is released by the rejection, not by the reversal. A unique key lets it happen once. The caller holds the locks of the dealer and the listing.';
--! EndIncluded listing/reverse_consumption.sql
--! Included listing/charge_listing.sql
create or replace function app_private.charge_listing(
  listing app_public.listings, action app_public.consumption_kind, idempotency_key uuid, at timestamptz
) returns boolean
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
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
$$;

comment on function app_private.charge_listing(app_public.listings, app_public.consumption_kind, uuid, timestamptz) is 'Charges the publication or renewal of an existing listing as create_listing charges a new one: one function decides both. A listing that holds a slot keeps it at no cost while no more slots are in use than its package includes. Returns whether the listing holds a slot from now on; the caller writes that. The caller holds the locks of the dealer and the listing. Raises what decide_publication and require_publisher raise.';
--! EndIncluded listing/charge_listing.sql
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
$$;

comment on function app_public.create_listing(uuid, uuid, text, text, numeric, text, text, jsonb, text[], text) is E'@behavior +mutationField\n@resultFieldName listing\nPublishes a listing: decides what pays for it (free quota, subscription, price), charges that, and creates the listing, in one transaction. It is PENDING until an admin approves it; it is ACTIVE at once for a trusted dealer, and in a country that moderates afterwards. The same idempotency key with the same input returns the same listing.';

grant execute on function app_public.create_listing(uuid, uuid, text, text, numeric, text, text, jsonb, text[], text) to forecourt_dealer, forecourt_admin;
--! EndIncluded listing/create_listing.sql
--! Included promotion/promote_listing.sql
create or replace function app_public.promote_listing(listing_id uuid, kind app_public.promotion_kind, idempotency_key uuid)
  returns app_public.listing_promotions
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
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
$$;

comment on function app_public.promote_listing(uuid, app_public.promotion_kind, uuid) is E'@behavior +mutationField\n@resultFieldName promotion\nPromotes an active listing: quota of that kind of the running subscription pays for it, otherwise the price of that kind. A second promotion of the kind starts when the running one ends. It ends with the listing, and nothing is given back. The same idempotency key with the same input returns the same promotion.';

grant execute on function app_public.promote_listing(uuid, app_public.promotion_kind, uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded promotion/promote_listing.sql
--! Included apikey/create_api_key.sql
create or replace function app_public.create_api_key(
  dealer_id uuid, name text, expires_at timestamptz, prefix text, secret_hash bytea
) returns app_public.dealer_api_keys
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
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
$$;

comment on function app_public.create_api_key(uuid, text, timestamptz, text, bytea) is 'Stores a new API key of the dealer. `prefix` and `secret_hash` come from the API, which makes the key. Raises FC008 if the dealer has ten keys that are neither revoked nor expired, and what lock_own_dealer raises. Not a field of GraphQL: `createApiKey` calls it.';

grant execute on function app_public.create_api_key(uuid, text, timestamptz, text, bytea) to forecourt_dealer, forecourt_admin;
--! EndIncluded apikey/create_api_key.sql
--! Included apikey/revoke_api_key.sql
create or replace function app_public.revoke_api_key(api_key_id uuid) returns app_public.dealer_api_keys
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
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
$$;

comment on function app_public.revoke_api_key(uuid) is E'@behavior +mutationField\n@resultFieldName apiKey\nFor owners: revokes an API key. Within a second every server refuses it. A second call changes nothing.';

grant execute on function app_public.revoke_api_key(uuid) to forecourt_dealer, forecourt_admin;
--! EndIncluded apikey/revoke_api_key.sql
--! Included apikey/find_api_keys.sql
create or replace function app_public.find_api_keys(prefixes text[])
  returns table (prefix text, secret_hash bytea, api_key_id uuid, dealer_id uuid)
  language plpgsql stable security definer rows 1
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return query
  select k.prefix, k.secret_hash, k.id, k.dealer_id
  from app_public.dealer_api_keys as k
  where k.prefix = any (find_api_keys.prefixes) and app_private.is_valid_api_key(k);
end
$$;

comment on function app_public.find_api_keys(text[]) is 'The valid API keys with these prefixes. For the API''s identity code only, not for GraphQL: the API compares the hash of the secret.';

grant execute on function app_public.find_api_keys(text[]) to forecourt_authenticator;
--! EndIncluded apikey/find_api_keys.sql
--! Included apikey/record_api_key_use.sql
create or replace function app_public.record_api_key_use(dealer_id uuid, api_key_id uuid) returns void
  language plpgsql volatile security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '3s'
as $$
begin
  update app_public.dealer_api_keys as k set last_used_at = clock_timestamp()
  where k.dealer_id = record_api_key_use.dealer_id and k.id = record_api_key_use.api_key_id
    and coalesce(k.last_used_at <= clock_timestamp() - interval '1 minute', true);
end
$$;

comment on function app_public.record_api_key_use(uuid, uuid) is 'Records that an API key is in use, at most once a minute, however many processes call it. For the API''s identity code only, not for GraphQL.';

grant execute on function app_public.record_api_key_use(uuid, uuid) to forecourt_authenticator;
--! EndIncluded apikey/record_api_key_use.sql

create or replace trigger dealer_api_keys_audited after insert or delete or update of name, expires_at, revoked_at on app_public.dealer_api_keys
  for each row execute function app_private.audit_change('dealer_id');

select app_private.force_row_security('app_public.dealer_api_keys');
drop policy if exists select_owner on app_public.dealer_api_keys;
create policy select_owner on app_public.dealer_api_keys for select to forecourt_dealer
  using (dealer_id = any (app_public.current_owned_dealer_ids()));
drop policy if exists select_admin on app_public.dealer_api_keys;
create policy select_admin on app_public.dealer_api_keys for select to forecourt_admin using ((select app_public.is_admin()));
grant select (dealer_id, id, name, prefix, created_by, created_at, expires_at, revoked_at, last_used_at) on app_public.dealer_api_keys
  to forecourt_dealer, forecourt_admin;
