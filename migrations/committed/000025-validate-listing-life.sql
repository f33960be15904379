--! Previous: sha1:50ecf549d8cdfe6c959ae6ce250b9575487f58ac
--! Hash: sha1:c8af02d73583d4bd9e80067f33d10a23619a5fe0
--! Message: validate listing life

set local lock_timeout to '2s';
-- It reads every row of these tables, and blocks nobody.
set local statement_timeout to '1h';

alter table app_public.listings validate constraint listings_valid;
alter table app_public.invoice_items validate constraint invoice_items_valid;
alter table app_public.listing_consumptions validate constraint listing_consumptions_valid;
alter table app_public.listing_consumptions validate constraint listing_consumptions_reverses;

drop function if exists app_private.create_listing(uuid, uuid, text, text, numeric, text, text, jsonb, text[]);
