--! Previous: sha1:b15d198542f99ccd2b21b53a25158f1dcb279746
--! Hash: sha1:4d0543ef189cc88ae1352a5ab9b6aff0fa5c5181
--! Message: allow several publications

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
drop index concurrently if exists app_public.ux_listing_consumptions_one_publication;
