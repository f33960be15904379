--! Previous: sha1:183d467f3617f983b7f24ab36612c8e520b49626
--! Hash: sha1:06fadee2e1698d3e03aa78007317ee5ecd0ebab5
--! Message: grants of subscriptions

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- Without a default, so nothing is rewritten.
select app_private.lock_tables('app_public.dealer_subscriptions');
alter table app_public.dealer_subscriptions add column if not exists grant_reason text;
comment on column app_public.dealer_subscriptions.grant_reason is 'Why an admin gave it to the dealer without an invoice; null: it was bought, or granted before release 0.4.';
