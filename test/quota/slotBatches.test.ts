/** Batches on CONCURRENT quotas: each free slot is given once, and the rest of a batch goes on to the next source. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { brief, createListings, rows } from '../support/batches.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules, countSources } from '../support/ledger.ts'
import { type ListingSlots, useSlots } from '../support/listingSlots.ts'
import type { Seller } from '../support/seller.ts'

let database: TestDatabase
let server: TestServer
let slots: ListingSlots

beforeAll(async () => {
  database = await cloneDatabase()
  await database.owner.query("update app_public.rate_limit_policies set mode = 'off'")
  server = await startServer(database)
  slots = useSlots(database, server)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

afterEach(async () => expect(await brokenRules(database.superuser)).toEqual([]))

const publishBatch = async (seller: Seller, count: number) =>
  (await createListings(server, seller, rows(count))).results.map(brief)

const times = (count: number, outcome: string) => Array<string>(count).fill(outcome)

test.each([
  ['charge', 'PAID_EXTRA', '10 of 10, 0 left'],
  ['block', 'quota_exhausted', '10 of 10, none left'],
] as const)(
  'of a batch of 5 with 3 free slots of 10, the first 3 take one each: %s',
  async (overage, rest, usage) => {
    const seller = await slots.makeSlots(10, { overage })
    await slots.makeListings(seller, 7)
    expect(await publishBatch(seller, 5)).toEqual([...times(3, 'SUBSCRIPTION_QUOTA'), rest, rest])
    expect(await slots.usage(seller)).toBe(usage)
  },
)

test('a batch takes the slots of listings that have ended, and records their end', async () => {
  const seller = await slots.makeSlots(3)
  const ids = await slots.makeListings(seller, 3)
  for (const id of ids.slice(0, 2)) await slots.moveEnd(id, '-1 minute')
  expect(await publishBatch(seller, 3)).toEqual([...times(2, 'SUBSCRIPTION_QUOTA'), 'PAID_EXTRA'])
  expect(await Promise.all(ids.map(slots.statusOf))).toEqual(['EXPIRED', 'EXPIRED', 'ACTIVE'])
  expect(await slots.usage(seller)).toBe('3 of 3, 0 left')
})

test('a batch starts a pending subscription with more slots once the running one has none left', async () => {
  const seller = await slots.makeSlots(2)
  await slots.makeListings(seller, 1)
  await slots.subscribe(seller, { listings: 4, status: 'pending' })
  expect(await publishBatch(seller, 5)).toEqual([
    ...times(3, 'SUBSCRIPTION_QUOTA'),
    ...times(2, 'PAID_EXTRA'),
  ])
  expect(await slots.usage(seller)).toBe('4 of 4, 0 left')
})

test.each([
  ['charge', 25, { subscription_quota: 10, paid_extra: 22 }],
  ['block', 3, { subscription_quota: 10 }],
] as const)(
  'a batch of 5 and 20 single publications at once take the last 3 slots of 10 once each: %s',
  async (overage, published, sources) => {
    const seller = await slots.makeSlots(10, { overage })
    await slots.makeListings(seller, 7)
    const work = Array.from({ length: 21 }, async (_, index) => {
      if (index === 10) return publishBatch(seller, 5)
      const { data } = await createListing(server, seller.token, seller.dealerId)
      return [data?.createListing?.listing.consumption.source ?? 'refused']
    })
    const outcomes = (await Promise.all(work)).flat()
    expect(outcomes).toHaveLength(25)
    expect(outcomes.filter(outcome => /^[A-Z_]+$/.test(outcome))).toHaveLength(published)
    expect(await countSources(database.owner, seller.dealerId)).toEqual(sources)
    expect(await slots.usage(seller)).toMatch(/^10 of 10, /)
  },
)
