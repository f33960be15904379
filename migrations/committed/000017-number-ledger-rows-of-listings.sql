--! Previous: sha1:2adce636ea9a4e5c79994d01008789016da098d0
--! Hash: sha1:400f6aef538578755374e5725546687fc6246473
--! Message: number ledger rows of listings

--! no-transaction
-- Partial, although each row has a listing: only queries that name one may use it. On tables without statistics the planner would
-- also take it for other queries, for its dealer_id, and read all rows of a dealer.
-- squawk-ignore require-lock-timeout, require-statement-timeout
create unique index concurrently if not exists ux_listing_consumptions_number
  on app_public.listing_consumptions (dealer_id, listing_id, kind, number)
  where listing_id is not null;
