/** Buying a package, paying the invoice and cancelling the subscription over HTTP. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import {
  buyPackage,
  cancelSubscription,
  countResponses,
  type Invoice,
  payInvoice,
  readSubscriptions,
} from '../support/graphqlOperations.ts'
import { brokenRules } from '../support/ledger.ts'
import { makeAdmin, makeSeller, makeSellerIn, type Seller } from '../support/seller.ts'
import { makePackage, makeSubscription } from '../support/testData.ts'

let database: TestDatabase
let server: TestServer
let admin: string

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  admin = await makeAdmin(database, server)
})

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

type Buyer = Seller & { packageId: string }

async function makeBuyer(listings = 10): Promise<Buyer> {
  const seller = await makeSeller(database, server)
  const packageId = await makePackage(database.owner, { country: seller.country, listings })
  return { ...seller, packageId }
}

async function buy({ token, dealerId, packageId }: Buyer): Promise<Invoice> {
  const { data, errors } = await buyPackage(server, token, { dealerId, packageId })
  expect(errors).toEqual([])
  return data.buyPackage?.checkout.invoice as Invoice
}

async function buyAndPay(buyer: Buyer): Promise<void> {
  const { status } = await payInvoice(server, admin, (await buy(buyer)).id)
  expect(status).toBe(200)
}

/** Moves the end of the dealer's active subscription to now. */
async function endActive({ dealerId }: Buyer): Promise<void> {
  await database.superuser.query(
    `update app_public.dealer_subscriptions set start_at = now() - interval '2 days', end_at = now()
     where dealer_id = $1 and status = 'active'`,
    [dealerId],
  )
}

async function countRows(dealerId: string): Promise<Record<string, number>> {
  const { rows } = await database.superuser.query(
    `select (select count(*)::int from app_public.invoices where dealer_id = $1) as invoices,
       (select count(*)::int from app_public.checkouts where dealer_id = $1) as checkouts,
       (select count(*)::int from app_public.dealer_subscriptions where dealer_id = $1) as subscriptions`,
    [dealerId],
  )
  return rows[0]
}

test('a purchase makes a draft invoice with VAT, and its payment makes an active subscription with its quota', async () => {
  const buyer = await makeBuyer(3)
  const purchase = await buyPackage(server, buyer.token, inputOf(buyer))
  expect(purchase.data.buyPackage?.checkout).toEqual({
    invoice: { id: expect.any(String), status: 'DRAFT', grossTotal: '58.31' },
    url: null,
  })
  expect(await readSubscriptions(server, buyer.token)).toEqual([])
  const invoiceId = purchase.data.buyPackage?.checkout.invoice.id as string
  const paid = await payInvoice(server, admin, invoiceId)
  expect([paid.status, paid.data.payInvoice]).toEqual([200, { invoice: { id: invoiceId, status: 'PAID' } }])
  const [subscription, ...others] = await readSubscriptions(server, buyer.token)
  expect(others).toEqual([])
  expect(subscription).toMatchObject({ status: 'ACTIVE', includedListingQuota: 3 })
  const days = (Date.parse(subscription?.endAt ?? '') - Date.parse(subscription?.startAt ?? '')) / 86_400_000
  expect(days).toBe(30)
  const { data } = await createListing(server, buyer.token, buyer.dealerId)
  expect(data.createListing?.listing.consumption.source).toBe('SUBSCRIPTION_QUOTA')
})

test('a change of the package after the purchase changes neither the price nor the quota', async () => {
  const buyer = await makeBuyer(3)
  const invoice = await buy(buyer)
  await database.owner.query(
    'update app_public.dealer_packages set price_net = 99, listing_limit = 1 where id = $1',
    [buyer.packageId],
  )
  await payInvoice(server, admin, invoice.id)
  expect(await readSubscriptions(server, buyer.token)).toMatchObject([{ includedListingQuota: 3 }])
  const { data } = await server.call<{ invoices: { nodes: unknown[] } }>(
    '{ invoices { nodes { status netTotal vatTotal grossTotal items { nodes { netAmount vatRate } } } } }',
    { token: buyer.token },
  )
  expect(data.invoices.nodes).toEqual([
    {
      status: 'PAID',
      netTotal: '49.00',
      vatTotal: '9.31',
      grossTotal: '58.31',
      items: { nodes: [{ netAmount: '49.00', vatRate: '19.00' }] },
    },
  ])
})

