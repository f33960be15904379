/** Invalid input: a value that breaks a rule gets 422 with its field; a value of the wrong type gets 400. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { CONFIGURATION } from '../admin/calls.ts'
import { rowRules } from '../rules/rowRules.ts'
import { type ApiResponse, createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { buyPackage, createDealer, register } from '../support/graphqlOperations.ts'
import { countDealerRows } from '../support/ledger.ts'
import { makeListing, step } from '../support/listings.ts'
import { mutate } from '../support/members.ts'
import { makeAdmin, makeSeller, type Seller } from '../support/seller.ts'
import { makePackage } from '../support/testData.ts'

let database: TestDatabase
let server: TestServer
let seller: Seller

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  seller = await makeSeller(database, server)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

type Send = (input: Record<string, unknown>) => Promise<ApiResponse<unknown>>

const publish: Send = input => createListing(server, seller.token, seller.dealerId, input)
const openDealer: Send = input => createDealer(server, seller.token, { country: seller.country, ...input })
const registerUser: Send = input =>
  register(server, { email: `${randomUUID()}@example.com`, password: 'long enough', ...input })
const buy: Send = async input => {
  const packageId = await makePackage(database.owner, { country: seller.country })
  return buyPackage(server, seller.token, { dealerId: seller.dealerId, packageId, ...input })
}

const reject: Send = async input => {
  const listingId = await makeListing(database.owner, seller)
  const token = await makeAdmin(database, server)
  return (await step(server, token, 'moderateListing', { listingId, decision: 'REJECT', ...input })).response
}

const invite: Send = input =>
  mutate(server, 'inviteMember', { dealerId: seller.dealerId, role: 'STAFF', ...input }, seller.token)

const makeKey: Send = input =>
  mutate(server, 'createApiKey', { dealerId: seller.dealerId, name: 'Stock', ...input }, seller.token)

const textOf = (length: number) => 'x'.repeat(length)
const urls = (count: number) => Array.from({ length: count }, (_, n) => `https://example.com/${n}.jpg`)
const badUrls = ['javascript:alert(1)', 'example.com', '', 'https://a b', `https://${textOf(2000)}`]

/** Each constraint, with its input field and values that break it. */
const rules: Record<string, [Send, field: string, values: unknown[]]> = {
  users_email_form: [
    registerUser,
    'email',
    ['', 'a', 'a@b', '@b.c', 'a b@c.d', 'a@b.c.', 'a@b..c', 'a\u200b@b.c', `${textOf(250)}@example.com`],
  ],
  dealer_api_keys_expires_later: [makeKey, 'expiresAt', ['2020-01-01T00:00:00Z']],
  dealer_api_keys_name_length: [makeKey, 'name', ['', '   ', '\u200d', 'a\nb', textOf(101)]],
  dealer_invitations_email_form: [invite, 'email', ['', 'a', 'a@b', 'a b@c.d']],
  users_full_name_length: [registerUser, 'fullName', ['', '   ', '\u200d', 'a\nb', textOf(201)]],
  users_locale_known: [registerUser, 'locale', ['', 'fr', 'EN', 'de-DE']],
  dealers_company_name_length: [openDealer, 'companyName', ['', '   ', '\u200d', 'a\nb', textOf(201)]],
  dealers_country_form: [openDealer, 'country', ['', 'de', 'DEU', 'D', 'D1', 'DE ']],
  checkouts_success_url_form: [buy, 'successUrl', badUrls],
  checkouts_cancel_url_form: [buy, 'cancelUrl', badUrls],
  listings_title_length: [publish, 'title', ['', '   ', '\u200d', 'a\nb', textOf(201)]],
  listings_description_length: [publish, 'description', ['a\u0001', textOf(10_001)]],
  listings_external_id_length: [publish, 'externalId', ['\u200d', 'a\nb', textOf(101)]],
  listings_rejection_reason_length: [reject, 'reason', ['', '   ', 'a\u0001', textOf(1001)]],
  listings_module_form: [publish, 'module', ['', '1', 'a b', 'ä', textOf(41)]],
  listings_price_range: [publish, 'price', ['-0.01', '1000000000000', '9'.repeat(30)]],
  listings_price_scale: [publish, 'price', ['1.00001']],
  listings_currency_known: [publish, 'currency', ['', 'eur', 'XXX']],
  listings_attributes_object: [publish, 'attributes', [[], 'x', 5, true]],
  listings_images_count: [publish, 'images', [urls(51)]],
  listings_images_form: [
    publish,
    'images',
    [
      [''],
      ['x'],
      ['javascript:alert(1)'],
      ['https://example.com/1.jpg', 'ftp://example.com'],
      [`https://${textOf(1993)}`],
    ],
  ],
  listings_images_present: [publish, 'images', [[null], ['https://example.com/1.jpg', null]]],
}

test('each constraint and each rule of a row that names a field has a case in this file', async () => {
  const { rows } = await database.superuser.query<{ name: string }>(
    `select conname as name from pg_constraint
     where obj_description(oid, 'pg_constraint') like '@field %' and conrelid <> all ($1::regclass[]) order by conname`,
    // test/admin/configuration.test.ts has theirs
    [CONFIGURATION],
  )
  const ofRows = (await rowRules(database.superuser)).filter(({ field }) => field !== undefined)
  const named = [...rows, ...ofRows].map(({ name }) => name)
  expect(named.sort()).toEqual(Object.keys(rules).sort())
})

