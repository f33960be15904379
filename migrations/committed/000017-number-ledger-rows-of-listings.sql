--! Previous: sha1:d0ed8b772f82aaad63e2950f2f9d80d8d27eb661
--! Hash: sha1:3e61346c618741fbf9e8bb006c019711d803703b
--! Message: number ledger rows of listings

--! no-transaction
-- Partial, although each row has a listing: only queries that name one may use it. On tables without statistics the planner would
-- also take it for other queries, for its dealer_id, and read all rows of a dealer.
-- squawk-ignore require-lock-timeout, require-statement-timeout
create unique index concurrently if not exists ux_listing_consumptions_number
  on app_public.listing_consumptions (dealer_id, listing_id, kind, number)
  where listing_id is not null;
