--! Previous: sha1:199f8c3c25211953dd8e633e2a2b7971140592a9
--! Hash: sha1:6f9d116c0d2db6c04c652a13bb4f492565947e8c
--! Message: index listings that hold slots

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_slots_dealer_id_expires_at on app_public.listings (dealer_id, expires_at) where holds_slot;
