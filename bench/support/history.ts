/** Fills a dataset with past listings and their ledger rows, spread over all dealers and two years. */
import type pg from 'pg'
import { type Database, settle } from './cluster.ts'
import type { Dataset } from './dataset.ts'
import type { Progress } from './progress.ts'

/** In nearly empty tables, Postgres plans statements for empty tables and keeps those plans. */
export const LEAST_ROWS = 10_000
/** Dealers filled by one statement; two statements run at a time. */
const CHUNK = 150
const LANES = 2

type Queryable = Pick<pg.ClientBase, 'query'>

/**
 * Fills the ledger in bulk: dealer by dealer in the order of the keys, without triggers, and with the other indexes made
 * afterwards. Every rule of the ledger holds. Subscription quota is counted on an expired subscription, and every 23rd
 * listing of a German dealer is free, at most two in 30 days.
 */
export async function fillLedger(
  { database, fleetUserId }: { database: Pick<Database, 'superuser'> } & Pick<Dataset, 'fleetUserId'>,
  rows: number,
  progress: Progress,
  /** Fills the ledger of this dealer only. */
  dealerId?: string,
): Promise<void> {
  const { superuser } = database
  const indexes = await dropIndexes(superuser)
  await superuser.query(PLAN, [rows, dealerId])
  await runBulk(superuser, PAST_SUBSCRIPTIONS)
  const { rows: dealers } = await superuser.query<{ count: number }>(
    'select count(*)::integer from bench_past',
  )
  const chunks = Math.ceil((dealers[0]?.count ?? 0) / CHUNK)
  progress.expect(Math.ceil(chunks / 10))
  const { rowCount } = await superuser.query(HAS_COUNTRY)
  const listings = pastListings(rowCount === 1)
  let next = 0
  const lane = async () => {
    for (let chunk = next++; chunk < chunks; chunk = next++) {
      if (chunk % 10 === 0) progress.step(`${rows} rows: ${Math.round((chunk / chunks) * 100)} %`)
      const range = [chunk * CHUNK, (chunk + 1) * CHUNK]
      await runBulk(superuser, listings, [...range, fleetUserId])
      await runBulk(superuser, PAST_CONSUMPTIONS, [...range, fleetUserId])
    }
  }
  await Promise.all(Array.from({ length: LANES }, lane))
  await superuser.query('drop table bench_past')
  for (const index of indexes) await runBulk(superuser, index)
  await settle(database)
}

/** Runs a statement without triggers and foreign keys, and with more memory for sorting. */
export async function runBulk(pool: pg.Pool, sql: string, values: unknown[] = []): Promise<void> {
  const client = await pool.connect()
  try {
    await client.query("set session_replication_role = replica; set maintenance_work_mem = '512MB'")
    await client.query(sql, values)
  } finally {
    await client.query('reset all')
    client.release()
  }
}

/** Drops the indexes that no constraint needs. Returns the statements that make them again. */
export async function dropIndexes(db: Queryable): Promise<string[]> {
  const { rows } = await db.query<{ name: string; made: string }>(`
    select i.indexrelid::regclass::text as name, pg_get_indexdef(i.indexrelid) as made
    from pg_index as i
    where i.indrelid in ('app_public.listings'::regclass, 'app_public.listing_consumptions'::regclass)
      and not exists (select from pg_constraint as c where c.conindid = i.indexrelid)`)
  for (const { name } of rows) await db.query(`drop index ${name}`)
  return rows.map(({ made }) => made)
}

/**
 * How many past listings each dealer has, in the order of their keys. All rows share one `until`: the id of a listing depends
 * on its time, and two statements make listing and ledger row.
 */
const PLAN = `
  create unlogged table bench_past as
  select d.id, d.country, d.number, d.past, d.free, app_private.time_ordered_uuid() as subscription_id, now() as until
  from (
    select s.id, s.country, s.number, s.past, case when s.country = 'DE' then s.past / 23 else 0 end as free
    from (
      select d.id, d.country, row_number() over (order by d.id) - 1 as number,
        ($1 / count(*) over () + (row_number() over (order by d.id) <= $1 % count(*) over ())::integer)::integer as past
      from app_public.dealers as d where d.id = $2::uuid or $2::uuid is null
    ) as s
  ) as d`

const PAST_SUBSCRIPTIONS = `
  insert into app_public.dealer_subscriptions (
    dealer_id, id, package_id, status, duration_days, included_listing_quota, used_listing_quota, start_at, end_at,
    created_at, updated_at)
  select d.id, d.subscription_id, p.id, 'expired', 729, d.past - d.free, d.past - d.free,
    now() - interval '730 days', now() - interval '1 day', now() - interval '730 days', now() - interval '1 day'
  from bench_past as d
  join app_public.dealer_packages as p on p.country = d.country`

/** The listings of some dealers. The ids contain their times, as in `time_ordered_uuid`. */
const LISTINGS = `
  select d.id as dealer_id, d.country, d.subscription_id, n,
    n % 23 = 0 and d.country = 'DE' as is_free, t.at,
    (lpad(to_hex((extract(epoch from t.at) * 1000)::bigint), 12, '0') || '7' || substr(md5(d.id::text || n), 1, 19))::uuid as id
  from (select * from bench_past where number >= $1 and number < $2 order by number) as d
  cross join lateral generate_series(1, d.past) as n
  cross join lateral (
    select d.until - interval '730 days' + (n - 0.5) / d.past * interval '729 days' as at
  ) as t`

const HAS_COUNTRY = `
  select from pg_attribute where attrelid = 'app_public.listings'::regclass and attname = 'country' and not attisdropped`

/** In commits before release 0.3, listings have no country. */
const pastListings = (hasCountry: boolean) => `
  insert into app_public.listings (
    dealer_id, ${hasCountry ? 'country,' : ''} id, status, title, module, price, currency, idempotency_key, payload_hash, created_by,
    created_at, updated_at)
  select l.dealer_id, ${hasCountry ? 'l.country,' : ''} l.id, 'active', 'Golf VIII 1.5 TSI', 'auto', 21900.00, 'EUR', md5(l.id::text)::uuid,
    decode(repeat('00', 32), 'hex'), $3::uuid, l.at, l.at
  from (${LISTINGS}) as l`

const PAST_CONSUMPTIONS = `
  insert into app_public.listing_consumptions (
    dealer_id, id, listing_id, kind, source, subscription_id, net_amount, vat_rate, vat_amount, gross_amount, currency,
    created_by, created_at)
  select l.dealer_id, l.id, l.id, 'publication',
    case when l.is_free then 'free_quota' else 'subscription_quota' end::app_public.consumption_source,
    case when not l.is_free then l.subscription_id end,
    0.00, case l.country when 'DE' then 19.00 else 20.00 end, 0.00, 0.00, 'EUR', $3::uuid, l.at
  from (${LISTINGS}) as l`
