/** A pending subscription starts when the one before it ends, in every order of purchase, payment and expiry run. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import {
  buyAndCommit,
  PAY,
  payAndCommit,
  scheduledExpiryRuns,
  strandedDealers,
  subscriptionStatuses,
} from '../support/purchases.ts'
import { makeAdminUser, makeCountry, makeDealer, makePackage, makeUser } from '../support/testData.ts'
import { committed, concurrently, countOutcomes, interleave } from '../support/transactions.ts'

const EXPIRE = 'select app_private.expire_subscriptions() as count'
const CANCEL_ACTIVE = `select app_public.cancel_subscription(id) from app_public.dealer_subscriptions
  where dealer_id = $1 and status = 'active'`
const END_RUNNING = `update app_public.dealer_subscriptions
  set start_at = start_at - interval '40 days', end_at = clock_timestamp()
  where dealer_id = $1 and start_at is not null and end_at > clock_timestamp()`

let database: TestDatabase
let userId: string
let packageId: string
let admin: { admin: string }

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  packageId = await makePackage(database.owner)
  userId = await makeUser(database.owner)
  admin = { admin: await makeAdminUser(database.owner) }
})

afterAll(() => database.drop())

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
  expect(await strandedDealers(database.superuser)).toEqual([])
})

/** Makes a dealer that has bought and paid this many packages, one after the other. */
async function makeSubscribedDealer(count: number): Promise<string> {
  const dealerId = await makeDealer(database.owner, userId)
  for (let number = 1; number <= count; number += 1) {
    await payAndCommit(database, await buyAndCommit(database, userId, dealerId, packageId))
  }
  return dealerId
}

/** Moves the end of the dealer's running subscription to now. */
const endRunning = (dealerId: string) => database.owner.query(END_RUNNING, [dealerId])

test('the run that expires a subscription starts the next one in the same transaction', async () => {
  const dealerId = await makeSubscribedDealer(2)
  await endRunning(dealerId)
  await interleave(database, { expiryRun: 'owner', reader: 'owner' }, async ({ expiryRun, reader }) => {
    expect((await expiryRun.query(EXPIRE)).rows).toEqual([{ count: 1 }])
    expect(await subscriptionStatuses(reader, dealerId)).toEqual(['active', 'pending'])
    expect(await subscriptionStatuses(expiryRun, dealerId)).toEqual(['expired', 'active'])
    await expiryRun.commit()
    expect(await subscriptionStatuses(reader, dealerId)).toEqual(['expired', 'active'])
  })
  const { rows } = await database.owner.query(
    `select (end_at - start_at)::text as length, start_at between now() - interval '1 minute' and now() as from_now
     from app_public.dealer_subscriptions where dealer_id = $1 and status = 'active'`,
    [dealerId],
  )
  expect(rows).toEqual([{ length: '30 days', from_now: true }])
})

test('the oldest pending subscription starts first, and a job is scheduled for the start of the next', async () => {
  const dealerId = await makeSubscribedDealer(3)
  await endRunning(dealerId)
  await database.owner.query(EXPIRE)
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['expired', 'active', 'pending'])
  const { rows } = await database.owner.query(
    "select end_at from app_public.dealer_subscriptions where dealer_id = $1 and status = 'active'",
    [dealerId],
  )
  expect(await scheduledExpiryRuns(database.superuser, dealerId)).toEqual([rows[0].end_at])
})

test('a pending subscription waits until the end of a cancelled one and then starts', async () => {
  const dealerId = await makeSubscribedDealer(2)
  await committed(database, { dealer: userId }, client => client.query(CANCEL_ACTIVE, [dealerId]))
  await database.owner.query(EXPIRE)
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['cancelled', 'pending'])
  await endRunning(dealerId)
  expect((await database.owner.query(EXPIRE)).rows).toEqual([{ count: 0 }])
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['cancelled', 'active'])
})

test('a subscription that is bought while a cancelled one still runs waits for its end', async () => {
  const dealerId = await makeSubscribedDealer(1)
  await committed(database, { dealer: userId }, client => client.query(CANCEL_ACTIVE, [dealerId]))
  await payAndCommit(database, await buyAndCommit(database, userId, dealerId, packageId))
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['cancelled', 'pending'])
  expect(await scheduledExpiryRuns(database.superuser, dealerId)).toHaveLength(1)
  await endRunning(dealerId)
  await database.owner.query(EXPIRE)
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['cancelled', 'active'])
})

test('a payment after the end of the active subscription starts the next one, even before an expiry run', async () => {
  const dealerId = await makeSubscribedDealer(1)
  await endRunning(dealerId)
  await payAndCommit(database, await buyAndCommit(database, userId, dealerId, packageId))
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['expired', 'active'])
  const { rows } = await database.owner.query(
    `select new_values from app_public.audit_logs where action = 'SYSTEM_EXPIRE'
     and new_values -> 'ids' ->> 0 in (select id::text from app_public.dealer_subscriptions where dealer_id = $1)`,
    [dealerId],
  )
  expect(rows).toEqual([{ new_values: { count: 1, ids: [expect.any(String)] } }])
})

test('a payment that waits for the expiry run starts its subscription immediately', async () => {
  const dealerId = await makeSubscribedDealer(1)
  const invoiceId = await buyAndCommit(database, userId, dealerId, packageId)
  await endRunning(dealerId)
  await interleave(database, { expiryRun: 'owner', payer: admin }, async ({ expiryRun, payer }) => {
    await expiryRun.query(EXPIRE)
    const waiting = await payer.startBlocked(PAY, [invoiceId])
    await expiryRun.commit()
    await waiting.result
    await payer.commit()
  })
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['expired', 'active'])
})

