--! Previous: sha1:400f6aef538578755374e5725546687fc6246473
--! Hash: sha1:41ea7e3098c57f5d0f9f166824baa852e4650d81
--! Message: reverse ledger rows once

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create unique index concurrently if not exists ux_listing_consumptions_reverses on app_public.listing_consumptions (reverses, dealer_id)
  where reverses is not null;
