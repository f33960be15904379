-- Rows for paging.test.ts: of each connection at least three, with nulls and equal values in the columns of its orders. Without
-- triggers and foreign keys, so that a row needs no other rows.
set local session_replication_role to replica;

delete from app_public.audit_logs;
insert into app_public.audit_logs (action, resource_type, resource_id, actor, created_at)
select case when n < 3 then 'TEST' else 'OTHER' end, case when n > 1 then 'dealers' else 'users' end,
  case when n < 2 then md5('resource')::uuid end, case when n % 2 = 0 then md5('actor')::uuid end,
  date_trunc('day', now()) - interval '1 hour' * (n / 2)
from generate_series(0, 3) as n;

insert into app_public.users (email, full_name) select n || '@example.com', 'Test' from generate_series(1, 4) as n;
insert into app_public.currencies values ('EUR', 2);
insert into app_public.country_currencies select country, 'EUR' from unnest(array['AA', 'AB', 'XX']) as country;
insert into app_public.price_configs (country, segment, pricing_type, unit_price_net, currency, price_version, valid)
select country, 'dealer', 'pay_per_listing', 5, 'EUR', 1, '[2020-01-01,)' from unnest(array['AA', 'AB', 'XX']) as country;
-- In AA and AB the VAT rate ended in 2021, and the next one begins within the 90 days of pricing_gaps. XX has neither VAT rate nor package.
insert into app_public.vat_rates (country, rate, valid)
select country, 19, valid
from unnest(array['AA', 'AB']) as country, unnest(array[
  tstzrange('2020-01-01 00:00+00', '2021-01-01 00:00+00'), tstzrange(date_trunc('day', now()) + interval '720 hours', null)]) as valid;
insert into app_public.dealers (id, company_name, country, dealer_type)
select md5('dealer ' || n)::uuid, 'Test', country, 'general'
from unnest(array['AA', 'AA', 'XX']) with ordinality as d (country, n);
insert into app_public.dealer_packages (key, country, name, price_net, currency, duration_days, listing_limit)
select key, country, '{"en": "Test"}', 49, 'EUR', 30, 10
from unnest(array['basic', 'premium']) as key, unnest(array['AA', 'AB']) as country;

-- The user of the tests is an admin and a member of all dealers, and the first dealer has three members more.
insert into app_public.users (id, email, full_name, is_admin)
values ('00000000-0000-0000-0000-000000000000', 'admin@example.com', 'Test', true);
insert into app_public.dealer_users (dealer_id, user_id, role)
select id, '00000000-0000-0000-0000-000000000000'::uuid, 'owner'::app_public.dealer_role from app_public.dealers
union all
select md5('dealer 1')::uuid, md5('user ' || n)::uuid, 'staff' from generate_series(1, 3) as n;
insert into app_public.dealer_invitations (dealer_id, email, role, token_hash, created_by, expires_at)
select md5('dealer 1')::uuid, n || '@example.com', 'staff', sha256('a'), gen_random_uuid(), now() + interval '1 day' from generate_series(1, 4) as n;
insert into app_public.dealer_api_keys (dealer_id, name, prefix, secret_hash, created_by)
select md5('dealer 1')::uuid, 'Test', 'aaaaaaaaaaaa', sha256('a'), gen_random_uuid() from generate_series(1, 4);

insert into app_public.listings (
  dealer_id, country, status, title, module, price, currency, idempotency_key, payload_hash, created_by, created_at, published_at, expires_at,
  is_premium, premium_until, moderation_reason, moderation_since)
select md5('dealer ' || 1 + n % 2)::uuid, 'AA', 'active', 'A car', 'auto', 9900, 'EUR', gen_random_uuid(), '', gen_random_uuid(),
  date_trunc('day', now()) - interval '1 hour' * (n / 2),
  case when n in (1, 2) then date_trunc('day', now()) end, case when n in (1, 2) then now() + interval '1 day' end,
  n < 1, case when n < 1 then now() + interval '1 day' end, case when n < 2 then 'edited' else 'published' end::app_public.moderation_reason,
  date_trunc('day', now()) - interval '1 hour' * (n / 2)
from generate_series(0, 3) as n;

insert into app_public.listing_consumptions (
  dealer_id, listing_id, kind, number, reverses, source, net_amount, vat_rate, vat_amount, gross_amount, currency, created_by, created_at)
select l.dealer_id, l.id, case when n < 3 then 'renewal' else 'reversal' end::app_public.consumption_kind, n,
  case when n > 2 then gen_random_uuid() end, 'free_quota', 0, 19, 0, 0, 'EUR', gen_random_uuid(), date_trunc('day', now()) - interval '1 hour' * (n / 2)
from (select * from app_public.listings order by id limit 1) as l, generate_series(1, 4) as n;

insert into app_public.listing_promotions (dealer_id, listing_id, id, kind, starts_at, ends_at)
select dealer_id, listing_id, id, 'premium', created_at, now() + interval '1 day' from app_public.listing_consumptions;

insert into app_public.invoices (dealer_id, id, kind, country, currency)
select md5('dealer ' || 1 + n % 2)::uuid, md5('invoice ' || n)::uuid, 'package', 'AA', 'EUR' from generate_series(0, 3) as n;
insert into app_public.invoice_items (
  dealer_id, invoice_id, description, package_id, unit_price_net, net_amount, vat_rate, vat_amount, gross_amount, country, currency)
select md5('dealer 1')::uuid, md5('invoice 0')::uuid, 'Test', gen_random_uuid(), 5, 5, 20, 1, 6, 'AA', 'EUR'
from generate_series(1, 4);

-- One that is active and two that are pending for one dealer, and ends at the same time for both.
insert into app_public.dealer_subscriptions (
  dealer_id, package_id, invoice_id, status, duration_days, included_listing_quota, start_at, end_at)
select md5('dealer ' || dealer)::uuid, gen_random_uuid(), invoice_id, status::app_public.subscription_status, 30, 10,
  case when status <> 'pending' then timestamptz '2026-01-01 00:00Z' end, case when status <> 'pending' then timestamptz '2026-01-31 00:00Z' end
from (values
  (1, 'active', md5('invoice 0')::uuid), (1, 'pending', md5('invoice 2')::uuid), (1, 'pending', null),
  (2, 'active', null), (2, 'expired', md5('invoice 1')::uuid)) as s (dealer, status, invoice_id);
