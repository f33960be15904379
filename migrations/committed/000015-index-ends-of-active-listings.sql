--! Previous: sha1:202b9652e596d7a78d136ea6b87b6a29390cab62
--! Hash: sha1:680235db18518bfd1d9a23587b04bd4e8315ba56
--! Message: index ends of active listings

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_active_expires_at on app_public.listings (expires_at) where status = 'active';
