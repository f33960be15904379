/** The health routes and the log: /healthz, /readyz, request lines, error lines, and no secrets in any line. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, expect, jest, test } from '@jest/globals'
import { expectedMigrations } from '../../src/database/migrations.ts'
import { createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { createDealer, login, quoteListing, register } from '../support/graphqlOperations.ts'
import { expectNoInternals, readInternalNames } from '../support/internals.ts'
import { recordLog } from '../support/recordedLog.ts'
import { type Relay, startRelay } from '../support/relay.ts'
import { makeCountry } from '../support/testData.ts'
import { until } from '../support/waits.ts'

const recorded = recordLog()

let database: TestDatabase
let relay: Relay
let server: TestServer
let names: string[]

beforeAll(async () => {
  database = await cloneDatabase()
  relay = await startRelay(database.ownerUrl)
  server = await startServer({ ...database, ownerUrl: relay.url }, {}, recorded.log)
  names = await readInternalNames(database)
  // without a VAT rate, so that a quote is refused
  await makeCountry(database.owner, { vatRate: null })
})

const methods = ['log', 'info', 'warn', 'error', 'debug'] as const
let spies: jest.SpiedFunction<() => void>[]

beforeEach(() => {
  spies = methods.map(method => jest.spyOn(console, method).mockReturnValue(undefined))
})

afterEach(() => {
  // the log removes secrets; console output would bypass it
  for (const spy of spies) expect(spy.mock.calls).toEqual([])
  jest.restoreAllMocks()
})

afterAll(async () => {
  await server.stop()
  await relay.cut()
  await database.drop()
})

async function get(
  path: string,
): Promise<{ status: number; body: Record<string, unknown>; headers: Headers }> {
  const response = await fetch(server.url + path)
  const text = await response.text()
  expectNoInternals(text, names)
  return { status: response.status, body: JSON.parse(text), headers: response.headers }
}

async function expectNotReady(reason: RegExp): Promise<void> {
  expect(await get('/readyz')).toMatchObject({
    status: 503,
    body: { status: 'not ready', reason: expect.stringMatching(reason) },
  })
  expect(await get('/healthz')).toMatchObject({ status: 200 })
}

async function expectReady(): Promise<void> {
  expect(await get('/readyz')).toMatchObject({ status: 200, body: { status: 'ready' } })
}

test('a running server is alive and ready, with no token or an invalid one', async () => {
  expect(await get('/healthz')).toMatchObject({ status: 200, body: { status: 'ok' } })
  await expectReady()
  const headers = { authorization: 'Bearer garbage' }
  expect((await fetch(`${server.url}/readyz`, { headers })).status).toBe(200)
})

test('without the database the server is alive but not ready, and becomes ready when the database is back', async () => {
  await relay.cut()
  try {
    await expectNotReady(/database/)
  } finally {
    await relay.restore()
  }
  await expectReady()
})

test('the server is not ready when the database lacks a migration, and the reason names the migration', async () => {
  const newest = (await expectedMigrations()).at(-1)
  const row = 'from graphile_migrate.migrations where hash = $1'
  const { rows } = await database.superuser.query(`select to_jsonb(migrations) as row ${row}`, [newest?.hash])
  await database.superuser.query(`delete ${row}`, [newest?.hash])
  await expectNotReady(new RegExp(newest?.file ?? 'migrations/committed is empty'))
  await database.superuser.query(
    'insert into graphile_migrate.migrations select * from jsonb_populate_record(null::graphile_migrate.migrations, $1)',
    [rows[0]?.row],
  )
  await expectReady()
})

test('the server is not ready while the database refuses writes, and becomes ready when it accepts them again', async () => {
  const role = `alter role forecourt_authenticator in database ${database.name}`
  // the setting holds for new connections, and a pool notices a moment later that it has lost the old ones
  const reconnect = async () => {
    await relay.cut()
    await relay.restore()
    const responds = async () => !/not respond/.test(String((await get('/readyz')).body.reason))
    await until('the database responds', responds)
  }
  await database.superuser.query(`${role} set default_transaction_read_only to on`)
  try {
    await reconnect()
    await expectNotReady(/read-only/)
  } finally {
    await database.superuser.query(`${role} reset default_transaction_read_only`)
  }
  await reconnect()
  await expectReady()
})

test('the server is not ready while its worker has ended, and the metrics show it', async () => {
  let fault: string | undefined
  const worker = { fault: () => fault, losses: () => 2 }
  const beside = await startServer(database, {}, recorded.log, worker)
  const read = async () => [
    (await fetch(`${beside.url}/readyz`)).status,
    ...((await (await fetch(beside.metricsUrl)).text()).match(/^worker_(running|losses_total) \d+$/gm) ?? []),
  ]
  try {
    expect(await read()).toEqual([200, 'worker_running 1', 'worker_losses_total 2'])
    fault = 'The worker has ended.'
    expect(await read()).toEqual([503, 'worker_running 0', 'worker_losses_total 2'])
  } finally {
    await beside.stop()
  }
})

test('METRICS_PORT serves the metrics and nothing else, and the port of the API then serves no metrics', async () => {
  const apart = await startServer(database, { METRICS_PORT: '0' })
  try {
    expect(new URL(apart.metricsUrl).port).not.toBe(new URL(apart.url).port)
    expect((await fetch(apart.metricsUrl)).status).toBe(200)
    expect((await fetch(`${apart.url}/metrics`)).status).toBe(404)
    for (const path of ['/graphql', '/readyz', '/'])
      expect((await fetch(new URL(path, apart.metricsUrl))).status).toBe(404)
  } finally {
    await apart.stop()
  }
})

/** A newer migration may limit fields that this build does not have. */
async function expectToStartWithUnknownLimit(): Promise<void> {
  const name = (field: string) =>
    database.superuser.query(
      "update app_public.rate_limit_policies set fields = $1 where scope = 'pricing_quote'",
      [[field]],
    )
  await name('Query.fromTomorrow')
  try {
    await (await startServer(database)).stop()
  } finally {
    await name('Query.quoteListing')
  }
}

