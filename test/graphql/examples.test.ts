/** The demo data, and the operations of GraphiQL that run on it. */
import { randomUUID } from 'node:crypto'
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

type Row = { id: string; status: string; expiresAt: string | null; updatedAt: string }

/** The listings of Autohaus Berlin, as its owner reads them, and the id of that dealer. */
async function readStock(token: string): Promise<{ dealerId: string; rows: Row[] }> {
  type Owned = { dealerSubscriptions: { nodes: { dealer: { id: string; companyName: string } }[] } }
  const owned = await server.call<Owned>('{ dealerSubscriptions { nodes { dealer { id companyName } } } }', {
    token,
  })
  const dealers = owned.data.dealerSubscriptions.nodes.map(({ dealer }) => dealer)
  const dealerId = dealers.find(({ companyName }) => companyName === 'Autohaus Berlin')?.id ?? ''
  const { data } = await server.call<{ listings: { nodes: Row[] } }>(
    'query ($dealerId: UUID!) { listings(condition: { dealerId: $dealerId }) { nodes { id status expiresAt updatedAt } } }',
    { token, variables: { dealerId } },
  )
  return { dealerId, rows: data.listings.nodes }
}

test('demo data has listings in every status, and one that ends tomorrow', async () => {
  const { rows } = await readStock(await tokenOf('dealer@example.com'))
  expect(new Set(rows.map(({ status }) => status))).toEqual(
    new Set(['PENDING', 'ACTIVE', 'REJECTED', 'WITHDRAWN', 'SOLD', 'EXPIRED']),
  )
  const days = (end: string) => (Date.parse(end) - Date.now()) / 86_400_000
  const tomorrow = rows.filter(
    ({ status, expiresAt }) => status === 'ACTIVE' && expiresAt !== null && days(expiresAt) < 1,
  )
  expect(tomorrow).toHaveLength(1)
  expect(days(tomorrow[0]?.expiresAt ?? '')).toBeGreaterThan(0.9)
})

test('the public sees one premium listing of the demo data, before all others', async () => {
  const { data } = await server.call<{ listings: { nodes: { isPremium: boolean }[] } }>(
    '{ listings(orderBy: [PREMIUM_FIRST]) { nodes { isPremium } } }',
  )
  const [first, ...others] = data.listings.nodes.map(({ isPremium }) => isPremium)
  expect([first, others.length > 0, others.includes(true)]).toEqual([true, true, false])
})

test('the moderation queue of the demo data has every reason', async () => {
  const { data } = await server.call<{ moderationQueue: { nodes: { reason: string }[] } }>(
    '{ moderationQueue { nodes { reason } } }',
    { token: await tokenOf('admin@example.com') },
  )
  const reasons = new Set(data.moderationQueue.nodes.map(({ reason }) => reason))
  expect(reasons).toEqual(new Set(['NEW', 'RESUBMITTED', 'EDITED', 'PUBLISHED']))
})

test('demo data has a dealer whose listings hold slots', async () => {
  type Owner = { companyName: string; slots: { used: number; capacity: number } }
  const { data } = await server.call<{ dealerSubscriptions: { nodes: { dealer: Owner }[] } }>(
    '{ dealerSubscriptions { nodes { dealer { companyName slots { used capacity } } } } }',
    { token: await tokenOf('dealer@example.com') },
  )
  const used = data.dealerSubscriptions.nodes.flatMap(({ dealer }) => (dealer.slots.used > 0 ? [dealer] : []))
  expect(used).toEqual([{ companyName: 'Autohaus Hamburg', slots: { used: 6, capacity: 20 } }])
})

type Batch = { results: { error: { code: string; detail: { field: string } } | null }[] }

/** The operations of an admin. Every other operation runs as the demo dealer. */
const ADMINS = ['ModerationQueue', 'Approve', 'Reject']

/** For each operation that takes a listing, the status of one that it accepts. */
const STATUSES: Record<string, string> = {
  Edit: 'ACTIVE',
  Renew: 'EXPIRED',
  QuotePromotion: 'ACTIVE',
  Promote: 'ACTIVE',
  Approve: 'PENDING',
  Reject: 'PENDING',
}

test('each operation in GraphiQL runs on the demo data', async () => {
  const token = await tokenOf('dealer@example.com')
  const admin = await tokenOf('admin@example.com')
  const { dealerId, rows } = await readStock(token)
  const idempotencyKey = '7d0f6f3e-6c0c-4a6f-9a59-0d3c3d1c8f10'
  const operations = parse(examples).definitions.flatMap(definition =>
    definition.kind === Kind.OPERATION_DEFINITION ? [definition] : [],
  )
  const keys = { firstKey: randomUUID(), secondKey: randomUUID() }
  const errors: string[] = []
  const refused: string[] = []
  for (const operation of operations) {
    const name = operation.name?.value ?? ''
    const listing = rows.find(({ status }) => status === STATUSES[name])
    const response = await server.call<{ createListings?: Batch }>(print(operation), {
      token: ADMINS.includes(name) ? admin : token,
      variables: { ...keys, dealerId, idempotencyKey, listingId: listing?.id, updatedAt: listing?.updatedAt },
    })
    const results = response.data?.createListings?.results ?? []
    refused.push(...results.flatMap(({ error }) => (error ? [`${error.code} ${error.detail.field}`] : [])))
    errors.push(...response.errors.map(({ message }) => `${name}: ${message}`))
  }
  expect(operations.length).toBeGreaterThan(10)
  expect(errors).toEqual([])
  expect(refused).toEqual(['invalid_input title'])
})

test('the API accepts the examples as one document', async () => {
  const response = await fetch(`${server.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: examples, operationName: 'Packages' }),
  })
  expect([response.status, await response.json()]).toEqual([200, { data: expect.anything() }])
})
