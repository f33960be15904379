/** The books: what is true after every transaction, whatever ran at once. */
import type pg from 'pg'

export type BrokenRule = { rule: string; dealer_id: string; id: string; detail: unknown }

/** Every row that breaks the books; none when all is well. For the owner or a superuser. */
export async function brokenRules(db: Pick<pg.ClientBase, 'query'>): Promise<BrokenRule[]> {
  const { rows } = await db.query<BrokenRule>('select * from app_private.verify_ledger()')
  return rows
}
