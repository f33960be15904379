--! Previous: sha1:c17d8fe5b1a8ddcd5d787216494548b7ff5fe715
--! Hash: sha1:5288a315958ff6e65420ddfec4987e7b14ba25b9
--! Message: reverse ledger rows once

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create unique index concurrently if not exists ux_listing_consumptions_reverses on app_public.listing_consumptions (reverses, dealer_id)
  where reverses is not null;
