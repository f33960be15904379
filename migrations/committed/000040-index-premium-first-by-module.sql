--! Previous: sha1:dc6e9ed5ee361be399bf359ff8ba3e55e4fbfe2c
--! Hash: sha1:867661064d9194aa82562b3cd32eb9c6b902482e
--! Message: index premium first by module

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_active_module_is_premium_expression_id
  on app_public.listings (module, is_premium, (case when published_at is null then created_at else published_at end), id)
  where status = 'active';
