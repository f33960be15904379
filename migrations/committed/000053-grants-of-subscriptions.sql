--! Previous: sha1:2f453936fc9cdba25f321e66fe105b172c652fb4
--! Hash: sha1:0fdf348b627dcfce28ec4b2c43c566392e2c581f
--! Message: grants of subscriptions

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- Without a default, so nothing is rewritten.
select app_private.lock_tables('app_public.dealer_subscriptions');
alter table app_public.dealer_subscriptions add column if not exists grant_reason text;
comment on column app_public.dealer_subscriptions.grant_reason is 'Why an admin gave it to the dealer without an invoice; null: it was bought, or granted before release 0.4.';
