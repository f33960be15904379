--! Previous: sha1:1a3f68f069e17b9433159bafab4f463012807be2
--! Hash: sha1:e9aef537574790767929be344d1845d2715f2947
--! Message: grants of subscriptions

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- Without a default, so nothing is rewritten.
select app_private.lock_tables('app_public.dealer_subscriptions');
alter table app_public.dealer_subscriptions add column if not exists grant_reason text;
comment on column app_public.dealer_subscriptions.grant_reason is 'Why an admin gave it to the dealer without an invoice; null: it was bought, or granted before release 0.4.';
