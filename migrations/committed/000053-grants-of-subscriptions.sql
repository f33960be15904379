--! Previous: sha1:08a021d4e9f4eaf96d8ce13e438b7fe6b74562d0
--! Hash: sha1:d1506768b0ebbd78307c36b0fe356cdc54bdcd82
--! Message: grants of subscriptions

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- Without a default, so nothing is rewritten.
select app_private.lock_tables('app_public.dealer_subscriptions');
alter table app_public.dealer_subscriptions add column if not exists grant_reason text;
comment on column app_public.dealer_subscriptions.grant_reason is 'Why an admin gave it to the dealer without an invoice; null: it was bought, or granted before release 0.4.';
