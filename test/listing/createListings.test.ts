/** A batch of listings over HTTP: a result for each, in the order of the input. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { type BatchRow, brief, createListings, row, rows } from '../support/batches.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules, countDealerRows, countSources, readCharges } from '../support/ledger.ts'
import { step } from '../support/listings.ts'
import { makeSeller, type Seller } from '../support/seller.ts'
import { makeSubscription } from '../support/testData.ts'

let database: TestDatabase
let server: TestServer
let seller: Seller

beforeAll(async () => {
  database = await cloneDatabase()
  await database.owner.query("update app_public.rate_limit_policies set mode = 'off'")
  server = await startServer(database)
  seller = await makeSeller(database, server)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

afterEach(async () => expect(await brokenRules(database.superuser)).toEqual([]))

const used = ({ dealerId }: Seller) => countDealerRows(database.owner, dealerId)

test('100 listings with 3 bad ones have a result each, in their order, and the bad ones write nothing', async () => {
  const batch = rows(100)
  batch[7] = row({ title: ' ' })
  batch[42] = row({ currency: 'XXX' })
  batch[99] = row({ price: '-1' })
  const publisher = await makeSeller(database, server, { freeListings: 3 })
  await makeSubscription(database.owner, publisher.dealerId, { country: publisher.country, listings: 4 })
  const { status, results, errors } = await createListings(server, publisher, batch)
  expect([status, errors]).toEqual([200, []])
  expect(results.map(({ index }) => index)).toEqual(batch.map((_, index) => index))
  const briefs = results.map(brief)
  expect([briefs[7], briefs[42], briefs[99]]).toEqual([
    'invalid_input title',
    'invalid_input currency',
    'invalid_input price',
  ])
  const accepted = briefs.filter((_, index) => ![7, 42, 99].includes(index))
  expect(accepted).toEqual([
    ...Array(3).fill('FREE_QUOTA'),
    ...Array(4).fill('SUBSCRIPTION_QUOTA'),
    ...Array(90).fill('PAID_EXTRA'),
  ])
  expect(results[7]).toMatchObject({ listing: null, error: { detail: { field: 'title', index: 7 } } })
  expect(await used(publisher)).toMatchObject({ listings: 97, consumptions: 97, items: 90, used: 4 })
  const { rows: invoices } = await database.owner.query(
    'select net_total, vat_total, gross_total from app_public.invoices where dealer_id = $1',
    [publisher.dealerId],
  )
  expect(invoices).toEqual([{ net_total: '450.00', vat_total: '85.50', gross_total: '535.50' }])
})

test('a refusal in a batch is the refusal of createListing, with the index', async () => {
  const sent = row()
  await createListings(server, seller, [sent])
  await createListings(server, seller, [row({ externalId: 'taken' })])
  const bad: BatchRow[] = [
    row({ title: '' }),
    row({ title: 'a\nb' }),
    row({ module: '1' }),
    row({ price: '1000000000000' }),
    row({ price: '0.00001' }),
    row({ currency: 'XXX' }),
    row({ description: 'a\u0007' }),
    row({ attributes: [] }),
    row({ images: ['ftp://a'] }),
    row({ images: [null] }),
    row({ images: Array(51).fill('https://a') }),
    row({ externalId: 'a'.repeat(101) }),
    row({ externalId: 'taken' }),
  ]
  const { results } = await createListings(server, seller, bad)
  for (const [index, input] of bad.entries()) {
    const { errors } = await createListing(server, seller.token, seller.dealerId, input)
    const { code, detail } = errors[0]?.extensions ?? {}
    expect(results[index]).toEqual({
      index,
      listing: null,
      error: { code, message: errors[0]?.message, detail: { ...detail, index } },
    })
  }
  const other = { ...sent, title: 'Another' }
  const { errors } = await createListing(server, seller.token, seller.dealerId, other)
  expect((await createListings(server, seller, [other])).results[0]?.error).toEqual({
    code: 'idempotency_conflict',
    message: errors[0]?.message,
    detail: { field: 'idempotencyKey', index: 0 },
  })
})

/** Settings of two dealers or of their countries, which decide the status of a new listing. */
const CHANGES = [
  '',
  'update app_public.dealers set is_trusted = true where id = any ($1)',
  `update app_public.country_currencies set moderation = 'after', listing_days = 30
   where country in (select country from app_public.dealers where id = any ($1))`,
]

