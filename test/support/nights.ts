/** Runs of the expiry as a worker has left them, for tests of what the next worker makes of it. */
import type { TestDatabase } from './database.ts'

/** Records a run that came to its end this long ago: after `'0'` a worker that starts finds nothing to make up. */
export async function recordNight({ superuser }: TestDatabase, ago = '0'): Promise<void> {
  await superuser.query(
    `insert into app_private.job_runs (task, started_at, finished_at, backend_pid, backend_started_at)
     select 'expire_subscriptions', at, at, 0, at from (select clock_timestamp() - $1::interval) as t (at)`,
    [ago],
  )
}

export type Run = {
  task: string
  started_at: Date
  finished_at: Date | null
  counted: string
  error: string | null
}

/** All runs of the expiry, the oldest first. */
export async function runs({ superuser }: TestDatabase): Promise<Run[]> {
  const { rows } = await superuser.query<Run>(
    `select task, started_at, finished_at, counted, error from app_private.job_runs
     where task = 'expire_subscriptions' order by started_at`,
  )
  return rows
}

/** Makes `due` subscriptions whose end has come, and one that runs on, each of a dealer of its own; the package must be there. */
export async function makeMany({ superuser }: TestDatabase, due: number): Promise<void> {
  await superuser.query(
    `with made as (
       insert into app_public.dealers (company_name, country, dealer_type)
       select 'Dealer ' || n, 'DE', 'general' from generate_series(0, $1::integer) as n
       returning id, substr(company_name, 8)::integer as n
     )
     insert into app_public.dealer_subscriptions
       (dealer_id, package_id, status, duration_days, included_listing_quota, start_at, end_at)
     select m.id, p.id, 'active', 30, 10, now() - interval '60 days',
       case m.n when 0 then now() + interval '1 day' else now() - m.n * interval '1 second' end
     from made as m cross join (select id from app_public.dealer_packages limit 1) as p`,
    [due],
  )
  await superuser.query('analyze app_public.dealer_subscriptions')
}

/** What the audit trail says of the expired ones against what the table says; all of them zero when the books agree. */
export async function expiryFaults({ superuser }: TestDatabase): Promise<Record<string, number>> {
  const { rows } = await superuser.query<Record<string, number>>(
    `with batches as (
       select (new_values ->> 'count')::integer as count, new_values -> 'ids' as ids
       from app_public.audit_logs where action = 'SYSTEM_EXPIRE'
     ), listed as (
       select id::uuid from batches, jsonb_array_elements_text(ids) as listed (id)
     ), expired as (
       select id from app_public.dealer_subscriptions where status = 'expired'
     )
     select
       (select count(*)::integer from app_public.dealer_subscriptions where status = 'active' and end_at <= now()) as left_over,
       (select count(*)::integer from app_public.dealer_subscriptions where status = 'expired' and end_at > now()) as too_early,
       (select count(*)::integer from batches where count <> jsonb_array_length(ids)) as miscounted,
       (select count(*)::integer - count(distinct id)::integer from listed) as listed_twice,
       (select count(*)::integer from expired full join listed using (id) where expired.id is null or listed.id is null) as unmatched`,
  )
  return rows[0] ?? {}
}
