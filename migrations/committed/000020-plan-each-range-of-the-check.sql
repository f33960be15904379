--! Previous: sha1:88cae744e7abb32da5e2797bb30ae9466ec2ca99
--! Hash: sha1:f9085e606731b3369d58d3f0d2c8f9b33fcb3705
--! Message: plan each range of the check

set local lock_timeout to '2s';
set local statement_timeout to '60s';

--! Included operations/verify_listings_from.sql
create or replace function app_private.verify_listings_from(
  first_dealer_id uuid, size integer default 10000, out in_order boolean, out next_dealer_id uuid
)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set max_parallel_workers_per_gather to 0
  -- a plan for any range is one for a large one, and takes ten times as long
  set plan_cache_mode to force_custom_plan
as $$
declare
  v_last_dealer_id uuid;
begin
  select l.dealer_id into v_last_dealer_id
  from app_public.listings as l
  where l.dealer_id >= first_dealer_id
  order by l.dealer_id
  offset size limit 1;
  in_order := not exists (
    select from app_private.verify_listings(first_dealer_id, coalesce(v_last_dealer_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff')));
  -- of both tables: a row of the ledger may be of a dealer that has no listing
  next_dealer_id := least(
    (select l.dealer_id from app_public.listings as l where l.dealer_id > v_last_dealer_id order by l.dealer_id limit 1),
    (select lc.dealer_id from app_public.listing_consumptions as lc where lc.dealer_id > v_last_dealer_id order by lc.dealer_id limit 1));
end
$$;

comment on function app_private.verify_listings_from(uuid, integer) is
  'Whether verify_listings finds nothing at the dealer and those that follow, up to about `size` listings and to the end of a dealer; and which dealer is next, null at the end. A statement each, and the check of a large ledger holds up nobody.';
--! EndIncluded operations/verify_listings_from.sql
