--! Previous: sha1:87dddc69950bdd898530cc47d1523a152e7d5993
--! Hash: sha1:0ed0ec7c4b08fab045426acf68e945203a304151
--! Message: index premium first by country

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_active_country_is_premium_expression_id
  on app_public.listings (country, is_premium, (case when published_at is null then created_at else published_at end), id)
  where status = 'active';
