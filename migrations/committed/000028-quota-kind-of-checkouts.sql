--! Previous: sha1:08ea8a6b8631f3476e1281ce861ee261fa1733b3
--! Hash: sha1:47ae3575f9d8248e94f5989891d536a14af8f482
--! Message: quota kind of checkouts

set local lock_timeout to '2s';
set local statement_timeout to '60s';

select app_private.lock_tables('app_public.checkouts');
alter table app_public.checkouts add column if not exists quota_kind app_public.quota_kind not null default 'per_period';
comment on column app_public.checkouts.quota_kind is 'Snapshot of the package.';
