--! Previous: sha1:a631cc77204ad636b9777d69e27b9d2f2a256df0
--! Hash: sha1:3411ae7c9cdf7c82d3c53fbf003cbaa67f5aaf51
--! Message: audit who may act for a dealer

set local lock_timeout to '2s';
set local statement_timeout to '60s';

create or replace trigger dealer_users_audited after insert or update or delete on app_public.dealer_users
  for each row execute function app_private.audit_change('dealer_id', 'user_id');
create or replace trigger users_admin_removed_audited after delete on app_public.users
  for each row when (old.is_admin) execute function app_private.audit_change();
-- a dealer's purchase is recorded when it is paid; of an admin every write is
create or replace trigger invoices_of_admin_audited after insert on app_public.invoices
  for each row when (current_setting('role', true) = 'forecourt_admin') execute function app_private.audit_change();

--! Included operations/begin_job_run.sql
create or replace function app_private.begin_job_run(task text, worker_id text default null) returns uuid
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_dead text[];
  v_id uuid;
begin
  with abandoned as (
    update app_private.job_runs as r
    set finished_at = clock_timestamp(), error = 'The worker of this run died.'
    where r.task = begin_job_run.task and r.finished_at is null
      and not exists (
        select from pg_stat_activity as a where a.pid = r.backend_pid and a.backend_start = r.backend_started_at)
    returning r.worker_id
  )
  select array_agg(a.worker_id) into v_dead from abandoned as a where a.worker_id is not null;
  if v_dead is not null then
    -- else its job, and the queue of that, stay locked for 4 hours
    perform graphile_worker.force_unlock_workers(v_dead);
  end if;
  -- what was counted stays: a metric adds it up, and may not fall
  delete from app_private.job_runs as r
  where r.task = begin_job_run.task and r.counted = 0 and r.finished_at is not null
    and r.started_at < clock_timestamp() - 90 * interval '24 hours';
  insert into app_private.job_runs (task, worker_id, backend_pid, backend_started_at)
  select begin_job_run.task, begin_job_run.worker_id, a.pid, a.backend_start
  from pg_stat_activity as a
  where a.pid = pg_backend_pid()
  returning id into v_id;
  return v_id;
end
$$;

comment on function app_private.begin_job_run(text, text) is
  'Opens a run of a task and returns its id. Closes those of the task whose connection is gone, gives their jobs free, and forgets runs of more than 90 days ago in which there was nothing to do. The run lives as long as this connection, or until finish_job_run.';
--! EndIncluded operations/begin_job_run.sql
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
  where (select l.status from app_public.listings as l where l.dealer_id = d.dealer_id and l.id = d.id limit 1) <> 'draft'
  union all
  select 'a ledger row has no listing past draft', d.dealer_id, d.id, jsonb_build_object('ledger_rows', d.ledger_rows)
  from differing as d
  where not d.is_listing
  union all
  select 'a ledger row has no listing past draft', l.dealer_id, l.id, jsonb_build_object('status', l.status)
  from app_public.listings as l
  where l.status = 'draft' and l.dealer_id between first_dealer_id and last_dealer_id
    and (select count(*) from app_public.listing_consumptions as lc where lc.dealer_id = l.dealer_id and lc.listing_id = l.id) > 0
$$;

comment on function app_private.verify_listings(uuid, uuid) is
  'Listings past draft that have not exactly one row in the ledger, and rows of the ledger without such a listing, of all dealers or of those from one to another. `id` is the listing''s.';
--! EndIncluded operations/verify_listings.sql
--! Included subscription/find_due_batches.sql
create or replace function app_private.find_due_batches(
  from_at timestamptz, until_at timestamptz, batch_size integer, batches integer
) returns table (tids tid[], last_end_at timestamptz)
  language sql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
  -- in the order of the index, however few are expected: a sort of all that is due, for each of many calls, is quadratic too
  set enable_sort to off
  -- up to Postgres 17 what is off costs so much in the planner's eyes that it would be compiled first
  set jit to off
as $$
  select array_agg(b.tid order by b.tid), max(max(b.end_at)) over ()
  from (
    select d.tid, d.end_at, (row_number() over (order by d.tid) - 1) / batch_size as number
    from (
      select s.ctid as tid, s.end_at
      from app_public.dealer_subscriptions as s
      where s.status = 'active' and s.end_at >= from_at and s.end_at <= until_at
      order by s.end_at
      limit batch_size * batches
    ) as d
  ) as b
  group by b.number
  order by b.number
$$;

comment on function app_private.find_due_batches(timestamptz, timestamptz, integer, integer) is
  'The active subscriptions of a range of ends, the oldest ends first, cut into at most `batches` batches in the order of the table, as their places there: neighbours share pages of the table and of most indexes, which the oldest 500 of all do not. And the last end in all of them, from which the next call goes on: before it lie dead index entries, and to walk over them each time makes a long run quadratic.';
--! EndIncluded subscription/find_due_batches.sql
