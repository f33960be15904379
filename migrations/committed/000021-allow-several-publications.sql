--! Previous: sha1:c9b4784bf62673049acab468eda21acac30d7b1c
--! Hash: sha1:447c89a28db9e14c70a665affd0f8484813694f2
--! Message: allow several publications

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
drop index concurrently if exists app_public.ux_listing_consumptions_one_publication;
