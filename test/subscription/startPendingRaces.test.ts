/** A publication that starts the pending subscription beside expiry runs, payments and other publications. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules, countSources } from '../support/ledger.ts'
import {
  type Buyer,
  buyAndCommit,
  endActive,
  makeBuyer,
  PAY,
  PUBLISH,
  strandedDealers,
  subscriptionStatuses,
  usedQuotas,
} from '../support/purchases.ts'
import { makeAdminUser, makeCountry, makePackage, makeUser } from '../support/testData.ts'
import { committed, concurrently, countOutcomes, interleave } from '../support/transactions.ts'

const EXPIRE = 'select app_private.expire_subscriptions() as count'

let database: TestDatabase
let userId: string
let buyer: Buyer
/** Two listings; beyond them a listing is refused. */
let packageId: string
let admin: { admin: string }

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  packageId = await makePackage(database.owner, { listings: 2, overage: 'block' })
  userId = await makeUser(database.owner)
  admin = { admin: await makeAdminUser(database.owner) }
  buyer = makeBuyer(database, userId)
})

afterAll(() => database.drop())

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
  expect(await strandedDealers(database.superuser)).toEqual([])
})

const statuses = (dealerId: string) => subscriptionStatuses(database.owner, dealerId)

test('10 concurrent publications over three packages use six listings of quota and start each package once', async () => {
  const charged = await makePackage(database.owner, { listings: 2 })
  const dealerId = await buyer.makeSubscribedDealer(charged, charged, charged)
  const outcomes = await concurrently(database, { dealer: userId }, 10, client =>
    client.query(PUBLISH, [dealerId]),
  )
  expect(countOutcomes(outcomes)).toEqual({ ok: 10 })
  expect(await countSources(database.owner, dealerId)).toEqual({ subscription_quota: 6, paid_extra: 4 })
  expect(await statuses(dealerId)).toEqual(['cancelled', 'cancelled', 'active'])
  expect(await usedQuotas(database.owner, dealerId)).toEqual([2, 2, 2])
})

test('an expiry run does not wait for a publication that starts a subscription, and finds nothing left to start', async () => {
  const dealerId = await buyer.makeSubscribedDealer(packageId, packageId)
  await endActive(database.owner, dealerId)
  const both = { publisher: { dealer: userId }, expiryRun: 'owner' } as const
  await interleave(database, both, async ({ publisher, expiryRun }) => {
    await publisher.query(PUBLISH, [dealerId])
    await expiryRun.query("set local lock_timeout to '1s'")
    expect((await expiryRun.query(EXPIRE)).rows).toEqual([{ count: 0 }])
    await publisher.commit()
    await expiryRun.commit()
  })
  await database.owner.query(EXPIRE)
  expect(await statuses(dealerId)).toEqual(['expired', 'active'])
})

test.each(['commit', 'rollback'] as const)(
  'a publication that waits for an expiry run uses the subscription that has started: %s of the run',
  async end => {
    const dealerId = await buyer.makeSubscribedDealer(packageId, packageId, packageId)
    await endActive(database.owner, dealerId)
    const both = { expiryRun: 'owner', publisher: { dealer: userId } } as const
    await interleave(database, both, async ({ expiryRun, publisher }) => {
      expect((await expiryRun.query(EXPIRE)).rows).toEqual([{ count: 1 }])
      const waiting = await publisher.startBlocked(PUBLISH, [dealerId])
      await expiryRun[end]()
      await waiting.result
      await publisher.commit()
    })
    expect(await statuses(dealerId)).toEqual(['expired', 'active', 'pending'])
    expect(await usedQuotas(database.owner, dealerId)).toEqual([0, 1, 0])
  },
)

test('a publication that waits for the payment of the next package uses it', async () => {
  const dealerId = await buyer.makeSubscribedDealer(packageId)
  await buyer.publish(dealerId, 2)
  const invoiceId = await buyAndCommit(database, userId, dealerId, packageId)
  await interleave(
    database,
    { payer: admin, publisher: { dealer: userId } },
    async ({ payer, publisher }) => {
      await payer.query(PAY, [invoiceId])
      const waiting = await publisher.startBlocked(PUBLISH, [dealerId])
      await payer.commit()
      await waiting.result
      await publisher.commit()
    },
  )
  expect(await statuses(dealerId)).toEqual(['cancelled', 'active'])
})

test('expiry runs beside publications start each subscription once', async () => {
  const dealerIds: string[] = []
  for (let number = 1; number <= 8; number += 1) {
    const dealerId = await buyer.makeSubscribedDealer(packageId, packageId, packageId)
    await buyer.publish(dealerId, 2)
    await endActive(database.owner, dealerId)
    dealerIds.push(dealerId)
  }
  const [publications] = await Promise.all([
    concurrently(database, { dealer: userId }, 16, (client, index) =>
      client.query(PUBLISH, [dealerIds[index % dealerIds.length]]),
    ),
    (async () => {
      for (let run = 1; run <= 10; run += 1) {
        await committed(database, 'owner', client =>
          client.query('select app_private.expire_subscriptions(2)'),
        )
      }
    })(),
  ])
  expect(countOutcomes(publications)).toEqual({ ok: 16 })
  for (const dealerId of dealerIds) {
    expect(await statuses(dealerId)).toEqual(['expired', 'active', 'pending'])
    expect(await usedQuotas(database.owner, dealerId)).toEqual([2, 2, 0])
  }
})
