/** Requests with a batch: those that are refused as a whole, their size, and what is counted. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { createListings, row, rows } from '../support/batches.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules, countDealerRows } from '../support/ledger.ts'
import { metric } from '../support/limits.ts'
import { makeSeller, type Seller } from '../support/seller.ts'

const KEY = '0197f0d2-6a9e-7cc1-b3b4-5f1c3f1b2a10'

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

test('a dealer of others, an unknown dealer and a caller without a token are refused', async () => {
  const stranger = await makeSeller(database, server)
  const before = await used(seller)
  for (const [caller, expected] of [
    [{ ...seller, token: stranger.token }, [403, 'forbidden']],
    [{ ...seller, dealerId: randomUUID() }, [404, 'not_found']],
    [{ ...seller, token: 'a.b.c' }, [401, 'unauthenticated']],
  ] as const) {
    const { status, errors, results } = await createListings(server, caller, [row()])
    expect([status, errors[0]?.extensions.code, results]).toEqual([...expected, []])
  }
  expect(await used(seller)).toEqual(before)
})

test.each([
  ['no listing', () => [], 422, { field: 'listings', maximum: 100 }],
  ['101 listings', () => rows(101), 422, { field: 'listings', maximum: 100 }],
  [
    'the same key twice',
    () => [row(), row({ idempotencyKey: KEY }), row(), row({ idempotencyKey: KEY.toUpperCase() })],
    422,
    { field: 'idempotencyKey', index: 3 },
  ],
  ['a NUL', () => [row(), row({ title: 'a\0' })], 422, { field: 'title', index: 1 }],
  ['a NUL in an image', () => [row(), row({ images: ['', '\0'] })], 422, { field: 'images', index: 1 }],
  ['a listing that is null', () => [row(), null], 400, undefined],
  ['a price that is a number', () => [row(), row({ price: 5 })], 400, undefined],
  ['a listing without a title', () => [row(), row({ title: undefined })], 400, undefined],
  ['a key that is no UUID', () => [row(), row({ idempotencyKey: 'a' })], 400, undefined],
  ['an unknown field', () => [row({ status: 'ACTIVE' })], 400, undefined],
] as const)('%s refuses the whole request', async (_what, listings, expected, detail) => {
  const before = await used(seller)
  const { status, errors } = await createListings(server, seller, listings())
  expect([status, errors[0]?.extensions.code, errors[0]?.extensions.detail]).toEqual([
    expected,
    'invalid_input',
    detail,
  ])
  expect(await used(seller)).toEqual(before)
})

test('a character that cannot be stored is refused with the index of its listing, also in a document', async () => {
  const literal = (title: string) =>
    `{ idempotencyKey: "${randomUUID()}", title: "${title}", module: "auto", price: "1", currency: "EUR", attributes: { a: [{ b: 1 }] } }`
  const { status, errors } = await server.call(
    `mutation { createListings(input: { dealerId: "${seller.dealerId}", listings: [${literal('A car')}, ${literal('a\\u0000')}] }) { results { index } } }`,
    { token: seller.token },
  )
  expect([status, errors[0]?.extensions]).toEqual([
    422,
    { code: 'invalid_input', detail: { field: 'title', index: 1 } },
  ])
})

test('100 listings of 9 kB fit into a request', async () => {
  const batch = rows(100).map(one => ({ ...one, description: 'ä'.repeat(4_500) }))
  const { status, results } = await createListings(server, seller, batch)
  expect([status, results.filter(({ listing }) => listing !== null).length]).toEqual([200, 100])
})

test('the metric of publications counts each new listing of a batch by its source, whatever the client selects', async () => {
  const publisher = await makeSeller(database, server, { freeListings: 1 })
  const names = ['free_quota', 'subscription_quota', 'paid_extra']
  const read = () => Promise.all(names.map(name => metric(server, `publications_total{source="${name}"}`)))
  const counted = async (fields: string, listings: unknown[]) => {
    const before = await read()
    const { errors } = await server.call(
      `mutation ($input: CreateListingsInput!) { createListings(input: $input) { ${fields} } }`,
      { token: publisher.token, variables: { input: { dealerId: publisher.dealerId, listings } } },
    )
    expect(errors).toEqual([])
    return (await read()).map((count, index) => count - (before[index] ?? 0))
  }
  const batch = [row({ title: '' }), ...rows(3)]
  expect(await counted('clientMutationId', batch)).toEqual([1, 0, 2])
  expect(await counted('results { index }', batch)).toEqual([0, 0, 0])
  expect(await counted('results { listing { consumption { source } } }', rows(2))).toEqual([0, 0, 2])
})

test('a missing price is recorded for each listing that it refuses', async () => {
  const publisher = await makeSeller(database, server, { price: null })
  const name = `pricing_conflicts_total{country="${publisher.country}",pricing_type="pay_per_listing",code="pricing_config_missing"}`
  const { results } = await createListings(server, publisher, rows(3))
  expect(results.map(({ error }) => error?.detail.missing)).toEqual(['price', 'price', 'price'])
  expect(await metric(server, name)).toBe(3)
})
