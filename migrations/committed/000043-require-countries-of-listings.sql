--! Previous: sha1:491ab62627629e0621ae1d3d12559014ed62a0d1
--! Hash: sha1:7a92a51742a6ddb253960e3f8791ba2bc6f9de9a
--! Message: require countries of listings

set local lock_timeout to '2s';
-- It reads every row of listings, and blocks nobody.
set local statement_timeout to '1h';

alter table app_public.listings validate constraint listings_country_filled;
-- The constraint proves it, so that nothing is read again. Inserts then need neither the constraint nor the trigger.
select app_private.lock_tables('app_public.listings');
-- squawk-ignore adding-not-nullable-field
alter table app_public.listings alter column country set not null;
alter table app_public.listings drop constraint if exists listings_country_filled;
drop trigger if exists listings_country_filled on app_public.listings;
drop function if exists app_private.fill_country();
