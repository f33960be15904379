--! Previous: sha1:c7247848983422dc906dc8f66b449aa371b36bfb
--! Hash: sha1:733a131766c11735f96e4e57a6e7294be0532a7d
--! Message: validate listing life

set local lock_timeout to '2s';
-- It reads every row of these tables, and blocks nobody.
set local statement_timeout to '1h';

alter table app_public.listings validate constraint listings_valid;
alter table app_public.invoice_items validate constraint invoice_items_valid;
alter table app_public.listing_consumptions validate constraint listing_consumptions_valid;
alter table app_public.listing_consumptions validate constraint listing_consumptions_reverses;

drop function if exists app_private.create_listing(uuid, uuid, text, text, numeric, text, text, jsonb, text[]);
