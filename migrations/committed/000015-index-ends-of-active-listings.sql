--! Previous: sha1:d5ec078b5c322c7f20598bd70c46cad5370e9ed4
--! Hash: sha1:7d6f6344368218bed34bda175af3cd5ca0f82673
--! Message: index ends of active listings

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_active_expires_at on app_public.listings (expires_at) where status = 'active';
