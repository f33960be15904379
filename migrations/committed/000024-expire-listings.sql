--! Previous: sha1:1796720f596e2b6fee1d3af35f268a23688d6dd4
--! Hash: sha1:8e295e424cc3c0bc1e19770e01625931e793a296
--! Message: expire listings

set local lock_timeout to '2s';
set local statement_timeout to '60s';

-- One row for each task instead of one row. The table is that small, so its key changes at once.
alter table app_private.expiry_progress add column if not exists task text not null default 'expire_subscriptions';
alter table app_private.expiry_progress
  alter column task drop default,
  drop constraint if exists expiry_progress_one_row,
  drop constraint if exists expiry_progress_pkey,
  -- squawk-ignore ban-drop-column
  drop column if exists only_row,
  -- squawk-ignore adding-serial-primary-key-field, constraint-missing-not-valid
  add primary key (task);
comment on table app_private.expiry_progress is 'The positions of expire_subscriptions and expire_listings. Without them each call would walk over the dead index entries of all calls before.';
comment on column app_private.expiry_progress.task is 'The task, as in expirable.';
comment on column app_private.expiry_progress.expired_until is 'The last end of the last batch, where the next call starts; null: it starts at the oldest end.';
insert into app_private.expiry_progress (task) values ('expire_subscriptions'), ('expire_listings') on conflict do nothing;

-- Each new parameter has a default, so that the workers of release 0.2 still call them.
drop function if exists app_private.expire_rows(tid[]);
drop function if exists app_private.find_due_batches(timestamptz, timestamptz, integer, integer);
drop function if exists app_private.plan_expiry();
drop function if exists app_private.end_expiry(boolean);
--! Included expiry/expirable.sql
create or replace function app_private.expirable(task text, out table_name text, out end_column text)
  language sql immutable security invoker parallel safe
  -- No search_path, so that the planner can inline it. A body of this form is bound to its objects at creation.
begin atomic
  select e.table_name, e.end_column
  from (values ('expire_subscriptions', 'dealer_subscriptions', 'end_at'), ('expire_listings', 'listings', 'expires_at'))
    as e (task, table_name, end_column)
  where e.task = expirable.task;
end;

comment on function app_private.expirable(text) is 'The tasks of the expiry: the table of app_public whose active rows a task expires, and the column with their end. Both tables have dealer_id, id, status and updated_at, and an index of active rows by their end.';
--! EndIncluded expiry/expirable.sql
--! Included expiry/expire_rows.sql
create or replace function app_private.expire_rows(tids tid[], task text default 'expire_subscriptions') returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_table constant text := (select e.table_name from app_private.expirable(task) as e);
  v_ids uuid[];
  v_dealer_ids uuid[];
begin
  execute format($sql$
    with due as (
      select t.dealer_id, t.ctid
      from app_public.%1$I as t
      -- A ctid is a hint: check the status again. The sub-select hides the number of ctids from the planner, which would
      -- otherwise read a small table in full, or the index of ends, for each batch.
      where t.ctid = any ((select $1)::tid[]) and t.status = 'active' and t.%2$I <= $2
      for update skip locked
    ), changed as (
      update app_public.%1$I as t
      -- updated_at after the end tells the audit trigger that this row is in the entry below.
      set status = 'expired', updated_at = $2
      from due
      -- The lock keeps the ctid stable, so no index look-up is needed.
      where t.dealer_id = due.dealer_id and t.ctid = due.ctid
      returning t.dealer_id, t.id
    )
    select array_agg(c.id), array_agg(c.dealer_id) from changed as c
    $sql$, v_table, (select e.end_column from app_private.expirable(task) as e))
  into v_ids, v_dealer_ids
  using tids, v_now;
  if v_ids is null then
    return 0;
  end if;
  perform app_private.write_audit_log(
    'SYSTEM_EXPIRE', v_table, null, null, jsonb_build_object('count', cardinality(v_ids), 'ids', to_jsonb(v_ids)));
  if task = 'expire_subscriptions' then
    perform app_private.activate_pending_subscriptions(v_dealer_ids);
  end if;
  return cardinality(v_ids);
end
$$;

