--! Previous: sha1:52565d52a08ff171e396b53d4ffe1cf1874dd383
--! Hash: sha1:0a4eaa668e1f2cb9e1140a7c28a712e6581f6f7c
--! Message: reverse ledger rows once

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create unique index concurrently if not exists ux_listing_consumptions_reverses on app_public.listing_consumptions (reverses, dealer_id)
  where reverses is not null;
