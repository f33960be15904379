--! Previous: sha1:f9085e606731b3369d58d3f0d2c8f9b33fcb3705
--! Hash: sha1:7b60c6e2c01c75f50ee17079b345c98f55deb70e
--! Message: look up what differs row by row

set local lock_timeout to '2s';
set local statement_timeout to '60s';

--! Included operations/verify_listings.sql
create or replace function app_private.verify_listings(
  first_dealer_id uuid default '00000000-0000-0000-0000-000000000000', last_dealer_id uuid default 'ffffffff-ffff-ffff-ffff-ffffffffffff'
) returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  -- both sides come in order from their primary keys alone: the tables are read only where they differ, row by row, for a join
  -- is planned for as many as the statistics expect, and where these are wrong it reads a whole table for each range
  with differing as materialized (
    select coalesce(l.dealer_id, lc.dealer_id) as dealer_id, coalesce(l.id, lc.listing_id) as id,
      l.id is not null as is_listing, coalesce(lc.ledger_rows, 0) as ledger_rows
    from (
      select dealer_id, id from app_public.listings where dealer_id between first_dealer_id and last_dealer_id
    ) as l
    full join (
      select dealer_id, listing_id, count(*) as ledger_rows
      from app_public.listing_consumptions
      where dealer_id between first_dealer_id and last_dealer_id
      group by dealer_id, listing_id
    ) as lc on lc.dealer_id = l.dealer_id and lc.listing_id = l.id
    where l.id is null or lc.ledger_rows is distinct from 1
  )
  select 'a listing past draft has not exactly one ledger row', d.dealer_id, d.id, jsonb_build_object('ledger_rows', d.ledger_rows)
  from differing as d
  where (select l.status from app_public.listings as l where l.dealer_id = d.dealer_id and l.id = d.id) <> 'draft'
  union all
  select 'a ledger row has no listing past draft', d.dealer_id, d.id, jsonb_build_object('ledger_rows', d.ledger_rows)
  from differing as d
  where not d.is_listing
  union all
  select 'a ledger row has no listing past draft', l.dealer_id, l.id, jsonb_build_object('status', l.status)
  from app_public.listings as l
  where l.status = 'draft' and l.dealer_id between first_dealer_id and last_dealer_id
    and (select lc.dealer_id from app_public.listing_consumptions as lc where lc.dealer_id = l.dealer_id and lc.listing_id = l.id) is not null
$$;

comment on function app_private.verify_listings(uuid, uuid) is
  'Listings past draft that have not exactly one row in the ledger, and rows of the ledger without such a listing, of all dealers or of those from one to another. `id` is the listing''s.';
--! EndIncluded operations/verify_listings.sql
