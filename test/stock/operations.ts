/** Random operations of a dealer: each is sent to the API, and done to the model. Both must answer the same. */
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { createListing, type TestServer } from '../support/apiServer.ts'
import { brief, createListings, row } from '../support/batches.ts'
import type { TestDatabase } from '../support/database.ts'
import { buyPackage, cancelSubscription, payInvoice, quoteListing } from '../support/graphqlOperations.ts'
import { type StepName, step } from '../support/listings.ts'
import { promote } from '../support/promotions.ts'
import type { Seller } from '../support/seller.ts'
import type { Answer, Kind, Listing, Package, Stock } from './model.ts'

/** A dealer that operates on its own connection. `ids` are the listings, `model.listings` the same in the same order. */
export type Operator = {
  database: TestDatabase
  server: TestServer
  seller: Seller
  adminToken: string
  packages: readonly (Package & { id: string })[]
  model: Stock
  ids: string[]
  lastKey: string
}

export type Operation = { name: keyof typeof operations; at: number; choice: number; faults: boolean[] }

/** What the API and the model answer. */
type Answers = readonly [actual: Answer, expected: Answer]

type Response = { status: number; errors: { extensions: { code: string } }[] }
const LATEST = 15

const refusal = ({ status, errors }: Response) => `${status} ${errors[0]?.extensions.code}`

/** One of the last listings, because most of the older ones have ended. */
const subject = ({ ids, model }: Operator, at: number): { id: string; listing: Listing } | undefined => {
  const index = ids.length - 1 - (at % LATEST)
  const id = ids[index]
  const listing = model.listings[index]
  return id === undefined || listing === undefined ? undefined : { id, listing }
}

/** A mutation that takes a listing and answers with its status. */
function onListing(
  name: StepName,
  expected: (model: Stock, listing: Listing) => Answer,
  input: (operator: Operator) => Record<string, unknown> = () => ({}),
) {
  return async (operator: Operator, { at }: Operation): Promise<Answers | undefined> => {
    const found = subject(operator, at)
    if (found === undefined) return undefined
    const { server, seller, adminToken, model } = operator
    const token = name === 'moderateListing' ? adminToken : seller.token
    const { response, listing } = await step(server, token, name, { listingId: found.id, ...input(operator) })
    return [listing?.status ?? refusal(response), expected(model, found.listing)]
  }
}

const withKey = () => ({ idempotencyKey: randomUUID() })

async function publish(operator: Operator): Promise<Answers> {
  const { server, seller, model } = operator
  const idempotencyKey = randomUUID()
  const response = await createListing(server, seller.token, seller.dealerId, { idempotencyKey })
  const made = response.data?.createListing?.listing
  if (made !== undefined) {
    operator.ids.push(made.id)
    operator.lastKey = idempotencyKey
  }
  return [made?.consumption.source ?? refusal(response), model.publish()]
}

/** The same key again, after whatever has happened to the listing. */
async function publishAgain({ server, seller, ids, lastKey }: Operator): Promise<Answers | undefined> {
  if (lastKey === '') return undefined
  const { data } = await createListing(server, seller.token, seller.dealerId, { idempotencyKey: lastKey })
  return [String(ids.includes(data?.createListing?.listing.id ?? '')), 'true']
}

/** Each row stands alone: one without a title is refused, and does not use quota. */
async function publishBatch(operator: Operator, { faults }: Operation): Promise<Answers> {
  const { server, seller, model, ids } = operator
  const batch = faults.map(isFaulty => row(isFaulty ? { title: '' } : {}))
  const { results } = await createListings(server, seller, batch)
  for (const { listing } of results) if (listing !== null) ids.push(listing.id)
  const expected = faults.map(isFaulty => (isFaulty ? 'invalid_input title' : model.publish()))
  return [results.map(brief).join(), expected.map(one => one.replace('402 ', '')).join()]
}

async function promoteListing(operator: Operator, { at, choice }: Operation): Promise<Answers | undefined> {
  const found = subject(operator, at)
  if (found === undefined) return undefined
  const kind: Kind = choice % 2 === 0 ? 'PREMIUM' : 'HIGHLIGHT'
  const { promotion, response } = await promote(operator.server, operator.seller.token, {
    listingId: found.id,
    kind,
  })
  return [promotion?.consumption.source ?? refusal(response), operator.model.promote(found.listing, kind)]
}

async function quote({ server, seller, model }: Operator): Promise<Answers> {
  const response = await quoteListing(server, seller.token, seller.dealerId)
  return [response.data?.quoteListing?.source ?? refusal(response), model.quote()]
}

