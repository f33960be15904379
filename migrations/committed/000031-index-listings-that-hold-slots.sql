--! Previous: sha1:8b1627e066576853ff1f6bb2fe8020fc78ce0365
--! Hash: sha1:a9faa98831ae5c1f6630914153f0e86bc133fc42
--! Message: index listings that hold slots

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_slots_dealer_id_expires_at on app_public.listings (dealer_id, expires_at) where holds_slot;
