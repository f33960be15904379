-- Rows for plans.test.ts: $rows for each dealer of the test, and $rows dealers with a row in each table. Without triggers and
-- foreign keys, because most of them are years old and need no other rows.
set local session_replication_role to replica;

create temporary table others on commit drop as
select n, gen_random_uuid() as dealer_id, gen_random_uuid() as user_id, gen_random_uuid() as listing_id,
  gen_random_uuid() as subscription_id, gen_random_uuid() as invoice_id
from generate_series(1, $rows) as n;

insert into app_public.users (id, email, full_name) select user_id, user_id || '@example.com', 'Test User' from others;
insert into app_private.user_passwords (user_id, password_hash) select user_id, '$argon2id$none' from others;
insert into app_public.dealers (id, company_name, country, dealer_type) select dealer_id, 'Test', 'AT', 'general' from others;
insert into app_public.dealer_users (dealer_id, user_id, role) select dealer_id, user_id, 'owner' from others;
insert into app_private.login_failures (email_hash, failures, window_started_at) select sha256(uuid_send(user_id)), 1, now() from others;
insert into app_private.known_addresses (account_key, address, last_login_at) select sha256(uuid_send(user_id)), '::1', now() from others;
insert into app_private.rate_limit_counters (key, window_seconds, ends_at, decay, current)
select uuid_send(user_id), 60, extract(epoch from now()) + 600, 0, 1 from others;

-- Each dealer of the test as often as it has rows, the others once.
create temporary table grown on commit drop as
select d.id as dealer_id, gen_random_uuid() as listing_id, gen_random_uuid() as subscription_id, gen_random_uuid() as invoice_id,
  gen_random_uuid() as item_id, gen_random_uuid() as user_id, n,
  (enum_range(null::app_public.consumption_source))[1 + n % 3] as source,
  case when n % 2 = 0 then 'expired' else 'cancelled' end::app_public.subscription_status as status
from unnest($dealers) as d (id), generate_series(1, $rows) as n
union all
select dealer_id, listing_id, subscription_id, invoice_id, gen_random_uuid(), user_id, n, 'subscription_quota',
  case when n % 3 = 0 then 'pending' else 'active' end::app_public.subscription_status
from others;

insert into app_public.listings (
  dealer_id, country, id, status, title, module, price, currency, idempotency_key, payload_hash, created_by, created_at,
  is_premium, premium_until)
select dealer_id, 'AT', listing_id, case when n % 2 = 0 then 'pending' else 'active' end::app_public.listing_status, 'A car', 'auto', 9900, 'EUR',
  gen_random_uuid(), '', user_id, now() - n * interval '1 day', n % 2 = 1, case when n % 2 = 1 then now() + n * interval '1 minute' end
from grown;
insert into app_public.listing_consumptions (
  dealer_id, listing_id, kind, source, subscription_id, price_config_id, invoice_item_id,
  net_amount, vat_rate, vat_amount, gross_amount, currency, created_by, created_at)
select dealer_id, listing_id, 'publication', source,
  case source when 'subscription_quota' then subscription_id end,
  case source when 'paid_extra' then listing_id end, case source when 'paid_extra' then item_id end,
  0, 19, 0, 0, 'EUR', user_id, now() - interval '1 year'
from grown;
insert into app_public.invoices (dealer_id, id, kind, country, currency, status, paid_at)
select dealer_id, invoice_id, 'package', 'AT', 'EUR', 'paid', now() from grown;
insert into app_public.invoice_items (
  dealer_id, id, invoice_id, description, package_id, unit_price_net, net_amount, vat_rate, vat_amount, gross_amount, country, currency)
select dealer_id, item_id, invoice_id, 'Test', user_id, 5, 5, 20, 1, 6, 'AT', 'EUR' from grown;
insert into app_public.checkouts (
  dealer_id, invoice_id, package_id, idempotency_key, payload_hash, provider,
  duration_days, listing_limit, premium_quota, highlight_quota, overage, expires_at, closed_at)
select dealer_id, invoice_id, user_id, gen_random_uuid(), '', 'manual', 30, 10, 0, 0, 'charge', now(), now() from grown;
insert into app_public.dealer_subscriptions (
  dealer_id, id, package_id, invoice_id, status, duration_days, included_listing_quota, start_at, end_at)
select dealer_id, subscription_id, user_id, case when n % 2 = 0 then invoice_id end, status, 30, 10,
  case when status <> 'pending' then now() - interval '1 year' end,
  case status when 'pending' then null when 'active' then now() + n * interval '1 minute' else now() - interval '1 day' end
from grown
where dealer_id <> all ($dealers) or n <= 10;
insert into app_public.audit_logs (action, resource_type, resource_id, actor) select 'TEST', 'dealers', dealer_id, user_id from grown;
