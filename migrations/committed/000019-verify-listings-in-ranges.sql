--! Previous: sha1:8cc490e47212a05b6f97575dab04f1a46bb2cb93
--! Hash: sha1:88cae744e7abb32da5e2797bb30ae9466ec2ca99
--! Message: verify listings in ranges

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- each has a parameter more
drop function if exists app_private.verify_listings();
drop function if exists app_private.verify_ledger();
drop function if exists app_private.check_ledger();

--! Included operations/verify_listings.sql
create or replace function app_private.verify_listings(
  first_dealer_id uuid default '00000000-0000-0000-0000-000000000000', last_dealer_id uuid default 'ffffffff-ffff-ffff-ffff-ffffffffffff'
) returns setof app_private.ledger_fault
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  -- both sides come in order from their primary keys alone: the tables are read only where they differ
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
  join app_public.listings as l on l.dealer_id = d.dealer_id and l.id = d.id
  where l.status <> 'draft'
  union all
  select 'a ledger row has no listing past draft', d.dealer_id, d.id, jsonb_build_object('ledger_rows', d.ledger_rows)
  from differing as d
  where not d.is_listing
  union all
  select 'a ledger row has no listing past draft', l.dealer_id, l.id, jsonb_build_object('status', l.status)
  from app_public.listings as l
  join app_public.listing_consumptions as lc on lc.dealer_id = l.dealer_id and lc.listing_id = l.id
  where l.status = 'draft' and l.dealer_id between first_dealer_id and last_dealer_id
$$;

comment on function app_private.verify_listings(uuid, uuid) is
  'Listings past draft that have not exactly one row in the ledger, and rows of the ledger without such a listing, of all dealers or of those from one to another. `id` is the listing''s.';
--! EndIncluded operations/verify_listings.sql
--! Included operations/verify_listings_from.sql
create or replace function app_private.verify_listings_from(
  first_dealer_id uuid, size integer default 10000, out in_order boolean, out next_dealer_id uuid
)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set max_parallel_workers_per_gather to 0
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
--! Included operations/verify_ledger.sql
create or replace function app_private.verify_ledger(listings boolean default true) returns setof app_private.ledger_fault
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set work_mem to '64MB'
  set max_parallel_workers_per_gather to 0
as $$
begin
  -- one core and modest memory: publications have the rest; one rule after the other, so that none holds memory for the next
  if listings then
    return query select * from app_private.verify_listings();
  end if;
  return query select * from app_private.verify_subscriptions();
  return query select * from app_private.verify_paid_extras();
  return query select * from app_private.verify_invoices();
  return query select * from app_private.verify_purchases();
end
$$;

comment on function app_private.verify_ledger(boolean) is
  'The invariants of the books: a row for each one that is broken and where, none when all is well. Reads every row once or twice by set operations, on the one snapshot of the calling statement, and takes no lock on rows. Without `listings`: all rules but those of verify_listings.';
--! EndIncluded operations/verify_ledger.sql
--! Included operations/check_ledger.sql
create or replace function app_private.check_ledger(listings_in_order_since timestamptz default null) returns app_private.ledger_checks
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_check app_private.ledger_checks;
begin
  v_check.id := app_private.time_ordered_uuid();
  v_check.started_at := coalesce(listings_in_order_since, clock_timestamp());
  select coalesce(sum(r.broken), 0)::integer, coalesce(jsonb_agg(to_jsonb(r) order by r.rule), '[]')
  into v_check.broken, v_check.findings
  from (
    select f.rule, count(*) as broken,
      jsonb_agg(jsonb_build_object('dealer_id', f.dealer_id, 'id', f.id, 'detail', f.detail)) filter (where f.number <= 5) as examples
    from (
      select v.*, row_number() over (partition by v.rule) as number from app_private.verify_ledger(listings => listings_in_order_since is null) as v
    ) as f
    group by f.rule
  ) as r;
  v_check.finished_at := clock_timestamp();
  insert into app_private.ledger_checks values (v_check.*);
  if v_check.broken > 0 then
    perform app_private.send_alert(
      'ledger_broken', (v_check.started_at at time zone 'UTC')::date::text,
      format('The books are not in order: %s rows break a rule. See app_private.verify_ledger().', v_check.broken),
      jsonb_build_object('broken', v_check.broken, 'findings', v_check.findings));
  end if;
  return v_check;
end
$$;

comment on function app_private.check_ledger(timestamptz) is
  'Verifies the books, keeps the result in ledger_checks, and alerts, once a day (UTC), when anything is broken. Who has gone through all listings by verify_listings_from and found them in order says since when; they are left out then.';
--! EndIncluded operations/check_ledger.sql
