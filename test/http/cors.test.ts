/** CORS over HTTP: which pages a browser lets read the API, and that refusals of every kind have the same headers. */
import { createServer } from 'node:http'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { Registry } from 'prom-client'
import { makeAdmission, refuseWhenFull } from '../../src/http/admission.ts'
import { makeCorsHeaders } from '../../src/http/cors.ts'
import { listen } from '../../src/http/server.ts'
import { makeLog } from '../../src/log.ts'
import { makeAdmissionMetrics } from '../../src/metrics/httpServer.ts'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'

const ORIGIN = 'https://app.example.com'
const OTHER = 'https://app.example.com.evil.example'
const EXPOSED =
  'X-RateLimit-Limit,X-RateLimit-Remaining,X-RateLimit-Reset,Retry-After,WWW-Authenticate,X-Request-Id'

let database: TestDatabase
let server: TestServer
let closed: TestServer

beforeAll(async () => {
  database = await cloneDatabase()
  await limitReads(1000)
  server = await startServer(database, { CORS_ORIGINS: `http://localhost:3000,${ORIGIN}` })
  closed = await startServer(database)
})

afterAll(async () => {
  await server.stop()
  await closed.stop()
  await database.drop()
})

const limitReads = (most: number) =>
  database.owner.query(
    "update app_public.rate_limit_policies set mode = 'enforce', max_count = $1 where scope = 'public_read'",
    [most],
  )

/** The CORS headers of a response. */
function corsOf({ headers }: { headers: Headers }): Record<string, string> {
  const names = [...headers.keys()].filter(name => name.startsWith('access-control-') || name === 'vary')
  return Object.fromEntries(names.map(name => [name, headers.get(name) ?? '']))
}

const ALLOWED = {
  'access-control-allow-origin': ORIGIN,
  'access-control-expose-headers': EXPOSED,
  vary: 'Origin',
}
const read = (from: TestServer, origin: string, headers: Record<string, string> = {}) =>
  from.call('{ listings(first: 1) { totalCount } }', { headers: { origin, ...headers } })

const preflight = (from: TestServer, origin: string) =>
  fetch(`${from.url}/graphql`, {
    method: 'OPTIONS',
    headers: {
      origin,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-type',
    },
  })

test('a page of an allowed origin may read the response and its headers, without credentials', async () => {
  const response = await read(server, ORIGIN)
  expect([response.status, corsOf(response)]).toEqual([200, ALLOWED])
  expect(response.headers.get('x-ratelimit-limit')).not.toBeNull()
})

test('a request of another origin, or of none, is served without CORS headers', async () => {
  for (const origin of [OTHER, 'null', 'http://app.example.com', `${ORIGIN}:8443`]) {
    const response = await read(server, origin)
    expect([origin, response.status, corsOf(response)]).toEqual([origin, 200, { vary: 'Origin' }])
  }
  expect(corsOf(await server.call('{ __typename }'))).toEqual({ vary: 'Origin' })
})

test('a preflight is answered without the limits, and browsers keep the answer for two hours', async () => {
  const response = await preflight(server, ORIGIN)
  expect([response.status, await response.text()]).toEqual([204, ''])
  expect(corsOf(response)).toEqual({
    ...ALLOWED,
    'access-control-allow-methods': 'GET,HEAD,POST',
    'access-control-allow-headers': 'authorization,content-type',
    'access-control-max-age': '7200',
  })
  expect(response.headers.get('x-ratelimit-limit')).toBeNull()
})

test('a preflight of another origin allows nothing', async () => {
  const response = await preflight(server, OTHER)
  expect([response.status, corsOf(response)]).toEqual([204, { vary: 'Origin' }])
})

test('without CORS_ORIGINS no page of another origin may call the API', async () => {
  const response = await read(closed, ORIGIN)
  expect(corsOf(response)).toEqual({})
  const refused = await preflight(closed, ORIGIN)
  expect([refused.status, corsOf(refused)]).toEqual([405, {}])
})

test('refusals for the token, the document and the limit have the headers', async () => {
  const unauthenticated = await read(server, ORIGIN, { authorization: 'Bearer none' })
  expect([unauthenticated.status, corsOf(unauthenticated)]).toEqual([401, ALLOWED])
  const invalid = await server.call('{ nothing }', { headers: { origin: ORIGIN } })
  expect([invalid.status, corsOf(invalid)]).toEqual([400, ALLOWED])
  await limitReads(1)
  let limited = await read(server, ORIGIN)
  for (let tries = 0; limited.status !== 429 && tries < 200; tries++) limited = await read(server, ORIGIN)
  expect([limited.status, corsOf(limited)]).toEqual([429, ALLOWED])
})

test('a request that is refused before express has the headers, and a preflight is not refused there', async () => {
  const admission = makeAdmission({
    slots: 1,
    metrics: makeAdmissionMetrics(new Registry()),
    corsHeaders: makeCorsHeaders([ORIGIN]),
    log: makeLog('silent'),
  })
  const slots = { ...admission.slots, refuseIfFull: () => true }
  const full = createServer(
    refuseWhenFull((_request, response) => response.writeHead(204).end(), { ...admission, slots }),
  )
  const url = await listen(full, '127.0.0.1', 0)
  try {
    const refused = await fetch(`${url}/graphql`, { method: 'POST', headers: { origin: ORIGIN } })
    expect([refused.status, corsOf(refused)]).toEqual([503, ALLOWED])
    const other = await fetch(`${url}/graphql`, { method: 'POST', headers: { origin: OTHER } })
    expect([other.status, corsOf(other)]).toEqual([503, { vary: 'Origin' }])
    expect((await fetch(`${url}/graphql`, { method: 'OPTIONS' })).status).toBe(204)
  } finally {
    full.closeAllConnections()
    full.close()
  }
})
