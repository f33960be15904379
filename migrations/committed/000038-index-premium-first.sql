--! Previous: sha1:fbd1c329174713a703f9c36c48b1e266d488487c
--! Hash: sha1:6a874013c525f882aea0f7f92e19d837f8a01a8e
--! Message: index premium first

--! no-transaction
-- The order PREMIUM_FIRST, read backward. A listing that was active before release 0.3 has no published_at. CASE instead of coalesce:
-- Postgres takes coalesce for leaky, and would then compare a visitor's cursor with each row instead of starting there.
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_active_is_premium_expression_id
  on app_public.listings (is_premium, (case when published_at is null then created_at else published_at end), id)
  where status = 'active';
