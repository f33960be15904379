/** resubmitListing: when it is allowed, and that it pays again. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules, readLedger } from '../support/ledger.ts'
import { makeListing, outcome, step } from '../support/listings.ts'
import { makeAdmin, makeSeller, type Seller } from '../support/seller.ts'
import { makeSubscription, single } from '../support/testData.ts'

let database: TestDatabase
let server: TestServer
let admin: string

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  admin = await makeAdmin(database, server)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

afterEach(async () => expect(await brokenRules(database.superuser)).toEqual([]))

const reject = (listingId: string) =>
  step(server, admin, 'moderateListing', { listingId, decision: 'REJECT', reason: 'No car.' })
const approve = (listingId: string) =>
  step(server, admin, 'moderateListing', { listingId, decision: 'APPROVE' })
const resubmit = (seller: Seller, listingId: string, idempotencyKey: string = randomUUID()) =>
  step(server, seller.token, 'resubmitListing', { listingId, idempotencyKey })

const ledger = (listingId: string) => readLedger(database.owner, listingId)

test('reject, edit and resubmit in a loop pays for each publication that stands', async () => {
  const seller = await makeSeller(database, server)
  const id = await makeListing(database.owner, seller)
  for (let round = 0; round < 3; round += 1) {
    await reject(id)
    await step(server, seller.token, 'updateListing', { listingId: id, title: `Round ${round}` })
    expect(outcome(await resubmit(seller, id))).toBe('PENDING')
  }
  expect(outcome(await approve(id))).toBe('ACTIVE')
  const total = 'select gross_total from app_public.invoices where dealer_id = $1'
  expect(await single(database.owner, total, [seller.dealerId])).toBe('5.95')
  expect(await ledger(id)).toHaveLength(7)
})

test('the same key answers the same and pays once, also when twenty arrive at once', async () => {
  const seller = await makeSeller(database, server)
  const id = await makeListing(database.owner, seller, 'REJECTED')
  const key = randomUUID()
  const answers = await Promise.all(Array.from({ length: 20 }, () => resubmit(seller, id, key)))
  expect(answers.map(outcome)).toEqual(Array(20).fill('PENDING'))
  expect(new Set(answers.map(({ listing }) => listing?.updatedAt)).size).toBe(1)
  expect(await ledger(id)).toHaveLength(3)
})

test('the key of another listing is an idempotency conflict, and renewListing has keys of its own', async () => {
  const seller = await makeSeller(database, server)
  const key = randomUUID()
  await resubmit(seller, await makeListing(database.owner, seller, 'REJECTED'), key)
  const other = await makeListing(database.owner, seller, 'REJECTED')
  expect(outcome(await resubmit(seller, other, key))).toBe('409 idempotency_conflict')
  const expired = await makeListing(database.owner, seller, 'EXPIRED')
  expect(
    outcome(await step(server, seller.token, 'renewListing', { listingId: expired, idempotencyKey: key })),
  ).toBe('ACTIVE')
})

test('a listing can be submitted again for 30 days', async () => {
  const seller = await makeSeller(database, server)
  const rejectedAgo = async (interval: string) => {
    const id = await makeListing(database.owner, seller, 'REJECTED')
    await database.owner.query(
      'update app_public.listings set rejected_at = now() - $2::interval where id = $1',
      [id, interval],
    )
    return outcome(await resubmit(seller, id))
  }
  expect(await rejectedAgo('29 days 23 hours 59 minutes')).toBe('PENDING')
  expect(await rejectedAgo('30 days')).toBe('409 conflict REJECTED')
})

test('a listing that was taken down gets nothing back, pays for its second time, and keeps its publication', async () => {
  const seller = await makeSeller(database, server)
  const id = await makeListing(database.owner, seller, 'ACTIVE')
  await reject(id)
  expect(await ledger(id)).toEqual(['publication paid_extra 5.95'])
  await resubmit(seller, id)
  expect(await ledger(id)).toEqual(['publication paid_extra 5.95', 'renewal paid_extra 5.95'])
  // rejected again before it was active again: the charge of this time is given back
  await reject(id)
  expect((await ledger(id)).slice(2)).toEqual(['reversal paid_extra -5.95'])
})

test('a suspended dealer cannot submit again, and a resubmission without quota is refused as a publication is', async () => {
  const seller = await makeSeller(database, server)
  const id = await makeListing(database.owner, seller, 'REJECTED')
  await database.owner.query('update app_public.dealers set can_publish = false where id = $1', [
    seller.dealerId,
  ])
  expect(outcome(await resubmit(seller, id))).toBe('403 forbidden')
  await database.owner.query('update app_public.dealers set can_publish = true where id = $1', [
    seller.dealerId,
  ])
  await makeSubscription(database.owner, seller.dealerId, {
    country: seller.country,
    listings: 0,
    overage: 'block',
  })
  expect(outcome(await resubmit(seller, id))).toBe('402 quota_exhausted')
})

test('listing.consumption is the last publication, and consumptions are all rows', async () => {
  const seller = await makeSeller(database, server)
  const id = await makeListing(database.owner, seller, 'REJECTED')
  const FIELDS = 'consumption { id kind } consumptions { nodes { id kind reverses } }'
  type Consumed = {
    consumption: { id: string; kind: string }
    consumptions: { nodes: { id: string; kind: string; reverses: string | null }[] }
  }
  const fresh = await server.call<{ resubmitListing: { listing: Consumed } }>(
    `mutation ($input: ResubmitListingInput!) { resubmitListing(input: $input) { listing { ${FIELDS} } } }`,
    { token: seller.token, variables: { input: { listingId: id, idempotencyKey: randomUUID() } } },
  )
  const { data } = await server.call<{ listing: Consumed }>(`{ listing(id: "${id}") { ${FIELDS} } }`, {
    token: seller.token,
  })
  expect(fresh.data.resubmitListing.listing).toEqual(data.listing)
  const { consumption, consumptions } = data.listing
  const [first, reversal, second] = consumptions.nodes
  expect(consumptions.nodes.map(({ kind }) => kind)).toEqual(['PUBLICATION', 'REVERSAL', 'PUBLICATION'])
  expect([reversal?.reverses, consumption.id]).toEqual([first?.id, second?.id])
})
