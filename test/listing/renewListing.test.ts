/** renewListing: when it is allowed, what it costs, and from when to when the listing is shown. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules, countSources, readCharges } from '../support/ledger.ts'
import { type ListingRow, makeListing, outcome, type Status, step } from '../support/listings.ts'
import { makeSeller, type Seller } from '../support/seller.ts'
import { makeSubscription } from '../support/testData.ts'
import { interleave } from '../support/transactions.ts'

const DAY = 86_400_000

let database: TestDatabase
let server: TestServer
let seller: Seller

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  seller = await makeSeller(database, server)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

afterEach(async () => expect(await brokenRules(database.superuser)).toEqual([]))

const renew = (listingId: string, idempotencyKey: string = randomUUID(), token = seller.token) =>
  step(server, token, 'renewListing', { listingId, idempotencyKey })

/** Makes a listing whose end is this interval from now. */
async function ending(interval: string, status: Status = 'ACTIVE', owner = seller): Promise<string> {
  const id = await makeListing(database.owner, owner, status)
  await database.owner.query(
    "update app_public.listings set expires_at = now() + $2::interval, published_at = now() + $2::interval - interval '90 days' where id = $1",
    [id, interval],
  )
  return id
}
const read = async (id: string) => {
  const { data } = await server.call<{ listing: ListingRow }>(
    `{ listing(id: "${id}") { status publishedAt expiresAt } }`,
    {
      token: seller.token,
    },
  )
  return data.listing
}
const time = (text: string | null | undefined) => Date.parse(text as string)

test('an active listing gets its days added to its end, and keeps its publication', async () => {
  const id = await ending('10 days')
  const before = await read(id)
  const { listing } = await renew(id)
  expect(listing).toMatchObject({ status: 'ACTIVE', publishedAt: before.publishedAt })
  expect(time(listing?.expiresAt) - time(before.expiresAt)).toBe(90 * DAY)
})

test.each([
  ['EXPIRED', '-10 days'],
  // no expiry run has recorded it yet
  ['ACTIVE', '-1 minute'],
] as const)('an ended listing starts now with a new publishedAt: %s', async (status, interval) => {
  const id = await ending(interval, status)
  const { listing } = await renew(id)
  expect(listing).toMatchObject({ status: 'ACTIVE', publishedAt: listing?.updatedAt })
  expect(time(listing?.expiresAt) - time(listing?.publishedAt)).toBe(90 * DAY)
})

test.each([
  ['30 days 1 minute', 'ACTIVE', '409 conflict ACTIVE'],
  ['30 days', 'ACTIVE', 'ACTIVE'],
  ['-179 days -23 hours', 'EXPIRED', 'ACTIVE'],
  ['-180 days', 'EXPIRED', '409 conflict EXPIRED'],
  ['-180 days', 'ACTIVE', '409 conflict ACTIVE'],
] as const)(
  'a listing is renewed in its last 30 days and for 180 days after its end: %s, %s',
  async (interval, status, expected) => {
    expect(outcome(await renew(await ending(interval, status)))).toBe(expected)
  },
)

test.each([
  ['7 days 1 minute', '409 conflict ACTIVE'],
  ['7 days', 'ACTIVE'],
])('a listing of 7 days is renewed in its last 7 days: %s', async (interval, expected) => {
  const id = await ending(interval)
  await database.owner.query('update app_public.listings set listing_days = 7 where id = $1', [id])
  expect(outcome(await renew(id))).toBe(expected)
  expect(outcome(await renew(id))).toBe('409 conflict ACTIVE')
})

test.each([
  ['10 days', 'ACTIVE', { old: 'active', new: 'active', moved: true }],
  // no expiry run has recorded it yet
  ['-1 minute', 'ACTIVE', { old: 'active', new: 'active', moved: true }],
  ['-1 minute', 'EXPIRED', { old: 'expired', new: 'active', moved: null }],
] as const)('a renewal writes one entry to the audit trail: %s, %s', async (interval, status, expected) => {
  const id = await ending(interval, status)
  await renew(id)
  const { rows } = await database.owner.query(
    `select coalesce(a.old_values ->> 'status', 'active') as old, coalesce(a.new_values ->> 'status', 'active') as new,
       (a.new_values ->> 'expiresAt')::timestamptz = l.expires_at
         and (a.old_values ->> 'expiresAt')::timestamptz < l.expires_at as moved
     from app_public.audit_logs as a join app_public.listings as l on l.id = a.resource_id
     where a.resource_id = $1 and a.action = 'RENEW_LISTING'`,
    [id],
  )
  expect(rows).toEqual([expected])
})

