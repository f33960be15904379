/** Slots belong to the dealer: what happens to them when subscriptions start, end, and follow each other. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { buyPackage, payInvoice } from '../support/graphqlOperations.ts'
import { brokenRules } from '../support/ledger.ts'
import { type ListingSlots, useSlots } from '../support/listingSlots.ts'
import { outcome, step } from '../support/listings.ts'
import { subscriptionStatuses } from '../support/purchases.ts'
import { makeAdmin, makeSeller, type Seller } from '../support/seller.ts'
import { makePackage, single } from '../support/testData.ts'

let database: TestDatabase
let server: TestServer
let slots: ListingSlots

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  slots = useSlots(database, server)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

afterEach(async () => expect(await brokenRules(database.superuser)).toEqual([]))

const withdraw = ({ token }: Seller, listingId: string) =>
  step(server, token, 'withdrawListing', { listingId })
const statuses = ({ dealerId }: Seller) => subscriptionStatuses(database.owner, dealerId)

test.each([
  ['charge', 'PAID_EXTRA'],
  ['block', '402 quota_exhausted'],
] as const)(
  'a downgrade to 5 keeps 10 live, and lets no new one in until 4 remain: %s',
  async (overage, beyond) => {
    const seller = await slots.makeSlots(10)
    const ids = await slots.makeListings(seller, 10)
    await slots.endSubscription(seller)
    await slots.subscribe(seller, { listings: 5, overage })
    expect(await Promise.all(ids.map(slots.statusOf))).toEqual(Array(10).fill('ACTIVE'))
    const seen: string[] = []
    for (const id of ids.slice(0, 6)) {
      seen.push(await slots.publish(seller))
      await withdraw(seller, id)
    }
    expect(seen).toEqual(Array(6).fill(beyond))
    expect(await slots.usage(seller)).toBe('4 of 5, 1 left')
    expect([await slots.publish(seller), await slots.publish(seller)]).toEqual(['SUBSCRIPTION_QUOTA', beyond])
  },
)

test('after a downgrade the waterfall decides about a renewal, and a listing that is paid releases its slot', async () => {
  const seller = await slots.makeSlots(3)
  const [first = '', second = '', third = ''] = await slots.makeListings(seller, 3)
  await slots.endSubscription(seller)
  await slots.subscribe(seller, { listings: 2 })
  for (const id of [first, second, third]) {
    await slots.moveEnd(id, '10 days')
    expect(outcome(await slots.renew(seller, id))).toBe('ACTIVE')
  }
  expect((await slots.ledger(first))[1]).toBe('renewal paid_extra 5.95')
  // two are in use now, as many as the package includes
  for (const id of [second, third])
    expect((await slots.ledger(id))[1]).toBe('renewal subscription_quota 0.00')
  expect(await slots.usage(seller)).toBe('2 of 2, 0 left')
})

test('after a downgrade to a package that forbids overage, a renewal is refused and changes nothing', async () => {
  const seller = await slots.makeSlots(2)
  const [id = ''] = await slots.makeListings(seller, 2)
  await slots.endSubscription(seller)
  await slots.subscribe(seller, { listings: 1, overage: 'block' })
  await slots.moveEnd(id, '10 days')
  expect(outcome(await slots.renew(seller, id))).toBe('402 quota_exhausted')
  expect(await slots.usage(seller)).toBe('2 of 1, none left')
})

test('a renewal that starts a larger pending subscription keeps the slot of its listing', async () => {
  const seller = await slots.makeSlots(3)
  const [id = ''] = await slots.makeListings(seller, 3)
  await slots.endSubscription(seller)
  await slots.subscribe(seller, { listings: 2 })
  await slots.subscribe(seller, { listings: 5, status: 'pending' })
  await slots.moveEnd(id, '10 days')
  expect(outcome(await slots.renew(seller, id))).toBe('ACTIVE')
  expect([await statuses(seller), await slots.usage(seller)]).toEqual([
    ['expired', 'cancelled', 'active'],
    '3 of 5, 2 left',
  ])
})

test.each(['charge', 'block'] as const)(
  'a renewal starts a pending subscription that includes as many slots as are in use: %s',
  async overage => {
    const seller = await slots.makeSlots(3, { overage })
    const [id = ''] = await slots.makeListings(seller, 3)
    await slots.endSubscription(seller)
    await slots.subscribe(seller, { listings: 2, overage })
    await slots.subscribe(seller, { listings: 3, status: 'pending', overage })
    await slots.moveEnd(id, '10 days')
    expect(outcome(await slots.renew(seller, id))).toBe('ACTIVE')
    expect((await slots.ledger(id))[1]).toBe('renewal subscription_quota 0.00')
    expect([await statuses(seller), await slots.usage(seller)]).toEqual([
      ['expired', 'cancelled', 'active'],
      overage === 'block' ? '3 of 3, none left' : '3 of 3, 0 left',
    ])
  },
)

test('a successor starts with the live listings counted already', async () => {
  const seller = await slots.makeSlots(10)
  await slots.makeListings(seller, 4)
  await slots.subscribe(seller, { listings: 6, status: 'pending' })
  await slots.endSubscription(seller)
  expect(await slots.usage(seller)).toBe('4 of 0, 2 left')
  expect(await slots.publish(seller)).toBe('SUBSCRIPTION_QUOTA')
  expect([await statuses(seller), await slots.usage(seller)]).toEqual([
    ['expired', 'active'],
    '5 of 6, 1 left',
  ])
})

test('after the end of its subscription a dealer keeps its live listings, and has no slots', async () => {
  const seller = await slots.makeSlots(10, { overage: 'block' })
  const ids = await slots.makeListings(seller, 2)
  await slots.endSubscription(seller)
  expect(await slots.usage(seller)).toBe('2 of 0, 0 left')
  expect(await slots.publish(seller)).toBe('PAID_EXTRA')
  await withdraw(seller, ids[0] as string)
  expect([await slots.statusOf(ids[1] as string), await slots.usage(seller)]).toEqual([
    'ACTIVE',
    '1 of 0, 0 left',
  ])
})

test('a listing of an ended subscription that is rejected releases its slot', async () => {
  const seller = await slots.makeSlots(10)
  const [listingId = ''] = await slots.makeListings(seller, 1, 'PENDING')
  await slots.endSubscription(seller)
  await step(server, await makeAdmin(database, server), 'moderateListing', {
    listingId,
    decision: 'REJECT',
    reason: 'No car.',
  })
  expect(await slots.usage(seller)).toBe('0 of 0, 0 left')
})

test.each([
  // a PER_PERIOD subscription that is used up
  [
    { quotaKind: 'per_period', listings: 0 },
    1,
    'SUBSCRIPTION_QUOTA',
    ['cancelled', 'active'],
    '1 of 1, 0 left',
  ],
  // the pending one has more slots than are in use
  [{ listings: 2 }, 3, 'SUBSCRIPTION_QUOTA', ['cancelled', 'active'], '3 of 3, 0 left'],
  // the pending one has no more slots, so it is not started for nothing
  [{ listings: 2 }, 2, 'PAID_EXTRA', ['active', 'pending'], '2 of 2, 0 left'],
  [{ listings: 2 }, 1, 'PAID_EXTRA', ['active', 'pending'], '2 of 2, 0 left'],
  // a slot is free
  [{ listings: 3 }, 9, 'SUBSCRIPTION_QUOTA', ['active', 'pending'], '3 of 3, 6 left'],
] as const)(
  'a pending subscription starts as soon as no quota and no slot is left, if it has one: %j, pending with %i',
  async (running, pending, source, expected, used) => {
    const seller = await makeSeller(database, server)
    await slots.subscribe(seller, running)
    await slots.makeListings(seller, running.listings && 2)
    await slots.subscribe(seller, { listings: pending, status: 'pending' })
    expect(await slots.publish(seller)).toBe(source)
    expect([await statuses(seller), await slots.usage(seller)]).toEqual([expected, used])
  },
)

test('of two subscriptions that run at once the larger one counts', async () => {
  const seller = await slots.makeSlots(3)
  await slots.subscribe(seller, { listings: 5, status: 'cancelled' })
  await slots.subscribe(seller, { listings: 5, status: 'cancelled' })
  await slots.makeListings(seller, 4)
  expect(await slots.usage(seller)).toBe('4 of 5, 1 left')
  expect([await slots.publish(seller), await slots.publish(seller)]).toEqual([
    'SUBSCRIPTION_QUOTA',
    'PAID_EXTRA',
  ])
})

test('a larger PER_PERIOD subscription does not take the slots of a CONCURRENT one', async () => {
  const seller = await slots.makeSlots(3)
  await slots.subscribe(seller, { listings: 50, quotaKind: 'per_period', status: 'cancelled' })
  await slots.makeListings(seller, 1)
  expect(await slots.usage(seller)).toBe('1 of 3, 52 left')
})

test('the slots of another dealer do not count', async () => {
  const [seller, other] = [await slots.makeSlots(1), await slots.makeSlots(1)]
  const [id = ''] = await slots.makeListings(other, 1)
  await slots.moveEnd(id, '-1 minute')
  expect(await slots.publish(seller)).toBe('SUBSCRIPTION_QUOTA')
  expect(await slots.publish(seller)).toBe('PAID_EXTRA')
  expect([await slots.usage(seller), await slots.statusOf(id)]).toEqual(['1 of 1, 0 left', 'ACTIVE'])
})

test('a subscription has the kind that its package had when it was bought', async () => {
  const seller = await makeSeller(database, server)
  const { owner } = database
  const packageId = await makePackage(owner, {
    country: seller.country,
    quotaKind: 'concurrent',
    listings: 2,
  })
  const { data } = await buyPackage(server, seller.token, {
    dealerId: seller.dealerId,
    packageId,
    idempotencyKey: randomUUID(),
  })
  await owner.query("update app_public.dealer_packages set quota_kind = 'per_period' where id = $1", [
    packageId,
  ])
  await payInvoice(server, await makeAdmin(database, server), data.buyPackage?.checkout.invoice.id as string)
  const read = await server.call<{ dealerSubscriptions: { nodes: object[] } }>(
    '{ dealerSubscriptions { nodes { quotaKind includedListingQuota usedListingQuota package { quotaKind } } } }',
    { token: seller.token },
  )
  expect(read.data.dealerSubscriptions.nodes).toEqual([
    {
      quotaKind: 'CONCURRENT',
      includedListingQuota: 2,
      usedListingQuota: 0,
      package: { quotaKind: 'PER_PERIOD' },
    },
  ])
  expect(await slots.usage(seller)).toBe('0 of 2, 2 left')
})

test('publications of a PER_PERIOD subscription do not change the row of the dealer', async () => {
  const seller = await slots.makeSlots(3, { quotaKind: 'per_period' })
  const version = () =>
    single(database.owner, 'select xmin::text from app_public.dealers where id = $1', [seller.dealerId])
  const before = await version()
  const [id = ''] = await slots.makeListings(seller, 2)
  await withdraw(seller, id)
  expect([await version(), await slots.usage(seller)]).toEqual([before, '0 of 0, 1 left'])
})

test('strangers see no slots, and each change of a dealer is audited except that of its slots', async () => {
  const seller = await slots.makeSlots(1)
  await slots.makeListings(seller, 1)
  const query = '{ listings { nodes { dealer { slots { used } } } } }'
  const { status, data } = await server.call<{ listings: { nodes: object[] } }>(query)
  expect([status, new Set(data.listings.nodes.map(node => JSON.stringify(node)))]).toEqual([
    200,
    new Set(['{"dealer":null}']),
  ])
  const { rows } = await database.owner.query(
    `select a.attname as column from pg_attribute as a
     join pg_trigger as t on t.tgrelid = a.attrelid and t.tgname = 'dealers_audited'
     where a.attrelid = 'app_public.dealers'::regclass and a.attnum > 0 and not a.attisdropped and a.attnum <> all (t.tgattr::int2[])`,
  )
  expect(rows).toEqual([{ column: 'slots_in_use' }])
  const entries =
    "select count(*)::integer from app_public.audit_logs where resource_type = 'dealers' and resource_id = $1"
  expect(await single(database.owner, entries, [seller.dealerId])).toBe(0)
})
