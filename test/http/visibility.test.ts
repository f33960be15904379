/** Which rows each role sees, how pages work, and how ids, times and amounts are written. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type ApiResponse, createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { buyPackage, payInvoice } from '../support/graphqlOperations.ts'
import { makeAdmin, makeSeller, makeSellerIn, newCountry, type Seller } from '../support/seller.ts'
import { makePackage } from '../support/testData.ts'

type Row = Record<string, unknown>

let database: TestDatabase
let server: TestServer
let admin: string
let ann: Seller
let bob: Seller
/** The ids of Ann's and Bob's listings, by owner and status: one pending and one active each. */
const listings: Record<string, string> = {}

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  admin = await makeAdmin(database, server)
  ann = await makeSeller(database, server)
  bob = await makeSeller(database, server)
  for (const [name, seller] of Object.entries({ ann, bob })) {
    const { token, dealerId, country } = seller
    const packageId = await makePackage(database.owner, { country, listings: 1 })
    const bought = await buyPackage(server, token, { dealerId, packageId })
    await payInvoice(server, admin, bought.data.buyPackage?.checkout.invoice.id as string)
    for (const status of ['pending', 'active']) {
      const { data } = await createListing(server, token, dealerId)
      listings[`${name} ${status}`] = data.createListing?.listing.id as string
      await database.superuser.query('update app_public.listings set status = $1 where id = $2', [
        status,
        listings[`${name} ${status}`],
      ])
    }
  }
  const withdrawn = await makePackage(database.owner, { country: ann.country })
  await database.owner.query('update app_public.dealer_packages set is_active = false where id = $1', [
    withdrawn,
  ])
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

async function readNodes(field: string, selection: string, token?: string): Promise<Row[]> {
  const query = `{ rows: ${field} { nodes { ${selection} } totalCount } }`
  const { data, errors } = await server.call<{ rows: { nodes: Row[]; totalCount: number } }>(
    query,
    token ? { token } : {},
  )
  expect(errors).toEqual([])
  expect(data.rows.totalCount).toBe(data.rows.nodes.length)
  return data.rows.nodes
}

async function readIds(field: string, token?: string): Promise<unknown[]> {
  return (await readNodes(field, 'id', token)).map(({ id }) => id).sort()
}

async function errorCode(query: string, token?: string): Promise<string | undefined> {
  const { errors } = await server.call(query, token ? { token } : {})
  return errors[0]?.extensions.code
}

const idsOf = (...keys: string[]) => keys.map(key => listings[key]).sort()

test('a visitor sees the active listings, a dealer also sees its own, an admin sees all', async () => {
  expect(await readIds('listings')).toEqual(idsOf('ann active', 'bob active'))
  expect(await readIds('listings', ann.token)).toEqual(idsOf('ann active', 'ann pending', 'bob active'))
  expect(await readIds('listings', bob.token)).toEqual(idsOf('bob active', 'bob pending', 'ann active'))
  expect(await readIds('listings', admin)).toEqual(Object.values(listings).sort())
})

test('listing(id:) gets not_found if the caller may not see the listing', async () => {
  const query = `{ listing(id: "${listings['ann pending']}") { id } }`
  expect(await errorCode(query)).toBe('not_found')
  expect(await errorCode(query, bob.token)).toBe('not_found')
  expect(await errorCode(query, ann.token)).toBeUndefined()
  expect(await errorCode(query, admin)).toBeUndefined()
})

test('only its dealer and an admin see the charge and the dealer of a listing', async () => {
  const query = `{ listing(id: "${listings['ann active']}") { dealer { id } consumption { source } } }`
  const seen = async (token: string) => (await server.call<{ listing: Row }>(query, { token })).data.listing
  expect(await seen(bob.token)).toEqual({ dealer: null, consumption: null })
  const all = { dealer: { id: ann.dealerId }, consumption: { source: 'PAID_EXTRA' } }
  expect(await seen(ann.token)).toEqual(all)
  expect(await seen(admin)).toEqual(all)
})

