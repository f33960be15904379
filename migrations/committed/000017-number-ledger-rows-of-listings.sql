--! Previous: sha1:45cd9c412983cfec8a8c660677705005718f09aa
--! Hash: sha1:52565d52a08ff171e396b53d4ffe1cf1874dd383
--! Message: number ledger rows of listings

--! no-transaction
-- Partial, although each row has a listing: only queries that name one may use it. On tables without statistics the planner would
-- also take it for other queries, for its dealer_id, and read all rows of a dealer.
-- squawk-ignore require-lock-timeout, require-statement-timeout
create unique index concurrently if not exists ux_listing_consumptions_number
  on app_public.listing_consumptions (dealer_id, listing_id, kind, number)
  where listing_id is not null;
