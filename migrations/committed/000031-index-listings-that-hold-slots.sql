--! Previous: sha1:c6fac966b9a0315a9da615803f592763f85b3b62
--! Hash: sha1:34a19091b81d9faf349b9fc93ad34ab02d14800d
--! Message: index listings that hold slots

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_slots_dealer_id_expires_at on app_public.listings (dealer_id, expires_at) where holds_slot;