const broken = Object.values(rules).flatMap(([send, field, values]) =>
  values.map(value => ({ send, field, value, shown: JSON.stringify(value).slice(0, 30) })),
)

test.each(broken)(
  '$field $shown gets 422 invalid_input with the field in detail',
  async ({ send, field, value }) => {
    const { status, errors } = await send({ [field]: value })
    expect([status, errors.map(({ extensions }) => extensions)]).toEqual([
      422,
      [{ code: 'invalid_input', detail: { field } }],
    ])
    expect(errors[0]?.message).not.toMatch(/[a-z]_[a-z]/)
  },
)

test('a package of another country gets 422 invalid_input with the field packageId', async () => {
  const other = await makeSeller(database, server)
  const packageId = await makePackage(database.owner, { country: other.country })
  const { status, errors } = await buy({ packageId })
  expect([status, errors[0]?.extensions]).toEqual([
    422,
    { code: 'invalid_input', detail: { field: 'packageId', country: seller.country } },
  ])
})

test('a refused listing writes no row', async () => {
  const before = await countDealerRows(database.owner, seller.dealerId)
  await publish({ title: '' })
  expect(await countDealerRows(database.owner, seller.dealerId)).toEqual(before)
})

const edges: [Send, Record<string, unknown>][] = [
  [publish, { title: textOf(200), description: textOf(10_000), module: textOf(40), images: urls(50) }],
  [publish, { title: 'ä'.repeat(200), price: '0', attributes: {}, images: [] }],
  [publish, { price: '999999999999.9999' }],
  [publish, { description: null, attributes: null, images: null }],
  [openDealer, { companyName: textOf(200) }],
  [registerUser, { fullName: textOf(200) }],
  [registerUser, { email: `${textOf(64)}.${randomUUID()}@${'a.'.repeat(70)}example` }],
  [buy, { successUrl: `https://example.com/${textOf(1980)}`, cancelUrl: 'http://localhost:3000/?a=b#c' }],
]

test.each(edges)('a value at the edge of its range is accepted: %#', async (send, input) => {
  const { status, errors } = await send(input)
  expect([status, errors]).toEqual([200, []])
})

const nested = (levels: number): unknown => (levels === 0 ? 1 : { a: nested(levels - 1) })

const malformed: [Send, string, unknown][] = [
  ...[5, 5.5, 'abc', '', '1e5', 'NaN', 'Infinity', ' 5', '5.', '1,5', '1'.repeat(31), true, {}, null].map(
    value => [publish, 'price', value] as [Send, string, unknown],
  ),
  ...['x', '', 5, `${randomUUID()} `, randomUUID().replaceAll('-', ''), null].map(
    value => [publish, 'idempotencyKey', value] as [Send, string, unknown],
  ),
  [publish, 'dealerId', '1'],
  [publish, 'title', 5],
  [publish, 'title', null],
  [publish, 'title', undefined],
  [publish, 'images', [5]],
  [publish, 'attributes', nested(21)],
  [publish, 'status', 'ACTIVE'],
  [publish, 'consumption', {}],
  [publish, 'id', randomUUID()],
  [openDealer, 'dealerType', 'auto_dealer'],
  [openDealer, 'dealerType', 'NEW'],
  [registerUser, 'isAdmin', true],
  [registerUser, 'password', null],
]

test.each(malformed)(
  'a variable of the wrong type gets 400 invalid_input: %# %s',
  async (send, field, value) => {
    const { status, errors, data } = await send({ [field]: value })
    expect([status, errors[0]?.extensions.code, data]).toEqual([400, 'invalid_input', undefined])
  },
)

const SECRET = '271828182845'
const literal = (password: string) => () =>
  server.call(`mutation { login(input: { email: "a@example.com", password: ${password} }) { __typename } }`)

/** Each request has the secret where it is not valid, or beside what is not. The words are those that its message keeps. */
const withSecret: [send: () => Promise<ApiResponse<unknown>>, kept: string][] = [
  [() => registerUser({ password: `${SECRET}; "at "input.x"`, fullName: undefined }), '"fullName"'],
  [() => registerUser({ password: Number(SECRET) }), '"input.password"'],
  [() => registerUser({ password: [`x; ${SECRET}`] }), '"input.password"'],
  [() => registerUser({ password: { value: `b; ${SECRET}` } }), '"input.password"'],
  [() => openDealer({ dealerType: `${SECRET}; B` }), '"input.dealerType"'],
  [() => openDealer({ dealerType: Number(SECRET) }), '"input.dealerType"'],
  [() => publish({ price: Number(SECRET) }), '"input.price"'],
  [literal(SECRET), 'String'],
  [literal(`[${SECRET}]`), 'String'],
  [literal(`S${SECRET}`), 'String'],
  [literal(`{ a: "${SECRET}" }`), 'String'],
  [
    () =>
      server.call(
        `mutation ($p: String! = ${SECRET}) { login(input: { email: "a", password: $p }) { __typename } }`,
      ),
    'String',
  ],
  [() => server.call(`mutation { login(input: "${SECRET}") { __typename } }`), '"LoginInput!"'],
  [() => server.call(`mutation { login("${SECRET}") { __typename } }`), 'Syntax Error'],
]

test.each(withSecret)(
  'the refusal of a value names its place and does not repeat it: %#',
  async (send, kept) => {
    const { status, errors, text } = await send()
    expect([status, errors[0]?.extensions.code]).toEqual([400, 'invalid_input'])
    expect(JSON.parse(text).errors[0].message).toContain(kept)
    expect(text).not.toContain(SECRET)
  },
)
