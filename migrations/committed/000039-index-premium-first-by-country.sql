--! Previous: sha1:00d7846bd412c6b51e25a01cc5ec17d12a8d2900
--! Hash: sha1:dc6e9ed5ee361be399bf359ff8ba3e55e4fbfe2c
--! Message: index premium first by country

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_active_country_is_premium_expression_id
  on app_public.listings (country, is_premium, (case when published_at is null then created_at else published_at end), id)
  where status = 'active';
