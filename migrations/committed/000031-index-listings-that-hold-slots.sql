--! Previous: sha1:e4ebc1723f7f9159e5d94ef6ca20c77ce6565e1f
--! Hash: sha1:b967b2ebd8634707040b5c4cd7b564cac8cb69ef
--! Message: index listings that hold slots

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_slots_dealer_id_expires_at on app_public.listings (dealer_id, expires_at) where holds_slot;
