/** API keys on two processes: when each learns of a revocation, what a key counts on, and an outage of the database. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { newApiKey } from '../../src/identity/apiKeys.ts'
import { makeApiKey } from '../support/apiKeys.ts'
import { startApiProcess } from '../support/apiProcess.ts'
import { type ApiResponse, createListing, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { quoteListing } from '../support/graphqlOperations.ts'
import { EXACT_COUNTING, onlyLimits } from '../support/limits.ts'
import { outcomeOf } from '../support/members.ts'
import { type Relay, startRelay } from '../support/relay.ts'
import { makeSeller, type Seller } from '../support/seller.ts'
import { until } from '../support/waits.ts'

const QUERY = '{ dealers { totalCount } }'

let database: TestDatabase
let relay: Relay
let seller: Seller
/** The second one reaches the database through the relay. */
let servers: [TestServer, TestServer]

beforeAll(async () => {
  database = await cloneDatabase()
  relay = await startRelay(database.ownerUrl)
  servers = await Promise.all([
    startApiProcess(database, EXACT_COUNTING),
    startApiProcess({ ownerUrl: relay.url }, EXACT_COUNTING),
  ])
  await onlyLimits({ database, servers }, {})
  seller = await makeSeller(database, servers[0])
})

afterAll(async () => {
  for (const server of servers) await server.stop()
  await relay.cut()
  await database.drop()
})

const makeKey = () => makeApiKey(servers[0], seller.token, seller.dealerId)
const use = async (server: TestServer, token: string) => outcomeOf(await server.call(QUERY, { token }))

test('within a second of its commit, both processes refuse a key that is revoked while they use it', async () => {
  for (let round = 0; round < 5; round += 1) {
    const { id, token } = await makeKey()
    const usedUntilRefused = servers.map(async server => {
      const isRefused = async () => (await use(server, token)) === '401 unauthenticated'
      await until('the key is used', async () => (await use(server, token)) === '200')
      return isRefused
    })
    const refusals = await Promise.all(usedUntilRefused)
    await database.owner.query('update app_public.dealer_api_keys set revoked_at = now() where id = $1', [id])
    const since = performance.now()
    await Promise.all(
      refusals.map(async isRefused => {
        for (;;) {
          const sentAfter = performance.now() - since
          if (await isRefused()) return
          expect(sentAfter).toBeLessThan(1_000)
        }
      }),
    )
  }
})

test('a key has limits of its own, which it shares with no user, no other key and no address', async () => {
  await onlyLimits({ database, servers }, { listing_create: { max: 2 } })
  const [first, second] = [await makeKey(), await makeKey()]
  const publish = (token: string, number: number) =>
    createListing(servers[number % 2 ? 1 : 0], token, seller.dealerId)
  const outcomes: string[] = []
  for (const number of [0, 1, 2]) outcomes.push(outcomeOf(await publish(first.token, number)))
  expect(outcomes).toEqual(['200', '200', '429 rate_limit_exceeded'])
  const { errors } = await publish(first.token, 1)
  expect(errors[0]?.extensions.meta).toMatchObject({ limit_key: `api_key:${first.id}:listing_create` })
  expect(outcomeOf(await publish(second.token, 0))).toBe('200')
  expect(outcomeOf(await publish(seller.token, 0))).toBe('200')
  await onlyLimits({ database, servers }, {})
})

const LISTING = { idempotencyKey: randomUUID(), title: 'A car', module: 'auto', price: '1', currency: 'EUR' }
const CALLS: Record<string, (token: string) => Promise<ApiResponse<unknown>>> = {
  user_read: token => servers[0].call(QUERY, { token }),
  pricing_quote: token => quoteListing(servers[0], token, seller.dealerId),
  listing_write: token =>
    servers[0].call(
      'mutation ($id: UUID!) { withdrawListing(input: { listingId: $id }) { listing { id } } }',
      {
        token,
        variables: { id: randomUUID() },
      },
    ),
  listing_batch: token =>
    servers[0].call(
      'mutation ($input: CreateListingsInput!) { createListings(input: $input) { results { index } } }',
      {
        token,
        variables: { input: { dealerId: seller.dealerId, listings: [LISTING] } },
      },
    ),
}

test.each(Object.keys(CALLS))('the limit %s counts a key by itself', async scope => {
  const { id, token } = await makeKey()
  await onlyLimits({ database, servers }, { [scope]: { max: 1 } })
  await CALLS[scope]?.(token)
  const refused = await CALLS[scope]?.(token)
  expect(refused?.status).toBe(429)
  expect(refused?.errors[0]?.extensions.meta).toMatchObject({ limit_key: `api_key:${id}:${scope}` })
  expect((await CALLS[scope]?.(seller.token))?.status).not.toBe(429)
  await onlyLimits({ database, servers }, {})
})

test('a key that is not valid counts on the address', async () => {
  await onlyLimits({ database, servers }, { public_read: { max: 2 } })
  const outcomes: string[] = []
  for (let number = 0; number < 3; number += 1) outcomes.push(await use(servers[0], newApiKey().key))
  expect(outcomes).toEqual(['401 unauthenticated', '401 unauthenticated', '429 rate_limit_exceeded'])
  await onlyLimits({ database, servers }, {})
})

test('while the database cannot be read, a key gets 503, and garbage 401', async () => {
  const { token } = await makeKey()
  const [, cut] = servers
  expect(await use(cut, token)).toBe('200')
  await relay.cut()
  const name = () => cut.call('{ __typename }', { token })
  await until('the process forgets the key', async () => (await name()).status !== 200)
  const { status, headers, errors } = await name()
  expect([status, errors[0]?.extensions.code]).toEqual([503, 'service_unavailable'])
  expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
  expect((await cut.call('{ __typename }', { token: 'fc_garbage' })).status).toBe(401)
  await relay.restore()
  await until('the key works again', async () => (await use(cut, token)) === '200')
})
