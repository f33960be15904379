--! Previous: sha1:ff379b4bddb7a7e6b8e9926d7fd90e9c91ec4cd3
--! Hash: sha1:39dcf4280d82bd11345f409760aefa84fa13ac81
--! Message: index premium first by country

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_active_country_is_premium_expression_id
  on app_public.listings (country, is_premium, (case when published_at is null then created_at else published_at end), id)
  where status = 'active';