test('a batch stores each listing as createListing does, with a status of its own', async () => {
  const inputs = [
    row({ title: '  A "car", \\ {1} ', description: 'Red\r\n(new), "shiny"\\', externalId: ' A-1 ' }),
    row({ attributes: { list: ['a,b', '"', null], nested: { '\\': '{}' } }, images: ['https://a/b,c"d'] }),
    row({ title: 'NULL', description: '', images: [], externalId: '' }),
    row({ price: '9900.5000', title: 'e\u0301', externalId: 'null' }),
  ]
  const columns = `status, title, description, module, price::text, currency, attributes, images, external_id, listing_days, published_at,
    expires_at, moderation_reason, moderation_since = created_at as queued, updated_at = created_at as fresh, created_by, encode(payload_hash, 'hex') as hash`
  const read = async ({ dealerId }: Seller) =>
    (
      await database.owner.query(
        `select ${columns} from app_public.listings where dealer_id = $1 order by id`,
        [dealerId],
      )
    ).rows.map(stored => ({ ...stored, created_by: null }))
  for (const change of CHANGES) {
    const [one, other] = [await makeSeller(database, server), await makeSeller(database, server)]
    if (change !== '') await database.owner.query(change, [[one.dealerId, other.dealerId]])
    for (const input of inputs)
      expect((await createListing(server, one.token, one.dealerId, input)).status).toBe(200)
    const { results } = await createListings(server, other, inputs)
    expect(results.map(({ error }) => error)).toEqual(inputs.map(() => null))
    const times = ({ published_at: at, expires_at: end, ...stored }: Record<string, Date | null>) => ({
      ...stored,
      days: at && end && (end.getTime() - at.getTime()) / 86_400_000,
    })
    expect((await read(other)).map(times)).toEqual((await read(one)).map(times))
  }
})

test('the same batch again returns the same listings, and tries the refused ones again', async () => {
  const publisher = await makeSeller(database, server, { price: null, freeListings: 2 })
  const batch = [row(), row({ title: '' }), row(), row()]
  const first = await createListings(server, publisher, batch)
  expect(first.results.map(brief)).toEqual([
    'FREE_QUOTA',
    'invalid_input title',
    'FREE_QUOTA',
    'pricing_config_missing',
  ])
  const before = await used(publisher)
  const again = await createListings(server, publisher, batch)
  expect(again.results.map(brief)).toEqual(first.results.map(brief))
  expect(again.results.map(({ listing }) => listing)).toEqual(first.results.map(({ listing }) => listing))
  expect(await used(publisher)).toEqual(before)
  await database.owner.query(
    "select app_private.set_price($1, 'dealer', 'pay_per_listing', '5.00', '2020-01-01')",
    [publisher.country],
  )
  const corrected = batch.with(1, { ...batch[1], title: 'Now with a title' } as BatchRow)
  const second = await createListings(server, publisher, corrected)
  expect(second.results.map(brief)).toEqual(['FREE_QUOTA', 'PAID_EXTRA', 'FREE_QUOTA', 'PAID_EXTRA'])
  expect(second.results[0]).toEqual(first.results[0])
})

test('keys are those of createListing', async () => {
  const input = row()
  const { data } = await createListing(server, seller.token, seller.dealerId, input)
  const { results } = await createListings(server, seller, [row(), input, { ...input, ...row() }])
  expect(results[1]?.listing).toEqual(data.createListing?.listing)
  const again = await createListing(server, seller.token, seller.dealerId, input)
  expect(again.data.createListing?.listing).toEqual(results[1]?.listing)
  const created = row()
  const batch = await createListings(server, seller, [created])
  const single = await createListing(server, seller.token, seller.dealerId, created)
  expect(single.data.createListing?.listing).toEqual(batch.results[0]?.listing)
})

