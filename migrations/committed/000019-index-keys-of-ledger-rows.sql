--! Previous: sha1:0a4eaa668e1f2cb9e1140a7c28a712e6581f6f7c
--! Hash: sha1:3877ca61c9d539e04d6c08149a40bd46e5a0b1ef
--! Message: index keys of ledger rows

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create unique index concurrently if not exists ux_listing_consumptions_idempotency_key
  on app_public.listing_consumptions (idempotency_key, dealer_id) where idempotency_key is not null;
