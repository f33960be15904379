--! Previous: sha1:5e31117f1eb3071f0b83d46218cf970068113c92
--! Hash: sha1:de6fbf8613c8e8d5350b160310f111f54c0a8c32
--! Message: index keys of ledger rows

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create unique index concurrently if not exists ux_listing_consumptions_idempotency_key
  on app_public.listing_consumptions (idempotency_key, dealer_id) where idempotency_key is not null;
