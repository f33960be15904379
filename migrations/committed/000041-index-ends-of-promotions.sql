--! Previous: sha1:da5f1b12ca4c134372d9047961f8ad165f11c34e
--! Hash: sha1:1dbff03c663142ce5038cadb10d71710c19e9a37
--! Message: index ends of promotions

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_promoted_expression
  on app_public.listings ((least(premium_until, highlighted_until)))
  where is_premium or is_highlighted;
