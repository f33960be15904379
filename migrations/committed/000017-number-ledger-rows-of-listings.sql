--! Previous: sha1:219fdd9a3e43ddc4e21df3930700e9cc91b9160b
--! Hash: sha1:c17d8fe5b1a8ddcd5d787216494548b7ff5fe715
--! Message: number ledger rows of listings

--! no-transaction
-- Partial, although each row has a listing: only queries that name one may use it. On tables without statistics the planner would
-- also take it for other queries, for its dealer_id, and read all rows of a dealer.
-- squawk-ignore require-lock-timeout, require-statement-timeout
create unique index concurrently if not exists ux_listing_consumptions_number
  on app_public.listing_consumptions (dealer_id, listing_id, kind, number)
  where listing_id is not null;
