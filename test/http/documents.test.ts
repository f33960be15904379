/** The limits of a GraphQL document. A larger document gets 400 with the limit in `detail`, and nothing runs. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { makeCountry, makeUser } from '../support/testData.ts'

let database: TestDatabase
let server: TestServer
let token: string

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  await makeCountry(database.owner)
  const userId = await makeUser(database.owner)
  await database.owner.query('update app_public.users set dealer_limit = 100 where id = $1', [userId])
  token = await server.tokenFor(userId)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

const times = (count: number, text: string | ((number: number) => string)) =>
  Array.from({ length: count }, (_, number) => (typeof text === 'string' ? text : text(number))).join(' ')

/** Selects this many fields, including the two outer ones. */
const withFields = (count: number) => `{ listings { nodes { ${times(count - 2, 'id')} } } }`
const withAliases = (count: number) => `{ ${times(count, n => `a${n}: __typename`)} }`
/** Has this many tokens: 8 outside, 8 for each field with a directive, and one for each other field. */
const withTokens = (count: number) =>
  `{ listings { nodes { ${times(Math.floor(count / 8) - 1, 'id @include(if: true)')} ${times(count % 8, 'id')} } } }`
const withDepth = (count: number) => `${'{ listings '.repeat(count)}${'}'.repeat(count)}`

async function refusedLimits(query: string, accept = 'application/json'): Promise<unknown[]> {
  const { status, errors, data } = await server.call(query, { accept, token })
  expect([status, data]).toEqual([400, undefined])
  for (const { extensions } of errors) expect(extensions.code).toBe('invalid_input')
  return errors.map(({ extensions }) => extensions.detail)
}

const limits: [limit: string, maximum: number, withSize: (size: number) => string][] = [
  ['fields', 200, withFields],
  ['aliases', 30, withAliases],
  ['tokens', 1000, withTokens],
]

test.each(limits)(
  'a document with the maximum number of %s (%i) is accepted',
  async (_, maximum, withSize) => {
    const { status, errors } = await server.call(withSize(maximum), { token })
    expect([status, errors]).toEqual([200, []])
  },
)

test.each([...limits, ['depth', 10, withDepth] as const])(
  'a document with more %s than %i gets 400 with the limit in detail, in both media types',
  async (limit, maximum, withSize) => {
    for (const accept of ['application/json', 'application/graphql-response+json']) {
      expect(await refusedLimits(withSize(maximum + 1), accept)).toEqual([{ limit, maximum }])
    }
  },
)

test('a document of the maximum depth is not refused for its depth', async () => {
  expect(await refusedLimits(withDepth(10))).not.toContainEqual({ limit: 'depth', maximum: 10 })
})

test.each([
  ['fragments', (body: string) => `query { ...F } fragment F on Query ${body}`],
  ['inline fragments', (body: string) => `query { ... on Query ${body} }`],
  ['a second operation', (body: string) => `query A { __typename } query B ${body}`],
])('fields in %s count towards the limits', async (_, hide) => {
  for (const [limit, maximum, withSize] of limits.slice(0, 2)) {
    expect(await refusedLimits(hide(withSize(maximum + 1)))).toEqual([{ limit, maximum }])
  }
  expect(await refusedLimits(hide(withDepth(11)))).toEqual([{ limit: 'depth', maximum: 10 }])
})

test('a fragment counts each time it is spread', async () => {
  const fragment = `fragment F on Query { ${times(16, n => `a${n}: __typename`)} }`
  expect(await refusedLimits(`{ ...F ...F } ${fragment}`)).toEqual([{ limit: 'aliases', maximum: 30 }])
})

test('a document whose fragments expand to 2^60 fields gets 400', async () => {
  const fragments = times(60, n => `fragment F${n} on Query { ...F${n + 1} ...F${n + 1} }`)
  const bomb = `{ ...F0 } ${fragments} fragment F60 on Query { a: __typename }`
  expect(await refusedLimits(bomb)).toEqual([
    { limit: 'fields', maximum: 200 },
    { limit: 'aliases', maximum: 30 },
  ])
})

test('a cycle of fragments gets 400', async () => {
  const query = '{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }'
  expect(await refusedLimits(query)).toHaveLength(1)
})

test('a document with many directives or many errors gets 400', async () => {
  expect(await refusedLimits(`{ __typename ${times(400, '@skip(if: true)')} }`)).toEqual([
    { limit: 'tokens', maximum: 1000 },
  ])
  const errors = await refusedLimits(`{ ${times(150, n => `nothing${n}`)} }`)
  expect(errors.length).toBeLessThan(10)
})

const create = (alias = '', name: string = randomUUID()) =>
  `${alias && `${alias}: `}createDealer(input: {companyName: "${name}", country: "DE", dealerType: GENERAL}) { dealer { id } }`

async function countDealers(): Promise<number> {
  const { rows } = await database.superuser.query('select count(*)::int as count from app_public.dealers')
  return rows[0].count
}

const twoFields: Record<string, string> = {
  'the same field twice': `mutation { a: ${create()} b: ${create()} }`,
  'two different fields': `mutation { ${create()} cancelSubscription(input: {subscriptionId: "${randomUUID()}"}) { subscription { id } } }`,
  'a fragment': `mutation { ${create('a')} ...F } fragment F on Mutation { ${create('b')} }`,
  'an inline fragment': `mutation { ${create('a')} ... { ${create('b')} } }`,
  'fragments in fragments': `mutation { ...F } fragment F on Mutation { ...G ...H } fragment G on Mutation { ${create('a')} } fragment H on Mutation { ${create('b')} }`,
  'a directive with a variable': `mutation ($yes: Boolean = true) { ${create('a')} ... @include(if: $yes) { ${create('b')} } }`,
  'a constant directive': `mutation { ${create('a')} ... @include(if: true) { ${create('b')} } }`,
  'the operation that is not selected': `mutation A { ${create('a')} } mutation B { ${create('b')} ${create('c')} }`,
}

test.each(Object.entries(twoFields))(
  'a document with two mutation fields gets 400, and nothing runs: %s',
  async (_, query) => {
    const before = await countDealers()
    expect(await refusedLimits(query)).toEqual([{ limit: 'mutationFields', maximum: 1 }])
    expect(await countDealers()).toBe(before)
  },
)

const oneField: Record<string, string> = {
  'beside __typename': `mutation { __typename ${create()} }`,
  'beside a skipped one': `mutation { ${create('a')} ... @skip(if: true) { ${create('b')} } }`,
  'that is written twice under one name': `mutation { ${create('', 'Same')} ${create('', 'Same')} }`,
}

test.each(Object.entries(oneField))('a single mutation field %s runs once', async (_, query) => {
  const before = await countDealers()
  const { status, errors } = await server.call(query, { token })
  expect([status, errors]).toEqual([200, []])
  expect(await countDealers()).toBe(before + 1)
})

test.each(['constructor', 'toString', '__proto__'])(
  'a variable named $%s gets 400, because every object has such a member',
  async name => {
    const query = (type: string, argument: string) =>
      `query ($${name}: ${type}) { listings(${argument}: $${name}) { nodes { id } } }`
    for (const document of [query('[ListingOrderBy!]', 'orderBy'), query('Int', 'first')])
      expect(await refusedLimits(document)).toEqual([undefined])
  },
)

test('a subscription operation gets 400, because the schema has none', async () => {
  expect(await refusedLimits('subscription { listings }')).toHaveLength(1)
})
