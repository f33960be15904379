/** Buys packages, pays invoices and publishes listings through the SQL functions, as the roles that may do so. */
import { randomUUID } from 'node:crypto'
import type pg from 'pg'
import type { TestDatabase } from './database.ts'
import { makeAdminUser, makeDealer, single } from './testData.ts'
import { committed } from './transactions.ts'

export const BUY = 'select * from app_public.buy_package($1, $2, $3)'
export const PAY = 'select * from app_public.pay_invoice($1)'
export const CANCEL_CHECKOUT = 'select * from app_public.cancel_checkout($1)'
export const PUBLISH = "select app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 1, 'EUR')"

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
  const admin = await makeAdminUser(database.owner)
  await committed(database, { admin }, client => client.query(PAY, [invoiceId]))
}

/** A user who buys and publishes. Each function commits. */
export type Buyer = {
  /** Buys these packages for a dealer and has each invoice paid. */
  buyAndPay(dealerId: string, ...packageIds: string[]): Promise<void>
  /** Makes a dealer of the user that has bought these packages: the first is active, the others are pending. */
  makeSubscribedDealer(...packageIds: string[]): Promise<string>
  publish(dealerId: string, times?: number): Promise<void>
}

export function makeBuyer(database: TestDatabase, userId: string): Buyer {
  async function buyAndPay(dealerId: string, ...packageIds: string[]): Promise<void> {
    for (const id of packageIds)
      await payAndCommit(database, await buyAndCommit(database, userId, dealerId, id))
  }
  return {
    buyAndPay,
    async makeSubscribedDealer(...packageIds) {
      const dealerId = await makeDealer(database.owner, userId)
      await buyAndPay(dealerId, ...packageIds)
      return dealerId
    },
    async publish(dealerId, times = 1) {
      for (let number = 1; number <= times; number += 1)
        await committed(database, { dealer: userId }, client => client.query(PUBLISH, [dealerId]))
    },
  }
}

/** The status of a checkout and that of its invoice. */
export async function checkoutStatuses(db: Queryable, id: string): Promise<[string, string]> {
  const { rows } = await db.query(
    `select app_public.status_of_checkout(i.dealer_id, i.id) as checkout, i.status as invoice
     from app_public.invoices as i where i.id = $1`,
    [id],
  )
  return [rows[0].checkout, rows[0].invoice]
}

/** The statuses of the dealer's subscriptions, oldest subscription first. */
export async function subscriptionStatuses(db: Queryable, dealerId: string): Promise<string[]> {
  const { rows }: pg.QueryResult<{ status: string }> = await db.query(
    'select status from app_public.dealer_subscriptions where dealer_id = $1 order by id',
    [dealerId],
  )
  return rows.map(({ status }) => status)
}

/** The used listing quota of the dealer's subscriptions, oldest subscription first. */
export async function usedQuotas(db: Queryable, dealerId: string): Promise<number[]> {
  const { rows }: pg.QueryResult<{ used_listing_quota: number }> = await db.query(
    'select used_listing_quota from app_public.dealer_subscriptions where dealer_id = $1 order by id',
    [dealerId],
  )
  return rows.map(row => row.used_listing_quota)
}

/** Moves the end of the active subscription to the present, as if no expiry run had come since. */
export async function endActive(db: Queryable, dealerId: string): Promise<void> {
  await db.query(
    `update app_public.dealer_subscriptions set start_at = start_at - interval '40 days', end_at = clock_timestamp()
     where dealer_id = $1 and status = 'active'`,
    [dealerId],
  )
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
