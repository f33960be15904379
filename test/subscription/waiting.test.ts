/** A subscription that waits starts when the one before it ends, however purchase and expiry run meet. */
import { randomUUID } from 'node:crypto'
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
import { makeCountry, makeDealer, makePackage, makeUser } from '../support/testData.ts'
import { committed, concurrently, countOutcomes, interleave } from '../support/transactions.ts'

const EXPIRE = 'select app_private.expire_subscriptions() as count'
const CANCEL_RUNNING = `select app_public.cancel_subscription(id) from app_public.dealer_subscriptions
  where dealer_id = $1 and status = 'active'`
const END = `update app_public.dealer_subscriptions
  set start_at = start_at - interval '40 days', end_at = clock_timestamp()
  where dealer_id = $1 and start_at is not null and end_at > clock_timestamp()`

let database: TestDatabase
let userId: string
let packageId: string
const admin = { admin: randomUUID() }

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  packageId = await makePackage(database.owner)
  userId = await makeUser(database.owner)
})

afterAll(() => database.drop())

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
  expect(await strandedDealers(database.superuser)).toEqual([])
})

/** A dealer that has bought and paid this many packages, one after the other. */
async function subscribed(count: number): Promise<string> {
  const dealerId = await makeDealer(database.owner, userId)
  for (let number = 1; number <= count; number += 1) {
    await payAndCommit(database, await buyAndCommit(database, userId, dealerId, packageId))
  }
  return dealerId
}

/** Lets the running subscription of the dealer end now. */
const end = (dealerId: string) => database.owner.query(END, [dealerId])

test('the run that expires one starts the next in the same transaction', async () => {
  const dealerId = await subscribed(2)
  await end(dealerId)
  await interleave(database, { sweeper: 'owner', reader: 'owner' }, async ({ sweeper, reader }) => {
    expect((await sweeper.query(EXPIRE)).rows).toEqual([{ count: 1 }])
    expect(await subscriptionStatuses(reader, dealerId)).toEqual(['active', 'pending'])
    expect(await subscriptionStatuses(sweeper, dealerId)).toEqual(['expired', 'active'])
    await sweeper.commit()
    expect(await subscriptionStatuses(reader, dealerId)).toEqual(['expired', 'active'])
  })
  const { rows } = await database.owner.query(
    `select (end_at - start_at)::text as length, start_at between now() - interval '1 minute' and now() as from_now
     from app_public.dealer_subscriptions where dealer_id = $1 and status = 'active'`,
    [dealerId],
  )
  expect(rows).toEqual([{ length: '30 days', from_now: true }])
})

test('of several that wait the oldest starts, and the worker is told when to start the next', async () => {
  const dealerId = await subscribed(3)
  await end(dealerId)
  await database.owner.query(EXPIRE)
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['expired', 'active', 'pending'])
  const { rows } = await database.owner.query(
    "select end_at from app_public.dealer_subscriptions where dealer_id = $1 and status = 'active'",
    [dealerId],
  )
  expect(await scheduledExpiryRuns(database.superuser, dealerId)).toEqual([rows[0].end_at])
})

test('one that was cancelled keeps the next waiting until its end has come, and no longer', async () => {
  const dealerId = await subscribed(2)
  await committed(database, { dealer: userId }, client => client.query(CANCEL_RUNNING, [dealerId]))
  await database.owner.query(EXPIRE)
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['cancelled', 'pending'])
  await end(dealerId)
  expect((await database.owner.query(EXPIRE)).rows).toEqual([{ count: 0 }])
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['cancelled', 'active'])
})

test('bought while a cancelled one still runs, the next waits for its end', async () => {
  const dealerId = await subscribed(1)
  await committed(database, { dealer: userId }, client => client.query(CANCEL_RUNNING, [dealerId]))
  await payAndCommit(database, await buyAndCommit(database, userId, dealerId, packageId))
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['cancelled', 'pending'])
  expect(await scheduledExpiryRuns(database.superuser, dealerId)).toHaveLength(1)
  await end(dealerId)
  await database.owner.query(EXPIRE)
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['cancelled', 'active'])
})

test('paid after the end of one that nobody has swept, the next starts at once', async () => {
  const dealerId = await subscribed(1)
  await end(dealerId)
  await payAndCommit(database, await buyAndCommit(database, userId, dealerId, packageId))
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['expired', 'active'])
  const { rows } = await database.owner.query(
    `select new_values from app_public.audit_logs where action = 'SYSTEM_EXPIRE'
     and new_values -> 'ids' ->> 0 in (select id::text from app_public.dealer_subscriptions where dealer_id = $1)`,
    [dealerId],
  )
  expect(rows).toEqual([{ new_values: { count: 1, ids: [expect.any(String)] } }])
})

test('a payment that waits for the expiry run starts its subscription at once', async () => {
  const dealerId = await subscribed(1)
  const invoiceId = await buyAndCommit(database, userId, dealerId, packageId)
  await end(dealerId)
  await interleave(database, { sweeper: 'owner', payer: admin }, async ({ sweeper, payer }) => {
    await sweeper.query(EXPIRE)
    const waiting = await payer.startBlocked(PAY, [invoiceId])
    await sweeper.commit()
    await waiting.result
    await payer.commit()
  })
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['expired', 'active'])
})

