--! Previous: sha1:8e295e424cc3c0bc1e19770e01625931e793a296
--! Hash: sha1:2329d012c04baf4611127232cc0c79729c3104a5
--! Message: validate listing life

set local lock_timeout to '2s';
-- It reads every row of these tables, and blocks nobody.
set local statement_timeout to '1h';

alter table app_public.listings validate constraint listings_valid;
alter table app_public.invoice_items validate constraint invoice_items_valid;
alter table app_public.listing_consumptions validate constraint listing_consumptions_valid;
alter table app_public.listing_consumptions validate constraint listing_consumptions_reverses;

drop function if exists app_private.create_listing(uuid, uuid, text, text, numeric, text, text, jsonb, text[]);