test('a renewal is a ledger row more, and renewals do not stack', async () => {
  const owner = await makeSeller(database, server)
  const id = await ending('10 days', 'ACTIVE', owner)
  expect(outcome(await renew(id, randomUUID(), owner.token))).toBe('ACTIVE')
  expect(outcome(await renew(id, randomUUID(), owner.token))).toBe('409 conflict ACTIVE')
  expect(await readCharges(database.owner, owner.dealerId)).toEqual(['paid_extra 5.95', 'paid_extra 5.95'])
})

test('a renewal uses free quota and the quota of a subscription before a price, and a quote says so', async () => {
  const owner = await makeSeller(database, server, { freeListings: 1 })
  const ids: string[] = []
  // the first is free, the others are paid
  for (let number = 0; number < 3; number += 1) ids.push(await ending('10 days', 'ACTIVE', owner))
  const raise = 'update app_public.free_quota_configs set quota_amount = 2 where country = $1'
  await database.owner.query(raise, [owner.country])
  await makeSubscription(database.owner, owner.dealerId, { country: owner.country, listings: 1 })
  const quote = async () => {
    const { data } = await server.call<{ quoteListing: { source: string } }>(
      `{ quoteListing(dealerId: "${owner.dealerId}") { source } }`,
      {
        token: owner.token,
      },
    )
    return data.quoteListing.source
  }
  for (const [index, source] of ['FREE_QUOTA', 'SUBSCRIPTION_QUOTA', 'PAID_EXTRA'].entries()) {
    expect(await quote()).toBe(source)
    await renew(ids[index] as string, randomUUID(), owner.token)
  }
  expect(await countSources(database.owner, owner.dealerId)).toEqual({
    free_quota: 2,
    subscription_quota: 1,
    paid_extra: 3,
  })
})

test('the same key renews once, also when twenty arrive at once, and other keys are then a conflict', async () => {
  const owner = await makeSeller(database, server)
  const id = await ending('10 days', 'ACTIVE', owner)
  const key = randomUUID()
  const answers = await Promise.all(Array.from({ length: 20 }, () => renew(id, key, owner.token)))
  expect(answers.map(outcome)).toEqual(Array(20).fill('ACTIVE'))
  expect(new Set(answers.map(({ listing }) => listing?.expiresAt)).size).toBe(1)
  expect(await readCharges(database.owner, owner.dealerId)).toHaveLength(2)
  const other = await ending('10 days', 'ACTIVE', owner)
  expect(outcome(await renew(other, key, owner.token))).toBe('409 idempotency_conflict')
})

test.each([
  ['renew_listing', 'EXPIRED'],
  ['resubmit_listing', 'REJECTED'],
] as const)(
  'a call that waits until the subscription has ended does not use its quota: %s',
  async (name, status) => {
    const owner = await makeSeller(database, server)
    const id = await makeListing(database.owner, owner, status)
    await makeSubscription(database.owner, owner.dealerId, {
      country: owner.country,
      endAt: "clock_timestamp() + interval '2 seconds'",
    })
    const roles = { holder: 'owner', member: { dealer: owner.userId } } as const
    await interleave(database, roles, async ({ holder, member }) => {
      await holder.query('select app_private.lock_dealer($1)', [owner.dealerId])
      const { result } = await member.startBlocked(`select app_public.${name}($1, gen_random_uuid())`, [id])
      await holder.query(
        'select pg_sleep_until(end_at) from app_public.dealer_subscriptions where dealer_id = $1',
        [owner.dealerId],
      )
      await holder.commit()
      await result
      await member.commit()
    })
    expect((await readCharges(database.owner, owner.dealerId)).at(-1)).toBe('paid_extra 5.95')
  },
)

test('the reference of a renewed listing must be free', async () => {
  const id = await ending('-1 day', 'EXPIRED')
  await database.owner.query("update app_public.listings set external_id = 'R-1' where id = $1", [id])
  const other = await makeListing(database.owner, seller)
  await step(server, seller.token, 'updateListing', { listingId: other, externalId: 'R-1' })
  const { response } = await renew(id)
  expect([response.status, response.errors[0]?.extensions]).toMatchObject([
    409,
    { code: 'conflict', detail: { field: 'externalId' } },
  ])
})

test('an edit that nobody has reviewed is still in the queue after the renewal', async () => {
  const id = await makeListing(database.owner, seller, 'ACTIVE')
  await step(server, seller.token, 'updateListing', { listingId: id, title: 'Edited' })
  await database.owner.query(
    `update app_public.listings set status = 'expired', updated_at = now(), published_at = now() - interval '91 days',
       expires_at = now() - interval '1 day' where id = $1`,
    [id],
  )
  const queued = async () =>
    (await database.owner.query('select from app_public.moderation_queue where listing_id = $1', [id]))
      .rowCount
  expect(await queued()).toBe(0)
  await renew(id)
  expect(await queued()).toBe(1)
})
