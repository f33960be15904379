--! Previous: sha1:2329d012c04baf4611127232cc0c79729c3104a5
--! Hash: sha1:bce6bcbbb7de832523afe2fd5b4b50f81bbb7752
--! Message: slots of dealers

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- Alone, as in the migration of trusted dealers: readers of listings and publications lock `dealers` in another order. A constant
-- default does not rewrite the table.
select app_private.lock_tables('app_public.dealers');
alter table app_public.dealers add column if not exists slots_in_use integer not null default 0;
alter table app_public.dealers drop constraint if exists dealers_slots_in_use_not_negative;
alter table app_public.dealers add constraint dealers_slots_in_use_not_negative check (slots_in_use >= 0) not valid;
comment on column app_public.dealers.slots_in_use is E'@behavior -attribute:select -attribute:filterBy -attribute:orderBy\nIts pending and active listings that hold a slot.';
grant select (slots_in_use) on app_public.dealers to forecourt_dealer, forecourt_admin;

-- Every column except slots_in_use: the ledger records the use of a slot.
create or replace trigger dealers_audited
  after delete or update of id, company_name, country, dealer_type, is_active, can_publish, has_free_quota, created_at, updated_at, is_trusted
  on app_public.dealers
  for each row execute function app_private.audit_change();
-- A change of the number writes a new version of the row. With room on its page, no index has to change.
alter table app_public.dealers set (fillfactor = 80);
