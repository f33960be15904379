--! Previous: sha1:0274e46c644a6837df7deac4c3459c40263c916f
--! Hash: sha1:d5ec078b5c322c7f20598bd70c46cad5370e9ed4
--! Message: index external ids of listings

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create unique index concurrently if not exists ux_listings_external_id on app_public.listings (external_id, dealer_id)
  where external_id is not null and (status = 'pending' or status = 'active');
