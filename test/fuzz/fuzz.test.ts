/**
 * Every request gets a response, and never a 5xx. The cases come from a seed, so that a failure can be repeated.
 *
 * `npm run fuzz` sends 100,000 cases. FUZZ_CASES sets their number, and FUZZ_SEED chooses others.
 */
import { afterAll, beforeAll, test } from '@jest/globals'
import fc from 'fast-check'
import {
  buildClientSchema,
  type GraphQLSchema,
  getIntrospectionQuery,
  type IntrospectionQuery,
} from 'graphql'
import { createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { buyPackage } from '../support/graphqlOperations.ts'
import { behindProxy } from '../support/limits.ts'
import { recordLog } from '../support/recordedLog.ts'
import {
  makeAdminUser,
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  makeUser,
} from '../support/testData.ts'
import { brokenRules, type Client, makeClient, type Sent } from './client.ts'
import { anyOperation, type Operation } from './documents.ts'
import { anyRequest } from './headers.ts'

const CASES = Number(process.env.FUZZ_CASES ?? 3_000)
/** Requests that are sent at once. */
const BATCH = 8
const SEED = Number(process.env.FUZZ_SEED ?? 11)
/** The time limit of one test. */
const TIMEOUT_MS = 60_000 + CASES * 60

let database: TestDatabase
let server: TestServer
let client: Client
let schema: GraphQLSchema
/** No token, a dealer's and an admin's. */
let tokens: (string | undefined)[]
let ids: string[]
const log = recordLog('error')

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database, behindProxy, log.log)
  client = makeClient(server.url)
  const { data } = await server.call<IntrospectionQuery>(getIntrospectionQuery())
  schema = buildClientSchema(data)
  await makeWorld()
})

afterAll(async () => {
  client.close()
  await server.stop()
  await database.drop()
})

/** A dealer with a listing, a subscription and an open checkout. */
async function makeWorld(): Promise<void> {
  const { owner } = database
  await makeCountry(owner)
  const userId = await makeUser(owner)
  const dealerId = await makeDealer(owner, userId)
  const packageId = await makePackage(owner)
  const subscriptionId = await makeSubscription(owner, dealerId, { packageId, listings: 1_000 })
  const token = await server.tokenFor(userId)
  const listing = await createListing(server, token, dealerId)
  const bought = await buyPackage(server, token, { dealerId, packageId })
  tokens = [undefined, token, await server.tokenFor(await makeAdminUser(owner), 'admin')]
  const listingId = listing.data.createListing?.listing.id ?? ''
  const invoiceId = bought.data.buyPackage?.checkout.invoice.id ?? ''
  ids = [dealerId, packageId, subscriptionId, listingId, invoiceId, userId]
}

/** Fails if the response breaks a rule. The error has the response and the log. */
async function expectRulesKept(sent: Sent): Promise<void> {
  const received = await client.send(sent)
  const broken = brokenRules(sent, received)
  if (broken.length > 0) throw new Error(`${broken.join(', ')}: ${received.text}\n${log.text()}`)
}

/** Half of all cases, in batches that are sent at once. */
function assertAll(requests: fc.Arbitrary<Sent>): Promise<void> {
  const batches = fc.array(requests, { minLength: BATCH, maxLength: BATCH })
  const numRuns = Math.ceil(CASES / 2 / BATCH)
  return fc.assert(
    fc.asyncProperty(batches, async batch => {
      await Promise.all(batch.map(expectRulesKept))
    }),
    { numRuns, seed: SEED },
  )
}

/** Uses POST if the URL of a GET would be too long. */
function requestFor({ query, operationName, variables }: Operation, token?: string, byGet = false): Sent {
  const headers = token === undefined ? [] : ['Authorization', `Bearer ${token}`]
  const search = new URLSearchParams({
    query,
    variables: JSON.stringify(variables),
    ...(operationName === undefined ? {} : { operationName }),
  })
  const path = `/graphql?${search}`
  if (byGet && path.length < 8_000) return { method: 'GET', path, headers }
  return {
    method: 'POST',
    path: '/graphql',
    headers: ['Content-Type', 'application/json', ...headers],
    body: Buffer.from(JSON.stringify({ query, operationName, variables })),
  }
}

test(
  'no method, path, header or encoding gets a 5xx',
  () => assertAll(anyRequest(tokens.filter(token => token !== undefined))),
  TIMEOUT_MS,
)

test(
  'no document and no value gets a 5xx',
  () =>
    assertAll(
      fc
        .tuple(anyOperation(schema, ids), fc.constantFrom(...tokens), fc.boolean())
        .map(([operation, token, byGet]) => requestFor(operation, token, byGet)),
    ),
  TIMEOUT_MS,
)
