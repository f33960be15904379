/** Concurrent publications of a dealer: each unit of quota is used once, and a waiting publication decides on current data. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules, countSources, readCharges } from '../support/ledger.ts'
import {
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  makeUser,
  publish,
  single,
} from '../support/testData.ts'
import { concurrently, countOutcomes, interleave, sqlstate } from '../support/transactions.ts'

const PUBLISH = "select app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 1, 'EUR')"
const LOCK_DEALER = 'select from app_public.dealers where id = $1 for update'
const LOCK_SUBSCRIPTION = 'select from app_public.dealer_subscriptions where id = $1 for update'

let database: TestDatabase
let userId: string

beforeAll(async () => {
  database = await cloneDatabase()
  // DE has a price and 2 free listings, AT only a price, IT neither
  await makeCountry(database.owner, { freeListings: 2 })
  await makeCountry(database.owner, { country: 'AT' })
  await makeCountry(database.owner, { country: 'IT', price: null })
  userId = await makeUser(database.owner)
})

afterAll(() => database.drop())

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
})

const dealerIn = (country: string) => makeDealer(database.owner, userId, country)

/**
 * Publishes for the dealer on many connections at once. A new connection plans its first publication while it holds the dealer's
 * lock, and many such plans in a row take longer than the lock timeout on a busy machine. So each connection first publishes for
 * another dealer, and takes that back.
 */
async function publishAtOnce(dealerId: string, count: number) {
  const others: string[] = []
  for (let n = 0; n < count; n++) others.push(await dealerIn('AT'))
  return concurrently(
    database,
    { dealer: userId },
    count,
    client => publish(client, dealerId),
    async (client, index) => {
      await client.query('savepoint planned')
      await publish(client, others[index] ?? '')
      await client.query('rollback to planned')
    },
  )
}

test('50 concurrent publications all succeed: 2 free, 10 included and 38 charged', async () => {
  const dealerId = await dealerIn('DE')
  await makeSubscription(database.owner, dealerId, { listings: 10 })
  const outcomes = await publishAtOnce(dealerId, 50)
  expect(countOutcomes(outcomes)).toEqual({ ok: 50 })
  expect(await countSources(database.owner, dealerId)).toEqual({
    free_quota: 2,
    subscription_quota: 10,
    paid_extra: 38,
  })
  const { rows } = await database.owner.query(
    'select gross_total from app_public.invoices where dealer_id = $1',
    [dealerId],
  )
  expect(rows).toEqual([{ gross_total: '226.10' }])
})

test('without free quota and price, 10 of 50 concurrent publications succeed and 40 are refused', async () => {
  const dealerId = await dealerIn('IT')
  const subscription = { listings: 10, packageId: await makePackage(database.owner) }
  await makeSubscription(database.owner, dealerId, subscription)
  const outcomes = await publishAtOnce(dealerId, 50)
  expect(countOutcomes(outcomes)).toEqual({ ok: 10, FC005: 40 })
  expect(await countSources(database.owner, dealerId)).toEqual({ subscription_quota: 10 })
})

test('with a package that forbids overage, 5 of 20 concurrent publications succeed and 15 are refused', async () => {
  const dealerId = await dealerIn('AT')
  const packageId = await makePackage(database.owner)
  await makeSubscription(database.owner, dealerId, { packageId, listings: 5, overage: 'block' })
  const outcomes = await publishAtOnce(dealerId, 20)
  expect(countOutcomes(outcomes)).toEqual({ ok: 5, FC009: 15 })
})

test('a publication waits for the one before it, so that both cannot use the last free listing', async () => {
  const dealerId = await dealerIn('DE')
  await interleave(database, { setup: { dealer: userId } }, async ({ setup }) => {
    await setup.query(PUBLISH, [dealerId])
    await setup.commit()
  })
  const both = { first: { dealer: userId }, second: { dealer: userId } }
  await interleave(database, both, async ({ first, second }) => {
    await first.query(PUBLISH, [dealerId])
    const waiting = await second.startBlocked(PUBLISH, [dealerId])
    await first.commit()
    await waiting.result
    await second.commit()
  })
  expect(await readCharges(database.owner, dealerId)).toEqual([
    'free_quota 0.00',
    'free_quota 0.00',
    'paid_extra 5.95',
  ])
})

test('a waiting publication gets the quota of a publication that rolls back', async () => {
  const dealerId = await dealerIn('AT')
  await makeSubscription(database.owner, dealerId, {
    packageId: await makePackage(database.owner),
    listings: 1,
  })
  const both = { first: { dealer: userId }, second: { dealer: userId } }
  await interleave(database, both, async ({ first, second }) => {
    await first.query(PUBLISH, [dealerId])
    const waiting = await second.startBlocked(PUBLISH, [dealerId])
    await first.rollback()
    await waiting.result
    await second.commit()
  })
  expect(await countSources(database.owner, dealerId)).toEqual({ subscription_quota: 1 })
})