comment on function app_private.expire_rows(tid[], text) is 'Expires the active rows with these ctids whose end has passed, except those that another session has locked. Starts the subscriptions that waited for them, and writes one SYSTEM_EXPIRE audit row. Returns the number of expired rows.';
--! EndIncluded expiry/expire_rows.sql
--! Included expiry/find_due_batches.sql
create or replace function app_private.find_due_batches(
  from_at timestamptz, until_at timestamptz, batch_size integer, batches integer, task text default 'expire_subscriptions'
) returns table (tids tid[], last_end_at timestamptz)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
  -- Read in the order of the index, however few rows the planner expects: a sort on each call would be quadratic.
  set enable_sort to off
  -- enable_sort = off inflates the cost past jit_above_cost (PG <= 17).
  set jit to off
as $$
declare
  v_source record := app_private.expirable(task);
begin
  -- @plpgsql_check_options: extra_warnings = off
  return query execute format($sql$
    select array_agg(b.tid order by b.tid), max(max(b.ends_at)) over ()
    from (
      select d.tid, d.ends_at, (row_number() over (order by d.tid) - 1) / $3 as number
      from (
        select t.ctid as tid, t.%2$I as ends_at
        from app_public.%1$I as t
        where t.status = 'active' and t.%2$I >= $1 and t.%2$I <= $2
        order by t.%2$I
        limit $3 * $4
      ) as d
    ) as b
    group by b.number
    order by b.number
    $sql$, v_source.table_name, v_source.end_column)
  using from_at, until_at, batch_size, batches;
end
$$;

comment on function app_private.find_due_batches(timestamptz, timestamptz, integer, integer, text) is 'Finds active rows whose end is in a range, oldest end first, as at most `batches` arrays of ctids in the order of the table. Neighbours share pages of the table and of most indexes; rows that only share an end do not. last_end_at is the last end of all batches. The next call starts there, because the index entries before it are dead, and walking over them on each call would make a long run quadratic.';
--! EndIncluded expiry/find_due_batches.sql
--! Included expiry/plan_expiry.sql
create or replace function app_private.plan_expiry(
  task text default 'expire_subscriptions', out due bigint, out middle timestamptz, out until_at timestamptz
)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_source record := app_private.expirable(task);
begin
  until_at := clock_timestamp();
  execute format($sql$
    select count(*) from app_public.%1$I as t where t.status = 'active' and t.%2$I <= $1
    $sql$, v_source.table_name, v_source.end_column)
  into due using until_at;
  execute format($sql$
    select t.%2$I from app_public.%1$I as t where t.status = 'active' and t.%2$I <= $1 order by t.%2$I offset $2 / 2 limit 1
    $sql$, v_source.table_name, v_source.end_column)
  into middle using until_at, due;
end
$$;

comment on function app_private.plan_expiry(text) is 'How many rows of a task are due at `until_at`, the present time, and the median of their ends; null if none is due.';
--! EndIncluded expiry/plan_expiry.sql
--! Included expiry/run_expiry_batch.sql
create or replace function app_private.run_expiry_batch(
  run_id uuid, tids tid[], out expired integer, out is_publishing boolean
)
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  -- The next run repeats a batch that is lost in a crash, so it need not wait for the disk with its rows locked.
  perform set_config('synchronous_commit', 'off', true);
  -- Write evicted pages back bit by bit: a burst of writes would hold up the commits of others.
  perform set_config('backend_flush_after', '256kB', true);
  expired := app_private.expire_rows(
    tids, coalesce((select r.task from app_private.job_runs as r where r.id = run_expiry_batch.run_id), 'expire_subscriptions'));
  update app_private.job_runs as r set counted = r.counted + run_expiry_batch.expired
  where r.id = run_expiry_batch.run_id and run_expiry_batch.expired > 0;
  is_publishing := coalesce(
    (select l.created_at from app_public.listings as l order by l.id desc limit 1) > clock_timestamp() - interval '1 second', false);
end
$$;

comment on function app_private.run_expiry_batch(uuid, tid[]) is 'Expires one batch of a run and counts it in job_runs, in one transaction, so that the count is exact even if the worker dies. The run names the task. Returns how many rows expired, and whether a listing was created within the last second; the run slows down then.';
--! EndIncluded expiry/run_expiry_batch.sql
--! Included expiry/end_expiry.sql
create or replace function app_private.end_expiry(is_complete boolean default false, task text default 'expire_subscriptions') returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_source record := app_private.expirable(task);
  v_is_left boolean;
