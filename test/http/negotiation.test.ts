/** Media types, encodings and the headers of refusals. */
import { deflateSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type Client, makeClient, type Received } from '../fuzz/client.ts'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { makeUser } from '../support/testData.ts'

let database: TestDatabase
let server: TestServer
let client: Client

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  client = makeClient(server.url)
})

afterAll(async () => {
  client.close()
  await server.stop()
  await database.drop()
})

const GRAPHQL = 'application/graphql-response+json'
const JSON_TYPE = 'application/json'
const QUERY = '{"query": "{ __typename }"}'

function post(body: string | Uint8Array, headers: string[] = [], type = JSON_TYPE): Promise<Received> {
  const all = ['Content-Type', type, ...headers]
  return client.send({ method: 'POST', path: '/graphql', headers: all, body: Buffer.from(body) })
}

/** Status, media type and the code of the first error. */
function seen({ status, headers, text }: Received): unknown[] {
  const [type, charset] = String(headers['content-type']).split(/; ?/)
  const { errors } = JSON.parse(text) as { errors?: { extensions: { code: string } }[] }
  expect(charset).toBe('charset=utf-8')
  return [status, type, errors?.[0]?.extensions.code]
}

const accepts: Record<string, string | undefined> = {
  'text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2': GRAPHQL,
  '*': GRAPHQL,
  '': GRAPHQL,
  ';;,,;="': GRAPHQL,
  '*/*': GRAPHQL,
  'application/*': GRAPHQL,
  'application/json': JSON_TYPE,
  'APPLICATION/JSON': JSON_TYPE,
  'application/json; charset=utf-8': JSON_TYPE,
  'application/json;Charset="UTF-8"': JSON_TYPE,
  'application/json, garbage, /, ;': JSON_TYPE,
  'application/json; q=0.9, application/graphql-response+json; q=0.1': JSON_TYPE,
  'application/json; q=0, */*': GRAPHQL,
  'Application/GraphQL-Response+JSON': GRAPHQL,
  'application/graphql-response+json; charset=utf-8, application/json; charset=utf-8': GRAPHQL,
  'multipart/mixed;deferSpec=20220824,application/graphql-response+json,application/json;q=0.9': GRAPHQL,
  'text/html': undefined,
  'application/json; charset=iso-8859-1': undefined,
}

/** Refusals of every part that makes one, each with its status and code. */
const refusals: Record<string, [number, string, (headers: string[]) => Promise<Received>]> = {
  'a token that does not verify': [
    401,
    'unauthenticated',
    headers => post(QUERY, ['Authorization', 'Bearer a.b.c', ...headers]),
  ],
  'two tokens': [
    400,
    'invalid_input',
    headers => post(QUERY, ['Authorization', 'Bearer a', 'authorization', 'Bearer a', ...headers]),
  ],
  'a body that is no JSON': [400, 'invalid_input', headers => post('{', headers)],
  'a body that is too large': [400, 'invalid_input', headers => post(`"${'x'.repeat(1_000_001)}"`, headers)],
  'an unknown path': [404, 'not_found', headers => client.send({ method: 'GET', path: '/nothing', headers })],
  'a document with a fault': [400, 'invalid_input', headers => post('{"query": "{ nothing }"}', headers)],
  'a field for users': [
    401,
    'unauthenticated',
    headers => post('{"query": "{ currentUser { id } }"}', headers),
  ],
}

test.each(Object.entries(accepts))(
  'the response to Accept: %s is %s, and so is every refusal',
  async (accept, type) => {
    const headers = ['Accept', accept]
    expect(seen(await post(QUERY, headers))).toEqual(
      type === undefined ? [406, JSON_TYPE, 'invalid_input'] : [200, type, undefined],
    )
    for (const [status, code, send] of Object.values(refusals)) {
      const found = seen(await send(headers))
      if (type !== undefined) expect(found).toEqual([status, type, code])
      // GraphQL checks Accept before its own reasons to refuse
      else
        expect([
          JSON.stringify([status, JSON_TYPE, code]),
          '[406,"application/json","invalid_input"]',
        ]).toContain(JSON.stringify(found))
    }
  },
)