test('a payment that waits for a failing expiry run expires the old subscription and starts the new one', async () => {
  const dealerId = await makeSubscribedDealer(1)
  const invoiceId = await buyAndCommit(database, userId, dealerId, packageId)
  await endRunning(dealerId)
  await interleave(database, { expiryRun: 'owner', payer: admin }, async ({ expiryRun, payer }) => {
    await expiryRun.query(EXPIRE)
    const waiting = await payer.startBlocked(PAY, [invoiceId])
    await expiryRun.rollback()
    await waiting.result
    await payer.commit()
  })
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['expired', 'active'])
})

test('an expiry run skips a dealer with an uncommitted payment', async () => {
  const dealerId = await makeSubscribedDealer(1)
  const invoiceId = await buyAndCommit(database, userId, dealerId, packageId)
  await endRunning(dealerId)
  await interleave(database, { expiryRun: 'owner', payer: admin }, async ({ expiryRun, payer }) => {
    await payer.query(PAY, [invoiceId])
    await expiryRun.query("set local lock_timeout to '1s'")
    expect((await expiryRun.query(EXPIRE)).rows).toEqual([{ count: 0 }])
    await expiryRun.commit()
    await payer.commit()
  })
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['expired', 'active'])
})

test.each([
  ['by an admin', 'admin' as const, 'select app_public.pay_invoice($2) where $1::uuid is not null'],
  ['from a payment provider', 'owner' as const, 'select app_private.settle_invoice($1, $2)'],
])(
  'a payment %s that waits until the running subscription has ended starts the next one immediately',
  async (_case, as, pay) => {
    const dealerId = await makeSubscribedDealer(1)
    const invoiceId = await buyAndCommit(database, userId, dealerId, packageId)
    await database.owner.query(
      "update app_public.dealer_subscriptions set end_at = clock_timestamp() + interval '0.5 seconds' where dealer_id = $1",
      [dealerId],
    )
    await interleave(
      database,
      { holder: 'owner', payer: as === 'admin' ? admin : as },
      async ({ holder, payer }) => {
        await holder.query('select from app_public.dealers where id = $1 for update', [dealerId])
        const waiting = await payer.startBlocked(pay, [dealerId, invoiceId])
        await holder.query(
          'select pg_sleep_until(end_at) from app_public.dealer_subscriptions where dealer_id = $1',
          [dealerId],
        )
        await holder.commit()
        await waiting.result
        await payer.commit()
      },
    )
    expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['expired', 'active'])
  },
)

test('after 20 concurrent payments during two expiry runs, each dealer has an active and no pending subscription', async () => {
  const dealerIds: string[] = []
  const invoiceIds: string[] = []
  for (let number = 1; number <= 20; number += 1) {
    const dealerId = await makeSubscribedDealer(1)
    dealerIds.push(dealerId)
    invoiceIds.push(await buyAndCommit(database, userId, dealerId, packageId))
  }
  for (const dealerId of dealerIds) await endRunning(dealerId)
  const expireBatch = () =>
    committed(database, 'owner', client => client.query('select app_private.expire_subscriptions(3)'))
  const [payments] = await Promise.all([
    concurrently(database, admin, 20, (client, index) => client.query(PAY, [invoiceIds[index]])),
    (async () => {
      for (let run = 1; run <= 10; run += 1) await Promise.all([expireBatch(), expireBatch()])
    })(),
  ])
  expect(countOutcomes(payments)).toEqual({ ok: 20 })
  for (const dealerId of dealerIds) {
    expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['expired', 'active'])
  }
})

/** Ends the running subscription, and runs the expiry while a publication holds locks on the dealer's rows. */
async function expireDuringPublication(dealerId: string): Promise<void> {
  await endRunning(dealerId)
  await database.superuser.query('select graphile_worker.remove_job(key) from graphile_worker.jobs')
  const publish = "select app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 1, 'EUR')"
  const both = { publisher: { dealer: userId }, expiryRun: 'owner' } as const
  await interleave(database, both, async ({ publisher, expiryRun }) => {
    await publisher.query(publish, [dealerId])
    await expiryRun.query("set local lock_timeout to '1s'")
    expect((await expiryRun.query(EXPIRE)).rows).toEqual([{ count: 0 }])
    await expiryRun.commit()
    await publisher.commit()
  })
}

/** Whether the dealer has a pending subscription and no job is scheduled for it. Runs the expiry afterwards. */
async function isPendingWithoutJob(dealerId: string): Promise<boolean> {
  const scheduled = await database.superuser.query('select from graphile_worker.jobs')
  const isPending = (await subscriptionStatuses(database.owner, dealerId)).includes('pending')
  await database.owner.query(EXPIRE)
  return isPending && scheduled.rowCount === 0
}

test('a job is scheduled when a publication made the expiry run skip a start after an active subscription', async () => {
  const dealerId = await makeSubscribedDealer(2)
  await expireDuringPublication(dealerId)
  expect(await isPendingWithoutJob(dealerId)).toBe(false)
})

test('a job is scheduled when a publication made the expiry run skip a start after a cancelled subscription', async () => {
  const dealerId = await makeSubscribedDealer(2)
  await committed(database, { dealer: userId }, client => client.query(CANCEL_ACTIVE, [dealerId]))
  await expireDuringPublication(dealerId)
  expect(await isPendingWithoutJob(dealerId)).toBe(false)
})
