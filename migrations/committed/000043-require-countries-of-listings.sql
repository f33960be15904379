--! Previous: sha1:ed9bfb26f2c9d4f0197fc4710d51c1ae00ed5376
--! Hash: sha1:ff14a04a9b457926e7cc6001f3689b02bb423cff
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
