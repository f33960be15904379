--! Previous: sha1:6ab200f0f5b118a616c403a32d6a0068304ef2e1
--! Hash: sha1:a4cb723957bbcfdcdaf861deee5e3bc039e797ef
--! Message: grants of subscriptions

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- Without a default, so nothing is rewritten.
select app_private.lock_tables('app_public.dealer_subscriptions');
alter table app_public.dealer_subscriptions add column if not exists grant_reason text;
comment on column app_public.dealer_subscriptions.grant_reason is 'Why an admin gave it to the dealer without an invoice; null: it was bought, or granted before release 0.4.';
