--! Previous: sha1:978d3fab3fe47707af9682e0f123fcc8d052f9e0
--! Hash: sha1:413815c4f5d118836375667ffd8b0f0624fa00df
--! Message: operation metrics

-- Gives up rather than queue behind a long transaction with everyone else behind it.
set local lock_timeout to '2s';
set local statement_timeout to '60s';

--! Included listing/record_consumption.sql
create or replace function app_private.record_consumption(
  listing app_public.listings, decision app_private.publication_decision
) returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
declare
  v_charge app_public.invoice_items := decision.charge;
begin
  if decision.source = 'subscription_quota' then
    update app_public.dealer_subscriptions as s
    set used_listing_quota = s.used_listing_quota + 1, updated_at = listing.created_at
    where s.dealer_id = listing.dealer_id and s.id = decision.subscription_id;
  elsif decision.source = 'paid_extra' then
    v_charge.dealer_id := listing.dealer_id;
    v_charge.description := 'Listing ' || listing.id;
    v_charge.price_config_id := (decision.price).id;
    v_charge.price_version := (decision.price).price_version;
    v_charge.country := (decision.price).country;
    v_charge.created_at := listing.created_at;
    v_charge.id := app_private.add_invoice_item(v_charge);
  end if;
  insert into app_public.listing_consumptions (
    dealer_id, listing_id, source, subscription_id, price_config_id, invoice_item_id,
    net_amount, vat_rate, vat_amount, gross_amount, currency, created_by, created_at)
  values (
    listing.dealer_id, listing.id, decision.source, decision.subscription_id, v_charge.price_config_id, v_charge.id,
    v_charge.net_amount, v_charge.vat_rate, v_charge.vat_amount, v_charge.gross_amount, v_charge.currency,
    listing.created_by, listing.created_at);
  -- counted by the API: it hears of it in passing, and of a publication only, not of a repeated request
  raise notice 'listing published' using detail = decision.source;
end
$$;

comment on function app_private.record_consumption(app_public.listings, app_private.publication_decision) is
  'Carries out a decision: takes the quota or bills the price, and writes the listing''s row in the ledger. Says so in a notice, for the metrics. The dealer is locked by the caller.';
--! EndIncluded listing/record_consumption.sql
--! Included operations/subscription_metrics.sql
create or replace function app_private.subscription_metrics()
  returns table (metric text, labels jsonb, value double precision)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return query
  select 'subscriptions_due'::text, '{}'::jsonb, count(*)::double precision
  from (
    select from app_public.dealer_subscriptions as s
    where s.status = 'active' and s.end_at <= statement_timestamp()
    limit 100000
  ) as due;
end
$$;

comment on function app_private.subscription_metrics() is
  'Active subscriptions whose end has come, counted in the index and up to 100,000. See operation_metrics.';
--! EndIncluded operations/subscription_metrics.sql
--! Included operations/expiry_metrics.sql
create or replace function app_private.expiry_metrics()
  returns table (metric text, labels jsonb, value double precision)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return query
  with runs as (
    select max(r.finished_at) filter (where r.error is null) as succeeded_at, sum(r.counted) as expired
    from app_private.job_runs as r
    where r.task = 'expire_subscriptions'
  )
  select 'subscription_expiry_last_success_timestamp_seconds'::text, '{}'::jsonb,
    extract(epoch from r.succeeded_at)::double precision
  from runs as r
  where r.succeeded_at is not null
  union all
  select 'subscriptions_expired_total', '{}', coalesce(r.expired, 0)::double precision from runs as r;
end
$$;

comment on function app_private.expiry_metrics() is
  'When expiry last succeeded, in Unix seconds (no row before the first run), and how many subscriptions its runs have ended. See operation_metrics.';
