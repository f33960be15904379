/** Each error code of docs/errors.md with its HTTP status, in both media types. No body shows internals. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type ApiResponse, createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import {
  buyPackage,
  cancelSubscription,
  login,
  payInvoice,
  quoteListing,
  register,
} from '../support/graphqlOperations.ts'
import { expectNoInternals, readInternalNames } from '../support/internals.ts'
import {
  makeAdmin,
  makeMisconfiguredSeller,
  makeSeller,
  makeSellerIn,
  type Seller,
} from '../support/seller.ts'
import { makePackage, makeSubscription } from '../support/testData.ts'

const MEDIA_TYPES = ['application/json', 'application/graphql-response+json']

let database: TestDatabase
let started: TestServer
let names: string[]
let admin: string
let seller: Seller
let stranger: Seller
let packageId: string

beforeAll(async () => {
  database = await cloneDatabase()
  started = await startServer(database)
  names = await readInternalNames(database)
  admin = await makeAdmin(database, started)
  seller = await makeSeller(database, started)
  stranger = await makeSellerIn(database, started, seller.country)
  packageId = await makePackage(database.owner, { country: seller.country })
})

afterAll(async () => {
  await started.stop()
  await database.drop()
})

/** The server as seen by a client that accepts this media type. */
function accepting(accept: string): TestServer {
  return { ...started, call: (query, options) => started.call(query, { accept, ...options }) }
}

type Case = [
  request: string,
  status: number,
  extensions: { code: string; detail?: Record<string, unknown> },
  send: (server: TestServer) => Promise<ApiResponse<unknown>>,
]

const unauthenticated = { code: 'unauthenticated' }
const forbidden = { code: 'forbidden' }
const notFound = { code: 'not_found' }
const missing = (what: string) => ({ code: 'pricing_config_missing', detail: { missing: what } })
const field = (name: string) => ({ detail: { field: name } })
const publishIn = (change: Parameters<typeof makeMisconfiguredSeller>[2]) => async (server: TestServer) => {
  const { token, dealerId } = await makeMisconfiguredSeller(database, started, change)
  return createListing(server, token, dealerId)
}