test('without Accept the media type is that of GraphQL over HTTP', async () => {
  expect(seen(await post(QUERY))).toEqual([200, GRAPHQL, undefined])
  for (const [status, code, send] of Object.values(refusals))
    expect(seen(await send([]))).toEqual([status, GRAPHQL, code])
})

test.each([
  ['application/json', 200],
  ['APPLICATION/JSON', 200],
  ['Application/Json ; Charset="UTF-8"', 200],
  ['application/json;charset=utf-8', 200],
  ['application/json; charset', 200],
  ['application/json;', 200],
  ['application/json; charset=latin1', 415],
  ['application/json; charset=utf-', 415],
  ['application/jsonx', 415],
  ['text/plain', 415],
  ['', 400],
])('Content-Type: %s gets status %i', async (type, status) => {
  expect((await post(QUERY, [], type)).status).toBe(status)
})

const zipped = gzipSync(QUERY)
const broken = Uint8Array.from(zipped, (byte, index) => (index === 12 ? byte ^ 0xff : byte))

test.each<[string, string, Uint8Array | string, number]>([
  ['gzip', 'a body that is right', zipped, 200],
  ['GZIP', 'a body that is right', zipped, 200],
  ['deflate', 'a body that is right', deflateSync(QUERY), 200],
  ['identity', 'a body that is right', QUERY, 200],
  ['gzip', 'a body that is cut off', zipped.subarray(0, 20), 400],
  ['gzip', 'a body with a wrong byte', broken, 400],
  ['gzip', 'a body that is not compressed', QUERY, 400],
  ['deflate', 'a body that is not compressed', QUERY, 400],
  ['br', 'a body that is not compressed', QUERY, 400],
  ['zstd', 'a body that is not compressed', QUERY, 400],
  ['gzip', 'a body that unpacks to more than is read', gzipSync('x'.repeat(1_000_001)), 400],
  ['compress', 'a body that is not compressed', QUERY, 415],
  ['gzip, gzip', 'a body that is compressed once', zipped, 415],
])('Content-Encoding: %s with %s gets status %s', async (encoding, _, body, status) => {
  const [found, type, code] = seen(await post(body, ['Content-Encoding', encoding, 'Accept', JSON_TYPE]))
  expect([found, type, code]).toEqual([status, JSON_TYPE, status === 200 ? undefined : 'invalid_input'])
})

test('every 401 names the way to authenticate', async () => {
  const login =
    '{"query": "mutation { login(input: {email: \\"nobody@example.com\\", password: \\"wrong password\\"}) { session { expiresAt } } }"}'
  const responses = await Promise.all([
    post('{"query": "{ currentUser { id } }"}'),
    post('{"query": "{ currentUser { id } }"}', ['Accept', JSON_TYPE]),
    post(login),
    post(QUERY, ['Authorization', 'Bearer a.b.c']),
    client.send({ method: 'GET', path: '/', headers: ['Authorization', 'Basic YTpi'] }),
  ])
  expect(responses.map(({ status, headers }) => [status, headers['www-authenticate']])).toEqual([
    ...Array.from({ length: 3 }, () => [401, 'Bearer']),
    ...Array.from({ length: 2 }, () => [401, 'Bearer error="invalid_token"']),
  ])
})

test('two Authorization headers are refused, even if the first one is valid', async () => {
  const token = await server.tokenFor(await makeUser(database.owner))
  const headers = ['Authorization', `Bearer ${token}`]
  const query = '{"query": "{ currentUser { id } }"}'
  expect((await post(query, headers)).status).toBe(200)
  for (const second of [`Bearer ${token}`, '', 'Basic YTpi']) {
    expect(seen(await post(query, [...headers, 'AUTHORIZATION', second]))).toEqual([
      400,
      GRAPHQL,
      'invalid_input',
    ])
  }
})

test.each(['PUT', 'DELETE', 'PATCH', 'OPTIONS'])(
  '%s is refused with the methods that are allowed',
  async method => {
    const response = await client.send({ method, path: '/graphql', headers: [] })
    expect([...seen(response), response.headers.allow]).toEqual([
      405,
      GRAPHQL,
      'invalid_input',
      'GET, HEAD, POST',
    ])
  },
)
