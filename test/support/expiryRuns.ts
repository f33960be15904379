/** Expiry runs: records earlier ones, makes due subscriptions, and checks the result of a run. */
import type { TestDatabase } from './database.ts'

/** Records a run that finished this long ago. With `'0'` a starting worker finds no missed run to catch up on. */
export async function recordExpiryRun({ superuser }: TestDatabase, ago = '0'): Promise<void> {
  await superuser.query(
    `insert into app_private.job_runs (task, started_at, finished_at, backend_pid, backend_started_at)
     select 'expire_subscriptions', at, at, 0, at from (select clock_timestamp() - $1::interval) as t (at)`,
    [ago],
  )
}

export type ExpiryRun = {
  task: string
  started_at: Date
  finished_at: Date | null
  counted: string
  error: string | null
}

/** Reads all expiry runs, oldest first. */
export async function readExpiryRuns({ superuser }: TestDatabase): Promise<ExpiryRun[]> {
  const { rows } = await superuser.query<ExpiryRun>(
    `select task, started_at, finished_at, counted, error from app_private.job_runs
     where task = 'expire_subscriptions' order by started_at`,
  )
  return rows
}

/** Makes `due` subscriptions that have ended and one that has not, each with its own dealer. A package must exist. */
export async function makeDueSubscriptions({ superuser }: TestDatabase, due: number): Promise<void> {
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

/** Compares the audit trail with the expired subscriptions. Every count is 0 when they agree. */
export async function expiryAuditFaults({ superuser }: TestDatabase): Promise<Record<string, number>> {
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