test('visitors and dealers see the packages on sale, an admin sees all packages', async () => {
  expect(await readIds('dealerPackages')).toHaveLength(2)
  expect(await readIds('dealerPackages', ann.token)).toHaveLength(2)
  expect(await readIds('dealerPackages', admin)).toHaveLength(3)
  expect(await readIds(`dealerPackages(condition: {country: "${bob.country}"})`)).toHaveLength(1)
})

test.each(['dealerSubscriptions', 'invoices'])(
  'in %s a dealer sees its own rows, an admin sees all, and a visitor is refused',
  async field => {
    const owners = async (token: string) =>
      new Set((await readNodes(field, 'dealerId', token)).map(({ dealerId }) => dealerId))
    expect(await owners(ann.token)).toEqual(new Set([ann.dealerId]))
    expect(await owners(bob.token)).toEqual(new Set([bob.dealerId]))
    expect(await owners(admin)).toEqual(new Set([ann.dealerId, bob.dealerId]))
    expect(await errorCode(`{ ${field} { totalCount } }`)).toBe('unauthenticated')
  },
)

test('a condition on another dealer shows none of its rows', async () => {
  for (const field of ['dealerSubscriptions', 'invoices']) {
    expect(await readNodes(`${field}(condition: {dealerId: "${bob.dealerId}"})`, 'id', ann.token)).toEqual([])
  }
})

test.each(['auditLogs', 'pricingGaps'])('only an admin sees %s', async field => {
  const query = `{ ${field} { totalCount } }`
  expect(await errorCode(query)).toBe('unauthenticated')
  expect(await errorCode(query, ann.token)).toBe('forbidden')
  expect(await errorCode(query, admin)).toBeUndefined()
})

test('a page has 20 rows by default and at most 100, also in nested connections', async () => {
  await database.superuser.query(
    `insert into app_public.dealer_packages (key, country, name, price_net, currency, duration_days, listing_limit)
     select 'page_' || n, $1, '{"en": "Test"}', 1, 'EUR', 30, 1 from generate_series(1, 150) as n`,
    [bob.country],
  )
  const page = `condition: {country: "${bob.country}"}`
  const size = async (args: string) => {
    const { data } = await server.call<{ dealerPackages: { nodes: Row[]; totalCount: number } }>(
      `{ dealerPackages(${args}) { nodes { id } totalCount } }`,
    )
    return [data.dealerPackages.nodes.length, data.dealerPackages.totalCount]
  }
  expect(await size(page)).toEqual([20, 151])
  expect(await size(`${page}, first: 100`)).toEqual([100, 151])
  expect(await size(`${page}, last: 100`)).toEqual([100, 151])
  expect(await size(`${page}, first: 0`)).toEqual([0, 151])
  for (let number = 0; number < 25; number += 1) await createListing(server, ann.token, ann.dealerId)
  const nested = await readNodes(
    'invoices(orderBy: [ID_ASC])',
    'kind items { nodes { id } totalCount }',
    ann.token,
  )
  expect(nested.map(({ kind, items }) => [kind, (items as { nodes: Row[] }).nodes.length])).toEqual([
    ['PACKAGE', 1],
    ['MONTHLY', 20],
  ])
})

test.each(['first', 'last'])(
  '%s above 100 or below 0 gets invalid_input with the maximum in detail, also in nested connections',
  async field => {
    for (const rows of [101, 1_000_000, -1]) {
      const detail = { field, maximum: 100 }
      const top = await server.call(`{ dealerPackages(${field}: ${rows}) { nodes { id } } }`)
      expect([top.status, top.errors[0]?.extensions]).toEqual([422, { code: 'invalid_input', detail }])
      const nested = await server.call(
        `query ($rows: Int) { invoices { nodes { items(${field}: $rows) { nodes { id } } } } }`,
        {
          token: ann.token,
          variables: { rows },
        },
      )
      expect(nested.errors[0]?.extensions).toEqual({ code: 'invalid_input', detail })
    }
  },
)

