/** Access tokens: an invalid token is refused on every route. The API never treats its sender as a visitor. */
import { createHmac, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type JWTPayload, SignJWT, UnsecuredJWT } from 'jose'
import { derivedKey } from '../../src/request/derivedKey.ts'
import { jwtSecret, startServer, type TestServer, tokenKey } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { makeAdminUser, makeUser } from '../support/testData.ts'

let database: TestDatabase
let server: TestServer
let userId: string

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  userId = await makeUser(database.owner)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

const now = () => Math.floor(Date.now() / 1000)

/** The claims of a token as the API issues it, with changes; undefined removes a claim. */
function claims(changes: Record<string, unknown> = {}): JWTPayload {
  const issued = {
    sub: userId,
    sid: randomUUID(),
    role: 'dealer',
    iss: 'forecourt',
    aud: 'forecourt',
    iat: now(),
    exp: now() + 600,
  }
  return { ...issued, ...changes }
}

function sign(payload: JWTPayload, { alg = 'HS256', key = tokenKey } = {}): Promise<string> {
  return new SignJWT(payload).setProtectedHeader({ alg }).sign(key)
}

/** Makes a token with any header, signed with HS256. */
function forge(header: object, payload: object): string {
  const parts = [header, payload].map(part => Buffer.from(JSON.stringify(part)).toString('base64url'))
  const signature = createHmac('sha256', tokenKey).update(parts.join('.')).digest('base64url')
  return [...parts, signature].join('.')
}

/** Invalid values of the header `Authorization`, by their fault. */
const invalid: Record<string, () => string | Promise<string>> = {
  'no scheme': async () => sign(claims()),
  'another scheme': () => `Basic ${Buffer.from('admin:admin').toString('base64')}`,
  'no token': () => 'Bearer',
  'two tokens': async () => `Bearer ${await sign(claims())} ${await sign(claims())}`,
  'a value that is not a token': () => 'Bearer garbage',
  'three parts that are not valid': () => 'Bearer a.b.c',
  'the algorithm none': async () => `Bearer ${new UnsecuredJWT(claims()).encode()}`,
  'the algorithm none with a signature': () => `Bearer ${forge({ alg: 'none' }, claims())}`,
  'the algorithm HS512': async () => `Bearer ${await sign(claims(), { alg: 'HS512' })}`,
  'another secret': async () => `Bearer ${await sign(claims(), { key: Buffer.from('x'.repeat(40)) })}`,
  'JWT_SECRET itself as the key': async () =>
    `Bearer ${await sign(claims(), { key: Buffer.from(jwtSecret) })}`,
  'the key of the limiter': async () =>
    `Bearer ${await sign(claims(), { key: derivedKey(jwtSecret, 'rate limit') })}`,
  'the signature of another payload': async () => {
    const [head, , signature] = (await sign(claims())).split('.')
    const payload = Buffer.from(JSON.stringify(claims({ role: 'admin' }))).toString('base64url')
    return `Bearer ${head}.${payload}.${signature}`
  },
  'an expiry in the past': async () => `Bearer ${await sign(claims({ iat: now() - 600, exp: now() - 1 }))}`,
  'a start in the future': async () => `Bearer ${await sign(claims({ nbf: now() + 600 }))}`,
  'another issuer': async () => `Bearer ${await sign(claims({ iss: 'elsewhere' }))}`,
  'another audience': async () => `Bearer ${await sign(claims({ aud: 'elsewhere' }))}`,
  'an unknown role': async () => `Bearer ${await sign(claims({ role: 'owner' }))}`,
  'the visitor role': async () => `Bearer ${await sign(claims({ role: 'visitor' }))}`,
  'a list of roles': async () => `Bearer ${await sign(claims({ role: ['admin'] }))}`,
  'a subject that is not a UUID': async () => `Bearer ${await sign(claims({ sub: '1' }))}`,
  'a session that is not a UUID': async () => `Bearer ${await sign(claims({ sid: '1' }))}`,
  'a subject with extra text after the UUID': async () =>
    `Bearer ${await sign(claims({ sub: `${userId}\n` }))}`,
  ...Object.fromEntries(
    ['sub', 'sid', 'role', 'iss', 'aud', 'iat', 'exp'].map(claim => [
      `no claim ${claim}`,
      async () => `Bearer ${await sign(claims({ [claim]: undefined }))}`,
    ]),
  ),
}

