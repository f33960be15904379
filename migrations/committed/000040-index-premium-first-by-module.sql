--! Previous: sha1:0ed0ec7c4b08fab045426acf68e945203a304151
--! Hash: sha1:67cee49db25c0c65df1fb966513879dbca143a5f
--! Message: index premium first by module

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_active_module_is_premium_expression_id
  on app_public.listings (module, is_premium, (case when published_at is null then created_at else published_at end), id)
  where status = 'active';