test('paging by cursor returns each row exactly once', async () => {
  type Page = { dealerPackages: { nodes: Row[]; pageInfo: { hasNextPage: boolean; endCursor: string } } }
  const query = `query ($after: Cursor) {
    dealerPackages(first: 60, after: $after) { nodes { id } pageInfo { hasNextPage endCursor } }
  }`
  const seen: unknown[] = []
  let after: string | null = null
  do {
    const response: ApiResponse<Page> = await server.call<Page>(query, { variables: { after } })
    expect(response.errors).toEqual([])
    const { nodes, pageInfo } = response.data.dealerPackages
    seen.push(...nodes.map(({ id }) => id))
    after = pageInfo.hasNextPage ? pageInfo.endCursor : null
  } while (after !== null)
  expect(seen).toHaveLength(152)
  expect(new Set(seen).size).toBe(152)
})

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/

test('ids are time-ordered UUIDs, and times are ISO 8601 in UTC with a Z', async () => {
  await makeSellerIn(database, server, newCountry())
  const [listing] = await readNodes('listings(first: 100)', 'id dealerId createdAt updatedAt', ann.token)
  const [subscription] = await readNodes(
    'dealerSubscriptions',
    'id packageId invoiceId startAt endAt createdAt',
    ann.token,
  )
  const [invoice] = await readNodes('invoices(orderBy: [ID_ASC])', 'id paidAt createdAt', ann.token)
  const [log] = await readNodes('auditLogs(condition: {action: "PAY_INVOICE"})', 'id createdAt', admin)
  const [gap] = await readNodes('pricingGaps', 'startsAt', admin)
  const rows = [listing, subscription, invoice, log, gap]
  expect(rows).not.toContain(undefined)
  for (const [name, value] of rows.flatMap(row => Object.entries(row ?? {}))) {
    expect([name, value]).toEqual([name, expect.stringMatching(/At$/.test(name) ? UTC : UUID)])
  }
})

const AMOUNTS = `netTotal vatTotal grossTotal items { nodes { netAmount vatAmount grossAmount } }`

test.each([
  ['JPY', 0, '500', '10', ['500', '50', '550']],
  ['EUR', 2, '5', '19', ['5.00', '0.95', '5.95']],
  ['KWD', 3, '1.5', '5', ['1.500', '0.075', '1.575']],
])(
  'amounts in %s are strings with %i decimals, however the price was entered',
  async (currency, minorUnits, price, vatRate, amounts) => {
    const seller = await makeSeller(database, server, {
      currency,
      minorUnits,
      price,
      vatRate: Number(vatRate),
    })
    const { data } = await createListing(server, seller.token, seller.dealerId, { currency })
    const [net, vat, gross] = amounts
    expect(data.createListing?.listing.consumption).toMatchObject({
      netAmount: net,
      grossAmount: gross,
      currency,
    })
    expect(await readNodes('invoices', AMOUNTS, seller.token)).toEqual([
      {
        netTotal: net,
        vatTotal: vat,
        grossTotal: gross,
        items: { nodes: [{ netAmount: net, vatAmount: vat, grossAmount: gross }] },
      },
    ])
  },
)

test('prices are strings with at least the decimals of their currency, however they were entered', async () => {
  const seller = await makeSeller(database, server, { price: '5' })
  await makePackage(database.owner, { country: seller.country, priceNet: '49' })
  const { data } = await createListing(server, seller.token, seller.dealerId, {
    price: '9900',
    idempotencyKey: randomUUID(),
  })
  const id = data.createListing?.listing.id
  const listing = await server.call<{ listing: Row }>(`{ listing(id: "${id}") { price } }`, {
    token: seller.token,
  })
  const [invoice] = await readNodes('invoices', 'items { nodes { unitPriceNet discount } }', seller.token)
  const [sold] = await readNodes(`dealerPackages(condition: {country: "${seller.country}"})`, 'priceNet')
  expect({ ...listing.data.listing, ...sold, ...invoice }).toEqual({
    price: '9900.00',
    priceNet: '49.00',
    items: { nodes: [{ unitPriceNet: '5.00', discount: '0.00' }] },
  })
})
