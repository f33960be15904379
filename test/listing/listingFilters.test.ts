/** The conditions of `listings` and the order PREMIUM_FIRST, as clients use them. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { makeSeller, type Seller } from '../support/seller.ts'
import { single } from '../support/testData.ts'

type Page = {
  listings: { nodes: { title: string }[]; pageInfo: { endCursor: string; hasNextPage: boolean } } | null
}

let database: TestDatabase
let server: TestServer
let german: Seller
let french: Seller

/** What each listing has, by its title. All are active, and the later ones are newer. */
const LISTINGS: Record<string, { price: string; module?: string; currency?: string; externalId?: string }> = {
  a: { price: '100' },
  b: { price: '200', module: 'truck', externalId: 'R-1' },
  c: { price: '300', currency: 'CHF' },
  d: { price: '300.50' },
  e: { price: '400', module: 'truck' },
}

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  await database.owner.query("insert into app_public.currencies values ('CHF', 2)")
  german = await makeSeller(database, server)
  french = await makeSeller(database, server)
  for (const [title, input] of Object.entries(LISTINGS)) {
    const { token, dealerId } = title < 'd' ? german : french
    const { errors } = await createListing(server, token, dealerId, { title, ...input })
    expect(errors).toEqual([])
  }
  await database.owner.query(
    `update app_public.listings set status = 'active', published_at = '2026-01-01Z'::timestamptz + (ascii(title) - 97) * interval '1 hour',
       expires_at = now() + interval '9 days', updated_at = '2026-02-01Z'::timestamptz + (ascii(title) - 97) * interval '1 hour'`,
  )
  await createListing(server, german.token, german.dealerId, { title: 'pending' })
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

async function read(args: string, token?: string) {
  const { status, data, errors } = await server.call<Page>(
    `{ listings(${args}) { nodes { title } pageInfo { endCursor hasNextPage } } }`,
    token === undefined ? {} : { token },
  )
  const titles = data?.listings?.nodes.map(({ title }) => title).join(' ')
  return { status, titles, page: data?.listings?.pageInfo, error: errors[0]?.extensions }
}
const found = async (condition: string, token?: string) =>
  (await read(`condition: {${condition}}, orderBy: [CREATED_AT_ASC]`, token)).titles

test.each([
  ['module: "truck"', 'b e'],
  ['module: "Truck"', ''],
  ['externalId: "R-1"', 'b'],
  ['updatedSince: "2026-02-01T03:00:00Z"', 'd e'],
  ['updatedSince: "2026-02-01T03:00:00.000001Z"', 'e'],
  ['currency: "CHF"', 'c'],
  ['currency: "EUR", priceMin: "200"', 'b d e'],
  ['currency: "EUR", priceMax: "300.50"', 'a b d'],
  ['currency: "EUR", priceMin: "200.01", priceMax: "400"', 'd e'],
  ['module: "truck", currency: "EUR", priceMax: "399.99"', 'b'],
  ['status: ACTIVE', 'a b c d e'],
  ['status: PENDING', ''],
  // null is as good as absent
  ['updatedSince: null, priceMin: null, country: null', 'a b c d e'],
])('a visitor finds the active listings that fulfil every condition: %s', async (condition, titles) => {
  expect(await found(condition)).toBe(titles)
})

test('dealer and country find the listings of a seller and of its country', async () => {
  expect(await found(`dealerId: "${german.dealerId}"`)).toBe('a b c')
  expect(await found(`country: "${french.country}"`)).toBe('d e')
  expect(await found(`country: "${french.country}", module: "truck"`)).toBe('e')
  expect(await found('country: "ZZ"')).toBe('')
  // a member also sees what is pending
  expect(await found(`country: "${german.country}"`, german.token)).toBe('a b c pending')
})

test.each(['priceMin: "1"', 'priceMax: "1"', 'priceMin: "1", currency: null'])(
  'a price without its currency is refused: %s',
  async condition => {
    const { status, error } = await read(`condition: {${condition}}`)
    expect([status, error]).toMatchObject([422, { code: 'invalid_input', detail: { field: 'currency' } }])
  },
)

test('PREMIUM_FIRST shows premium listings first, then the newest, page by page', async () => {
  const set = (isPremium: boolean) =>
    database.owner.query(
      "update app_public.listings set is_premium = $1, premium_until = case when $1 then expires_at end where title in ('a', 'd')",
      [isPremium],
    )
  await set(true)
  const seen: (string | undefined)[] = []
  for (let after = ''; ; ) {
    const { titles, page } = await read(`orderBy: [PREMIUM_FIRST], first: 2${after}`)
    seen.push(titles)
    if (!page?.hasNextPage) break
    after = `, after: "${page.endCursor}"`
  }
  expect(seen).toEqual(['d a', 'e c', 'b'])
  await set(false)
})

test('a listing that has ended is not shown, whatever the condition', async () => {
  const id = await single(database.owner, "select id from app_public.listings where title = 'e'")
  const end = (at: string) =>
    database.owner.query(`update app_public.listings set expires_at = ${at} where id = $1`, [id])
  await end('now()')
  expect(await found('module: "truck"')).toBe('b')
  expect(await found('status: ACTIVE, updatedSince: "2026-02-01T00:00:00Z"')).toBe('a b c d')
  await end("now() + interval '9 days'")
})
