/** Active listings for the pages that visitors read. */
import { settle } from './cluster.ts'
import type { Dataset } from './dataset.ts'
import { dropIndexes, runBulk } from './history.ts'
import type { Progress } from './progress.ts'

const CHUNK = 50_000

/** Published evenly over the last days ($5), each for 90 days. One in a hundred is premium. Without ledger rows, which a page does not read. */
const MAKE = `
  with numbered as materialized (
    select d.id, d.country, row_number() over (order by d.id) - 1 as number from app_public.dealers as d
  )
  insert into app_public.listings (
    dealer_id, country, status, title, module, price, currency, idempotency_key, payload_hash, created_by, created_at, updated_at,
    published_at, expires_at, is_premium, premium_until)
  select d.id, d.country, 'active', 'Golf VIII 1.5 TSI', 'auto', 21900.00, 'EUR', gen_random_uuid(), decode(repeat('00', 32), 'hex'),
    $3::uuid, t.at, t.at, t.at, t.at + interval '90 days', n % 100 = 0, case when n % 100 = 0 then now() + interval '7 days' end
  from generate_series($1::integer, $2::integer) as n
  join numbered as d on d.number = n % (select count(*) from app_public.dealers)
  cross join lateral (select now() - $5::integer * interval '1 day' * (1 - n::double precision / $4::integer) as at) as t`

export async function fillListings(
  { database, fleetUserId }: Dataset,
  total: number,
  progress: Progress,
  days = 80,
): Promise<void> {
  const { superuser } = database
  const indexes = await dropIndexes(superuser)
  progress.expect(Math.ceil(total / CHUNK))
  for (let from = 1; from <= total; from += CHUNK) {
    progress.step(`active listings: ${from - 1} of ${total}`)
    await runBulk(superuser, MAKE, [from, Math.min(from + CHUNK - 1, total), fleetUserId, total, days])
  }
  for (const index of indexes) await runBulk(superuser, index)
  await settle(database)
}
