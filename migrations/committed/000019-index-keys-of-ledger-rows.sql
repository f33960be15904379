--! Previous: sha1:5288a315958ff6e65420ddfec4987e7b14ba25b9
--! Hash: sha1:dbca251ace3ed522e6f9a787f68f36f8cecc6236
--! Message: index keys of ledger rows

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create unique index concurrently if not exists ux_listing_consumptions_idempotency_key
  on app_public.listing_consumptions (idempotency_key, dealer_id) where idempotency_key is not null;
