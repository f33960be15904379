--! Previous: sha1:67cee49db25c0c65df1fb966513879dbca143a5f
--! Hash: sha1:be3de44427b012210a5a5bff5d54fe704f1db21a
--! Message: index ends of promotions

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_promoted_expression
  on app_public.listings ((least(premium_until, highlighted_until)))
  where is_premium or is_highlighted;
