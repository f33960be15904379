--! Previous: sha1:6a9e5a3da8d3732bc07cf917e629bb71cec23546
--! Hash: sha1:bb35694ee4bb3833467b901e669bd7c0d2fde9af
--! Message: index ends of promotions

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_promoted_expression
  on app_public.listings ((least(premium_until, highlighted_until)))
  where is_premium or is_highlighted;