const cases: Case[] = [
  [
    'a query for the current user without a token',
    401,
    unauthenticated,
    s => s.call('{ currentUser { id } }'),
  ],
  [
    'a mutation without a token',
    401,
    unauthenticated,
    s =>
      s.call(
        `mutation { cancelSubscription(input: {subscriptionId: "${randomUUID()}"}) { subscription { id } } }`,
      ),
  ],
  ['an invalid token', 401, unauthenticated, s => s.call('{ listings { totalCount } }', { token: 'x' })],
  [
    'a login with an unknown address',
    401,
    { code: 'invalid_credentials' },
    s => login(s, `${randomUUID()}@example.com`, 'whatever it is'),
  ],
  [
    'publishing for a dealer of another user',
    403,
    { ...forbidden, ...field('dealerId') },
    s => createListing(s, stranger.token, seller.dealerId),
  ],
  [
    'a quote for a dealer of another user',
    403,
    { ...forbidden, ...field('dealerId') },
    s => quoteListing(s, stranger.token, seller.dealerId),
  ],
  [
    'a dealer reading the audit trail',
    403,
    forbidden,
    s => s.call('{ auditLogs { totalCount } }', { token: seller.token }),
  ],
  [
    'a dealer reading the pricing gaps',
    403,
    forbidden,
    s => s.call('{ pricingGaps { totalCount } }', { token: seller.token }),
  ],
  ['a dealer marking an invoice as paid', 403, forbidden, s => payInvoice(s, seller.token, randomUUID())],
  [
    'publishing for a suspended dealer',
    403,
    { ...forbidden, ...field('dealerId') },
    async s => {
      const { token, dealerId } = await makeSeller(database, started)
      await database.owner.query('update app_public.dealers set can_publish = false where id = $1', [
        dealerId,
      ])
      return createListing(s, token, dealerId)
    },
  ],
  ['an unknown listing', 404, notFound, s => s.call(`{ listing(id: "${randomUUID()}") { id } }`)],
  [
    'reading a dealer of another user',
    404,
    notFound,
    s => s.call(`{ dealer(id: "${seller.dealerId}") { id } }`, { token: stranger.token }),
  ],
  [
    'publishing for an unknown dealer',
    404,
    { ...notFound, ...field('dealerId') },
    s => createListing(s, seller.token, randomUUID()),
  ],
  [
    'a quote for an unknown dealer',
    404,
    { ...notFound, ...field('dealerId') },
    s => quoteListing(s, seller.token, randomUUID()),
  ],
  [
    'buying an unknown package',
    404,
    { ...notFound, ...field('packageId') },
    s => buyPackage(s, seller.token, { dealerId: seller.dealerId, packageId: randomUUID() }),
  ],
  [
    'cancelling an unknown subscription',
    404,
    { ...notFound, ...field('subscriptionId') },
    s => cancelSubscription(s, seller.token, randomUUID()),
  ],
  [
    'paying an unknown invoice',
    404,
    { ...notFound, ...field('invoiceId') },
    s => payInvoice(s, admin, randomUUID()),
  ],
  ['a country without a currency', 409, missing('currency'), publishIn('no currency')],
  ['a country without a VAT rate', 409, missing('vat_rate'), publishIn('no VAT')],
  ['a country without a price', 409, missing('price'), publishIn('no price')],
  [
    'a country with two prices',
    409,
    { code: 'pricing_config_ambiguous', detail: { ambiguous: 'price' } },
    publishIn('two prices'),
  ],
  [
    'a country with two VAT rates',
    409,
    { code: 'pricing_config_ambiguous', detail: { ambiguous: 'vat_rate' } },
    publishIn('two VAT rates'),
  ],
  [
    'reusing a key for another listing',
    409,
    { code: 'idempotency_conflict', ...field('idempotencyKey') },
    async s => {
      const idempotencyKey = randomUUID()
      await createListing(s, seller.token, seller.dealerId, { idempotencyKey })
      return createListing(s, seller.token, seller.dealerId, { idempotencyKey, title: 'Another' })
    },
  ],
  [
    'registering a taken e-mail address',
    409,
    { code: 'conflict', ...field('email') },
    async s => {
      const account = { email: `${randomUUID()}@example.com`, password: 'long enough' }
      await register(s, account)
      return register(s, account)
    },
  ],
  [
    'a second open checkout',
    409,
    { code: 'conflict' },
    async s => {
      const { token, dealerId } = await makeSellerIn(database, started, seller.country)
      await buyPackage(s, token, { dealerId, packageId })
      return buyPackage(s, token, { dealerId, packageId })
    },
  ],
  [
    'publishing beyond a quota without overage',
    402,
    { code: 'quota_exhausted' },
    async s => {
      const { token, dealerId } = await makeSellerIn(database, started, seller.country)
      await makeSubscription(database.owner, dealerId, { packageId, listings: 0, overage: 'block' })
      return createListing(s, token, dealerId)
    },
  ],
  [
    'a value that breaks a rule',
    422,
    { code: 'invalid_input', ...field('title') },
    s => createListing(s, seller.token, seller.dealerId, { title: '' }),
  ],
  ['an invalid document', 400, { code: 'invalid_input' }, s => s.call('{')],
  ['an unknown field', 400, { code: 'invalid_input' }, s => s.call('{ nothing }')],
  [
    'a missing variable',
    400,
    { code: 'invalid_input' },
    s => s.call('query ($id: UUID!) { listing(id: $id) { id } }'),
  ],
  [
    'the sixth wrong password',
    429,
    { code: 'rate_limit_exceeded', detail: { scope: 'auth_account' } },
    async s => {
      const email = `${randomUUID()}@example.com`
      for (let attempt = 0; attempt < 5; attempt += 1) await login(s, email, 'wrong password')
      return login(s, email, 'wrong password')
    },
  ],
]

const inBothMediaTypes = cases.flatMap(([request, status, extensions, send]) =>
  MEDIA_TYPES.map(accept => ({ request, status, extensions, send, accept, code: extensions.code })),
)

test.each(inBothMediaTypes)(
  '$request gets $status $code as $accept',
  async ({ status, extensions, send, accept }) => {
    const response = await send(accepting(accept))
    expect([response.status, response.errors.length, response.errors[0]?.extensions]).toMatchObject([
      status,
      1,
      extensions,
    ])
    expect(response.errors[0]?.message).toMatch(/^[A-Z`].*\.$/s)
    expect(response.headers.get('content-type')?.replaceAll(' ', '')).toBe(`${accept};charset=utf-8`)
    expectNoInternals(response.text, names)
  },
)

test.each(MEDIA_TYPES)(
  'a query with one successful and one failed root field gets 200 and the error, as %s',
  async accept => {
    const query = `{ packages: dealerPackages { totalCount } gone: listing(id: "${randomUUID()}") { id } }`
    const { status, data, errors } = await accepting(accept).call(query)
    expect([status, data]).toEqual([200, { packages: { totalCount: 1 }, gone: null }])
    expect(errors).toMatchObject([{ path: ['gone'], extensions: { code: 'not_found' } }])
  },
)

test.each(MEDIA_TYPES)(
  'a query in which every root field failed gets the status of the first error, as %s',
  async accept => {
    const query = `{ __typename gone: listing(id: "${randomUUID()}") { id } invoices { totalCount } }`
    const { status, errors } = await accepting(accept).call(query)
    expect([status, errors.map(({ extensions }) => extensions.code).sort()]).toEqual([
      404,
      ['not_found', 'unauthenticated'],
    ])
  },
)