test('20 concurrent purchases with one key make one invoice and get 20 equal responses', async () => {
  const buyer = await makeBuyer()
  const idempotencyKey = randomUUID()
  const responses = await Promise.all(
    Array.from({ length: 20 }, () => buyPackage(server, buyer.token, { ...inputOf(buyer), idempotencyKey })),
  )
  expect(countResponses(responses)).toEqual({ 200: 20 })
  expect(new Set(responses.map(({ text }) => text)).size).toBe(1)
  expect(await countRows(buyer.dealerId)).toEqual({ invoices: 1, checkouts: 1, subscriptions: 0 })
})

test('20 concurrent purchases with different keys make one open checkout and 19 conflicts', async () => {
  const buyer = await makeBuyer()
  const responses = await Promise.all(
    Array.from({ length: 20 }, () => buyPackage(server, buyer.token, inputOf(buyer))),
  )
  expect(countResponses(responses)).toEqual({ 200: 1, '409 conflict': 19 })
  expect(await countRows(buyer.dealerId)).toEqual({ invoices: 1, checkouts: 1, subscriptions: 0 })
})

test('a used key with another package or URL gets idempotency_conflict', async () => {
  const buyer = await makeBuyer()
  const idempotencyKey = randomUUID()
  await buyPackage(server, buyer.token, { ...inputOf(buyer), idempotencyKey })
  const other = await makePackage(database.owner, { country: buyer.country })
  for (const change of [{ packageId: other }, { successUrl: 'https://example.com/paid' }]) {
    const input = { ...inputOf(buyer), idempotencyKey, ...change }
    const { status, errors } = await buyPackage(server, buyer.token, input)
    expect([status, errors[0]?.extensions]).toEqual([
      409,
      { code: 'idempotency_conflict', detail: { field: 'idempotencyKey' } },
    ])
  }
})

test('20 concurrent payments make one subscription, and each response shows the invoice as paid', async () => {
  const buyer = await makeBuyer()
  const { id } = await buy(buyer)
  const responses = await Promise.all(Array.from({ length: 20 }, () => payInvoice(server, admin, id)))
  expect(countResponses(responses)).toEqual({ 200: 20 })
  expect(new Set(responses.map(({ data }) => data.payInvoice?.invoice.status))).toEqual(new Set(['PAID']))
  expect(await readSubscriptions(server, buyer.token)).toHaveLength(1)
  const { rows } = await database.superuser.query(
    "select count(*)::int from app_public.audit_logs where action = 'PAY_INVOICE' and resource_id = $1",
    [id],
  )
  expect(rows).toEqual([{ count: 1 }])
})

test('a subscription that is bought while another is active is PENDING until the expiry run that ends the other', async () => {
  const buyer = await makeBuyer()
  await buyAndPay(buyer)
  await buyAndPay(buyer)
  expect(await readSubscriptions(server, buyer.token)).toMatchObject([
    { status: 'ACTIVE' },
    { status: 'PENDING', startAt: null, endAt: null },
  ])
  await endActive(buyer)
  await database.owner.query('select app_private.expire_subscriptions()')
  expect(await readSubscriptions(server, buyer.token)).toMatchObject([
    { status: 'EXPIRED' },
    { status: 'ACTIVE', startAt: expect.any(String), endAt: expect.any(String) },
  ])
})

