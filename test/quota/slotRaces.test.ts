/** Slots under concurrency: each is given once, and an expiry run neither waits for a dealer nor overtakes it. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules, countSources } from '../support/ledger.ts'
import { makeListing } from '../support/listings.ts'
import {
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  makeUser,
  publish,
  single,
} from '../support/testData.ts'
import { concurrently, countOutcomes, interleave } from '../support/transactions.ts'

const PUBLISH = `select lc.source from app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 1, 'EUR') as l
  cross join lateral app_public.consumption_of_listing(l.dealer_id, l.id) as lc`
const WITHDRAW = 'select app_public.withdraw_listing($1)'
const RENEW = 'select app_public.renew_listing($1, gen_random_uuid())'
const EXPIRE = 'select app_private.expire_listings($1) as count'

let database: TestDatabase
let userId: string
let packageId: string

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  packageId = await makePackage(database.owner)
  userId = await makeUser(database.owner)
})

afterAll(() => database.drop())

afterEach(async () => expect(await brokenRules(database.superuser)).toEqual([]))

/** Makes a dealer with this many slots and live listings. */
async function makeSlots(listings: number, live: number, overage: 'charge' | 'block' = 'charge') {
  const dealerId = await makeDealer(database.owner, userId)
  await makeSubscription(database.owner, dealerId, { packageId, quotaKind: 'concurrent', listings, overage })
  const ids: string[] = []
  while (ids.length < live) ids.push(await makeListing(database.owner, { userId, dealerId }, 'ACTIVE'))
  return { dealerId, ids, id: ids[0] ?? '' }
}
const moveEnd = (id: string, interval: string) =>
  database.owner.query(
    `update app_public.listings set expires_at = now() + $2::interval, published_at = now() + $2::interval - interval '90 days'
     where id = $1`,
    [id, interval],
  )
const statusOf = (id: string) =>
  single(database.owner, 'select status from app_public.listings where id = $1', [id])
const slotsInUse = (dealerId: string) =>
  single(database.owner, 'select slots_in_use from app_public.dealers where id = $1', [dealerId])

test.each([
  ['charge', { ok: 50 }, { subscription_quota: 10, paid_extra: 49 }],
  ['block', { ok: 1, FC009: 49 }, { subscription_quota: 10 }],
] as const)(
  'of 50 publications at once for the last slot of 10 with 9 live, one gets it: %s',
  async (overage, outcomes, sources) => {
    const { dealerId } = await makeSlots(10, 9, overage)
    const others: string[] = []
    for (let n = 0; n < 50; n++) others.push(await makeDealer(database.owner, userId))
    const settled = await concurrently(
      database,
      { dealer: userId },
      50,
      client => publish(client, dealerId),
      // each connection plans its first publication before the others wait for it
      async (client, index) => {
        await client.query('savepoint planned')
        await publish(client, others[index] ?? '')
        await client.query('rollback to planned')
      },
    )
    expect(countOutcomes(settled)).toEqual(outcomes)
    expect(await countSources(database.owner, dealerId)).toEqual(sources)
    expect(await slotsInUse(dealerId)).toBe(10)
  },
)

test('of two withdrawals of a listing at once, one releases its slot', async () => {
  const { dealerId, id } = await makeSlots(3, 2)
  const both = { first: { dealer: userId }, second: { dealer: userId } }
  await interleave(database, both, async ({ first, second }) => {
    await first.query(WITHDRAW, [id])
    const { result } = await second.startBlocked(WITHDRAW, [id])
    await first.commit()
    await result
    await second.commit()
  })
  expect(await slotsInUse(dealerId)).toBe(1)
})

test('a publication that waits for a withdrawal gets the slot that it releases', async () => {
  const { dealerId, id } = await makeSlots(1, 1)
  const both = { leaving: { dealer: userId }, entering: { dealer: userId } }
  await interleave(database, both, async ({ leaving, entering }) => {
    await leaving.query(WITHDRAW, [id])
    const { result } = await entering.startBlocked(PUBLISH, [dealerId])
    await leaving.commit()
    expect((await result).rows).toEqual([{ source: 'subscription_quota' }])
    await entering.commit()
  })
  expect(await slotsInUse(dealerId)).toBe(1)
})

