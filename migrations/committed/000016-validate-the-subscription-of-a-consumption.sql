--! Previous: sha1:28d00d07344e653f6d51ce2bf694c4263e38cb3c
--! Hash: sha1:d1827668543e787061dc7c49e960a33371e1f9ef
--! Message: validate the subscription of a consumption

-- Gives up rather than queue behind a long transaction with everyone else behind it.
set local lock_timeout to '2s';
set local statement_timeout to '600s';

alter table app_public.listing_consumptions validate constraint listing_consumptions_subscription;
