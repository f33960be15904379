--! Previous: sha1:43a3aa6ebf8c573bdd88086b61621cf0e0979eea
--! Hash: sha1:1caeff9a962269417ec78970784a6f05ecde1456
--! Message: quota kind of checkouts

set local lock_timeout to '2s';
set local statement_timeout to '60s';

select app_private.lock_tables('app_public.checkouts');
alter table app_public.checkouts add column if not exists quota_kind app_public.quota_kind not null default 'per_period';
comment on column app_public.checkouts.quota_kind is 'Snapshot of the package.';