test('a reference belongs to the first listing of a batch that breaks no rule', async () => {
  const input = [
    row({ externalId: 'same', title: '' }),
    row({ externalId: 'same', currency: 'XXX' }),
    row({ externalId: ' same ' }),
    row({ externalId: 'same' }),
    row({ externalId: 'other' }),
  ]
  const { results } = await createListings(server, seller, input)
  expect(results.map(brief)).toEqual([
    'invalid_input title',
    'invalid_input currency',
    'PAID_EXTRA',
    'conflict externalId',
    'PAID_EXTRA',
  ])
  await step(server, seller.token, 'withdrawListing', { listingId: results[2]?.listing?.id })
  expect((await createListings(server, seller, [row({ externalId: 'same' })])).results.map(brief)).toEqual([
    'PAID_EXTRA',
  ])
})

test('quota is used in the order of the input: free, the subscription that ends first, the pending one, then no more', async () => {
  const publisher = await makeSeller(database, server, { freeListings: 1 })
  const { dealerId, country } = publisher
  const subscriptions = [
    await makeSubscription(database.owner, dealerId, { country, listings: 2, overage: 'block' }),
    await makeSubscription(database.owner, dealerId, {
      country,
      listings: 1,
      overage: 'block',
      status: 'cancelled',
      endAt: "now() + interval '1 day'",
    }),
    await makeSubscription(database.owner, dealerId, {
      country,
      listings: 2,
      overage: 'block',
      status: 'pending',
    }),
  ]
  const batch = [row(), row({ title: '' }), ...rows(7)]
  const { results } = await createListings(server, publisher, batch)
  expect(results.map(brief)).toEqual([
    'FREE_QUOTA',
    'invalid_input title',
    ...Array(5).fill('SUBSCRIPTION_QUOTA'),
    ...Array(2).fill('quota_exhausted'),
  ])
  const { rows: paid } = await database.owner.query(
    `select lc.subscription_id as id from app_public.listing_consumptions as lc where lc.dealer_id = $1 order by lc.listing_id`,
    [dealerId],
  )
  const [running, cancelled, pending] = subscriptions
  expect(paid.map(({ id }) => id)).toEqual([null, cancelled, running, running, pending, pending])
  expect(results.at(-1)?.error?.detail).toEqual({ country, segment: 'DEALER', index: 8 })
})

test('a closed or suspended dealer gets its listings again, and no new ones', async () => {
  for (const change of ['is_active = false', 'can_publish = false']) {
    const publisher = await makeSeller(database, server)
    const batch = [row()]
    const { results } = await createListings(server, publisher, batch)
    await database.owner.query(`update app_public.dealers set ${change} where id = $1`, [publisher.dealerId])
    const again = await createListings(server, publisher, [...batch, row(), row({ title: '' })])
    expect(again.results.map(brief)).toEqual(['PAID_EXTRA', 'forbidden dealerId', 'invalid_input title'])
    expect(again.results[0]).toEqual(results[0])
  }
})

test('the charges of a batch are those of its listings one after another', async () => {
  const options = { freeListings: 2, price: '4.99', vatRate: 8.1 }
  const [one, other] = [
    await makeSeller(database, server, options),
    await makeSeller(database, server, options),
  ]
  for (const { dealerId, country } of [one, other])
    await makeSubscription(database.owner, dealerId, { country, listings: 3 })
  for (const input of rows(12)) await createListing(server, one.token, one.dealerId, input)
  await createListings(server, other, rows(12))
  expect(await readCharges(database.owner, other.dealerId)).toEqual(
    await readCharges(database.owner, one.dealerId),
  )
  expect(await countSources(database.owner, other.dealerId)).toEqual({
    free_quota: 2,
    subscription_quota: 3,
    paid_extra: 7,
  })
  expect(await used(other)).toEqual(await used(one))
})

test('where two prices could apply, only the listings that need one are refused', async () => {
  const publisher = await makeSeller(database, server, { freeListings: 1 })
  await database.owner.query(
    'alter table app_public.price_configs drop constraint price_configs_one_at_a_time',
  )
  await database.owner.query(
    "select app_private.set_price($1, 'dealer', 'pay_per_listing', 9, '2019-01-01')",
    [publisher.country],
  )
  const { results } = await createListings(server, publisher, rows(3))
  expect(results.map(brief)).toEqual(['FREE_QUOTA', ...Array(2).fill('pricing_config_ambiguous')])
})
