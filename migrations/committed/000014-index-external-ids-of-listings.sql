--! Previous: sha1:e2c889e926b9ba5bcf8a0152db8100b33a90a8e6
--! Hash: sha1:202b9652e596d7a78d136ea6b87b6a29390cab62
--! Message: index external ids of listings

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create unique index concurrently if not exists ux_listings_external_id on app_public.listings (external_id, dealer_id)
  where external_id is not null and (status = 'pending' or status = 'active');
