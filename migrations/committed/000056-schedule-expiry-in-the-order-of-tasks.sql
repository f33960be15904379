--! Previous: sha1:5a4ee9a59f6dfa55ae7e7822edd24035b2d0ef71
--! Hash: sha1:ca974631492e37db076270ab5f8558a6281920a5
--! Message: schedule expiry in the order of tasks

set local lock_timeout to '2s';
set local statement_timeout to '60s';

--! Included expiry/schedule_missed_expiry.sql
create or replace function app_private.schedule_missed_expiry() returns void
  language plpgsql volatile security invoker
  set search_path to pg_catalog, app_public, app_private, pg_temp
as $$
begin
  perform app_private.release_dead_workers();
  -- A starting runner inserts its task names in this order. In another order the two can deadlock on a new database.
  perform graphile_worker.add_job('expire_listings', job_key := 'expire_listings:missed');
  perform graphile_worker.add_job('expire_subscriptions', job_key := 'expire_subscriptions:missed');
end
$$;

comment on function app_private.schedule_missed_expiry() is 'Unlocks the jobs of dead workers and queues an expiry run of subscriptions and one of listings. Each worker calls it at its start, whatever has finished since 00:00 UTC: a run may have died since, and the crontab only makes up for tasks that it knew before. Several workers queue one run of each; a run without due work costs a few index reads.';
--! EndIncluded expiry/schedule_missed_expiry.sql
