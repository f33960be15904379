--! Previous: sha1:3e61346c618741fbf9e8bb006c019711d803703b
--! Hash: sha1:5e31117f1eb3071f0b83d46218cf970068113c92
--! Message: reverse ledger rows once

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create unique index concurrently if not exists ux_listing_consumptions_reverses on app_public.listing_consumptions (reverses, dealer_id)
  where reverses is not null;