test('the server stays ready when the database has a newer migration, unless that needs a newer release', async () => {
  const filename = '999999-from-tomorrow.sql'
  await database.superuser.query("insert into graphile_migrate.migrations values ('sha1:x', null, $1)", [
    filename,
  ])
  const setOldest = (release: string) =>
    database.owner.query(
      `create or replace function app_public.oldest_release() returns text language sql return '${release}'`,
    )
  await setOldest('0.0.1')
  await expectReady()
  await expectToStartWithUnknownLimit()
  await setOldest('999.0.0')
  await expectNotReady(/999\.0\.0 or newer/)
  await database.superuser.query('delete from graphile_migrate.migrations where filename = $1', [filename])
  await expectReady()
})

const password = 'correct horse battery staple'

test('each request writes one line with its id, user, operation, fields, SQLSTATE and duration', async () => {
  const email = `${randomUUID()}@example.com`
  const { data } = await register(server, { email, password })
  const { accessToken: token = '', user } = data.register?.session ?? {}
  const created = await createDealer(server, token)
  const dealerId = created.data.createDealer?.dealer.id as string
  const query =
    'query Two ($id: UUID!) { quoteListing(dealerId: $id) { source } a: currentUser { id } b: currentUser { id } }'
  const { headers } = await server.call(query, { token, variables: { id: dealerId } })
  expect(await recorded.request(headers.get('x-request-id'))).toMatchObject({
    level: 30,
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    method: 'POST',
    path: '/graphql',
    status: 200,
    durationMs: expect.any(Number),
    user: user?.id,
    operation: 'Two',
    fields: ['quoteListing', 'currentUser', 'currentUser'],
    codes: ['pricing_config_missing'],
    sqlstates: ['FC005'],
  })
})

test('a request without a user or a valid operation also writes a line', async () => {
  const bad = await server.call('{')
  const line = await recorded.request(bad.headers.get('x-request-id'))
  expect(line).toMatchObject({ status: 400, codes: ['invalid_input'] })
  expect(line).not.toHaveProperty('user')
  const refused = await server.call('{ __typename }', { token: 'garbage' })
  expect(await recorded.request(refused.headers.get('x-request-id'))).toMatchObject({ status: 401 })
})

test('the log has an unexpected error with its raw text under the requestId of the response', async () => {
  const { data } = await register(server, { email: `${randomUUID()}@example.com`, password })
  const token = data.register?.session.accessToken ?? ''
  const client = await database.superuser.connect()
  await client.query('alter function app_public.quote_listing(uuid) rename to quote_listing_gone')
  const { errors } = await quoteListing(server, token, randomUUID())
  await client.query('alter function app_public.quote_listing_gone(uuid) rename to quote_listing')
  client.release()
  const { code, requestId } = errors[0]?.extensions ?? {}
  expect(code).toBe('internal_error')
  const line = recorded.lines.find(one => one.requestId === requestId && one.msg !== 'request')
  expect(line).toMatchObject({
    level: 50,
    code,
    sqlstate: '42883',
    message: expect.stringContaining('quote_listing'),
  })
})

test('no log line contains a password, a token or an e-mail address', async () => {
  const email = `${randomUUID()}@example.com`
  const secrets = [password, 'a wrong password', email, email.toUpperCase()]
  const requestId = async (response: Promise<{ headers: Headers }>) =>
    (await response).headers.get('x-request-id')
  const ids: (string | null)[] = []
  const { data } = await register(server, { email, password })
  const token = data.register?.session.accessToken as string
  const again = await login(server, email, password)
  secrets.push(token, again.data.login?.session.accessToken as string, token.split('.')[2] as string)
  ids.push(await requestId(register(server, { email, password })))
  ids.push(await requestId(register(server, { email: `${email} `.repeat(9), password })))
  ids.push(await requestId(register(server, { email, password: 'short' })))
  for (let attempt = 0; attempt < 7; attempt += 1)
    ids.push(await requestId(login(server, email.toUpperCase(), 'a wrong password')))
  ids.push(await requestId(login(server, `${email}\0`, password)))
  ids.push(await requestId(createDealer(server, token)))
  ids.push(await requestId(createListing(server, token, randomUUID(), { title: email })))
  ids.push(await requestId(server.call(`{ currentUser { email ${password} } }`, { token })))
  ids.push(
    await requestId(server.call('query ($a: UUID!) { dealer(id: $a) { id } }', { variables: { a: email } })),
  )
  ids.push(await requestId(server.call('{ currentUser { email } }', { token: `${token}x` })))
  ids.push(await requestId(fetch(`${server.url}/nothing?email=${email}&token=${token}`)))
  ids.push(
    await requestId(
      server.call('{ __typename }', { headers: { 'x-request-id': email, cookie: `a=${token}` } }),
    ),
  )
  for (const id of ids) await recorded.request(id)
  for (const secret of secrets) expect(recorded.text().toLowerCase()).not.toContain(secret.toLowerCase())
})
