--! Previous: sha1:867661064d9194aa82562b3cd32eb9c6b902482e
--! Hash: sha1:19526abdac5ae7db559dbb73b4789b07ff80a052
--! Message: index ends of promotions

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_promoted_expression
  on app_public.listings ((least(premium_until, highlighted_until)))
  where is_premium or is_highlighted;
