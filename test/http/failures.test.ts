/** The responses while the database refuses, disconnects or is gone, and the recovery of the API. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { makePool } from '../../src/database/pool.ts'
import { toFault } from '../../src/request/errors.ts'
import { type ApiResponse, createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import {
  buyPackage,
  cancelSubscription,
  login,
  payInvoice,
  quoteListing,
} from '../support/graphqlOperations.ts'
import { expectNoInternals, readInternalNames } from '../support/internals.ts'
import { type Relay, startRelay } from '../support/relay.ts'
import { makeAdmin, makeSeller, makeSellerIn, type Seller } from '../support/seller.ts'
import { makePackage, makeSubscription } from '../support/testData.ts'
import { holding, until, untilWaitingForLock } from '../support/waits.ts'

const MEDIA_TYPES = ['application/json', 'application/graphql-response+json']

let database: TestDatabase
let relay: Relay
let started: TestServer
let names: string[]
let admin: string
let seller: Seller

beforeAll(async () => {
  database = await cloneDatabase()
  relay = await startRelay(database.ownerUrl)
  started = await startServer({ ...database, ownerUrl: relay.url })
  names = await readInternalNames(database)
  admin = await makeAdmin(database, started)
  seller = await makeSeller(database, started)
})

afterEach(async () => {
  // the API recovers from every test without help
  await until(
    'the API serves again',
    async () => (await started.call('{ listings { totalCount } }')).status === 200,
  )
})

afterAll(async () => {
  await started.stop()
  await relay.cut()
  await database.drop()
})

/** The server, called with one media type. */
function accepting(accept: string): TestServer {
  return { ...started, call: (query, options) => started.call(query, { accept, ...options }) }
}

function expectFault({ status, errors, text }: ApiResponse<unknown>, expected: [number, string]): void {
  expect([status, errors[0]?.extensions.code]).toEqual(expected)
  expectNoInternals(text, names)
}

function expectUnavailable(response: ApiResponse<unknown>): void {
  expectFault(response, [503, 'service_unavailable'])
  expect(response.errors[0]?.extensions).toEqual({ code: 'service_unavailable' })
  expect(response.headers.get('retry-after')).toBe('5')
}

/** Runs a statement on a connection to another database. */
async function fromOutside(sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: process.env.TEST_SUPERUSER_URL as string })
  await client.connect()
  await client.query(sql)
  await client.end()
}

/** Runs `work` while quote_listing has another definition. */
async function withQuote(definition: string, work: () => Promise<void>): Promise<void> {
  const { rows } = await database.superuser.query<{ definition: string }>(
    "select pg_get_functiondef('app_public.quote_listing(uuid)'::regprocedure) as definition",
  )
  const head =
    'create or replace function app_public.quote_listing(dealer_id uuid) returns app_public.listing_quote'
  await database.owner.query(`${head} security definer ${definition}`)
  try {
    await work()
  } finally {
    await database.owner.query(rows[0]?.definition ?? '')
  }
}

const endConnections = (name: string) =>
  `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}' and application_name = 'forecourt api'`

test('a write that waits too long for a lock is system_busy with Retry-After: 1, and writes nothing', async () => {
  const packageId = await makePackage(database.owner, { country: seller.country })
  const dealers: string[] = []
  const writes = await Promise.all(
    MEDIA_TYPES.flatMap(accept =>
      ['createListing', 'buyPackage', 'cancelSubscription', 'payInvoice'].map(async write => {
        const server = accepting(accept)
        const { token, dealerId } = await makeSellerIn(database, started, seller.country)
        dealers.push(dealerId)
        const subscriptionId = await makeSubscription(database.owner, dealerId, { packageId })
        const { data } = await buyPackage(started, token, { dealerId, packageId })
        const invoiceId = data.buyPackage?.checkout.invoice.id as string
        if (write === 'createListing') return () => createListing(server, token, dealerId)
        if (write === 'buyPackage') return () => buyPackage(server, token, { dealerId, packageId })
        if (write === 'cancelSubscription') return () => cancelSubscription(server, token, subscriptionId)
        return () => payInvoice(server, admin, invoiceId)
      }),
    ),
  )
  const fingerprint = `select md5(string_agg(t::text, '' order by t::text)) as rows from (
    select l::text from app_public.listings as l union all select i::text from app_public.invoices as i
    union all select s::text from app_public.dealer_subscriptions as s
    union all select c::text from app_public.checkouts as c) as t`
  const before = await database.superuser.query(fingerprint)
  await holding(
    database,
    'select from app_public.dealers where id = any ($1) for update',
    [dealers],
    async () => {
      for (const response of await Promise.all(writes.map(write => write()))) {
        expectFault(response, [429, 'system_busy'])
        expect(response.headers.get('retry-after')).toBe('1')
      }
    },
  )
  expect((await database.superuser.query(fingerprint)).rows).toEqual(before.rows)
})

const sqlstates: [string, number, string][] = [
  ['55P03', 429, 'system_busy'],
  ['40P01', 429, 'system_busy'],
  ['40001', 429, 'system_busy'],
  ['57014', 503, 'service_unavailable'],
  ['57P01', 503, 'service_unavailable'],
  ['57P03', 503, 'service_unavailable'],
  ['53300', 503, 'service_unavailable'],
  ['53100', 503, 'service_unavailable'],
  ['08006', 503, 'service_unavailable'],
  ['25006', 503, 'service_unavailable'],
  ['42501', 403, 'forbidden'],
  ['23505', 409, 'conflict'],
  ['P0001', 500, 'internal_error'],
  ['XX000', 500, 'internal_error'],
  ['22012', 500, 'internal_error'],
  ['42P01', 500, 'internal_error'],
  ['23514', 500, 'internal_error'],
  ['55000', 500, 'internal_error'],
]

