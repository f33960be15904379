--! Previous: sha1:0b81d1f3bcb361aa1fdb55f5f8412cf9b8f185cf
--! Hash: sha1:4fbf01f91ec6e3b666be46d8ff170b92fedb05f0
--! Message: validate listing life

set local lock_timeout to '2s';
-- It reads every row of these tables, and blocks nobody.
set local statement_timeout to '1h';

alter table app_public.listings validate constraint listings_valid;
alter table app_public.invoice_items validate constraint invoice_items_valid;
alter table app_public.listing_consumptions validate constraint listing_consumptions_valid;
alter table app_public.listing_consumptions validate constraint listing_consumptions_reverses;

drop function if exists app_private.create_listing(uuid, uuid, text, text, numeric, text, text, jsonb, text[]);