begin
  if task = 'expire_subscriptions' then
    perform app_private.activate_pending_subscriptions();
  end if;
  if not is_complete then
    -- ORDER BY and LIMIT make the planner use the index; without them it reads the table when it expects many rows.
    execute format($sql$
      select true from app_public.%1$I as t where t.status = 'active' and t.%2$I <= $1 order by t.%2$I limit 1
      $sql$, v_source.table_name, v_source.end_column)
    into v_is_left using v_now;
  end if;
  if v_is_left is null and task = 'expire_subscriptions' then
    select true into v_is_left
    from app_public.dealer_subscriptions as p
    where p.status = 'pending' and not exists (
      select from app_public.dealer_subscriptions as other
      where other.dealer_id = p.dealer_id
        and (other.status = 'active' or other.status = 'cancelled' and other.end_at > v_now))
    limit 1;
  end if;
  if v_is_left then
    perform graphile_worker.add_job(task, run_at := v_now + interval '5 seconds', job_key := task || ':skipped');
  end if;
end
$$;

comment on function app_private.end_expiry(boolean, text) is 'Ends an expiry run: starts the pending subscriptions that can start. If another transaction still holds a row that is due or could start, the worker looks again 5 seconds later. `is_complete`: all due rows were expired, so none is searched for. The search would walk over a million dead index entries, which takes a second.';
--! EndIncluded expiry/end_expiry.sql
--! Included expiry/schedule_missed_expiry.sql
create or replace function app_private.schedule_missed_expiry() returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform app_private.release_dead_workers();
  perform graphile_worker.add_job('expire_subscriptions', job_key := 'expire_subscriptions:missed');
  perform graphile_worker.add_job('expire_listings', job_key := 'expire_listings:missed');
end
$$;

comment on function app_private.schedule_missed_expiry() is 'Unlocks the jobs of dead workers and queues an expiry run of subscriptions and one of listings. Each worker calls it at its start, whatever has finished since 00:00 UTC: a run may have died since, and the crontab only makes up for tasks that it knew before. Several workers queue one run of each; a run without due work costs a few index reads.';
--! EndIncluded expiry/schedule_missed_expiry.sql
--! Included expiry/expire_due.sql
create or replace function app_private.expire_due(task text, batch_size integer) returns integer
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_now constant timestamptz := clock_timestamp();
  v_source record := app_private.expirable(task);
  v_from timestamptz := coalesce((select p.expired_until from app_private.expiry_progress as p where p.task = expire_due.task), '-infinity');
  v_is_left boolean;
  v_tids tid[];
  v_last_end_at timestamptz;
begin
  if batch_size is null or batch_size < 1 then
    raise exception using errcode = 'FC010', message = 'The batch size must be at least 1.';
  end if;
  loop
    execute format($sql$
      select array_agg(d.ctid), max(d.ends_at)
      from (
        select t.ctid, t.%2$I as ends_at
        from app_public.%1$I as t
        where t.status = 'active' and t.%2$I >= $1 and t.%2$I <= $2
        order by t.%2$I
        limit $3
        for update skip locked
      ) as d
      $sql$, v_source.table_name, v_source.end_column)
    into v_tids, v_last_end_at using v_from, v_now, batch_size;
    exit when v_tids is not null or v_from = '-infinity';
    -- Restart from -infinity once, for rows that were skipped or got an earlier end. Probe without locks first: the walk over
    -- the dead index entries takes a while.
    execute format($sql$
      select true from app_public.%1$I as t where t.status = 'active' and t.%2$I <= $1 order by t.%2$I limit 1
      $sql$, v_source.table_name, v_source.end_column)
    into v_is_left using v_now;
    exit when v_is_left is null;
    v_from := '-infinity';
  end loop;
  -- SKIP LOCKED: of two calls at once one stores its progress, and neither waits.
  update app_private.expiry_progress as p set expired_until = v_last_end_at
  from (select e.task from app_private.expiry_progress as e where e.task = expire_due.task for update skip locked) as free
  where p.task = free.task;
  if v_tids is null then
    perform app_private.end_expiry(task => expire_due.task);
    return 0;
  end if;
  return app_private.expire_rows(v_tids, task);
