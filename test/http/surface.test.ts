/** The routes, GraphiQL and introspection: what each serves, in development and in production. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { getIntrospectionQuery, Kind, parse } from 'graphql'
import { jwtSecret, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'

let database: TestDatabase, development: TestServer, production: TestServer

/** On any free port, because several test files run at once. */
const PRODUCTION = { NODE_ENV: 'production', JWT_SECRET: jwtSecret, METRICS_PORT: '0' }

beforeAll(async () => {
  database = await cloneDatabase()
  development = await startServer(database)
  production = await startServer(database, PRODUCTION)
})

afterAll(async () => {
  await development.stop()
  await production.stop()
  await database.drop()
})

/** Runs `work` with a production server that has these additional variables. */
async function inProduction(env: Record<string, string>, work: (server: TestServer) => Promise<void>) {
  const server = await startServer(database, { ...PRODUCTION, ...env })
  try {
    await work(server)
  } finally {
    await server.stop()
  }
}

const introspections = [
  '{ __schema { queryType { name } } }',
  '{ __type(name: "Query") { name } }',
  getIntrospectionQuery(),
]

test.each(introspections)(
  'introspection is off in production and on with INTROSPECTION=1: %#',
  async query => {
    const { status, errors, data } = await production.call(query)
    expect([status, errors[0]?.extensions, data]).toEqual([400, { code: 'invalid_input' }, undefined])
    await inProduction({ INTROSPECTION: '1' }, async server => {
      expect((await server.call(query)).errors).toEqual([])
    })
    expect((await development.call(query)).errors).toEqual([])
  },
)

test('GraphiQL is at / in development, and in production only with GRAPHIQL=1', async () => {
  const page = async (server: TestServer) => {
    const response = await fetch(`${server.url}/`, { headers: { accept: 'text/html' } })
    return [response.status, /<title>.*GraphQL/.test(await response.text())]
  }
  expect(await page(development)).toEqual([200, true])
  expect(await page(production)).toEqual([404, false])
  await inProduction({ GRAPHIQL: '1' }, async server => expect(await page(server)).toEqual([200, true]))
})

test('GraphiQL opens with operations that the API accepts', async () => {
  const html = await (await fetch(`${development.url}/`)).text()
  const [, text = '""'] = /"defaultQuery": ("(?:[^"\\]|\\.)*")/.exec(html) ?? []
  const query: string = JSON.parse(text)
  const operations = parse(query).definitions.filter(one => one.kind === Kind.OPERATION_DEFINITION)
  expect(operations.length).toBeGreaterThan(0)
  for (const { name, variableDefinitions } of operations) {
    const body = JSON.stringify({ query, operationName: name?.value })
    const headers = { 'content-type': 'application/json' }
    const { status } = await fetch(`${development.url}/graphql`, { method: 'POST', headers, body })
    // 400 is a refused document, or a variable that is still missing
    expect([name?.value, status === 400]).toEqual([name?.value, variableDefinitions?.length !== 0])
  }
})

test('the API itself serves the scripts of GraphiQL, and no third party does', async () => {
  const html = await (await fetch(`${development.url}/`)).text()
  const links = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link as string)
  expect(links).toContain('/ruru-static/ruru.js')
  for (const link of links) expect((await fetch(new URL(link, development.url))).status).toBe(200)
})

test.each([
  ['PUT', 'application/json', 405],
  ['DELETE', 'application/json', 405],
  ['POST', 'application/x-www-form-urlencoded', 415],
  ['POST', 'multipart/form-data; boundary=x', 415],
  ['POST', 'text/plain', 415],
  ['POST', 'application/graphql', 415],
])('%s with %s is refused with %i and the code invalid_input', async (method, type, status) => {
  const query = '{ listings { totalCount } }'
  const search = method === 'GET' ? `?query=${encodeURIComponent(query)}` : ''
  const body = method === 'GET' ? {} : { body: JSON.stringify({ query }) }
  const response = await fetch(`${development.url}/graphql${search}`, {
    method,
    headers: { 'content-type': type },
    ...body,
  })
  const { data, errors } = JSON.parse(await response.text())
  expect([response.status, data, errors.map((error: { extensions: unknown }) => error.extensions)]).toEqual([
    status,
    undefined,
    [{ code: 'invalid_input' }],
  ])
})

test.each([
  '',
  '{',
  '[]',
  'null',
  '5',
  '{}',
  '{"query": 5}',
  '[{"query": "{ __typename }"}]',
  '{"query": "{ __typename }", "variables": []}',
  '{"query": "{ __typename }", "operationName": "X"}',
  '{"query": "query A { __typename } query B { __typename }"}',
])('the body %s is 400 invalid_input', async body => {
  const headers = { 'content-type': 'application/json' }
  const response = await fetch(`${development.url}/graphql`, { method: 'POST', headers, body })
  const { errors } = JSON.parse(await response.text())
  expect([response.status, errors[0].extensions]).toEqual([400, { code: 'invalid_input' }])
})

test('a body of up to 1 MB is read, and a larger one is 400 with the limit', async () => {
  // a document of this length has a body of 1,000,000 bytes
  const [before = '', after = ''] = ['{"query":"{ __typename } #', '","variables":{}}']
  const longest = 'x'.repeat(1_000_000 - before.length - after.length)
  expect((await development.call(`{ __typename } #${longest}`)).status).toBe(200)
  const { status, errors } = await development.call(`{ __typename } #${longest}x`)
  expect([status, errors[0]?.extensions]).toEqual([
    400,
    { code: 'invalid_input', detail: { limit: 'bytes', maximum: 1_000_000 } },
  ])
})

test('an unknown path is 404', async () => {
  for (const path of ['/nothing', '/graphql/more', '/%ff', '/.env']) {
    const response = await fetch(development.url + path)
    const { errors } = JSON.parse(await response.text())
    expect([path, response.status, errors[0].extensions.code]).toEqual([path, 404, 'not_found'])
  }
})

test('a response does not name the server software, and forbids framing and sniffing', async () => {
  for (const path of ['/healthz', '/nothing', '/']) {
    const { headers } = await fetch(production.url + path)
    expect([
      headers.get('x-powered-by'),
      headers.get('server'),
      headers.get('x-content-type-options'),
    ]).toEqual([null, null, 'nosniff'])
    expect(headers.get('content-security-policy')).toBe("default-src 'none'")
  }
})
