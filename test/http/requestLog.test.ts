/** The request log: one line for each request, with named fields only, because it is not redacted. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { makeApiKey } from '../support/apiKeys.ts'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { recordLog } from '../support/recordedLog.ts'
import { makeSeller } from '../support/seller.ts'
import { makeUser } from '../support/testData.ts'

/** The fields that a line may have, and those that pino adds. */
const FIELDS = [
  'level',
  'time',
  'msg',
  'requestId',
  'method',
  'path',
  'status',
  'aborted',
  'durationMs',
  'user',
  'apiKey',
  'operation',
  'fields',
  'codes',
  'sqlstates',
]

let database: TestDatabase
let server: TestServer
const log = recordLog()

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database, {}, log.log)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

const email = `${randomUUID()}@example.com`
const password = `password ${randomUUID()}`
const cookie = `session=${randomUUID()}`
const userAgent = `agent ${randomUUID()}`

const REGISTER = `mutation ($input: RegisterInput!) {
  register(input: $input) { session { accessToken } }
}`
const LOGIN = `mutation ($input: LoginInput!) { login(input: $input) { session { accessToken } } }`

/** Requests that carry secrets, or that fail in different ways. */
async function sendAll(): Promise<string[]> {
  const token = await server.tokenFor(await makeUser(database.owner))
  const headers = { cookie, 'user-agent': userAgent, 'x-forwarded-for': '203.0.113.77' }
  const input = { email, password }
  const registered = await server.call<{ register: { session: { accessToken: string } } }>(REGISTER, {
    headers,
    variables: { input: { ...input, fullName: 'A Person' } },
  })
  expect(registered.status).toBe(200)
  const { accessToken } = registered.data.register.session
  const responses = [
    registered,
    await server.call(LOGIN, { headers, variables: { input } }),
    await server.call(LOGIN, { headers, variables: { input: { ...input, password: `not ${password}` } } }),
    await server.call('query Mine { currentUser { email } }', { headers, token: accessToken }),
    await server.call('{ currentUser { email } }', { headers, token: `${token}x` }),
    await server.call(`{ listing(id: "${password}") { id } }`, { headers, token }),
  ]
  expect(responses.map(({ status }) => status)).toEqual([200, 200, 401, 200, 401, 400])
  for (const { headers: sent } of responses) await log.request(sent.get('x-request-id'))
  return [email, password, cookie, userAgent, '203.0.113.77', 'A Person', token, accessToken]
}

test('the line of a request has named fields only, and no secret, address or personal detail', async () => {
  const secrets = await sendAll()
  const lines = log.lines.filter(({ msg }) => msg === 'request')
  expect(lines.length).toBeGreaterThanOrEqual(6)
  for (const line of lines) expect(FIELDS).toEqual(expect.arrayContaining(Object.keys(line)))
  const text = JSON.stringify(lines)
  for (const secret of secrets) expect(text).not.toContain(secret)
})

test('the line of a request by an API key names the key by its id, and no user', async () => {
  const seller = await makeSeller(database, server)
  const key = await makeApiKey(server, seller.token, seller.dealerId)
  const { headers } = await server.call('{ dealers { totalCount } }', { token: key.token })
  const line = await log.request(headers.get('x-request-id'))
  expect([line.apiKey, line.user]).toEqual([key.id, undefined])
})
