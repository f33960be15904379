/** Publishing over HTTP: which source pays, what is charged, and how the idempotency key works. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { createListing, type Listing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { countResponses, quoteListing } from '../support/graphqlOperations.ts'
import { brokenRules, countSources } from '../support/ledger.ts'
import { makeSeller, makeSellerIn, type Seller } from '../support/seller.ts'
import { makeSubscription } from '../support/testData.ts'
import { holding, until, untilWaitingForLock } from '../support/waits.ts'

let database: TestDatabase
let server: TestServer

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
})

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

async function publish({ token, dealerId }: Seller, input: Record<string, unknown> = {}): Promise<Listing> {
  const { status, data, errors } = await createListing(server, token, dealerId, input)
  expect({ status, errors }).toEqual({ status: 200, errors: [] })
  return data.createListing?.listing as Listing
}

function publishConcurrently(
  { token, dealerId }: Seller,
  count: number,
  input: Record<string, unknown> = {},
) {
  return Promise.all(Array.from({ length: count }, () => createListing(server, token, dealerId, input)))
}

async function countRows(dealerId: string): Promise<Record<string, number>> {
  const { rows } = await database.superuser.query(
    `select (select count(*)::int from app_public.listings where dealer_id = $1) as listings,
       (select count(*)::int from app_public.listing_consumptions where dealer_id = $1) as ledger,
       (select count(*)::int from app_public.invoices where dealer_id = $1) as invoices,
       (select count(*)::int from app_public.invoice_items where dealer_id = $1) as items`,
    [dealerId],
  )
  return rows[0]
}

const free = { netAmount: '0.00', vatRate: '19.00', grossAmount: '0.00', currency: 'EUR' }
const charged = { netAmount: '5.00', vatRate: '19.00', grossAmount: '5.95', currency: 'EUR' }

test('with 2 free and 2 included listings, the first four are free and each further one costs 5.95', async () => {
  const seller = await makeSeller(database, server, { country: 'DE', freeListings: 2 })
  await makeSubscription(database.owner, seller.dealerId, { country: 'DE', listings: 2 })
  const listings: Listing[] = []
  for (let number = 0; number < 7; number += 1) listings.push(await publish(seller))
  expect(listings.map(({ consumption }) => consumption)).toEqual([
    { source: 'FREE_QUOTA', ...free },
    { source: 'FREE_QUOTA', ...free },
    { source: 'SUBSCRIPTION_QUOTA', ...free },
    { source: 'SUBSCRIPTION_QUOTA', ...free },
    { source: 'PAID_EXTRA', ...charged },
    { source: 'PAID_EXTRA', ...charged },
    { source: 'PAID_EXTRA', ...charged },
  ])
  expect(new Set(listings.map(({ status }) => status))).toEqual(new Set(['PENDING']))
  const { rows } = await database.superuser.query(
    'select kind, status, net_total, vat_total, gross_total from app_public.invoices where dealer_id = $1',
    [seller.dealerId],
  )
  expect(rows).toEqual([
    { kind: 'monthly', status: 'draft', net_total: '15.00', vat_total: '2.85', gross_total: '17.85' },
  ])
})

test('50 concurrent publications all succeed: 2 free, 10 from the subscription and 38 charged', async () => {
  const seller = await makeSeller(database, server, { freeListings: 2 })
  await makeSubscription(database.owner, seller.dealerId, { country: seller.country, listings: 10 })
  const responses = await publishConcurrently(seller, 50)
  expect(countResponses(responses)).toEqual({ 200: 50 })
  const sources = { free_quota: 2, subscription_quota: 10, paid_extra: 38 }
  expect(await countSources(database.superuser, seller.dealerId)).toEqual(sources)
  const returnedSources = responses.map(({ data }) => data.createListing?.listing.consumption.source)
  for (const [source, count] of Object.entries(sources)) {
    expect(returnedSources.filter(one => one === source.toUpperCase())).toHaveLength(count)
  }
  expect(await countRows(seller.dealerId)).toEqual({ listings: 50, ledger: 50, invoices: 1, items: 38 })
})

test('20 concurrent publications of a dealer without a subscription are 2 free and 18 charged', async () => {
  const seller = await makeSeller(database, server, { freeListings: 2 })
  expect(countResponses(await publishConcurrently(seller, 20))).toEqual({ 200: 20 })
  expect(await countSources(database.superuser, seller.dealerId)).toEqual({ free_quota: 2, paid_extra: 18 })
})

test('without a price and free quota, 10 of 50 concurrent publications succeed and 40 get pricing_config_missing', async () => {
  const seller = await makeSeller(database, server, { price: null })
  await makeSubscription(database.owner, seller.dealerId, { country: seller.country, listings: 10 })
  const responses = await publishConcurrently(seller, 50)
  expect(countResponses(responses)).toEqual({ 200: 10, '409 pricing_config_missing': 40 })
  expect(await countSources(database.superuser, seller.dealerId)).toEqual({ subscription_quota: 10 })
  expect(await countRows(seller.dealerId)).toEqual({ listings: 10, ledger: 10, invoices: 0, items: 0 })
})

test('a missing VAT rate is reported before a missing price, even if the listing would be free', async () => {
  const seller = await makeSeller(database, server, { vatRate: null, price: null, freeListings: 1 })
  const { country } = seller
  const withoutVat = await createListing(server, seller.token, seller.dealerId)
  expect([withoutVat.status, withoutVat.errors[0]?.extensions]).toMatchObject([
    409,
    { code: 'pricing_config_missing', detail: { missing: 'vat_rate', country } },
  ])
  const quote = await quoteListing(server, seller.token, seller.dealerId)
  expect(quote.errors[0]?.extensions.detail).toMatchObject({ missing: 'vat_rate', country })
  await database.owner.query(
    "insert into app_public.vat_rates (country, rate, valid) values ($1, 19, '[2020-01-01,)')",
    [country],
  )
  expect((await publish(seller)).consumption).toEqual({ source: 'FREE_QUOTA', ...free })
  const withoutPrice = await createListing(server, seller.token, seller.dealerId)
  expect([withoutPrice.status, withoutPrice.errors[0]?.extensions]).toMatchObject([
    409,
    {
      code: 'pricing_config_missing',
      detail: { missing: 'price', country, segment: 'DEALER', pricingType: 'PAY_PER_LISTING' },
    },
  ])
})

test('20 concurrent requests with one key make one listing and one ledger row, and get 20 equal responses', async () => {
  const seller = await makeSeller(database, server)
  const responses = await publishConcurrently(seller, 20, { idempotencyKey: randomUUID() })
  expect(countResponses(responses)).toEqual({ 200: 20 })
  expect(new Set(responses.map(({ text }) => text)).size).toBe(1)
  expect(await countRows(seller.dealerId)).toEqual({ listings: 1, ledger: 1, invoices: 1, items: 1 })
})

test('a repeated request gets the first response, even if the price has changed since', async () => {
  const seller = await makeSeller(database, server)
  const idempotencyKey = randomUUID()
  const first = await createListing(server, seller.token, seller.dealerId, { idempotencyKey })
  await database.owner.query("select app_private.set_price($1, 'dealer', 'pay_per_listing', 7, now())", [
    seller.country,
  ])
  expect((await publish(seller)).consumption.grossAmount).toBe('8.33')
  const again = await createListing(server, seller.token, seller.dealerId, {
    idempotencyKey,
    price: '9900.00',
  })
  expect(again.text).toBe(first.text)
})

const otherPayloads: Record<string, unknown> = {
  title: 'Another car',
  module: 'trucks',
  price: '9900.01',
  currency: 'CHF',
  description: 'Red',
  attributes: { doors: 5 },
  images: ['https://example.com/1.jpg'],
}

test.each(Object.keys(otherPayloads))(
  'a request with a used key and another %s gets idempotency_conflict',
  async field => {
    const seller = await makeSeller(database, server)
    const idempotencyKey = randomUUID()
    await publish(seller, { idempotencyKey })
    const other = { idempotencyKey, [field]: otherPayloads[field] }
    const { status, errors, data } = await createListing(server, seller.token, seller.dealerId, other)
    expect([status, errors[0]?.extensions, data]).toEqual([
      409,
      { code: 'idempotency_conflict', detail: { field: 'idempotencyKey' } },
      { createListing: null },
    ])
    expect(await countRows(seller.dealerId)).toMatchObject({ listings: 1, ledger: 1 })
  },
)

test('another dealer can use the same key for its own listing', async () => {
  const seller = await makeSeller(database, server)
  const other = await makeSellerIn(database, server, seller.country)
  const idempotencyKey = randomUUID()
  const one = await publish(seller, { idempotencyKey })
  const two = await publish(other, { idempotencyKey, title: 'Another car' })
  expect(two.id).not.toBe(one.id)
})

test('publishing for a dealer of another user is forbidden and writes nothing', async () => {
  const seller = await makeSeller(database, server)
  const stranger = await makeSellerIn(database, server, seller.country)
  const { status, errors, data } = await createListing(server, stranger.token, seller.dealerId)
  expect([status, errors[0]?.extensions, data]).toEqual([
    403,
    { code: 'forbidden', detail: { field: 'dealerId' } },
    { createListing: null },
  ])
  expect(await countRows(seller.dealerId)).toEqual({ listings: 0, ledger: 0, invoices: 0, items: 0 })
})

test('a subscription gives no quota after its end, even before an expiry run', async () => {
  const seller = await makeSeller(database, server)
  await makeSubscription(database.owner, seller.dealerId, {
    country: seller.country,
    endAt: "now() - interval '1 second'",
  })
  const quote = await quoteListing(server, seller.token, seller.dealerId)
  expect(quote.data.quoteListing).toMatchObject({ source: 'PAID_EXTRA', subscriptionRemaining: 0 })
  expect((await publish(seller)).consumption).toEqual({ source: 'PAID_EXTRA', ...charged })
})

const locks = {
  dealer: 'select from app_public.dealers where id = $1 for update',
  subscription: 'select from app_public.dealer_subscriptions where dealer_id = $1 for update',
}

test.each(Object.entries(locks))(
  'a publication that waits for the %s lock until the subscription has ended does not use its quota',
  async (_, lock) => {
    const seller = await makeSeller(database, server)
    await makeSubscription(database.owner, seller.dealerId, {
      country: seller.country,
      endAt: "clock_timestamp() + interval '1 second'",
    })
    await holding(database, lock, [seller.dealerId], async release => {
      const publication = publish(seller)
      await untilWaitingForLock(database)
      await until('the subscription has ended', async () => {
        const { rows } = await database.superuser.query<{ ended: boolean }>(
          'select end_at < clock_timestamp() as ended from app_public.dealer_subscriptions where dealer_id = $1',
          [seller.dealerId],
        )
        return rows[0]?.ended
      })
      await release()
      expect((await publication).consumption).toEqual({ source: 'PAID_EXTRA', ...charged })
    })
  },
)

test('the quote equals the next charge at each step of the waterfall', async () => {
  const seller = await makeSeller(database, server, { freeListings: 1, price: null, vatRate: 8.1 })
  // set_price refuses such a price, but rows of earlier releases may have one
  await database.owner.query(
    `insert into app_public.price_configs (country, segment, pricing_type, unit_price_net, currency, price_version, valid)
     values ($1, 'dealer', 'pay_per_listing', 4.999, 'EUR', 1, '[2020-01-01,)')`,
    [seller.country],
  )
  await makeSubscription(database.owner, seller.dealerId, { country: seller.country, listings: 2 })
  const remaining: [number, number][] = []
  for (let number = 0; number < 5; number += 1) {
    const { data } = await quoteListing(server, seller.token, seller.dealerId)
    if (data.quoteListing === null) throw new Error('there is no quote')
    const { freeRemaining, subscriptionRemaining, ...quoted } = data.quoteListing
    remaining.push([freeRemaining, subscriptionRemaining])
    expect((await publish(seller)).consumption).toEqual(quoted)
  }
  expect(remaining).toEqual([
    [1, 2],
    [0, 2],
    [0, 1],
    [0, 0],
    [0, 0],
  ])
  const { data } = await quoteListing(server, seller.token, seller.dealerId)
  // 8.1 % of 5.00 is 0.405, and half a cent is rounded up
  expect(data.quoteListing).toMatchObject({ netAmount: '5.00', vatRate: '8.10', grossAmount: '5.41' })
})

test('the price and currency of the vehicle do not affect the charge', async () => {
  const seller = await makeSeller(database, server)
  await makeSeller(database, server, { currency: 'CHF' })
  const { consumption } = await publish(seller, { price: '0.0001', currency: 'CHF' })
  expect(consumption).toEqual({ source: 'PAID_EXTRA', ...charged })
})
