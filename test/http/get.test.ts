/** Queries by GET, as GraphQL over HTTP describes them. */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { type Client, makeClient, type Received } from '../fuzz/client.ts'
import type { TestServer } from '../support/apiServer.ts'
import { type Limited, metric, onlyLimits, startLimited } from '../support/limits.ts'
import { makeUser } from '../support/testData.ts'

let limited: Limited
let server: TestServer
let client: Client

beforeAll(async () => {
  limited = await startLimited()
  server = limited.servers[0]
  client = makeClient(server.url)
})

beforeEach(() =>
  onlyLimits(limited, { public_read: { max: 100 }, pricing_quote: { max: 100 }, auth_login: { max: 20 } }),
)

afterAll(async () => {
  client.close()
  await limited.stop()
})

const ID = '0190a000-0000-7000-8000-000000000001'
type Parameters = Record<string, string>

function get(parameters: Parameters | string, headers: string[] = [], method = 'GET'): Promise<Received> {
  return client.send({ method, path: `/graphql?${new URLSearchParams(parameters)}`, headers })
}

function post(parameters: Parameters, headers: string[] = []): Promise<Received> {
  const { variables = '{}', extensions = '{}', ...rest } = parameters
  const parsed = { variables: JSON.parse(variables), extensions: JSON.parse(extensions) }
  const body = Buffer.from(JSON.stringify({ ...rest, ...parsed }))
  const all = ['Content-Type', 'application/json', ...headers]
  return client.send({ method: 'POST', path: '/graphql', headers: all, body })
}

/** The parts of a response that do not depend on the moment. */
const same = ({ status, headers, text }: Received) => [status, headers['content-type'], text]
const left = ({ headers }: Received) => Number(headers['x-ratelimit-remaining'])
const outcome = ({ status, text }: Received) => `${status} ${/"code":"(\w+)"/.exec(text)?.[1] ?? ''}`.trim()

const TWO = 'query One { listings { totalCount } } query Two { __typename }'
const requests: Record<string, Parameters> = {
  'a query': { query: '{ listings(first: 3) { totalCount nodes { id } } }' },
  'a query with variables': {
    query: 'query ($n: Int!) { listings(first: $n) { pageInfo { hasNextPage } } }',
    variables: '{"n": 3}',
  },
  'one of two operations': { query: TWO, operationName: 'Two' },
  'extensions, which are ignored': { query: '{ __typename }', extensions: '{"a": 1}' },
  'a variable of the wrong type': {
    query: 'query ($n: Int!) { listings(first: $n) { totalCount } }',
    variables: '{"n": "x"}',
  },
  'a field that fails': { query: `{ quoteListing(dealerId: "${ID}") { source } }` },
  'a document with a fault': { query: '{ nothing }' },
  'a document with wrong syntax': { query: '{' },
  'an unknown operation': { query: TWO, operationName: 'Three' },
  'no operation named': { query: TWO },
}

test.each(Object.entries(requests))('%s has the same response by GET as by POST', async (_, parameters) => {
  const token = await server.tokenFor(await makeUser(limited.database.owner))
  for (const headers of [[], ['Accept', 'application/json'], ['Authorization', `Bearer ${token}`]]) {
    expect(same(await get(parameters, headers))).toEqual(same(await post(parameters, headers)))
  }
})

test.each<[string, Parameters | string]>([
  ['variables that are no JSON', { query: '{ __typename }', variables: '{' }],
  ['empty variables', { query: '{ __typename }', variables: '' }],
  ['variables that are no object', { query: '{ __typename }', variables: '[]' }],
  ['extensions that are no JSON', { query: '{ __typename }', extensions: 'x' }],
  ['extensions that are no object', { query: '{ __typename }', extensions: '5' }],
  ['no query', {}],
  ['two queries', 'query={__typename}&query={__typename}'],
  ['variables twice', 'query={__typename}&variables={}&variables={}'],
  ['two operation names', 'query={__typename}&operationName=A&operationName=B'],
])('%s: 400', async (_, parameters) => {
  expect(outcome(await get(parameters))).toBe('400 invalid_input')
})

test('an empty operation name counts as absent', async () => {
  expect(outcome(await get({ query: 'query A { __typename }', operationName: '' }))).toBe('200')
})

test.each(['GET', 'HEAD'])(
  'a mutation by %s is refused with Allow: POST, runs nothing and is charged as a read',
  async method => {
    const input = 'input: {email: "nobody@example.com", password: "wrong password"}'
    const query = `mutation { login(${input}) { session { expiresAt } } }`
    const response = await get({ query }, [], method)
    expect([response.status, response.headers.allow, left(response)]).toEqual([405, 'POST', 99])
    const { rows } = await limited.database.superuser.query('select from app_private.login_failures')
    expect(rows).toEqual([])
  },
)

test('a query by GET is charged like one by POST, each field and all rows', async () => {
  const fields = Array.from(
    { length: 7 },
    (_, n) => `q${n}: quoteListing(dealerId: "${ID}") { source }`,
  ).join(' ')
  await onlyLimits(limited, { pricing_quote: { max: 100 } })
  expect(left(await get({ query: `{ ${fields} }` }))).toBe(93)
  expect(left(await post({ query: `{ ${fields} }` }))).toBe(86)
  await onlyLimits(limited, { public_read: { max: 100 } })
  const rows = {
    query:
      'query ($n: Int) { a: listings(first: $n) { nodes { id } } b: listings(first: $n) { nodes { id } } }',
    variables: '{"n": 100}',
  }
  expect([left(await get(rows)), left(await post(rows)), left(await get(rows, [], 'HEAD'))]).toEqual([
    98, 96, 94,
  ])
})

test('a query by GET takes a slot like one by POST', async () => {
  const blocked = await limited.database.superuser.connect()
  await blocked.query('begin; lock table app_public.listings in access exclusive mode')
  try {
    const waiting = get({ query: '{ listings { totalCount } }' })
    let inUse = 0
    for (let turn = 0; turn < 100 && inUse === 0; turn += 1)
      inUse = await metric(server, 'admission_in_progress')
    expect(inUse).toBe(1)
    await blocked.query('commit')
    expect((await waiting).status).toBe(200)
  } finally {
    blocked.release()
  }
})

test('caches must not store a response, whatever its method and its status', async () => {
  const query = '{ __typename }'
  const responses = [await get({ query }), await post({ query }), await get({ query: '{' }), await post({})]
  responses.push(await client.send({ method: 'GET', path: '/none', headers: [] }))
  expect(responses.map(({ status, headers }) => [status, headers['cache-control']])).toEqual(
    [200, 200, 400, 400, 404].map(status => [status, 'no-store']),
  )
})
