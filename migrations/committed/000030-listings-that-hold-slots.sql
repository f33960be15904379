--! Previous: sha1:dc055b71b9b5cffff159008bfa423bc4d72d4ebc
--! Hash: sha1:199f8c3c25211953dd8e633e2a2b7971140592a9
--! Message: listings that hold slots

set local lock_timeout to '2s';
set local statement_timeout to '60s';

select app_private.lock_tables('app_public.listings');
alter table app_public.listings add column if not exists holds_slot boolean not null default false;
comment on column app_public.listings.holds_slot is E'@behavior -attribute:select -attribute:filterBy -attribute:orderBy\nWhether it holds a slot of its dealer: a CONCURRENT quota has paid for it last, and it is pending or active.';
grant select (holds_slot) on app_public.listings to forecourt_dealer, forecourt_admin;

--! Included quota/release_slot.sql
create or replace function app_private.release_slot() returns trigger
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  new.holds_slot := false;
  update app_public.dealers as d set slots_in_use = d.slots_in_use - 1 where d.id = old.dealer_id;
  return new;
end
$$;

comment on function app_private.release_slot() is 'Trigger: a listing that held a slot and is no longer pending or active, or was paid by something else, releases its slot. No step can forget that. The caller holds the dealer''s lock.';
--! EndIncluded quota/release_slot.sql
create or replace trigger listings_slot_released before update of status, holds_slot on app_public.listings
  for each row when (old.holds_slot and not (new.holds_slot and new.status in ('pending', 'active'))) execute function app_private.release_slot();
