/** Reads are charged by the rows that they may return (docs/errors.md, "Row cost"). */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type CallOptions, createListing, type TestServer } from '../support/apiServer.ts'
import { type Limited, onlyLimits, outcomeOf, refusedBy, remaining, startLimited } from '../support/limits.ts'
import { makeSeller, type Seller } from '../support/seller.ts'

let limited: Limited
let one: TestServer
let two: TestServer
let seller: Seller

beforeAll(async () => {
  limited = await startLimited()
  ;[one, two] = limited.servers
  seller = await makeSeller(limited.database, one)
})

afterAll(() => limited.stop())

const page = (alias: string, rows: number) => `${alias}: listings(first: ${rows}) { totalCount nodes { id } }`
const pages = (count: number) =>
  `{ ${Array.from({ length: count }, (_, index) => page(`a${index}`, 100)).join(' ')} }`

/** The cost of each query under a limit of 1,200. The queries go to both servers in turn. */
async function used(options: CallOptions, queries: string[]): Promise<number[]> {
  const found: number[] = []
  let left = 1_200
  for (const [index, query] of queries.entries()) {
    const now = remaining(await (index % 2 ? one : two).call(query, options)) ?? Number.NaN
    found.push(left - now)
    left = now
  }
  return found
}

const queries = ['{ __typename }', `{ ${page('a', 90)} }`, `{ ${page('a', 91)} }`, pages(10), '{ nothing }']

test('public_read charges anonymous requests by their rows, mutations included', async () => {
  await onlyLimits(limited, { public_read: { max: 1_200 }, user_read: { max: 1_200 } })
  const login =
    'mutation { login(input: {email: "nobody@example.com", password: "wrong password"}) { session { expiresAt } } }'
  expect(await used({}, [...queries, login])).toEqual([1, 1, 2, 11, 1, 1])
})

test('user_read charges the queries of users by their rows, and not their mutations', async () => {
  await onlyLimits(limited, { public_read: { max: 1 }, user_read: { max: 1_200 } })
  expect(await used({ token: seller.token }, queries)).toEqual([1, 1, 2, 11, 1])
  const published = await createListing(one, seller.token, seller.dealerId)
  expect([published.status, remaining(published)]).toEqual([200, undefined])
})

test('each user has one limit, from any address', async () => {
  await onlyLimits(limited, { user_read: { max: 20 } })
  const other = await makeSeller(limited.database, one)
  expect(refusedBy(await one.call(pages(10), { token: seller.token }))).toBeUndefined()
  const second = await two.call(pages(10), { token: seller.token })
  expect([outcomeOf(second), refusedBy(second)]).toEqual(['429 rate_limit_exceeded', 'user_read'])
  expect(second.errors[0]?.extensions.meta).toMatchObject({ limit_key: `user:${seller.userId}:user_read` })
  expect(refusedBy(await two.call(pages(10), { token: other.token }))).toBeUndefined()
})

test('the variables of each request decide its rows', async () => {
  await onlyLimits(limited, { public_read: { max: 1_200 } })
  const query =
    'query ($n: Int, $more: Boolean = true) { a: listings(first: $n) { nodes { id } } b: listings(first: 100) @include(if: $more) { nodes { id } } }'
  const left: unknown[] = []
  for (const variables of [{ n: 100 }, { n: 1, more: false }, {}, { n: 100, more: true }]) {
    left.push(remaining(await one.call(query, { variables })))
  }
  expect(left).toEqual([1_198, 1_197, 1_195, 1_193])
})

const nested = (outer: string, inner: string, more = '') =>
  `query ($n: Int) { invoices(first: ${outer}) { ${more} nodes { items(first: ${inner}) { nodes { id } } } } }`

test('more than 11,000 rows are refused with the limit, before anything runs, and are charged as 1', async () => {
  await onlyLimits(limited, { user_read: { max: 1_200 } })
  const { token } = seller
  const most = await one.call(nested('100', '$n', 'edges { cursor } edges2: edges { cursor }'), {
    token,
    variables: { n: 100 },
  })
  expect([most.status, remaining(most)]).toEqual([200, 1_200 - 103])
  const detail = { limit: 'rows', maximum: 11_000 }
  for (const [query, variables] of [
    [nested('$n', '100', 'nodes2: nodes { items(first: 10) { nodes { id } } }'), { n: 100 }],
    [nested('$n', '$n', `edges { node { items(first: 9) { nodes { id } } } }`), { n: 100 }],
  ] as const) {
    const response = await two.call(query, { token, variables })
    expect([outcomeOf(response), response.errors[0]?.extensions.detail, response.data]).toEqual([
      '400 invalid_input',
      detail,
      undefined,
    ])
    const legacy = await two.call(query, { token, variables, accept: 'application/json' })
    expect([legacy.status, legacy.errors[0]?.extensions.detail]).toEqual([400, detail])
  }
  expect(remaining(await one.call('{ __typename }', { token }))).toBe(1_200 - 103 - 5)
})

test('a visitor may read three times 28 full pages with totals in a minute, and no fourth time', async () => {
  await onlyLimits(limited, { public_read: { max: 100 } })
  expect(remaining(await one.call(pages(28)))).toBe(100 - 31)
  expect(remaining(await one.call(pages(28)))).toBe(100 - 62)
  expect(remaining(await one.call(pages(28)))).toBe(100 - 93)
  expect(refusedBy(await one.call(pages(28)))).toBe('public_read')
})
