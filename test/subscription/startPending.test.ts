/** A publication starts the pending subscription itself, so that nobody pays or is refused while paid quota waits. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { brokenRules, countSources } from '../support/ledger.ts'
import {
  type Buyer,
  endActive,
  makeBuyer,
  PUBLISH,
  scheduledExpiryRuns,
  strandedDealers,
  subscriptionStatuses,
  usedQuotas,
} from '../support/purchases.ts'
import { makeCountry, makeDealer, makePackage, makeSubscription, makeUser } from '../support/testData.ts'
import { committed } from '../support/transactions.ts'

const QUOTE =
  'select source, gross_amount, free_remaining, subscription_remaining from app_public.quote_listing($1)'

let database: TestDatabase
let userId: string
let buyer: Buyer
/** Two listings; beyond them a listing is refused. */
let packageId: string

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  packageId = await makePackage(database.owner, { listings: 2, overage: 'block' })
  userId = await makeUser(database.owner)
  buyer = makeBuyer(database, userId)
})

afterAll(() => database.drop())

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
  expect(await strandedDealers(database.superuser)).toEqual([])
})

const quote = async (dealerId: string) =>
  (await committed(database, { dealer: userId }, client => client.query(QUOTE, [dealerId]))).rows[0]

const statuses = (dealerId: string) => subscriptionStatuses(database.owner, dealerId)

const auditOf = async (dealerId: string) => {
  const { rows } = await database.owner.query(
    `select a.action, a.actor from app_public.audit_logs as a
     where exists (
       select from app_public.dealer_subscriptions as s
       where s.dealer_id = $1 and (a.resource_id = s.id or a.new_values -> 'ids' ->> 0 = s.id::text))
     order by a.id`,
    [dealerId],
  )
  return rows.map(({ action, actor }) => `${action} by ${actor === userId ? 'user' : 'system'}`)
}

test('a publication starts the pending subscription when the active one is used up, which becomes cancelled', async () => {
  const dealerId = await buyer.makeSubscribedDealer(packageId, packageId)
  await buyer.publish(dealerId, 2)
  const ends = 'select end_at from app_public.dealer_subscriptions where dealer_id = $1 order by id limit 1'
  const before = await database.owner.query(ends, [dealerId])
  expect(await statuses(dealerId)).toEqual(['active', 'pending'])
  await buyer.publish(dealerId)
  expect(await statuses(dealerId)).toEqual(['cancelled', 'active'])
  expect(await usedQuotas(database.owner, dealerId)).toEqual([2, 1])
  expect((await database.owner.query(ends, [dealerId])).rows).toEqual(before.rows)
  const { rows } = await database.owner.query(
    `select (s.end_at - s.start_at)::text as length, s.start_at = c.created_at as with_listing
     from app_public.dealer_subscriptions as s join app_public.listing_consumptions as c on c.subscription_id = s.id
     where s.dealer_id = $1 and s.status = 'active'`,
    [dealerId],
  )
  expect(rows).toEqual([{ length: '30 days', with_listing: true }])
  expect((await auditOf(dealerId)).slice(-2)).toEqual([
    'CANCEL_SUBSCRIPTION by user',
    'START_SUBSCRIPTION by user',
  ])
})

test('a publication starts the pending subscription when the active one has ended, even before an expiry run', async () => {
  const dealerId = await buyer.makeSubscribedDealer(packageId, packageId)
  await endActive(database.owner, dealerId)
  await buyer.publish(dealerId)
  expect(await statuses(dealerId)).toEqual(['expired', 'active'])
  expect(await usedQuotas(database.owner, dealerId)).toEqual([0, 1])
  expect((await auditOf(dealerId)).slice(-2)).toEqual(['SYSTEM_EXPIRE by user', 'START_SUBSCRIPTION by user'])
})

test('a publication starts the pending subscription when the cancelled one has ended or is used up', async () => {
  const ends = [
    (dealerId: string) => endActive(database.owner, dealerId),
    (dealerId: string) => buyer.publish(dealerId, 2),
  ]
  for (const end of ends) {
    const dealerId = await buyer.makeSubscribedDealer(packageId, packageId)
    await end(dealerId)
    await database.owner.query(
      "update app_public.dealer_subscriptions set status = 'cancelled' where dealer_id = $1 and status = 'active'",
      [dealerId],
    )
    await buyer.publish(dealerId)
    expect(await statuses(dealerId)).toEqual(['cancelled', 'active'])
  }
})

test('a publication is not charged if a worker died between the end of one subscription and the start of the next', async () => {
  const dealerId = await buyer.makeSubscribedDealer(packageId, packageId)
  await buyer.publish(dealerId, 2)
  await endActive(database.owner, dealerId)
  await database.owner.query(
    "update app_public.dealer_subscriptions set status = 'expired' where dealer_id = $1 and status = 'active'",
    [dealerId],
  )
  await buyer.publish(dealerId)
  expect(await countSources(database.owner, dealerId)).toEqual({ subscription_quota: 3 })
})

test('a quote decides as if the pending subscription had been started, and changes nothing', async () => {
  const dealerId = await buyer.makeSubscribedDealer(packageId, packageId)
  const seen: unknown[] = []
  for (let number = 1; number <= 4; number += 1) {
    const before = await statuses(dealerId)
    seen.push(await quote(dealerId))
    expect(await statuses(dealerId)).toEqual(before)
    await buyer.publish(dealerId)
  }
  const expected = (remaining: number) => ({
    source: 'subscription_quota',
    gross_amount: '0.00',
    free_remaining: 0,
    subscription_remaining: remaining,
  })
  expect(seen).toEqual([expected(2), expected(1), expected(2), expected(1)])
  expect(await countSources(database.owner, dealerId)).toEqual({ subscription_quota: 4 })
  await rolledBack(database, async client => {
    await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
    expect(await refusal(client, QUOTE, [dealerId])).toBe('FC009')
    expect(await refusal(client, PUBLISH, [dealerId])).toBe('FC009')
  })
})

