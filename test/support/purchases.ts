/** Buys packages and pays invoices through the SQL functions, as the roles that may do so. */
import { randomUUID } from 'node:crypto'
import type pg from 'pg'
import type { TestDatabase } from './database.ts'
import { single } from './testData.ts'
import { committed } from './transactions.ts'

export const BUY = 'select * from app_public.buy_package($1, $2, $3)'
export const PAY = 'select * from app_public.pay_invoice($1)'

type Queryable = { query(sql: string, values?: unknown[]): Promise<pg.QueryResult> }

/** Buys a package as the current user of the transaction, and returns the id of the invoice. */
export async function buy(
  db: Pick<pg.ClientBase, 'query'>,
  dealerId: string,
  packageId: string,
  key: string = randomUUID(),
): Promise<string> {
  return single(db, 'select invoice_id from app_public.buy_package($1, $2, $3)', [dealerId, packageId, key])
}

/** Buys a package, commits, and returns the id of the unpaid invoice. */
export function buyAndCommit(database: TestDatabase, userId: string, dealerId: string, packageId: string) {
  return committed(database, { dealer: userId }, client => buy(client, dealerId, packageId))
}

/** Marks an invoice as paid as an admin, and commits. */
export async function payAndCommit(database: TestDatabase, invoiceId: string): Promise<void> {
  await committed(database, { admin: randomUUID() }, client => client.query(PAY, [invoiceId]))
}

/** The statuses of the dealer's subscriptions, oldest subscription first. */
export async function subscriptionStatuses(db: Queryable, dealerId: string): Promise<string[]> {
  const { rows }: pg.QueryResult<{ status: string }> = await db.query(
    'select status from app_public.dealer_subscriptions where dealer_id = $1 order by id',
    [dealerId],
  )
  return rows.map(({ status }) => status)
}

/** Dealers that have a pending subscription but no running one. */
export async function strandedDealers(db: Queryable): Promise<string[]> {
  const { rows }: pg.QueryResult<{ dealer_id: string }> = await db.query(
    `select distinct p.dealer_id from app_public.dealer_subscriptions as p
     where p.status = 'pending' and not exists (
       select from app_public.dealer_subscriptions as s
       where s.dealer_id = p.dealer_id and s.status in ('active', 'cancelled') and s.end_at > clock_timestamp())`,
  )
  return rows.map(({ dealer_id }) => dealer_id)
}

/** When the worker will run the expiry for this dealer; empty when no subscription is pending. */
export async function scheduledExpiryRuns(superuser: Queryable, dealerId: string): Promise<Date[]> {
  const { rows }: pg.QueryResult<{ run_at: Date }> = await superuser.query(
    "select run_at from graphile_worker.jobs where task_identifier = 'expire_subscriptions' and key = $1",
    [`expire_subscriptions:${dealerId}`],
  )
  return rows.map(({ run_at }) => run_at)
}
