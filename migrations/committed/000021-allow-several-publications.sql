--! Previous: sha1:e107ee0e2ed464648bf1831488747b4eb504993a
--! Hash: sha1:9c6bfe7dc817233be3e53c358c11b4e61c46de35
--! Message: allow several publications

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
drop index concurrently if exists app_public.ux_listing_consumptions_one_publication;
