/** Batches beside other work of the same dealer, and batches that break off in the middle. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { brief, createListings, publishBatch, row, rows } from '../support/batches.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules, countDealerRows, countSources } from '../support/ledger.ts'
import { makeSeller, makeSellerIn, type Seller } from '../support/seller.ts'
import { makeSubscription } from '../support/testData.ts'
import { committed, concurrently, interleave, sqlstate } from '../support/transactions.ts'
import { holding, untilWaitingForLock } from '../support/waits.ts'

let database: TestDatabase
let server: TestServer
let seller: Seller

beforeAll(async () => {
  database = await cloneDatabase()
  await database.owner.query("update app_public.rate_limit_policies set mode = 'off'")
  server = await startServer(database)
  seller = await makeSeller(database, server, { freeListings: 5 })
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

afterEach(async () => expect(await brokenRules(database.superuser)).toEqual([]))

const used = ({ dealerId }: Seller) => countDealerRows(database.owner, dealerId)
const as = ({ userId }: Seller) => ({ dealer: userId })

test('4 batches of 25 and 20 single publications at once use each quota exactly once', async () => {
  const { dealerId, country } = seller
  await makeSubscription(database.owner, dealerId, { country, listings: 30 })
  const work = Array.from({ length: 24 }, async (_, index) => {
    if (index < 4) return (await createListings(server, seller, rows(25))).results.map(brief)
    return [(await createListing(server, seller.token, dealerId)).status]
  })
  const results = (await Promise.all(work)).flat()
  expect(results.filter(result => result === 200)).toHaveLength(20)
  expect(results.filter(result => String(result).includes('_'))).toHaveLength(100)
  expect(await countSources(database.owner, dealerId)).toEqual({
    free_quota: 5,
    subscription_quota: 30,
    paid_extra: 85,
  })
})

test('10 times the same batch, and its listings one by one at the same time, create each listing once', async () => {
  const publisher = await makeSellerIn(database, server, seller.country)
  const batch = rows(20)
  const work = Array.from({ length: 30 }, async (_, index) => {
    const input = batch[index]
    if (input === undefined) return (await createListings(server, publisher, batch)).results
    const { data } = await createListing(server, publisher.token, publisher.dealerId, input)
    return [{ listing: data.createListing?.listing }]
  })
  const found = (await Promise.all(work)).flat()
  expect(new Set(found.map(({ listing }) => listing?.id)).size).toBe(20)
  expect(await used(publisher)).toMatchObject({ listings: 20, consumptions: 20 })
})

test('a batch that waits for another one sees its listings, its references and its quota', async () => {
  const publisher = await makeSellerIn(database, server, seller.country)
  const shared = row({ externalId: 'a' })
  const both = { first: as(publisher), second: as(publisher) }
  await interleave(database, both, async ({ first, second }) => {
    const call = `select concat_ws(' ', (r.listing).title, r.sqlstate) as result from app_public.create_listings($1, array[
      row($2::uuid, 'A car', 'auto', 9900, 'EUR', null, null, null, 'a')::app_public.new_listing,
      row(gen_random_uuid(), 'A van', 'auto', 9900, 'EUR', null, null, null, 'b')::app_public.new_listing]) as r`
    await first.query(call, [publisher.dealerId, shared.idempotencyKey])
    const waiting = await second.startBlocked(call, [publisher.dealerId, shared.idempotencyKey])
    await first.commit()
    expect((await waiting.result).rows).toEqual([{ result: 'A car' }, { result: '23505' }])
    await second.commit()
  })
  expect(await countSources(database.owner, publisher.dealerId)).toEqual({ free_quota: 2 })
})

test.each([
  [
    'its lock until end_at has passed',
    'select from app_public.dealers where id = $1 for update',
    '2 seconds',
  ],
  [
    'a change that ends it',
    'update app_public.dealer_subscriptions set end_at = clock_timestamp() where dealer_id = $1',
    '1 day',
  ],
])('a batch that waits for %s does not use the subscription', async (_what, lock, end) => {
  const publisher = await makeSeller(database, server)
  const { dealerId, country } = publisher
  await makeSubscription(database.owner, dealerId, {
    country,
    endAt: `clock_timestamp() + interval '${end}'`,
  })
  const both = { holder: 'owner', publisher: as(publisher) } as const
  await interleave(database, both, async ({ holder, publisher: client }) => {
    await holder.query(lock, [dealerId])
    const call =
      "select r.sqlstate from app_public.create_listings($1, array[row(gen_random_uuid(), 'A car', 'auto', 1, 'EUR', null, null, null, null)::app_public.new_listing]) as r"
    const waiting = await client.startBlocked(call, [dealerId])
    await holder.query(
      'select pg_sleep_until(end_at) from app_public.dealer_subscriptions where dealer_id = $1',
      [dealerId],
    )
    await holder.commit()
    expect((await waiting.result).rows).toEqual([{ sqlstate: null }])
    await client.commit()
  })
  expect(await countSources(database.owner, dealerId)).toEqual({ paid_extra: 1 })
})

/** Every new listing shares this row with its foreign key, so a batch stops here after it has decided. */
const CURRENCY = "select from app_public.currencies where code = 'EUR' for update"
const WAITING =
  "from pg_stat_activity where datname = current_database() and application_name = 'forecourt api' and cardinality(pg_blocking_pids(pid)) > 0"

