--! Previous: sha1:0a7c4a34e6ee1a4b843bba3c98c4e12d44ce9131
--! Hash: sha1:0d99550e90bd9ad57df2a97abeb148f9a7ebbbde
--! Message: index ends of active listings

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_active_expires_at on app_public.listings (expires_at) where status = 'active';
