--! Previous: sha1:a932828494e3c114c4ef3a64cf691bd60e6ba5f8
--! Hash: sha1:21221605e9c048d32f8d8a716dc4f65bdf293dd3
--! Message: validate listing life

set local lock_timeout to '2s';
-- It reads every row of these tables, and blocks nobody.
set local statement_timeout to '1h';

alter table app_public.listings validate constraint listings_valid;
alter table app_public.invoice_items validate constraint invoice_items_valid;
alter table app_public.listing_consumptions validate constraint listing_consumptions_valid;
alter table app_public.listing_consumptions validate constraint listing_consumptions_reverses;

drop function if exists app_private.create_listing(uuid, uuid, text, text, numeric, text, text, jsonb, text[]);
