/** What a document may hold: beyond it 400 with the limit in `detail`, and nothing runs. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { makeUser } from '../support/testData.ts'

let database: TestDatabase
let server: TestServer
let token: string

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  token = await server.tokenFor(await makeUser(database.owner))
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

const times = (count: number, text: string | ((number: number) => string)) =>
  Array.from({ length: count }, (_, number) => (typeof text === 'string' ? text : text(number))).join(' ')

/** Selects this many fields with its two outer ones. */
const withFields = (count: number) => `{ listings { nodes { ${times(count - 2, 'id')} } } }`
const withAliases = (count: number) => `{ ${times(count, n => `a${n}: __typename`)} }`
/** 12 tokens and the values. */
const withTokens = (count: number) => `{ listings(orderBy: [${times(count - 12, 'ID_ASC')}]) { totalCount } }`
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
  'a document with as many %s as are allowed, %i, is served',
  async (_, maximum, withSize) => {
    const { status, errors } = await server.call(withSize(maximum), { token })
    expect([status, errors]).toEqual([200, []])
  },
)

test.each([...limits, ['depth', 10, withDepth] as const])(
  'more %s than %i is 400 with the limit in detail, on both media types',
  async (limit, maximum, withSize) => {
    for (const accept of ['application/json', 'application/graphql-response+json']) {
      expect(await refusedLimits(withSize(maximum + 1), accept)).toEqual([{ limit, maximum }])
    }
  },
)

test('a document as deep as is allowed is not refused for its depth', async () => {
  expect(await refusedLimits(withDepth(10))).not.toContainEqual({ limit: 'depth', maximum: 10 })
})

test.each([
  ['fragments', (body: string) => `query { ...F } fragment F on Query ${body}`],
  ['inline fragments', (body: string) => `query { ... on Query ${body} }`],
  ['a second operation', (body: string) => `query A { __typename } query B ${body}`],
])('what hides in %s counts', async (_, hide) => {
  for (const [limit, maximum, withSize] of limits.slice(0, 2)) {
    expect(await refusedLimits(hide(withSize(maximum + 1)))).toEqual([{ limit, maximum }])
  }
  expect(await refusedLimits(hide(withDepth(11)))).toEqual([{ limit: 'depth', maximum: 10 }])
})

test('a fragment counts as often as it is spread', async () => {
  const fragment = `fragment F on Query { ${times(16, n => `a${n}: __typename`)} }`
  expect(await refusedLimits(`{ ...F ...F } ${fragment}`)).toEqual([{ limit: 'aliases', maximum: 30 }])
})

test('a document whose fragments expand to 2^60 fields is answered with 400', async () => {
  const fragments = times(60, n => `fragment F${n} on Query { ...F${n + 1} ...F${n + 1} }`)
  const bomb = `{ ...F0 } ${fragments} fragment F60 on Query { a: __typename }`
  expect(await refusedLimits(bomb)).toEqual([
    { limit: 'fields', maximum: 200 },
    { limit: 'aliases', maximum: 30 },
  ])
})

test('fragments that go in a circle are answered with 400', async () => {
  const query = '{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }'
  expect(await refusedLimits(query)).toHaveLength(1)
})

test('a document of many directives, comments or errors is answered with 400', async () => {
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

const twice: Record<string, string> = {
  'two fields': `mutation { a: ${create()} b: ${create()} }`,
  'two different fields': `mutation { ${create()} cancelSubscription(input: {subscriptionId: "${randomUUID()}"}) { subscription { id } } }`,
  'a fragment': `mutation { ${create('a')} ...F } fragment F on Mutation { ${create('b')} }`,
  'an inline fragment': `mutation { ${create('a')} ... { ${create('b')} } }`,
  'fragments in fragments': `mutation { ...F } fragment F on Mutation { ...G ...H } fragment G on Mutation { ${create('a')} } fragment H on Mutation { ${create('b')} }`,
  'a directive with a variable': `mutation ($yes: Boolean = true) { ${create('a')} ... @include(if: $yes) { ${create('b')} } }`,
  'a directive that includes': `mutation { ${create('a')} ... @include(if: true) { ${create('b')} } }`,
  'the operation that is not chosen': `mutation A { ${create('a')} } mutation B { ${create('b')} ${create('c')} }`,
}

test.each(Object.entries(twice))(
  'two mutation fields by way of %s are 400, and nothing runs',
  async (_, query) => {
    const before = await countDealers()
    expect(await refusedLimits(query)).toEqual([{ limit: 'mutationFields', maximum: 1 }])
    expect(await countDealers()).toBe(before)
  },
)

const once: Record<string, string> = {
  'beside __typename': `mutation { __typename ${create()} }`,
  'beside one that is skipped': `mutation { ${create('a')} ... @skip(if: true) { ${create('b')} } }`,
  'written twice under one name': `mutation { ${create('', 'Same')} ${create('', 'Same')} }`,
}

test.each(Object.entries(once))('one mutation field %s runs once', async (_, query) => {
  const before = await countDealers()
  const { status, errors } = await server.call(query, { token })
  expect([status, errors]).toEqual([200, []])
  expect(await countDealers()).toBe(before + 1)
})

test('a subscription, of which there is none, is refused as a document: 400', async () => {
  expect(await refusedLimits('subscription { listings }')).toHaveLength(1)
})
