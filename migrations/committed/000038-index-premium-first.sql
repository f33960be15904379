--! Previous: sha1:986a3236a5507d31e38b596401c1e495cea3de6a
--! Hash: sha1:00d7846bd412c6b51e25a01cc5ec17d12a8d2900
--! Message: index premium first

--! no-transaction
-- The order PREMIUM_FIRST, read backward. A listing that was active before release 0.3 has no published_at. CASE instead of coalesce:
-- Postgres takes coalesce for leaky, and would then compare a visitor's cursor with each row instead of starting there.
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_active_is_premium_expression_id
  on app_public.listings (is_premium, (case when published_at is null then created_at else published_at end), id)
  where status = 'active';
