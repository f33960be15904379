/**
 * The rules of publication in an application tier: single statements in one transaction, with the decisions in Node. It uses
 * the same tables and locks in the same order, and is as exact: test/bench/peer.test.ts checks that.
 */
import { createHash, randomUUID } from 'node:crypto'
import type pg from 'pg'
import { type Charge, charge } from './money.ts'
import { type Statement, statements } from './statements.ts'

export type Publication = {
  dealerId: string
  idempotencyKey: string
  title: string
  module: string
  price: string
  currency: string
}

export type Published = {
  id: string
  status: string
  title: string
  consumption: { source: string; netAmount: string; vatRate: string; grossAmount: string; currency: string }
}

/** A refusal, with `code` and `status` of docs/errors.md. */
export class Refused extends Error {
  readonly code: string
  readonly status: number

  constructor(code: string, status: number) {
    super(code)
    this.code = code
    this.status = status
  }
}

type Row = Record<string, string>
type Run = (statement: Statement, values: unknown[]) => Promise<Row[]>
type Decision = Charge & { source: string; subscriptionId?: string; price?: Row; currency: string }

export async function publish(pool: pg.Pool, userId: string, publication: Publication): Promise<Published> {
  const client = await pool.connect()
  try {
    await client.query('begin')
    const run: Run = async (statement, values) => (await client.query({ ...statement, values })).rows
    const published = await publishIn(run, userId, publication)
    await client.query('commit')
    return published
  } catch (error) {
    await client.query('rollback')
    throw error
  } finally {
    client.release()
  }
}

async function publishIn(run: Run, userId: string, publication: Publication): Promise<Published> {
  const { dealerId, idempotencyKey, title, module, price, currency } = publication
  const [member] = await run(statements.member, [dealerId, userId])
  if (member === undefined) throw new Refused('forbidden', 403)
  const [dealer] = await run(statements.lockDealer, [dealerId])
  if (dealer === undefined) throw new Refused('not_found', 404)
  const payloadHash = createHash('sha256')
    .update(JSON.stringify([title, module, price, currency]))
    .digest()
  const [existing] = await run(statements.byIdempotencyKey, [dealerId, idempotencyKey])
  if (existing !== undefined) {
    if (!payloadHash.equals(existing.payload_hash as unknown as Buffer))
      throw new Refused('idempotency_conflict', 409)
    return publishedOf(existing)
  }
  if (!dealer.is_active || !dealer.can_publish) throw new Refused('forbidden', 403)
  const subscriptions = await run(statements.lockSubscriptions, [dealerId])
  // read the clock after the locks: a request that waited past a subscription's end must not use it
  const at = new Date()
  const decision = await decide(run, dealerId, dealer.country ?? '', subscriptions, at)
  const invoiceItemId = await consume(run, dealerId, dealer.country ?? '', decision, at)
  const car = [title.trim(), module, price, currency]
  const listing = [dealerId, dealer.country, ...car, idempotencyKey, payloadHash, userId, at]
  const [made] = await run(statements.insertListing, listing)
  const { source, subscriptionId = null, net, vatRate, vat, gross } = decision
  const proof = [dealerId, made?.id, source, subscriptionId, decision.price?.id ?? null, invoiceItemId]
  await run(statements.insertConsumption, [...proof, net, vatRate, vat, gross, decision.currency, userId, at])
  const consumption = {
    source,
    net_amount: net,
    vat_rate: vatRate,
    gross_amount: gross,
    paid_in: decision.currency,
  }
  return publishedOf({ ...made, ...consumption })
}

/** The order of payment: currency and VAT rate must exist, then free quota, subscription, price. */
async function decide(
  run: Run,
  dealerId: string,
  country: string,
  subscriptions: Row[],
  at: Date,
): Promise<Decision> {
  const [currency] = await run(statements.currency, [country])
  const [vat] = await run(statements.vatRate, [country, at])
  if (currency === undefined || vat === undefined) throw new Refused('pricing_config_missing', 409)
  const priced = (net: string) => ({
    ...charge(net, vat.rate ?? '0', Number(currency.minor_units)),
    currency: currency.code ?? '',
  })
  const [quota] = await run(statements.freeQuota, [country, at])
  if (quota !== undefined) {
    const [used] = await run(statements.freeUsed, [dealerId, at, quota.period_days])
    if (Number(used?.count) < Number(quota.quota_amount)) return { source: 'free_quota', ...priced('0') }
  }
  const running = subscriptions.filter(({ start_at, end_at }) => isWithin(at, start_at, end_at))
  const open = running.find(
    ({ used_listing_quota, included_listing_quota }) =>
      Number(used_listing_quota) < Number(included_listing_quota),
  )
  if (open !== undefined) {
    return { source: 'subscription_quota', subscriptionId: open.id ?? '', ...priced('0') }
  }
  if (running.length > 0 && running.every(({ overage }) => overage === 'block'))
    throw new Refused('quota_exhausted', 402)
  const prices = await run(statements.price, [country, at])
  if (prices[0] === undefined) throw new Refused('pricing_config_missing', 409)
  if (prices.length > 1) throw new Refused('pricing_config_ambiguous', 409)
  return { source: 'paid_extra', price: prices[0], ...priced(prices[0].unit_price_net ?? '0') }
}

/** Uses the quota, or adds the price to the invoice. Returns the id of the invoice item, if there is one. */
async function consume(
  run: Run,
  dealerId: string,
  country: string,
  decision: Decision,
  at: Date,
): Promise<string | null> {
  const { subscriptionId, price, net, vatRate, vat, gross, currency } = decision
  if (subscriptionId !== undefined) await run(statements.useSubscription, [dealerId, subscriptionId, at])
  if (price === undefined) return null
  const period = new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth(), 1)).toISOString().slice(0, 10)
  const [invoice] = await run(statements.addToInvoice, [
    dealerId,
    country,
    currency,
    period,
    net,
    vat,
    gross,
    at,
  ])
  const values = [dealerId, invoice?.id, `Listing ${randomUUID()}`, price.id, price.price_version]
  const [item] = await run(statements.insertInvoiceItem, [
    ...values,
    net,
    vatRate,
    vat,
    gross,
    country,
    currency,
    at,
  ])
  return item?.id ?? null
}

function isWithin(at: Date, start: unknown, end: unknown): boolean {
  return start instanceof Date && end instanceof Date && start <= at && at < end
}

function publishedOf(row: Row): Published {
  const { id = '', status = '', title = '' } = row
  const consumption = {
    source: (row.source ?? '').toUpperCase(),
    netAmount: row.net_amount ?? '',
    vatRate: row.vat_rate ?? '',
    grossAmount: row.gross_amount ?? '',
    currency: row.paid_in ?? '',
  }
  return { id, status: status.toUpperCase(), title, consumption }
}
