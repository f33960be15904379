/** The books: what is true after every transaction, whatever ran at once. */
import type pg from 'pg'

export type BrokenRule = { rule: string; dealer_id: string; id: string; detail: unknown }

/** Every row that breaks the books; none when all is well. For the owner or a superuser. */
export async function brokenRules(db: Pick<pg.ClientBase, 'query'>): Promise<BrokenRule[]> {
  const { rows } = await db.query<BrokenRule>('select * from app_private.verify_ledger()')
  return rows
}

/** The same of the listings alone, part by part, each on a snapshot of its own. */
export async function listingsInOrder(db: Pick<pg.ClientBase, 'query'>, size = 1): Promise<boolean> {
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
