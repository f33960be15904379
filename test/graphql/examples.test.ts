import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { Kind, parse, print } from 'graphql'
import { demoPassword, makeDemoData } from '../../src/demo/demo.ts'
import { examples } from '../../src/graphql/examples.ts'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'

let database: TestDatabase
let server: TestServer
beforeAll(async () => {
  database = await cloneDatabase()
  await makeDemoData(database.ownerUrl)
  server = await startServer(database)
})
afterAll(async () => {
  await server?.stop()
  await database?.drop()
})

const LOGIN = 'mutation ($input: LoginInput!) { login(input: $input) { session { accessToken } } }'

async function tokenOf(email: string): Promise<string> {
  const { data } = await server.call<{ login: { session: { accessToken: string } } }>(LOGIN, {
    variables: { input: { email, password: demoPassword } },
  })
  return data.login.session.accessToken
}

test('demo data is made once', async () => {
  expect(await makeDemoData(database.ownerUrl)).toBe(false)
})

test('demo data keeps every invariant of the ledger', async () => {
  expect(await brokenRules(database.owner)).toEqual([])
})

test('demo data has a country without a VAT rate and one without a price', async () => {
  const { data } = await server.call<{ pricingGaps: { nodes: { country: string; missing: string }[] } }>(
    '{ pricingGaps { nodes { country missing } } }',
    { token: await tokenOf('admin@example.com') },
  )
  const gaps = data.pricingGaps.nodes.map(({ country, missing }) => `${country} ${missing}`).sort()
  expect(gaps).toEqual(['ES package', 'ES price', 'IT package', 'IT vat_rate'])
})

test('each operation in GraphiQL runs on the demo data', async () => {
  const token = await tokenOf('dealer@example.com')
  const { data } = await server.call<{ dealerSubscriptions: { nodes: { dealer: { id: string } }[] } }>(
    '{ dealerSubscriptions { nodes { dealer { id } } } }',
    { token },
  )
  const dealerId = data.dealerSubscriptions.nodes[0]?.dealer.id
  const idempotencyKey = '7d0f6f3e-6c0c-4a6f-9a59-0d3c3d1c8f10'
  const operations = parse(examples).definitions.filter(({ kind }) => kind === Kind.OPERATION_DEFINITION)
  const errors = []
  for (const operation of operations) {
    const response = await server.call(print(operation), { token, variables: { dealerId, idempotencyKey } })
    errors.push(...response.errors.map(({ message }) => message))
  }
  expect(operations.length).toBeGreaterThan(5)
  expect(errors).toEqual([])
})

test('the API accepts the examples as one document', async () => {
  const response = await fetch(`${server.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: examples, operationName: 'Packages' }),
  })
  expect([response.status, await response.json()]).toEqual([200, { data: expect.anything() }])
})