end
$$;

comment on function app_private.expire_due(text, integer) is 'Expires up to `batch_size` active rows of a task whose end has passed, oldest end first; expiry_progress stores the position. Rows that another transaction has locked are skipped; the last call adds a job that looks again a few seconds later. Raises FC010 for a batch size below 1.';
--! EndIncluded expiry/expire_due.sql
--! Included subscription/expire_subscriptions.sql
create or replace function app_private.expire_subscriptions(batch_size integer default 1000) returns integer
  language sql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select app_private.expire_due('expire_subscriptions', batch_size)
$$;

comment on function app_private.expire_subscriptions(integer) is 'Expires up to `batch_size` active subscriptions whose end has passed, oldest end first. Starts the subscriptions that waited for them and writes one SYSTEM_EXPIRE audit row. Returns how many it expired; 0 means done. Call it in a loop, each call in a transaction of its own. Raises FC010 for a batch size below 1.';
--! EndIncluded subscription/expire_subscriptions.sql
--! Included listing/expire_listings.sql
create or replace function app_private.expire_listings(batch_size integer default 1000) returns integer
  language sql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
  select app_private.expire_due('expire_listings', batch_size)
$$;

comment on function app_private.expire_listings(integer) is 'Expires up to `batch_size` active listings whose end has passed, oldest end first. From its end on a listing is not shown anyway; this records it. Writes one SYSTEM_EXPIRE audit row. Returns how many it expired; 0 means done. Call it in a loop, each call in a transaction of its own. Raises FC010 for a batch size below 1.';
--! EndIncluded listing/expire_listings.sql
--! Included metrics/listing_metrics.sql
create or replace function app_private.listing_metrics()
  returns table (metric text, labels jsonb, value double precision)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return query
  select 'listings_due'::text, '{}'::jsonb, count(*)::double precision
  from (
    select from app_public.listings as l
    where l.status = 'active' and l.expires_at <= statement_timestamp()
    limit 100000
  ) as due;
end
$$;

comment on function app_private.listing_metrics() is 'Number of active listings whose end has passed, counted in the index and up to 100,000. See operation_metrics.';
--! EndIncluded metrics/listing_metrics.sql
--! Included metrics/expiry_metrics.sql
create or replace function app_private.expiry_metrics()
  returns table (metric text, labels jsonb, value double precision)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return query
  with runs as (
    select t.noun, max(r.finished_at) filter (where r.error is null) as succeeded_at, sum(r.counted) as expired
    from (values ('expire_subscriptions', 'subscription'), ('expire_listings', 'listing')) as t (task, noun)
    left join app_private.job_runs as r on r.task = t.task
    group by t.noun
  )
  select r.noun || '_expiry_last_success_timestamp_seconds', '{}'::jsonb, extract(epoch from r.succeeded_at)::double precision
  from runs as r
  where r.succeeded_at is not null
  union all
  select r.noun || 's_expired_total', '{}', coalesce(r.expired, 0)::double precision from runs as r;
end
$$;

comment on function app_private.expiry_metrics() is 'When an expiry run of subscriptions and one of listings last succeeded, in Unix seconds (no row before the first one), and how many rows all runs have expired. See operation_metrics.';
--! EndIncluded metrics/expiry_metrics.sql
--! Included metrics/operation_metrics.sql
create or replace function app_public.operation_metrics()
  returns table (metric text, labels jsonb, value double precision)
  language plpgsql stable security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '100ms'
as $$
begin
  return query select m.* from app_private.subscription_metrics() as m;
  return query select m.* from app_private.listing_metrics() as m;
  return query select m.* from app_private.expiry_metrics() as m;
  return query select m.* from app_private.ledger_metrics() as m;
  return query select m.* from app_private.job_metrics() as m;
  return query select m.* from app_private.lock_metrics() as m;
end
$$;

comment on function app_public.operation_metrics() is 'Metrics from the database: name, labels and value of each one; docs/metrics.md explains them. Cheap at any size: counts stop at 100,000. For the API''s /metrics only, not for GraphQL.';

grant execute on function app_public.operation_metrics() to forecourt_authenticator;
--! EndIncluded metrics/operation_metrics.sql
