/** What is served, and to whom it is not: the schema, the routes, GraphiQL and introspection. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import {
  buildClientSchema,
  type GraphQLSchema,
  getIntrospectionQuery,
  getNamedType,
  type IntrospectionQuery,
  isInputObjectType,
  isObjectType,
  isRequiredInputField,
  Kind,
  parse,
} from 'graphql'
import { jwtSecret, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'

let database: TestDatabase, development: TestServer, production: TestServer, schema: GraphQLSchema

beforeAll(async () => {
  database = await cloneDatabase()
  development = await startServer(database)
  production = await startServer(database, { NODE_ENV: 'production', JWT_SECRET: jwtSecret })
  const { data } = await development.call<IntrospectionQuery>(getIntrospectionQuery())
  schema = buildClientSchema(data)
})

afterAll(async () => {
  await development.stop()
  await production.stop()
  await database.drop()
})

/** Runs `work` with a server in production that has these variables as well. */
async function inProduction(env: Record<string, string>, work: (server: TestServer) => Promise<void>) {
  const server = await startServer(database, { NODE_ENV: 'production', JWT_SECRET: jwtSecret, ...env })
  try {
    await work(server)
  } finally {
    await server.stop()
  }
}

function namesOf(type: string): string[] {
  const found = schema.getType(type)
  if (!isObjectType(found) && !isInputObjectType(found)) throw new Error(`there is no type ${type}`)
  return Object.keys(found.getFields()).sort()
}

const queries = [
  'currentUser',
  'dealer',
  'dealerPackages',
  'dealerSubscriptions',
  'listing',
  'listings',
  'invoices',
  'quoteListing',
  'auditLogs',
  'pricingGaps',
  'rateLimitPolicies',
]

/** Mutation → required and optional input, and the field of the payload. */
const mutations: Record<string, [required: string[], optional: string[], payload: string]> = {
  register: [['email', 'password', 'fullName'], [], 'session'],
  login: [['email', 'password'], [], 'session'],
  createDealer: [['companyName', 'country', 'dealerType'], ['idempotencyKey'], 'dealer'],
  createListing: [
    ['dealerId', 'idempotencyKey', 'title', 'module', 'price', 'currency'],
    ['description', 'attributes', 'images'],
    'listing',
  ],
  buyPackage: [['dealerId', 'packageId', 'idempotencyKey'], ['successUrl', 'cancelUrl'], 'checkout'],
  cancelSubscription: [['subscriptionId'], [], 'subscription'],
  payInvoice: [['invoiceId'], [], 'invoice'],
}

/** Relay's echo, which PostGraphile adds to what it makes itself. */
const isEcho = (name: string) => name === 'clientMutationId'

test('the queries are those of the contract and no other', () => {
  expect(namesOf('Query')).toEqual([...queries].sort())
})

test('the mutations are those of the contract and no other: none is generated', () => {
  expect(namesOf('Mutation')).toEqual(Object.keys(mutations).sort())
  expect(schema.getSubscriptionType() ?? null).toBeNull()
})

test.each(Object.entries(mutations))(
  '%s takes the input of the contract and gives its payload',
  (name, [required, optional, payload]) => {
    const field = schema.getMutationType()?.getFields()[name]
    expect(field?.args.map(arg => arg.name)).toEqual(['input'])
    const input = getNamedType(field?.args[0]?.type)
    if (!isInputObjectType(input)) throw new Error(`${name} takes no input object`)
    const fields = Object.values(input.getFields()).filter(one => !isEcho(one.name))
    const sorted = (wanted: boolean) =>
      fields
        .filter(one => isRequiredInputField(one) === wanted)
        .map(one => one.name)
        .sort()
    expect([sorted(true), sorted(false)]).toEqual([[...required].sort(), [...optional].sort()])
    expect(namesOf(getNamedType(field?.type)?.name ?? '').filter(one => !isEcho(one))).toEqual([payload])
  },
)

test('what the contract names of each answer is there', () => {
  const named: Record<string, string> = {
    Session: 'accessToken expiresAt user',
    SessionUser: 'id email fullName',
    Dealer: 'id companyName country',
    Listing: 'id status title consumption',
    ListingConsumption: 'source netAmount vatRate grossAmount currency',
    Checkout: 'invoice url',
    Invoice: 'id status grossTotal',
    DealerSubscription: 'id status endAt',
    ListingQuote: 'source netAmount vatRate grossAmount currency freeRemaining subscriptionRemaining',
  }
  for (const [type, fields] of Object.entries(named)) {
    expect(namesOf(type)).toEqual(expect.arrayContaining(fields.split(' ')))
  }
})

test('no type leads back to the whole Query, and none has a node id', () => {
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) || type.name.startsWith('__')) continue
    for (const field of Object.values(type.getFields())) {
      expect([field.name, getNamedType(field.type).name]).not.toContain('Query')
      expect([type.name, field.name].join('.')).not.toMatch(/\.(query|nodeId|rowId)$|^Query\.node$/)
    }
  }
})

