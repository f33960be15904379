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

test('the key of another listing is an idempotency conflict, and renewListing and other dealers have keys of their own', async () => {
  const seller = await makeSeller(database, server)
  const key = randomUUID()
  await resubmit(seller, await makeListing(database.owner, seller, 'REJECTED'), key)
  const other = await makeListing(database.owner, seller, 'REJECTED')
  expect(outcome(await resubmit(seller, other, key))).toBe('409 idempotency_conflict')
  const stranger = await makeSeller(database, server)
  const own = await makeListing(database.owner, stranger, 'REJECTED')
  expect(outcome(await resubmit(stranger, own, key))).toBe('PENDING')
  const expired = await makeListing(database.owner, seller, 'EXPIRED')
  expect(
    outcome(await step(server, seller.token, 'renewListing', { listingId: expired, idempotencyKey: key })),
  ).toBe('ACTIVE')
})

test.each([
  ['update app_public.dealers set is_trusted = false where id = $1'],
  ['update app_public.dealers set is_trusted = true where id = $1'],
  [
    `update app_public.country_currencies set moderation = 'after'
     where country = (select country from app_public.dealers where id = $1)`,
  ],
])('a resubmitted listing waits as a new entry of the queue, whoever its dealer is: %s', async sql => {
  const seller = await makeSeller(database, server)
  await database.owner.query(sql, [seller.dealerId])
  const id = await makeListing(database.owner, seller, 'REJECTED')
  const { listing } = await resubmit(seller, id)
  expect(listing).toMatchObject({ status: 'PENDING', rejectionReason: null })
  const { rows } = await database.owner.query(
    `select q.reason, q.since = l.updated_at as now from app_public.moderation_queue as q
     join app_public.listings as l on l.id = q.listing_id where l.id = $1`,
    [id],
  )
  expect(rows).toEqual([{ reason: 'resubmitted', now: true }])
})

test('a dealer without free quota has none for a resubmission or a renewal', async () => {
  const seller = await makeSeller(database, server, { freeListings: 5 })
  await database.owner.query('update app_public.dealers set has_free_quota = false where id = $1', [
    seller.dealerId,
  ])
  const id = await makeListing(database.owner, seller, 'REJECTED')
  await resubmit(seller, id)
  const expired = await makeListing(database.owner, seller, 'EXPIRED')
  await step(server, seller.token, 'renewListing', { listingId: expired, idempotencyKey: randomUUID() })
  expect((await ledger(id)).at(-1)).toBe('publication paid_extra 5.95')
  expect((await ledger(expired)).at(-1)).toBe('renewal paid_extra 5.95')
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

test('of several renewals the rejection of a resubmission gives back the last', async () => {
  const seller = await makeSeller(database, server)
  const id = await makeListing(database.owner, seller, 'EXPIRED')
  await step(server, seller.token, 'renewListing', { listingId: id, idempotencyKey: randomUUID() })
  await reject(id)
  await resubmit(seller, id)
  await reject(id)
  const reversed = `select o.kind || ' ' || o.number from app_public.listing_consumptions as r
    join app_public.listing_consumptions as o on o.id = r.reverses where r.listing_id = $1`
  expect(await single(database.owner, reversed, [id])).toBe('renewal 2')
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

const FIELDS = 'consumption { id kind } consumptions { nodes { id kind reverses } }'
type Consumed = {
  consumption: { id: string; kind: string }
  consumptions: { nodes: { id: string; kind: string; reverses: string | null }[] }
}
const resubmitAndRead = ({ token }: Seller, listingId: string) =>
  server.call<{ resubmitListing: { listing: Consumed } }>(
    `mutation ($input: ResubmitListingInput!) { resubmitListing(input: $input) { listing { ${FIELDS} } } }`,
    { token, variables: { input: { listingId, idempotencyKey: randomUUID() } } },
  )

test('listing.consumption is the publication also after two renewals', async () => {
  const seller = await makeSeller(database, server)
  const id = await makeListing(database.owner, seller, 'ACTIVE')
  await reject(id)
  await resubmit(seller, id)
  await reject(id)
  const { data } = await resubmitAndRead(seller, id)
  expect(data.resubmitListing.listing.consumption.kind).toBe('PUBLICATION')
})

test('listing.consumption is the last publication, and consumptions are all rows', async () => {
  const seller = await makeSeller(database, server)
  const id = await makeListing(database.owner, seller, 'REJECTED')
  const fresh = await resubmitAndRead(seller, id)
  const { data } = await server.call<{ listing: Consumed }>(`{ listing(id: "${id}") { ${FIELDS} } }`, {
    token: seller.token,
  })
  expect(fresh.data.resubmitListing.listing).toEqual(data.listing)
  const { consumption, consumptions } = data.listing
  const [first, reversal, second] = consumptions.nodes
  expect(consumptions.nodes.map(({ kind }) => kind)).toEqual(['PUBLICATION', 'REVERSAL', 'PUBLICATION'])
  expect([reversal?.reverses, consumption.id]).toEqual([first?.id, second?.id])
})
