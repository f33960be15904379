--! Previous: sha1:963e101eb8baaf2513c5ba23a0ef2f9e1e1678d0
--! Hash: sha1:33d78db6b61e35a70f7a48f651a98ed721763da0
--! Message: index subscriptions by id and dealer

--! no-transaction
-- squawk-ignore require-lock-timeout, require-statement-timeout
create unique index concurrently if not exists ux_dealer_subscriptions_id_dealer_id on app_public.dealer_subscriptions (id, dealer_id);