test('a cancelled subscription keeps its quota until its end, and a second cancellation changes nothing', async () => {
  const buyer = await makeBuyer(1)
  await buyAndPay(buyer)
  const [before] = await readSubscriptions(server, buyer.token)
  const id = before?.id as string
  const first = await cancelSubscription(server, buyer.token, id)
  expect([first.status, first.data.cancelSubscription?.subscription]).toEqual([
    200,
    { ...before, status: 'CANCELLED' },
  ])
  const again = await cancelSubscription(server, buyer.token, id)
  expect(again.text).toBe(first.text)
  const { data } = await createListing(server, buyer.token, buyer.dealerId)
  expect(data.createListing?.listing.consumption.source).toBe('SUBSCRIPTION_QUOTA')
})

test('a paid pending subscription cannot be cancelled, and starts when the active one ends', async () => {
  const buyer = await makeBuyer()
  await buyAndPay(buyer)
  await buyAndPay(buyer)
  const [active, pending] = await readSubscriptions(server, buyer.token)
  const refused = await cancelSubscription(server, buyer.token, pending?.id as string)
  expect(countResponses([refused])).toEqual({ '409 conflict': 1 })
  await endActive(buyer)
  await database.owner.query('select app_private.expire_subscriptions()')
  expect(await readSubscriptions(server, buyer.token)).toMatchObject([
    { id: active?.id, status: 'EXPIRED' },
    { id: pending?.id, status: 'ACTIVE' },
  ])
})

test('an ended subscription cannot be cancelled, before or after the expiry run', async () => {
  const buyer = await makeBuyer()
  const { country, dealerId, packageId, token } = buyer
  const ended = { country, packageId, endAt: "now() - interval '1 second'" }
  const id = await makeSubscription(database.owner, dealerId, ended)
  expect(countResponses([await cancelSubscription(server, token, id)])).toEqual({ '409 conflict': 1 })
  await database.owner.query('select app_private.expire_subscriptions()')
  expect(countResponses([await cancelSubscription(server, token, id)])).toEqual({ '409 conflict': 1 })
})

test('only an admin can mark an invoice as paid: a dealer gets forbidden, a visitor unauthenticated', async () => {
  const buyer = await makeBuyer()
  const { id } = await buy(buyer)
  expect(countResponses([await payInvoice(server, buyer.token, id)])).toEqual({ '403 forbidden': 1 })
  const anonymous = await server.call(
    'mutation ($id: UUID!) { payInvoice(input: {invoiceId: $id}) { invoice { id } } }',
    {
      variables: { id },
    },
  )
  expect(countResponses([anonymous])).toEqual({ '401 unauthenticated': 1 })
  expect(await readSubscriptions(server, buyer.token)).toEqual([])
})

test('buying or cancelling for a dealer of another user is forbidden and writes nothing', async () => {
  const buyer = await makeBuyer()
  const stranger = await makeSellerIn(database, server, buyer.country)
  const purchase = await buyPackage(server, stranger.token, inputOf(buyer))
  expect(countResponses([purchase])).toEqual({ '403 forbidden': 1 })
  expect(await countRows(buyer.dealerId)).toEqual({ invoices: 0, checkouts: 0, subscriptions: 0 })
  await buyAndPay(buyer)
  const [subscription] = await readSubscriptions(server, buyer.token)
  const cancellation = await cancelSubscription(server, stranger.token, subscription?.id as string)
  expect(countResponses([cancellation])).toEqual({ '403 forbidden': 1 })
  expect(await readSubscriptions(server, buyer.token)).toEqual([subscription])
})

test('a purchase without a VAT rate gets pricing_config_missing', async () => {
  const seller = await makeSeller(database, server, { vatRate: null })
  const packageId = await makePackage(database.owner, { country: seller.country })
  const { status, errors } = await buyPackage(server, seller.token, { dealerId: seller.dealerId, packageId })
  expect([status, errors[0]?.extensions]).toMatchObject([
    409,
    { code: 'pricing_config_missing', detail: { missing: 'vat_rate', country: seller.country } },
  ])
})

function inputOf({ dealerId, packageId }: Buyer) {
  return { dealerId, packageId }
}
