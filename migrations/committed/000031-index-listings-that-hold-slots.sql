--! Previous: sha1:4812ef57de784307c3e0eba9361fa92870c8ee10
--! Hash: sha1:e4a58db94cf6c33bcc98c8fb43409f1946ce31d3
--! Message: index listings that hold slots

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create index concurrently if not exists ix_listings_slots_dealer_id_expires_at on app_public.listings (dealer_id, expires_at) where holds_slot;
