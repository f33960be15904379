/** CONCURRENT quotas: which listings hold a slot, when a slot is free again, and what a publication or renewal costs then. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules, countSources } from '../support/ledger.ts'
import { type ListingSlots, useSlots } from '../support/listingSlots.ts'
import { outcome, type Status, type StepName, step } from '../support/listings.ts'
import { makeAdmin, makeSeller, type Seller } from '../support/seller.ts'
import { single } from '../support/testData.ts'

let database: TestDatabase
let server: TestServer
let admin: string
let slots: ListingSlots

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  admin = await makeAdmin(database, server)
  slots = useSlots(database, server)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

afterEach(async () => expect(await brokenRules(database.superuser)).toEqual([]))

const APPROVE = { decision: 'APPROVE' }
const REJECT = { decision: 'REJECT', reason: 'No car.' }

/** `before`, `after`: the slots that the listing holds before and after the step. */
const STEPS: [from: Status, name: StepName, input: object, to: Status, before: number, after: number][] = [
  ['PENDING', 'moderateListing', APPROVE, 'ACTIVE', 1, 1],
  ['PENDING', 'moderateListing', REJECT, 'REJECTED', 1, 0],
  ['PENDING', 'withdrawListing', {}, 'WITHDRAWN', 1, 0],
  ['PENDING', 'updateListing', { title: 'Another' }, 'PENDING', 1, 1],
  ['ACTIVE', 'moderateListing', REJECT, 'REJECTED', 1, 0],
  ['ACTIVE', 'withdrawListing', {}, 'WITHDRAWN', 1, 0],
  ['ACTIVE', 'markListingSold', {}, 'SOLD', 1, 0],
  ['WITHDRAWN', 'withdrawListing', {}, 'WITHDRAWN', 0, 0],
  ['REJECTED', 'moderateListing', REJECT, 'REJECTED', 0, 0],
  ['REJECTED', 'resubmitListing', {}, 'PENDING', 0, 1],
  ['EXPIRED', 'renewListing', {}, 'ACTIVE', 0, 1],
]

test.each(STEPS)(
  'a listing holds a slot while it is PENDING or ACTIVE, and each step out of these releases one: %s, %s %j',
  async (from, name, input, to, before, after) => {
    const seller = await slots.makeSlots(3)
    await slots.makeListings(seller, 1)
    const [id = ''] = await slots.makeListings(seller, 1, from)
    expect(await slots.usage(seller)).toBe(`${before + 1} of 3, ${2 - before} left`)
    const key = /renew|resubmit/.test(name) ? { idempotencyKey: randomUUID() } : {}
    const token = name === 'moderateListing' ? admin : seller.token
    expect(outcome(await step(server, token, name, { listingId: id, ...input, ...key }))).toBe(to)
    expect(await slots.usage(seller)).toBe(`${after + 1} of 3, ${2 - after} left`)
  },
)

test('an expiry run releases the slots of the listings that it expires, of each dealer as many', async () => {
  const sellers = [await slots.makeSlots(5), await slots.makeSlots(5)]
  const [one = [], two = []] = [
    await slots.makeListings(sellers[0] as Seller, 3),
    await slots.makeListings(sellers[1] as Seller, 2),
  ]
  for (const id of [...one.slice(0, 2), ...two]) await slots.moveEnd(id, '-1 minute')
  await database.owner.query('select app_private.expire_listings()')
  const { rows } = await database.owner.query(
    'select slots_in_use as used from app_public.dealers where id = any ($1) order by 1',
    [sellers.map(({ dealerId }) => dealerId)],
  )
  expect(rows).toEqual([{ used: 0 }, { used: 1 }])
})

test('a rejected listing releases its slot once, also when twenty reject it at once, and nothing is counted on the subscription', async () => {
  const seller = await slots.makeSlots(2)
  const [kept = '', id = ''] = await slots.makeListings(seller, 2, 'PENDING')
  const reject = () => step(server, admin, 'moderateListing', { listingId: id, ...REJECT })
  expect((await Promise.all(Array.from({ length: 20 }, reject))).map(outcome)).toEqual(
    Array(20).fill('REJECTED'),
  )
  expect(await slots.usage(seller)).toBe('1 of 2, 1 left')
  expect(await slots.ledger(id)).toEqual([
    'publication subscription_quota 0.00',
    'reversal subscription_quota 0.00',
  ])
  expect([await slots.statusOf(kept), await slots.publish(seller), await slots.publish(seller)]).toEqual([
    'PENDING',
    'SUBSCRIPTION_QUOTA',
    'PAID_EXTRA',
  ])
  const used = 'select used_listing_quota from app_public.dealer_subscriptions where dealer_id = $1'
  expect(await single(database.owner, used, [seller.dealerId])).toBe(0)
})

test('free quota pays first, and a listing that something else has paid holds no slot', async () => {
  const seller = await slots.makeSlots(1, {}, { freeListings: 1 })
  const sources = [await slots.publish(seller), await slots.publish(seller), await slots.publish(seller)]
  expect(sources).toEqual(['FREE_QUOTA', 'SUBSCRIPTION_QUOTA', 'PAID_EXTRA'])
  expect(await slots.usage(seller)).toBe('1 of 1, 0 left')
})