test.each(sqlstates)(
  'SQLSTATE %s is %i %s on both media types, and its text reaches no client',
  async (sqlstate, status, code) => {
    const body = `raise exception using errcode = '${sqlstate}', message = 'raw text of app_private.passwords',
      detail = '{"raw": "text"}', hint = 'raw text', constraint = 'raw_text', table = 'raw text', schema = 'raw text';`
    await withQuote(`language plpgsql stable as $$ begin ${body} end $$`, async () => {
      for (const accept of MEDIA_TYPES) {
        const response = await quoteListing(accepting(accept), seller.token, seller.dealerId)
        expectFault(response, [status, code])
        expect(response.text).not.toMatch(/raw/i)
        const requestId = status === 500 ? response.headers.get('x-request-id') : undefined
        expect(response.errors[0]?.extensions.requestId).toBe(requestId)
      }
    })
  },
)

test('a valid X-Request-Id of the client is used, and an invalid one is replaced', async () => {
  for (const [given, taken] of [
    ['client-1234', true],
    ['short', false],
    ['x'.repeat(65), false],
    ['a b c d e f', false],
  ] as const) {
    const { headers } = await started.call('{ listings { totalCount } }', {
      headers: { 'x-request-id': given },
    })
    expect(headers.get('x-request-id') === given).toBe(taken)
  }
})

test('a request whose connection an administrator ends is service_unavailable', async () => {
  await holding(
    database,
    'select from app_public.dealers where id = $1 for update',
    [seller.dealerId],
    async () => {
      const responses = Promise.all(
        MEDIA_TYPES.map(accept => createListing(accepting(accept), seller.token, seller.dealerId)),
      )
      await untilWaitingForLock(database, 'forecourt api', 2)
      await fromOutside(endConnections(database.name))
      for (const response of await responses) expectUnavailable(response)
    },
  )
})

test('a request whose connection breaks is service_unavailable, and so is every request until the network is back', async () => {
  await holding(
    database,
    'select from app_public.dealers where id = $1 for update',
    [seller.dealerId],
    async () => {
      const response = createListing(started, seller.token, seller.dealerId)
      await untilWaitingForLock(database)
      await relay.cut()
      try {
        expectUnavailable(await response)
        for (const accept of MEDIA_TYPES) {
          const server = accepting(accept)
          expectUnavailable(await server.call('{ listings { totalCount } }'))
          expectUnavailable(await createListing(server, seller.token, seller.dealerId))
          expectUnavailable(await login(server, 'a@example.com', 'whatever it is'))
        }
      } finally {
        await relay.restore()
      }
    },
  )
})

test('a statement on a silent connection fails after its timeout, and the next one gets a new connection', async () => {
  const onError = () => {}
  const config = { connectionString: relay.url }
  const pool = makePool({ config, name: 'test', size: 1, statementTimeoutMs: 1_000, onError })
  try {
    await pool.query('select 1')
    relay.stall()
    const error = await pool.query('select 1').catch(reason => reason)
    const context = { authenticated: false, constraintMessages: new Map() }
    expect(toFault(error, context)).toMatchObject({ code: 'service_unavailable', status: 503 })
    expect((await pool.query('select 1 as one')).rows).toEqual([{ one: 1 }])
  } finally {
    await relay.cut()
    await relay.restore()
    await pool.end()
  }
})

test('while the database accepts no connections, every request is service_unavailable', async () => {
  await fromOutside(`alter database ${database.name} allow_connections false`)
  try {
    await fromOutside(endConnections(database.name))
    for (const accept of MEDIA_TYPES)
      expectUnavailable(await accepting(accept).call('{ listings { totalCount } }'))
    expectUnavailable(await login(started, 'a@example.com', 'whatever it is'))
  } finally {
    await fromOutside(`alter database ${database.name} allow_connections true`)
  }
})

test('a cancelled statement is service_unavailable, and so is a request that waits too long for a connection', async () => {
  const small = await startServer(database, { POOL_SIZE: '1', MAX_IN_PROGRESS: '2' })
  try {
    await holding(database, 'lock table app_public.listings in access exclusive mode', [], async () => {
      const slow = small.call('{ listings { totalCount } }')
      await untilWaitingForLock(database)
      // of another sender, so that it gets the second slot
      const { token } = seller
      expectUnavailable(await small.call('{ dealerPackages { totalCount } }', { token }))
      // a statement timeout does the same
      await fromOutside(
        `select pg_cancel_backend(pid) from pg_stat_activity where datname = '${database.name}' and wait_event_type = 'Lock'`,
      )
      expectUnavailable(await slow)
    })
    expect((await small.call('{ listings { totalCount } }')).status).toBe(200)
  } finally {
    await small.stop()
  }
})

test('every statement of the API has a timeout of 10 seconds', async () => {
  const limit =
    "select 'free_quota'::app_public.consumption_source, 0.0, 0.0, 0.0, current_setting('statement_timeout'), 0, 0"
  await withQuote(`language sql stable as $$ ${limit} $$`, async () => {
    const { data } = await quoteListing(started, seller.token, seller.dealerId)
    expect(data.quoteListing?.currency).toBe('10s')
  })
})
