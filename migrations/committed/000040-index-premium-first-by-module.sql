--! Previous: sha1:4b2c8dd86d7615cc2d1139df9d28c7b0c0ce3376
--! Hash: sha1:6a9e5a3da8d3732bc07cf917e629bb71cec23546
--! Message: index premium first by module

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_active_module_is_premium_expression_id
  on app_public.listings (module, is_premium, (case when published_at is null then created_at else published_at end), id)
  where status = 'active';
