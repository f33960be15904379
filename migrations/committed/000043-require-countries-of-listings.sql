--! Previous: sha1:ece32da81046a586df53ef828962f1c51f968205
--! Hash: sha1:2aec503e1d760ce4d2a62fb2ea5fc1327cf7c7b9
--! Message: require countries of listings

set local lock_timeout to '2s';
-- It reads every row of listings, and blocks nobody.
set local statement_timeout to '1h';

-- The indexes that were built since the last call.
select app_private.require_valid_indexes();

alter table app_public.listings validate constraint listings_country_filled;
-- The constraint proves it, so that nothing is read again. Inserts then need neither the constraint nor the trigger.
select app_private.lock_tables('app_public.listings');
-- squawk-ignore adding-not-nullable-field
alter table app_public.listings alter column country set not null;
alter table app_public.listings drop constraint if exists listings_country_filled;
drop trigger if exists listings_country_filled on app_public.listings;
drop function if exists app_private.fill_country();
