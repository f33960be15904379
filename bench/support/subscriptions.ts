/** Subscriptions for the expiry run. Every second one is due, and one in a hundred of those has a pending successor. */
import { type Database, settle } from './cluster.ts'
import type { Progress } from './progress.ts'

const CHUNK = 50_000
const LANES = 2

/**
 * Dealers with one subscription each. The ends are nearly in the order of the rows, as in production, where most subscriptions
 * have the same duration. They differ from it by up to a day.
 */
const MAKE = `
  with made as (
    insert into app_public.dealers (company_name, country, dealer_type)
    select 'Customer ' || n, 'AT', 'auto_dealer' from generate_series($1::integer, $2::integer) as n
    returning id, substr(company_name, 10)::integer as n
  ), package as (
    select p.id from app_public.dealer_packages as p where p.country = 'AT'
  ), running as (
    insert into app_public.dealer_subscriptions
      (dealer_id, package_id, status, duration_days, included_listing_quota, start_at, end_at)
    select m.id, p.id, 'active', 60, 10, t.end_at - interval '60 days', t.end_at
    from made as m
    cross join package as p
    cross join lateral (
      select now() - interval '1 minute' - (1 - m.n::double precision / $3::integer) * interval '30 days'
        - (abs(hashint4(m.n)) % 86400) * interval '1 second'
        + case when m.n % 2 = 0 then interval '0' else interval '40 days' end as end_at
    ) as t
  )
  insert into app_public.dealer_subscriptions (dealer_id, package_id, status, duration_days, included_listing_quota)
  select m.id, p.id, 'pending', 60, 10 from made as m cross join package as p where m.n % 200 = 0`

export async function fillSubscriptions(
  database: Database,
  total: number,
  progress: Progress,
): Promise<void> {
  const { superuser } = database
  const chunks = Math.ceil(total / CHUNK)
  progress.expect(chunks)
  let next = 0
  const lane = async () => {
    const client = await superuser.connect()
    try {
      await client.query('set session_replication_role = replica')
      for (let chunk = next++; chunk < chunks; chunk = next++) {
        progress.step(`subscriptions: ${chunk * CHUNK} of ${total}`)
        await client.query(MAKE, [chunk * CHUNK + 1, Math.min((chunk + 1) * CHUNK, total), total])
      }
    } finally {
      await client.query('reset all')
      client.release()
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  await settle(database)
}
