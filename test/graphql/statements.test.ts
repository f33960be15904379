/** How many SQL statements each operation sends. Each is a round trip, and more than these come in by accident only. */
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { buildSchema } from 'grafast/graphql'
import { type Answer, createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import {
  buyPackage,
  cancelSubscription,
  createDealer,
  login,
  payInvoice,
  quoteListing,
  register,
} from '../support/graphqlOperations.ts'
import { makeAdmin, makeSeller, type Seller } from '../support/seller.ts'
import { listenToStatements, type Statements } from '../support/statements.ts'
import { makePackage, makeSubscription } from '../support/testData.ts'

/**
 * All that goes over the wire for an operation: `begin`, `set_config` and `commit` as well. Lower a figure when an
 * operation comes to need less.
 */
const EXPECTED = {
  register: 1,
  login: 2,
  createDealer: 2,
  createListing: 2,
  buyPackage: 4,
  cancelSubscription: 2,
  payInvoice: 2,
  currentUser: 2,
  dealer: 2,
  dealerPackages: 2,
  dealerSubscriptions: 2,
  listing: 2,
  listings: 2,
  invoices: 2,
  quoteListing: 2,
  auditLogs: 2,
  pricingGaps: 2,
  rateLimitPolicies: 2,
} as const

type Operation = keyof typeof EXPECTED

let database: TestDatabase
let statements: Statements
let server: TestServer
let seller: Seller
let admin: string

beforeAll(async () => {
  database = await cloneDatabase()
  statements = await listenToStatements(database.ownerUrl)
  server = await startServer({ ...database, ownerUrl: statements.relay.url })
  admin = await makeAdmin(database, server)
  seller = await makeSeller(database, server)
  await makeSubscription(database.owner, seller.dealerId, { country: seller.country })
})

afterAll(async () => {
  await server.stop()
  await statements.relay.cut()
  await database.drop()
})

function ask(query: string, variables: Record<string, unknown> = {}, token = seller.token) {
  return server.call(query, { token, variables })
}

async function newListing(): Promise<string> {
  const { data } = await createListing(server, seller.token, seller.dealerId)
  return data.createListing?.listing.id ?? ''
}

async function newInvoice(): Promise<string> {
  const { token, dealerId, country } = await makeSeller(database, server)
  const packageId = await makePackage(database.owner, { country })
  const { data } = await buyPackage(server, token, { dealerId, packageId })
  return data.buyPackage?.checkout.invoice.id ?? ''
}

const PASSWORD = 'correct horse battery'
const CONSUMPTION = 'consumption { source netAmount vatRate grossAmount currency }'

/** Each returns what is to be counted; what it needs is made before. */
const operations: Record<Operation, () => Promise<() => Promise<Answer<unknown>>>> = {
  register: async () => () => register(server, { email: `${randomUUID()}@example.com`, password: PASSWORD }),
  async login() {
    const email = `${randomUUID()}@example.com`
    await register(server, { email, password: PASSWORD })
    return () => login(server, email, PASSWORD)
  },
  createDealer: async () => () => createDealer(server, seller.token, { country: seller.country }),
  createListing: async () => () => createListing(server, seller.token, seller.dealerId),
  async buyPackage() {
    const { token, dealerId, country } = await makeSeller(database, server)
    const packageId = await makePackage(database.owner, { country })
    return () => buyPackage(server, token, { dealerId, packageId })
  },
  async cancelSubscription() {
    const { token, dealerId, country } = await makeSeller(database, server)
    const id = await makeSubscription(database.owner, dealerId, { country })
    return () => cancelSubscription(server, token, id)
  },
  async payInvoice() {
    const invoiceId = await newInvoice()
    return () => payInvoice(server, admin, invoiceId)
  },
  currentUser: async () => () => ask('{ currentUser { id email fullName } }'),
  dealer: async () => () =>
    ask('query ($id: UUID!) { dealer(id: $id) { id companyName country } }', { id: seller.dealerId }),
  dealerPackages: async () => () =>
    ask(
      'query ($country: String!) { dealerPackages(condition: { country: $country }) { nodes { id key } } }',
      {
        country: seller.country,
      },
    ),
  dealerSubscriptions: async () => () =>
    ask('{ dealerSubscriptions { nodes { id status endAt dealer { id } package { id } } } }'),
  async listing() {
    const id = await newListing()
    return () =>
      ask(`query ($id: UUID!) { listing(id: $id) { id title dealer { id } ${CONSUMPTION} } }`, { id })
  },
  async listings() {
    await newListing()
    const page = `nodes { id title dealer { id companyName } ${CONSUMPTION} } pageInfo { hasNextPage }`
    return () => ask(`{ listings(first: 20, orderBy: [CREATED_AT_DESC]) { ${page} } }`)
  },
  invoices: async () => () => ask('{ invoices { nodes { id status grossTotal } } }'),
  quoteListing: async () => () => quoteListing(server, seller.token, seller.dealerId),
  auditLogs: async () => () => ask('{ auditLogs { nodes { id action } } }', {}, admin),
  pricingGaps: async () => () => ask('{ pricingGaps { nodes { country missing } } }', {}, admin),
  rateLimitPolicies: async () => () => ask('{ rateLimitPolicies { nodes { scope mode } } }', {}, admin),
}

test('every field of Query and Mutation has its figure here', async () => {
  const schema = buildSchema(await readFile(new URL('../../schema.graphql', import.meta.url), 'utf8'))
  const fields = [schema.getQueryType(), schema.getMutationType()].flatMap(type =>
    Object.keys(type?.getFields() ?? {}),
  )
  expect(Object.keys(EXPECTED).sort()).toEqual(fields.sort())
})

test.each(Object.entries(EXPECTED))('%s sends %i statements', async (name, expected) => {
  const prepare = operations[name as Operation]
  // what a connection or the server does once only is no part of it
  await (await prepare())()
  const send = await prepare()
  statements.take('forecourt api')
  const { status, errors } = await send()
  expect({ status, errors }).toEqual({ status: 200, errors: [] })
  const sent = statements.take('forecourt api')
  // the statements stand in the failure
  expect({ count: sent.length, sent }).toEqual({ count: expected, sent })
})

test('a limited operation sends one statement more, on connections of the limiter', async () => {
  const before = statements.take('forecourt limits')
  expect(before.filter(text => text.includes('take_rate_limit'))).toEqual([])
  await database.owner.query(
    "update app_public.rate_limit_policies set mode = 'enforce', max_count = 1000 where scope = 'pricing_quote'",
  )
  const taken: string[] = []
  for (let tries = 0; tries < 100 && taken.length === 0; tries++) {
    statements.take('forecourt api')
    await quoteListing(server, seller.token, seller.dealerId)
    taken.push(...statements.take('forecourt limits').filter(text => text.includes('take_rate_limit')))
  }
  expect(taken).toHaveLength(1)
  expect(statements.take('forecourt api')).toHaveLength(EXPECTED.quoteListing)
})