test('a payment that waits for an expiry run that fails expires and starts by itself', async () => {
  const dealerId = await subscribed(1)
  const invoiceId = await buyAndCommit(database, userId, dealerId, packageId)
  await end(dealerId)
  await interleave(database, { sweeper: 'owner', payer: admin }, async ({ sweeper, payer }) => {
    await sweeper.query(EXPIRE)
    const waiting = await payer.startBlocked(PAY, [invoiceId])
    await sweeper.rollback()
    await waiting.result
    await payer.commit()
  })
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['expired', 'active'])
})

test('an expiry run that meets an unfinished payment leaves the dealer to it', async () => {
  const dealerId = await subscribed(1)
  const invoiceId = await buyAndCommit(database, userId, dealerId, packageId)
  await end(dealerId)
  await interleave(database, { sweeper: 'owner', payer: admin }, async ({ sweeper, payer }) => {
    await payer.query(PAY, [invoiceId])
    await sweeper.query("set local lock_timeout to '1s'")
    expect((await sweeper.query(EXPIRE)).rows).toEqual([{ count: 0 }])
    await sweeper.commit()
    await payer.commit()
  })
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['expired', 'active'])
})

test.each([
  ['that an admin marks as made', admin, 'select app_public.pay_invoice($2) where $1::uuid is not null'],
  ['that a provider reports', 'owner' as const, 'select app_private.settle_invoice($1, $2)'],
])(
  'a payment %s, and that waits past the end of the running one, starts its subscription at once',
  async (_how, as, pay) => {
    const dealerId = await subscribed(1)
    const invoiceId = await buyAndCommit(database, userId, dealerId, packageId)
    await database.owner.query(
      "update app_public.dealer_subscriptions set end_at = clock_timestamp() + interval '0.5 seconds' where dealer_id = $1",
      [dealerId],
    )
    await interleave(database, { holder: 'owner', payer: as }, async ({ holder, payer }) => {
      await holder.query('select from app_public.dealers where id = $1 for update', [dealerId])
      const waiting = await payer.startBlocked(pay, [dealerId, invoiceId])
      await holder.query(
        'select pg_sleep_until(end_at) from app_public.dealer_subscriptions where dealer_id = $1',
        [dealerId],
      )
      await holder.commit()
      await waiting.result
      await payer.commit()
    })
    expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['expired', 'active'])
  },
)

test('20 dealers pay while two runs sweep: each ends with one that runs and none that waits', async () => {
  const dealerIds: string[] = []
  const invoiceIds: string[] = []
  for (let number = 1; number <= 20; number += 1) {
    const dealerId = await subscribed(1)
    dealerIds.push(dealerId)
    invoiceIds.push(await buyAndCommit(database, userId, dealerId, packageId))
  }
  for (const dealerId of dealerIds) await end(dealerId)
  const sweep = () =>
    committed(database, 'owner', client => client.query('select app_private.expire_subscriptions(3)'))
  const [payments] = await Promise.all([
    concurrently(database, admin, 20, (client, index) => client.query(PAY, [invoiceIds[index]])),
    (async () => {
      for (let run = 1; run <= 10; run += 1) await Promise.all([sweep(), sweep()])
    })(),
  ])
  expect(countOutcomes(payments)).toEqual({ ok: 20 })
  for (const dealerId of dealerIds) {
    expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['expired', 'active'])
  }
})

/** The run that was planned for the end meets a publication that holds the dealer's rows. */
async function sweepDuringPublication(dealerId: string): Promise<void> {
  await end(dealerId)
  await database.superuser.query('select graphile_worker.remove_job(key) from graphile_worker.jobs')
  const publish = "select app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 1, 'EUR')"
  const both = { publisher: { dealer: userId }, sweeper: 'owner' } as const
  await interleave(database, both, async ({ publisher, sweeper }) => {
    await publisher.query(publish, [dealerId])
    await sweeper.query("set local lock_timeout to '1s'")
    expect((await sweeper.query(EXPIRE)).rows).toEqual([{ count: 0 }])
    await sweeper.commit()
    await publisher.commit()
  })
}

/** Whether a subscription of the dealer waits and nothing will look after it before the night; sweeps in the end. */
async function isForgotten(dealerId: string): Promise<boolean> {
  const planned = await database.superuser.query('select from graphile_worker.jobs')
  const waiting = (await subscriptionStatuses(database.owner, dealerId)).includes('pending')
  await database.owner.query(EXPIRE)
  return waiting && planned.rowCount === 0
}

test('a start behind an active one that was skipped because of a publication is made up for soon after', async () => {
  const dealerId = await subscribed(2)
  await sweepDuringPublication(dealerId)
  expect(await isForgotten(dealerId)).toBe(false)
})

test('a start behind a cancelled one that was skipped likewise is made up for soon after', async () => {
  const dealerId = await subscribed(2)
  await committed(database, { dealer: userId }, client => client.query(CANCEL_RUNNING, [dealerId]))
  await sweepDuringPublication(dealerId)
  expect(await isForgotten(dealerId)).toBe(false)
})