test('publications of different dealers do not wait for each other', async () => {
  const [oneId, otherId] = [await dealerIn('AT'), await dealerIn('AT')]
  const both = { first: { dealer: userId }, second: { dealer: userId } }
  await interleave(database, both, async ({ first, second }) => {
    await first.query(PUBLISH, [oneId])
    await second.query("set local lock_timeout to '1s'")
    await second.query(PUBLISH, [otherId])
    await second.commit()
    await first.commit()
  })
  expect(await countSources(database.owner, otherId)).toEqual({ paid_extra: 1 })
})

test.each([
  ['the dealer', LOCK_DEALER, 'dealer'],
  ['the subscription', LOCK_SUBSCRIPTION, 'subscription'],
])(
  'a publication that waits for the lock of %s until end_at has passed does not use the quota',
  async (_lock, lock, locked) => {
    const dealerId = await dealerIn('AT')
    const subscriptionId = await makeSubscription(database.owner, dealerId, {
      packageId: await makePackage(database.owner),
      endAt: "clock_timestamp() + interval '2 seconds'",
    })
    await interleave(
      database,
      { holder: 'owner', publisher: { dealer: userId } },
      async ({ holder, publisher }) => {
        await holder.query(lock, [locked === 'dealer' ? dealerId : subscriptionId])
        const quote = await publisher.query('select source from app_public.quote_listing($1)', [dealerId])
        expect(quote.rows).toEqual([{ source: 'subscription_quota' }])
        const waiting = await publisher.startBlocked(PUBLISH, [dealerId])
        await holder.query(
          'select pg_sleep_until(end_at) from app_public.dealer_subscriptions where id = $1',
          [subscriptionId],
        )
        await holder.commit()
        await waiting.result
        await publisher.commit()
      },
    )
    expect(await readCharges(database.owner, dealerId)).toEqual(['paid_extra 5.95'])
  },
)

test('a publication that waits while its subscription ends does not use the quota', async () => {
  const dealerId = await dealerIn('IT')
  const subscriptionId = await makeSubscription(database.owner, dealerId, {
    packageId: await makePackage(database.owner),
  })
  await interleave(
    database,
    { holder: 'owner', publisher: { dealer: userId } },
    async ({ holder, publisher }) => {
      await holder.query(
        'update app_public.dealer_subscriptions set end_at = clock_timestamp() where id = $1',
        [subscriptionId],
      )
      const waiting = await publisher.startBlocked(PUBLISH, [dealerId])
      await holder.commit()
      expect(await sqlstate(waiting.result)).toBe('FC005')
    },
  )
})

test('a publication that waits for the expiry run uses the subscription that the run starts', async () => {
  const dealerId = await dealerIn('IT')
  const packageId = await makePackage(database.owner)
  const endAt = 'clock_timestamp()'
  await makeSubscription(database.owner, dealerId, { packageId, endAt })
  const nextId = await makeSubscription(database.owner, dealerId, { packageId, status: 'pending' })
  await interleave(
    database,
    { expiryRun: 'owner', publisher: { dealer: userId } },
    async ({ expiryRun, publisher }) => {
      await expiryRun.query('select app_private.expire_subscriptions()')
      const waiting = await publisher.startBlocked(PUBLISH, [dealerId])
      await expiryRun.commit()
      await waiting.result
      await publisher.commit()
    },
  )
  const used = 'select subscription_id from app_public.listing_consumptions where dealer_id = $1'
  expect(await single(database.owner, used, [dealerId])).toBe(nextId)
})

test('a publication that waits for a cancellation still uses the quota', async () => {
  const dealerId = await dealerIn('IT')
  const subscriptionId = await makeSubscription(database.owner, dealerId, {
    packageId: await makePackage(database.owner),
  })
  const both = { canceller: { dealer: userId }, publisher: { dealer: userId } }
  await interleave(database, both, async ({ canceller, publisher }) => {
    await canceller.query('select app_public.cancel_subscription($1)', [subscriptionId])
    const waiting = await publisher.startBlocked(PUBLISH, [dealerId])
    await canceller.commit()
    await waiting.result
    await publisher.commit()
  })
  expect(await countSources(database.owner, dealerId)).toEqual({ subscription_quota: 1 })
})

test('a quote does not wait for a publication, and shows the committed state', async () => {
  const dealerId = await dealerIn('DE')
  const both = { publisher: { dealer: userId }, reader: { dealer: userId } }
  await interleave(database, both, async ({ publisher, reader }) => {
    await publisher.query(PUBLISH, [dealerId])
    await reader.query("set local lock_timeout to '1s'")
    const quote = 'select free_remaining from app_public.quote_listing($1)'
    expect((await reader.query(quote, [dealerId])).rows).toEqual([{ free_remaining: 2 }])
    await publisher.commit()
    expect((await reader.query(quote, [dealerId])).rows).toEqual([{ free_remaining: 1 }])
  })
})
