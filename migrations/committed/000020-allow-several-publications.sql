--! Previous: sha1:dbca251ace3ed522e6f9a787f68f36f8cecc6236
--! Hash: sha1:ce673fdde5562b227be6476fc51d4865221efa54
--! Message: allow several publications

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
drop index concurrently if exists app_public.ux_listing_consumptions_one_publication;
