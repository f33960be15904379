--! Previous: sha1:efb9b7cf1787b97d3827ee8cb11efc713e80b13d
--! Hash: sha1:7d43334f497593b74a9c7f5befa46bef77eeb5b2
--! Message: quota kind of checkouts

set local lock_timeout to '2s';
set local statement_timeout to '60s';

select app_private.lock_tables('app_public.checkouts');
alter table app_public.checkouts add column if not exists quota_kind app_public.quota_kind not null default 'per_period';
comment on column app_public.checkouts.quota_kind is 'Snapshot of the package.';