--! EndIncluded operations/expiry_metrics.sql
--! Included operations/ledger_metrics.sql
create or replace function app_private.ledger_metrics()
  returns table (metric text, labels jsonb, value double precision)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return query
  with last as (
    select c.broken, c.finished_at from app_private.ledger_checks as c order by c.id desc limit 1
  )
  select 'ledger_broken_rows'::text, '{}'::jsonb, l.broken::double precision from last as l
  union all
  select 'ledger_last_check_timestamp_seconds', '{}', extract(epoch from l.finished_at)::double precision from last as l;
end
$$;

comment on function app_private.ledger_metrics() is
  'What the last check of the ledger has found, and when. No row before the first check. See operation_metrics.';
--! EndIncluded operations/ledger_metrics.sql
--! Included operations/job_metrics.sql
create or replace function app_private.job_metrics()
  returns table (metric text, labels jsonb, value double precision)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return query
  with due as (
    select count(*) as jobs, min(j.run_at) as oldest
    from (
      select d.run_at from graphile_worker.jobs as d
      where d.locked_at is null and d.attempts < d.max_attempts and d.run_at <= statement_timestamp()
      limit 100000
    ) as j
  ), failed as (
    select j.task_identifier, j.attempts >= j.max_attempts as is_given_up, count(*) as jobs
    from (select f.* from graphile_worker.jobs as f where f.last_error is not null limit 100000) as j
    group by 1, 2
  )
  select 'worker_jobs_due'::text, '{}'::jsonb, d.jobs::double precision from due as d
  union all
  select 'worker_oldest_due_job_age_seconds', '{}',
    coalesce(extract(epoch from statement_timestamp() - d.oldest), 0)::double precision
  from due as d
  union all
  select case when f.is_given_up then 'worker_jobs_given_up' else 'worker_jobs_failing' end,
    jsonb_build_object('task', f.task_identifier), f.jobs::double precision
  from failed as f;
end
$$;

comment on function app_private.job_metrics() is
  'The worker''s queue: jobs that are due, the age of the oldest, those that failed and will be tried again, and those that failed too often. Up to 100,000 each. See operation_metrics.';
--! EndIncluded operations/job_metrics.sql
--! Included operations/lock_metrics.sql
create or replace function app_private.lock_metrics()
  returns table (metric text, labels jsonb, value double precision)
  language plpgsql stable security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  return query
  with waiting as (
    select count(distinct l.pid) as sessions, min(l.waitstart) as since
    from pg_locks as l
    join pg_stat_activity as a on a.pid = l.pid
    where not l.granted and a.datname = current_database()
  )
  select 'database_sessions_waiting_for_locks'::text, '{}'::jsonb, w.sessions::double precision from waiting as w
  union all
  select 'database_longest_lock_wait_seconds', '{}',
    coalesce(greatest(0, extract(epoch from clock_timestamp() - w.since)), 0)::double precision
  from waiting as w;
end
$$;

comment on function app_private.lock_metrics() is
  'How many sessions on this database wait for a lock, and for how long the first of them. See operation_metrics.';
--! EndIncluded operations/lock_metrics.sql
--! Included operations/operation_metrics.sql
create or replace function app_public.operation_metrics()
  returns table (metric text, labels jsonb, value double precision)
  language plpgsql stable security definer
  set search_path to pg_catalog, app_public, app_private, pg_temp
  set lock_timeout to '100ms'
as $$
begin
  return query select m.* from app_private.subscription_metrics() as m;
  return query select m.* from app_private.expiry_metrics() as m;
  return query select m.* from app_private.ledger_metrics() as m;
  return query select m.* from app_private.job_metrics() as m;
  return query select m.* from app_private.lock_metrics() as m;
end
$$;

comment on function app_public.operation_metrics() is
  'What the database knows of the running of Forecourt: name, labels and value of each metric, as docs/metrics.md explains them. Cheap at any size: counts stop at 100,000. For the API''s /metrics alone, not for GraphQL.';

grant execute on function app_public.operation_metrics() to forecourt_authenticator;
--! EndIncluded operations/operation_metrics.sql
