--! Previous: sha1:037516574a754ec30cac5201061470aa386b2987
--! Hash: sha1:ff379b4bddb7a7e6b8e9926d7fd90e9c91ec4cd3
--! Message: index premium first

--! no-transaction
-- The order PREMIUM_FIRST, read backward. A listing that was active before release 0.3 has no published_at. CASE instead of coalesce:
-- Postgres takes coalesce for leaky, and would then compare a visitor's cursor with each row instead of starting there.
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_active_is_premium_expression_id
  on app_public.listings (is_premium, (case when published_at is null then created_at else published_at end), id)
  where status = 'active';
