--! Previous: sha1:41ea7e3098c57f5d0f9f166824baa852e4650d81
--! Hash: sha1:d3041fef2d9fd25b9a3c04837d850ff74d4ca9c1
--! Message: index keys of ledger rows

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create unique index concurrently if not exists ux_listing_consumptions_idempotency_key
  on app_public.listing_consumptions (idempotency_key, dealer_id) where idempotency_key is not null;