test('nothing that a password, a key or a payload is checked against is in the schema', () => {
  const all = Object.values(schema.getTypeMap()).flatMap(type =>
    isObjectType(type) ? Object.keys(type.getFields()) : [],
  )
  expect(all.filter(name => /password|hash|secret|idempotency|isAdmin/i.test(name))).toEqual([])
})

test('every collection is a Relay connection that takes first, last, before and after but no offset', () => {
  const fields = Object.values(schema.getTypeMap()).flatMap(type =>
    isObjectType(type) ? Object.values(type.getFields()) : [],
  )
  const connections = fields.filter(({ type }) => getNamedType(type).name.endsWith('Connection'))
  expect(connections.map(({ name }) => name).sort()).toEqual([
    'auditLogs',
    'dealerPackages',
    'dealerSubscriptions',
    'invoices',
    'items',
    'listings',
    'pricingGaps',
    'rateLimitPolicies',
  ])
  for (const { args, type } of connections) {
    const paging = ['after', 'before', 'condition', 'first', 'last', 'orderBy']
    expect(args.map(({ name }) => name).sort()).toEqual(paging)
    expect(namesOf(getNamedType(type).name)).toEqual(['edges', 'nodes', 'pageInfo', 'totalCount'])
  }
})

test('every enum value is in upper case', () => {
  for (const type of Object.values(schema.getTypeMap())) {
    if (!('getValues' in type) || type.name.startsWith('__')) continue
    for (const { name } of type.getValues()) expect(name).toMatch(/^[A-Z][A-Z_]*$/)
  }
})

const introspections = [
  '{ __schema { queryType { name } } }',
  '{ __type(name: "Query") { name } }',
  getIntrospectionQuery(),
]

test.each(introspections)(
  'introspection is off in production and on where INTROSPECTION=1: %#',
  async query => {
    const { status, errors, data } = await production.call(query)
    expect([status, errors[0]?.extensions, data]).toEqual([400, { code: 'invalid_input' }, undefined])
    await inProduction({ INTROSPECTION: '1' }, async server => {
      expect((await server.call(query)).errors).toEqual([])
    })
    expect((await development.call(query)).errors).toEqual([])
  },
)

test('in production no error names what the client did not name first', async () => {
  const typos: [string, Record<string, unknown>?][] = [
    ['{ listingz { totalCount } }'],
    ['{ listings { totalCoun } }'],
    ['query ($c: ListingCondition) { listings(condition: $c) { totalCount } }', { c: { statuz: 'ACTIVE' } }],
    ['query ($c: ListingCondition) { listings(condition: $c) { totalCount } }', { c: { status: 'ACTIV' } }],
    ['{ listings(condition: {status: ACTIV}) { totalCount } }'],
  ]
  for (const [query, variables = {}] of typos) {
    expect((await production.call(query, { variables })).text).not.toContain('Did you mean')
    expect((await development.call(query, { variables })).text).toContain('Did you mean')
  }
})

test('GraphiQL is under / in development, and in production only where GRAPHIQL=1', async () => {
  const page = async (server: TestServer) => {
    const response = await fetch(`${server.url}/`, { headers: { accept: 'text/html' } })
    return [response.status, /<title>.*GraphQL/.test(await response.text())]
  }
  expect(await page(development)).toEqual([200, true])
  expect(await page(production)).toEqual([404, false])
  await inProduction({ GRAPHIQL: '1' }, async server => expect(await page(server)).toEqual([200, true]))
})

test('GraphiQL opens with operations that the API takes', async () => {
  const html = await (await fetch(`${development.url}/`)).text()
  const [, text = '""'] = /"defaultQuery": ("(?:[^"\\]|\\.)*")/.exec(html) ?? []
  const query: string = JSON.parse(text)
  const operations = parse(query).definitions.filter(one => one.kind === Kind.OPERATION_DEFINITION)
  expect(operations.length).toBeGreaterThan(0)
  for (const { name, variableDefinitions } of operations) {
    const body = JSON.stringify({ query, operationName: name?.value })
    const headers = { 'content-type': 'application/json' }
    const { status } = await fetch(`${development.url}/graphql`, { method: 'POST', headers, body })
    // 400 is the document, or a variable that the person has yet to give
    expect([name?.value, status === 400]).toEqual([name?.value, variableDefinitions?.length !== 0])
  }
})

test('the scripts of GraphiQL are served by us and not by a third party', async () => {
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

test('a body of more than 100 kB is 413, and what is no route 404', async () => {
  expect((await development.call(`{ __typename } #${'x'.repeat(100_000)}`)).status).toBe(413)
  for (const path of ['/nothing', '/graphql/more', '/%ff', '/.env']) {
    const response = await fetch(development.url + path)
    const { errors } = JSON.parse(await response.text())
    expect([path, response.status, errors[0].extensions.code]).toEqual([path, 404, 'not_found'])
  }
})

test('an answer names neither the server nor its parts, and is not to be framed or sniffed', async () => {
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
