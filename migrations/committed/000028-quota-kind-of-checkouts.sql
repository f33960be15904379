--! Previous: sha1:f805dd26431246fcb9faf10bacd663a481a69a33
--! Hash: sha1:a62bef6348ae84cf857e058b4c1c2b67c801fce3
--! Message: quota kind of checkouts

set local lock_timeout to '2s';
set local statement_timeout to '60s';

select app_private.lock_tables('app_public.checkouts');
alter table app_public.checkouts add column if not exists quota_kind app_public.quota_kind not null default 'per_period';
comment on column app_public.checkouts.quota_kind is 'Snapshot of the package.';
