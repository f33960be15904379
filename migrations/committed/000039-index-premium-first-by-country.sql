--! Previous: sha1:6a874013c525f882aea0f7f92e19d837f8a01a8e
--! Hash: sha1:4b2c8dd86d7615cc2d1139df9d28c7b0c0ce3376
--! Message: index premium first by country

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_active_country_is_premium_expression_id
  on app_public.listings (country, is_premium, (case when published_at is null then created_at else published_at end), id)
  where status = 'active';
