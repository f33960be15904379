/** Reads the ledger: the charges of a dealer, its rows, and the rules that must hold after every transaction. */
import type pg from 'pg'

type Queryable = Pick<pg.ClientBase, 'query'>

/** The dealer's charges in the order in which they were decided, each as `source gross`. */
export async function readCharges(db: Queryable, dealerId: string): Promise<string[]> {
  const { rows } = await db.query<{ line: string }>(
    `select source || ' ' || gross_amount as line from app_public.listing_consumptions
     where dealer_id = $1 order by created_at, listing_id`,
    [dealerId],
  )
  return rows.map(({ line }) => line)
}

/** The rows of a listing in the order in which they were written, each as `kind source gross`. */
export async function readLedger(db: Queryable, listingId: string): Promise<string[]> {
  const { rows } = await db.query<{ line: string }>(
    `select concat_ws(' ', kind, source, gross_amount) as line from app_public.listing_consumptions
     where listing_id = $1 order by created_at, id`,
    [listingId],
  )
  return rows.map(({ line }) => line)
}

/** How many of the dealer's listings each source paid for. */
export async function countSources(db: Queryable, dealerId: string): Promise<Record<string, number>> {
  const { rows } = await db.query<{ source: string; count: number }>(
    'select source, count(*)::int from app_public.listing_consumptions where dealer_id = $1 group by source',
    [dealerId],
  )
  return Object.fromEntries(rows.map(({ source, count }) => [source, count]))
}

/** How many rows the dealer has in each table. A refused call must leave these counts unchanged. */
export async function countDealerRows(db: Queryable, dealerId: string): Promise<Record<string, number>> {
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

export type BrokenRule = { rule: string; dealer_id: string; id: string; detail: unknown }

/** Every row that breaks a rule of the ledger. Only the owner and a superuser may call this. */
export async function brokenRules(db: Queryable): Promise<BrokenRule[]> {
  const { rows } = await db.query<BrokenRule>('select * from app_private.verify_ledger()')
  return rows
}

/** Checks only the listings, `size` at a time, each part in its own snapshot. False when a part breaks a rule. */
export async function listingsInOrder(db: Queryable, size = 1): Promise<boolean> {
  let dealerId: string | null = '00000000-0000-0000-0000-000000000000'
  while (dealerId !== null) {
    const { rows }: pg.QueryResult<{ in_order: boolean; next_dealer_id: string | null }> = await db.query(
      'select * from app_private.verify_listings_from($1, $2)',
      [dealerId, size],
    )
    if (!rows[0]?.in_order) return false
    dealerId = rows[0].next_dealer_id
  }
  return true
}
