/** What the ledger says about a dealer, for tests to compare. */
import type pg from 'pg'

type Queryable = Pick<pg.ClientBase, 'query'>

/** What paid for the dealer's listings, in the order in which they were decided: `source gross`. */
export async function charges(db: Queryable, dealerId: string): Promise<string[]> {
  const { rows } = await db.query<{ line: string }>(
    `select source || ' ' || gross_amount as line from app_public.listing_consumptions
     where dealer_id = $1 order by created_at, listing_id`,
    [dealerId],
  )
  return rows.map(({ line }) => line)
}

/** How many of the dealer's listings each source has paid for. */
export async function sources(db: Queryable, dealerId: string): Promise<Record<string, number>> {
  const { rows } = await db.query<{ source: string; count: number }>(
    'select source, count(*)::int from app_public.listing_consumptions where dealer_id = $1 group by source',
    [dealerId],
  )
  return Object.fromEntries(rows.map(({ source, count }) => [source, count]))
}

/** How many rows of each kind the dealer has: the same before and after what writes nothing. */
export async function footprint(db: Queryable, dealerId: string): Promise<Record<string, number>> {
  const { rows } = await db.query<Record<string, number>>(
    `select
       (select count(*) from app_public.listings where dealer_id = $1)::int as listings,
       (select count(*) from app_public.listing_consumptions where dealer_id = $1)::int as consumptions,
       (select count(*) from app_public.invoices where dealer_id = $1)::int as invoices,
       (select count(*) from app_public.invoice_items where dealer_id = $1)::int as items,
       (select count(*) from app_public.checkouts where dealer_id = $1)::int as checkouts,
       (select count(*) from app_public.dealer_subscriptions where dealer_id = $1)::int as subscriptions,
       (select coalesce(sum(used_listing_quota), 0) from app_public.dealer_subscriptions where dealer_id = $1)::int as used`,
    [dealerId],
  )
  return rows[0] ?? {}
}