test.each([
  ['its backend is killed', `select pg_terminate_backend(pid) ${WAITING}`, 503, 'service_unavailable'],
  ['it is cancelled', `select pg_cancel_backend(pid) ${WAITING}`, 503, 'service_unavailable'],
  ['a lock is not free within 3 seconds', undefined, 429, 'system_busy'],
])(
  'a batch writes nothing if %s in the middle, and the same batch again creates all',
  async (_what, stop, status, code) => {
    const publisher = await makeSellerIn(database, server, seller.country)
    const batch = [...rows(7), row({ title: '' })]
    const before = await used(publisher)
    await holding(database, CURRENCY, [], async () => {
      const response = createListings(server, publisher, batch)
      await untilWaitingForLock(database)
      if (stop !== undefined) await database.superuser.query(stop)
      const { status: found, errors, results } = await response
      expect([found, errors[0]?.extensions.code, results]).toEqual([status, code, []])
    })
    expect(await used(publisher)).toEqual(before)
    const { results } = await createListings(server, publisher, batch)
    const expected = [...Array(5).fill('FREE_QUOTA'), 'PAID_EXTRA', 'PAID_EXTRA', 'invalid_input title']
    expect(results.map(brief)).toEqual(expected)
    expect((await createListings(server, publisher, batch)).results).toEqual(results)
  },
)

test('a deadlock aborts a batch, which writes nothing, and the same batch again creates all', async () => {
  const publisher = await makeSellerIn(database, server, seller.country)
  const batch = rows(7)
  const client = await database.superuser.connect()
  try {
    // it finds the deadlock after 2 seconds, and the batch after 1
    await client.query("begin; set local deadlock_timeout to '2s'")
    await client.query(CURRENCY)
    const response = createListings(server, publisher, batch)
    await untilWaitingForLock(database)
    await client.query('select from app_public.dealers where id = $1 for update', [publisher.dealerId])
    const { status, errors, results } = await response
    expect([status, errors[0]?.extensions.code, results]).toEqual([429, 'system_busy', []])
  } finally {
    await client.query('rollback')
    client.release()
  }
  expect(await used(publisher)).toMatchObject({ listings: 0, consumptions: 0 })
  const { results } = await createListings(server, publisher, batch)
  expect(results.map(brief)).toEqual([...Array(5).fill('FREE_QUOTA'), 'PAID_EXTRA', 'PAID_EXTRA'])
})

test('a publication that waits for a batch of 100 gets the lock long before its timeout', async () => {
  const publisher = await makeSeller(database, server)
  const batch = rows(100)
  const work = createListings(server, publisher, batch)
  const single = createListings(server, publisher, [row()])
  expect((await work).results.filter(({ error }) => error !== null)).toEqual([])
  expect((await single).status).toBe(200)
  expect(await used(publisher)).toMatchObject({ listings: 101, items: 101 })
})

test('a batch takes no transaction id besides its own, however many listings and subscriptions it has', async () => {
  const publisher = await makeSeller(database, server, { freeListings: 1 })
  const { dealerId, country } = publisher
  for (let number = 0; number < 3; number += 1)
    await makeSubscription(database.owner, dealerId, {
      country,
      listings: 1,
      overage: 'block',
      ...(number > 0 ? { status: 'pending' } : {}),
    })
  const ids = await concurrently(database, as(publisher), 1, async client => {
    const batch = [row({ title: '' }), row({ externalId: 'x' }), row({ externalId: 'x' }), ...rows(8)]
    const results = await publishBatch(client, dealerId, batch)
    expect(results.filter(({ id }) => id !== null)).toHaveLength(4)
    await client.query('reset role')
    const { rows: used } = await client.query<{ ids: string }>(
      `select count(distinct t.xmin)::integer as ids from (
         select xmin::text from app_public.listings where dealer_id = $1
         union all select xmin::text from app_public.listing_consumptions where dealer_id = $1) as t`,
      [dealerId],
    )
    return used[0]?.ids
  })
  expect(ids.map(outcome => (outcome.status === 'fulfilled' ? outcome.value : outcome.reason))).toEqual([1])
})

test('a key that is null aborts the batch, and null instead of the list is no batch', async () => {
  const listing = "row(null, 'A car', 'auto', 1, 'EUR', null, null, null, null)::app_public.new_listing"
  for (const [listings, expected] of [
    [`array[${listing}]`, '23502'],
    ['null', 'FC010'],
  ]) {
    const attempt = committed(database, as(seller), client =>
      client.query(`select app_public.create_listings($1, ${listings})`, [seller.dealerId]),
    )
    expect(await sqlstate(attempt)).toBe(expected)
  }
})
