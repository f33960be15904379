--! Previous: sha1:e51415b1ad1a1842b2f452f2c6d5f529f00482e2
--! Hash: sha1:0a7c4a34e6ee1a4b843bba3c98c4e12d44ce9131
--! Message: index external ids of listings

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create unique index concurrently if not exists ux_listings_external_id on app_public.listings (external_id, dealer_id)
  where external_id is not null and (status = 'pending' or status = 'active');
