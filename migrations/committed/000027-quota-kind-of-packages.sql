--! Previous: sha1:bce6bcbbb7de832523afe2fd5b4b50f81bbb7752
--! Hash: sha1:efb9b7cf1787b97d3827ee8cb11efc713e80b13d
--! Message: quota kind of packages

set local lock_timeout to '2s';
set local statement_timeout to '60s';

do $$ begin
  create type app_public.quota_kind as enum ('per_period', 'concurrent');
exception when duplicate_object then null; end $$;
comment on type app_public.quota_kind is 'What a listing quota counts. per_period: publications and renewals; each one stays used. concurrent: live listings; each holds a slot while it is pending or active.';

-- Alone, as each of the next tables: readers join them in other orders than a purchase locks them.
select app_private.lock_tables('app_public.dealer_packages');
alter table app_public.dealer_packages add column if not exists quota_kind app_public.quota_kind not null default 'per_period';
comment on column app_public.dealer_packages.quota_kind is 'Whether the included listings are counted once they are published, or while they are pending or active.';