test('an expiry run skips the listings with slots of a dealer that is locked, and looks again later', async () => {
  const [held, free] = [await makeSlots(1, 1), await makeSlots(1, 1)]
  for (const { id } of [held, free]) await moveEnd(id, '-1 minute')
  await interleave(database, { member: { dealer: userId }, run: 'owner' }, async ({ member, run }) => {
    await member.query(PUBLISH, [held.dealerId])
    await run.query("set local lock_timeout to '1s'")
    for (const count of [1, 0]) expect((await run.query(EXPIRE, [1])).rows).toEqual([{ count }])
    const { rows } = await run.query("select from graphile_worker.jobs where key = 'expire_listings:skipped'")
    expect(rows).toHaveLength(1)
    await run.commit()
    await member.commit()
  })
  // the publication took the slot of the ended listing, and expired it
  expect([await statusOf(held.id), await statusOf(free.id)]).toEqual(['expired', 'expired'])
  expect([await slotsInUse(held.dealerId), await slotsInUse(free.dealerId)]).toEqual([1, 0])
})

test('an expiry run skips an ended listing with a slot while its dealer is locked, even if the listing is not', async () => {
  const { dealerId, id } = await makeSlots(2, 1)
  await moveEnd(id, '-1 minute')
  await interleave(database, { member: { dealer: userId }, run: 'owner' }, async ({ member, run }) => {
    // it takes the free slot
    await member.query(PUBLISH, [dealerId])
    await run.query("set local lock_timeout to '1s'")
    expect((await run.query(EXPIRE, [10])).rows).toEqual([{ count: 0 }])
    await run.commit()
    await member.commit()
  })
  expect([await statusOf(id), await slotsInUse(dealerId)]).toEqual(['active', 2])
  await database.owner.query(EXPIRE, [10])
  expect([await statusOf(id), await slotsInUse(dealerId)]).toEqual(['expired', 1])
})

test('an expiry run does not need the dealer of a listing without a slot', async () => {
  const dealerId = await makeDealer(database.owner, userId)
  const id = await makeListing(database.owner, { userId, dealerId }, 'ACTIVE')
  await moveEnd(id, '-1 minute')
  await interleave(database, { member: { dealer: userId }, run: 'owner' }, async ({ member, run }) => {
    await member.query(PUBLISH, [dealerId])
    expect((await run.query(EXPIRE, [10])).rows).toEqual([{ count: 1 }])
    await run.commit()
    await member.commit()
  })
  expect(await statusOf(id)).toBe('expired')
})

test.each(['publication', 'renewal'])(
  'a %s that waits for an expiry run finds the slot that it releases',
  async what => {
    const { dealerId, id } = await makeSlots(1, 1, 'block')
    await moveEnd(id, '-1 minute')
    await interleave(database, { run: 'owner', member: { dealer: userId } }, async ({ run, member }) => {
      expect((await run.query(EXPIRE, [10])).rows).toEqual([{ count: 1 }])
      const [sql, value] = what === 'publication' ? [PUBLISH, dealerId] : [RENEW, id]
      const { result } = await member.startBlocked(sql, [value])
      await run.commit()
      await result
      await member.commit()
    })
    expect(await slotsInUse(dealerId)).toBe(1)
  },
)

test('two expiry runs at once share the listings with slots, and each slot is released once', async () => {
  const dealers = [await makeSlots(3, 3), await makeSlots(3, 3), await makeSlots(3, 3)]
  for (const id of dealers.flatMap(({ ids }) => ids)) await moveEnd(id, '-1 minute')
  const settled = await concurrently(database, 'owner', 2, client => client.query(EXPIRE, [100]))
  expect(countOutcomes(settled)).toEqual({ ok: 2 })
  await database.owner.query(EXPIRE, [100])
  expect(await Promise.all(dealers.map(({ dealerId }) => slotsInUse(dealerId)))).toEqual([0, 0, 0])
})
