--! Previous: sha1:88ac9fe2c49396942cb65ee1cd51a94e6c703f72
--! Hash: sha1:1a838bee5069e38e5703b07b4cae4440d33f9938
--! Message: allow several publications

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
drop index concurrently if exists app_public.ux_listing_consumptions_one_publication;