test('renewing with 10 live of 10 costs nothing, uses no free quota and leaves 0 free, once for each key', async () => {
  const seller = await slots.makeSlots(10)
  const [id = ''] = await slots.makeListings(seller, 10)
  await database.owner.query(
    "insert into app_public.free_quota_configs (country, segment, quota_amount, period_days, valid) values ($1, 'dealer', 1, 30, '(,)')",
    [seller.country],
  )
  await slots.moveEnd(id, '10 days')
  const key = randomUUID()
  const answers = [await slots.renew(seller, id, key), await slots.renew(seller, id, key)]
  expect(answers.map(outcome)).toEqual(['ACTIVE', 'ACTIVE'])
  expect(answers[0]?.listing?.expiresAt).toBe(answers[1]?.listing?.expiresAt)
  expect(await slots.ledger(id)).toEqual([
    'publication subscription_quota 0.00',
    'renewal subscription_quota 0.00',
  ])
  expect(await slots.usage(seller)).toBe('10 of 10, 0 left')
  expect([await slots.publish(seller), await slots.publish(seller)]).toEqual(['FREE_QUOTA', 'PAID_EXTRA'])
})

test('a slot is kept before the quota of a PER_PERIOD subscription that ends sooner is used', async () => {
  const seller = await slots.makeSlots(1)
  const [id = ''] = await slots.makeListings(seller, 1)
  const other = { quotaKind: 'per_period', status: 'cancelled', endAt: "now() + interval '1 day'" } as const
  const period = await slots.subscribe(seller, other)
  await slots.moveEnd(id, '10 days')
  await slots.renew(seller, id)
  const used = 'select used_listing_quota from app_public.dealer_subscriptions where id = $1'
  expect([await single(database.owner, used, [period]), await slots.usage(seller)]).toEqual([
    0,
    '1 of 1, 10 left',
  ])
})

test('a renewal of a listing that holds no slot takes one if it is free', async () => {
  const seller = await makeSeller(database, server)
  const [id = ''] = await slots.makeListings(seller, 1)
  await slots.moveEnd(id, '10 days')
  await slots.subscribe(seller, { listings: 1 })
  await slots.renew(seller, id)
  expect(await slots.ledger(id)).toEqual(['publication paid_extra 5.95', 'renewal subscription_quota 0.00'])
  expect(await slots.usage(seller)).toBe('1 of 1, 0 left')
})

test.each([
  ['EXPIRED', 'charge', 'ACTIVE', 'renewal paid_extra 5.95'],
  ['EXPIRED', 'block', '402 quota_exhausted', undefined],
  // no expiry run has recorded its end
  ['ACTIVE', 'charge', 'ACTIVE', 'renewal paid_extra 5.95'],
  ['ACTIVE', 'block', '402 quota_exhausted', undefined],
] as const)(
  'an ended listing needs a free slot for its renewal, even if it still held one: %s, %s',
  async (status, overage, expected, row) => {
    const seller = await slots.makeSlots(3)
    await slots.makeListings(seller, 2)
    const [id = ''] = await slots.makeListings(seller, 1, status)
    await slots.moveEnd(id, '-1 day')
    await slots.endSubscription(seller)
    await slots.subscribe(seller, { listings: 2, overage })
    expect(outcome(await slots.renew(seller, id))).toBe(expected)
    expect((await slots.ledger(id))[1]).toBe(row)
    expect((await slots.usage(seller)).slice(0, 6)).toBe('2 of 2')
  },
)

test.each(['EXPIRED', 'ACTIVE'] as const)(
  'an ended listing takes a free slot for its renewal: %s',
  async status => {
    const seller = await slots.makeSlots(2)
    const [id = ''] = await slots.makeListings(seller, 1, status)
    await slots.moveEnd(id, '-1 day')
    expect(await slots.usage(seller)).toBe('0 of 2, 2 left')
    expect(outcome(await slots.renew(seller, id))).toBe('ACTIVE')
    expect(await slots.usage(seller)).toBe('1 of 2, 1 left')
    expect(await countSources(database.owner, seller.dealerId)).toEqual({ subscription_quota: 2 })
  },
)

test('where no slot is free, a publication first expires the ended listings that hold one', async () => {
  const seller = await slots.makeSlots(10)
  const ids = await slots.makeListings(seller, 10)
  for (const id of ids.slice(0, 3)) await slots.moveEnd(id, '-1 minute')
  expect(await slots.usage(seller)).toBe('7 of 10, 3 left')
  expect(await slots.publish(seller)).toBe('SUBSCRIPTION_QUOTA')
  expect(await slots.usage(seller)).toBe('8 of 10, 2 left')
  expect(await Promise.all(ids.slice(0, 4).map(slots.statusOf))).toEqual([
    'EXPIRED',
    'EXPIRED',
    'EXPIRED',
    'ACTIVE',
  ])
  const { rows } = await database.owner.query(
    "select new_values -> 'count' as count from app_public.audit_logs where action = 'SYSTEM_EXPIRE' and new_values -> 'ids' ? $1",
    [ids[0]],
  )
  expect(rows).toEqual([{ count: 3 }])
})

test('where a slot is free, a publication leaves the record of ended listings to the expiry run', async () => {
  const seller = await slots.makeSlots(3)
  const [id = ''] = await slots.makeListings(seller, 2)
  await slots.moveEnd(id, '-1 minute')
  expect([await slots.publish(seller), await slots.statusOf(id), await slots.usage(seller)]).toEqual([
    'SUBSCRIPTION_QUOTA',
    'ACTIVE',
    '2 of 3, 1 left',
  ])
})

test('a listing holds its slot until a microsecond before its end', async () => {
  const seller = await slots.makeSlots(1)
  await slots.makeListings(seller, 1)
  const { rows } = await database.owner.query(
    `select array[app_private.count_free_slots(s, l.expires_at - interval '1 microsecond'), app_private.count_free_slots(s, l.expires_at)] as free
     from app_public.listings as l join app_public.dealer_subscriptions as s on s.dealer_id = l.dealer_id where l.dealer_id = $1`,
    [seller.dealerId],
  )
  expect(rows).toEqual([{ free: [0, 1] }])
})
