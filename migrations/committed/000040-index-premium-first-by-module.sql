--! Previous: sha1:39dcf4280d82bd11345f409760aefa84fa13ac81
--! Hash: sha1:da5f1b12ca4c134372d9047961f8ad165f11c34e
--! Message: index premium first by module

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_active_module_is_premium_expression_id
  on app_public.listings (module, is_premium, (case when published_at is null then created_at else published_at end), id)
  where status = 'active';