const email = `${randomUUID()}@example.com`
const registration = `mutation {
  register(input: {email: "${email}", password: "long enough", fullName: "Test"}) { session { expiresAt } }
}`
const post = (query: string) => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ query }),
})

/** The API serves each of these requests without a token. */
const routes: Record<string, [string, RequestInit]> = {
  'a query': ['/graphql', post('{ listings { totalCount } }')],
  'a mutation': ['/graphql', post(registration)],
  'an invalid document': ['/graphql', post('{')],
  GraphiQL: ['/', {}],
}

test.each(Object.keys(invalid))('an Authorization header with %s is refused on every route', async fault => {
  const authorization = (await invalid[fault]?.()) ?? ''
  for (const [path, init] of Object.values(routes)) {
    const headers = { ...init.headers, authorization }
    const response = await fetch(server.url + path, { ...init, headers })
    const { data, errors } = JSON.parse(await response.text())
    expect([response.status, data, errors]).toEqual([
      401,
      undefined,
      [{ message: expect.any(String), extensions: { code: 'unauthenticated' } }],
    ])
    expect(response.headers.get('www-authenticate')).toBe('Bearer error="invalid_token"')
  }
  const { rowCount } = await database.superuser.query('select from app_public.users where email = $1', [
    email,
  ])
  expect(rowCount).toBe(0)
})

test('every invalid token gets the same response body', async () => {
  const [path, init] = routes['a query'] as [string, RequestInit]
  const bodies = new Set<string>()
  for (const authorize of Object.values(invalid)) {
    const headers = { ...init.headers, authorization: await authorize() }
    bodies.add(await (await fetch(server.url + path, { ...init, headers })).text())
  }
  expect(bodies.size).toBe(1)
})

test('an issued token is accepted, whatever the case of its scheme', async () => {
  const token = await server.tokenFor(userId)
  for (const scheme of ['Bearer', 'bearer', 'BEARER ']) {
    const headers = { authorization: `${scheme} ${token}` }
    const { data } = await server.call('{ currentUser { id } }', { headers })
    expect(data).toEqual({ currentUser: { id: userId } })
  }
})

test('the role in the token and the right in the database decide: a dealer cannot read the audit trail', async () => {
  const query = '{ auditLogs(first: 1) { nodes { id } } }'
  const adminId = await makeAdminUser(database.owner)
  for (const [id, entries] of [
    [adminId, 1],
    [userId, 0],
  ] as const) {
    const asAdmin = await server.call<{ auditLogs: { nodes: unknown[] } }>(query, {
      token: await server.tokenFor(id, 'admin'),
    })
    expect([asAdmin.status, asAdmin.data.auditLogs.nodes.length]).toEqual([200, entries])
  }
  const asDealer = await server.call(query, { token: await server.tokenFor(userId) })
  expect([asDealer.status, asDealer.errors[0]?.extensions.code]).toEqual([403, 'forbidden'])
})

test('a server accepts a token from another server with the same secret', async () => {
  const other = await startServer(database)
  try {
    const token = await server.tokenFor(userId)
    expect((await other.call('{ currentUser { id } }', { token })).data).toEqual({
      currentUser: { id: userId },
    })
  } finally {
    await other.stop()
  }
})

test('a token of a deleted user does not cause a server error', async () => {
  const query = `mutation { createDealer(input: {companyName: "X", country: "DE", dealerType: GENERAL}) { dealer { id } } }`
  const { status } = await server.call(query, { token: await server.tokenFor(randomUUID()) })
  expect(status).toBeLessThan(500)
})