test('a package that is bought once the running one is used up starts with the next publication', async () => {
  const dealerId = await buyer.makeSubscribedDealer(packageId)
  await buyer.publish(dealerId, 2)
  await buyer.buyAndPay(dealerId, packageId)
  expect(await statuses(dealerId)).toEqual(['active', 'pending'])
  expect(await quote(dealerId)).toMatchObject({ source: 'subscription_quota', subscription_remaining: 2 })
  await buyer.publish(dealerId)
  expect(await statuses(dealerId)).toEqual(['cancelled', 'active'])
})

test('a pending subscription does not start while free or running quota is left', async () => {
  const dealerId = await buyer.makeSubscribedDealer(packageId, packageId)
  await buyer.publish(dealerId)
  expect(await statuses(dealerId)).toEqual(['active', 'pending'])
  await buyer.publish(dealerId)
  await rolledBack(database, async client => {
    await client.query(
      `insert into app_public.free_quota_configs (country, segment, quota_amount, period_days, valid)
       values ('DE', 'dealer', 1, 30, '[2020-01-01,)')`,
    )
    await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
    await client.query(PUBLISH, [dealerId])
    expect(await subscriptionStatuses(client, dealerId)).toEqual(['active', 'pending'])
    expect(await countSources(client, dealerId)).toEqual({ subscription_quota: 2, free_quota: 1 })
    await client.query(PUBLISH, [dealerId])
    expect(await subscriptionStatuses(client, dealerId)).toEqual(['cancelled', 'active'])
  })
})

test('pending subscriptions without listing quota start before the first one that has some, and become cancelled', async () => {
  const empty = await makePackage(database.owner, { listings: 0 })
  const dealerId = await buyer.makeSubscribedDealer(packageId, empty, packageId, packageId)
  await buyer.publish(dealerId, 3)
  expect(await statuses(dealerId)).toEqual(['cancelled', 'cancelled', 'active', 'pending'])
  expect(await usedQuotas(database.owner, dealerId)).toEqual([2, 0, 1, 0])
  const { rows } = await database.owner.query(
    'select max(end_at) as last from app_public.dealer_subscriptions where dealer_id = $1',
    [dealerId],
  )
  expect(await scheduledExpiryRuns(database.superuser, dealerId)).toEqual([rows[0].last])
})

test('if no pending subscription has listing quota, a listing beyond the quota is charged and nothing starts', async () => {
  const empty = await makePackage(database.owner, { listings: 0 })
  const charged = await makePackage(database.owner, { listings: 1 })
  const dealerId = await buyer.makeSubscribedDealer(charged, empty)
  await buyer.publish(dealerId, 2)
  expect(await statuses(dealerId)).toEqual(['active', 'pending'])
  expect(await countSources(database.owner, dealerId)).toEqual({ subscription_quota: 1, paid_extra: 1 })
})

test('a refused publication starts nothing', async () => {
  const dealerId = await buyer.makeSubscribedDealer(packageId, packageId)
  await buyer.publish(dealerId, 2)
  await rolledBack(database, async client => {
    await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
    const untitled = PUBLISH.replace('A car', ' ')
    expect(await refusal(client, untitled, [dealerId])).toBe('23514')
  })
  expect(await statuses(dealerId)).toEqual(['active', 'pending'])
})

test('a pending subscription that was granted without an invoice starts in the same way', async () => {
  const dealerId = await buyer.makeSubscribedDealer(packageId)
  await buyer.publish(dealerId, 2)
  await makeSubscription(database.owner, dealerId, { packageId, status: 'pending', listings: 1 })
  await buyer.publish(dealerId)
  expect(await statuses(dealerId)).toEqual(['cancelled', 'active'])
})

/** A dealer with a subscription that ends in 100 days, beside another dealer whose subscription ends later. */
async function makeLongRunning(status: string, listings: number): Promise<{ dealerId: string; endAt: Date }> {
  const [dealerId, otherId] = [
    await makeDealer(database.owner, userId),
    await makeDealer(database.owner, userId),
  ]
  await makeSubscription(database.owner, otherId, { packageId, endAt: "now() + interval '200 days'" })
  const endAt = "now() + interval '100 days'"
  const id = await makeSubscription(database.owner, dealerId, { packageId, status, listings, endAt })
  const { rows } = await database.owner.query(
    'select end_at from app_public.dealer_subscriptions where id = $1',
    [id],
  )
  return { dealerId, endAt: rows[0].end_at }
}

test('the next start is scheduled for the end of the one that was left behind, where that ends last', async () => {
  const { dealerId, endAt } = await makeLongRunning('active', 0)
  for (let number = 0; number < 2; number += 1) {
    await makeSubscription(database.owner, dealerId, { packageId, status: 'pending' })
  }
  await buyer.publish(dealerId)
  expect(await scheduledExpiryRuns(database.superuser, dealerId)).toEqual([endAt])
})

test('the start of a package that is paid beside a cancelled one is scheduled for the end of that one', async () => {
  const { dealerId, endAt } = await makeLongRunning('cancelled', 1)
  await buyer.buyAndPay(dealerId, packageId)
  expect(await scheduledExpiryRuns(database.superuser, dealerId)).toEqual([endAt])
})