async function buy(
  { server, seller, adminToken, packages, model }: Operator,
  { choice }: Operation,
): Promise<Answers> {
  const bought = packages[choice % packages.length] as (typeof packages)[number]
  const { data } = await buyPackage(server, seller.token, { dealerId: seller.dealerId, packageId: bought.id })
  const paid = await payInvoice(server, adminToken, data.buyPackage?.checkout.invoice.id ?? '')
  model.buy(bought)
  return [paid.data?.payInvoice?.invoice.status ?? refusal(paid), 'PAID']
}

/** A subscription of the dealer, and its place in the model. */
async function someSubscription({ database, seller, model }: Operator, at: number) {
  const { rows } = await database.owner.query<{ id: string }>(
    'select id from app_public.dealer_subscriptions where dealer_id = $1 order by id',
    [seller.dealerId],
  )
  const index = rows.length - 1 - (at % Math.min(3, Math.max(1, rows.length)))
  const subscription = model.subscriptions[index]
  return subscription && { id: rows[index]?.id ?? '', subscription }
}

async function cancel(operator: Operator, { at }: Operation): Promise<Answers | undefined> {
  const found = await someSubscription(operator, at)
  if (found === undefined) return undefined
  const response = await cancelSubscription(operator.server, operator.seller.token, found.id)
  const actual = response.data?.cancelSubscription?.subscription.status ?? refusal(response)
  // one that was cancelled and has ended stays cancelled
  const isOver = found.subscription.state === 'ended' && actual === 'CANCELLED'
  return [actual, isOver ? actual : operator.model.cancel(found.subscription)]
}

/** Moves the clock past the end of a listing, and lets an expiry run record that. */
async function expire(operator: Operator, { at }: Operation): Promise<undefined> {
  const found = subject(operator, at)
  if (found === undefined) return
  const { owner } = operator.database
  await owner.query(
    `update app_public.listings set published_at = now() - interval '91 days', expires_at = clock_timestamp()
     where id = $1 and status = 'active'`,
    [found.id],
  )
  await owner.query('select app_private.expire_listings(10)')
  operator.model.expire(found.listing)
}

/** Moves the clock into the last days of an active listing. */
async function age(operator: Operator, { at }: Operation): Promise<undefined> {
  const found = subject(operator, at)
  if (found?.listing.status !== 'ACTIVE') return
  await operator.database.owner.query(
    "update app_public.listings set expires_at = now() + interval '10 days' where id = $1",
    [found.id],
  )
  found.listing.isRenewable = true
}

async function endSubscription(operator: Operator, { at }: Operation): Promise<undefined> {
  const found = await someSubscription(operator, at)
  if (found === undefined) return
  const { owner } = operator.database
  await owner.query(
    `update app_public.dealer_subscriptions set start_at = now() - interval '31 days', end_at = clock_timestamp()
     where id = $1 and status in ('active', 'cancelled') and end_at > now()`,
    [found.id],
  )
  await owner.query('select app_private.expire_subscriptions(10)')
  operator.model.endSubscription(found.subscription)
}

const operations = {
  publish,
  publishAgain,
  publishBatch,
  update: onListing(
    'updateListing',
    (model, one) => model.update(one),
    () => ({ price: '9500' }),
  ),
  withdraw: onListing('withdrawListing', (model, one) => model.withdraw(one)),
  sell: onListing('markListingSold', (model, one) => model.sell(one)),
  approve: onListing(
    'moderateListing',
    (model, one) => model.approve(one),
    () => ({ decision: 'APPROVE' }),
  ),
  reject: onListing(
    'moderateListing',
    (model, one) => model.reject(one),
    () => ({
      decision: 'REJECT',
      reason: 'No car.',
    }),
  ),
  renew: onListing('renewListing', (model, one) => model.renew(one), withKey),
  resubmit: onListing('resubmitListing', (model, one) => model.resubmit(one), withKey),
  promoteListing,
  quote,
  buy,
  cancel,
  expire,
  age,
  endSubscription,
}

export const perform = (operator: Operator, operation: Operation): Promise<Answers | undefined> =>
  operations[operation.name](operator, operation)

const WEIGHTS: Record<keyof typeof operations, number> = {
  publish: 10,
  publishAgain: 1,
  publishBatch: 3,
  update: 3,
  withdraw: 5,
  sell: 4,
  approve: 12,
  reject: 6,
  renew: 5,
  resubmit: 5,
  promoteListing: 5,
  quote: 4,
  buy: 3,
  cancel: 1,
  expire: 5,
  age: 3,
  endSubscription: 3,
}

export const operation: fc.Arbitrary<Operation> = fc.record({
  name: fc.oneof(
    ...Object.entries(WEIGHTS).map(([name, weight]) => ({
      weight,
      arbitrary: fc.constant(name as keyof typeof operations),
    })),
  ),
  at: fc.nat(10_000),
  choice: fc.nat(3),
  faults: fc.array(fc.boolean(), { minLength: 1, maxLength: 6 }),
})
