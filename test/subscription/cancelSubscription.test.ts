/** Cancelling a subscription: what it changes, and which cancellations are refused. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import {
  type As,
  become,
  cloneDatabase,
  refusal,
  rolledBack,
  type TestDatabase,
} from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import { buyAndCommit, payAndCommit, subscriptionStatuses } from '../support/purchases.ts'
import {
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  makeUser,
  single,
} from '../support/testData.ts'
import { committed, concurrently, countOutcomes, interleave, sqlstate } from '../support/transactions.ts'

const CANCEL = 'select * from app_public.cancel_subscription($1)'
const EXPIRE = 'select app_private.expire_subscriptions() as count'
const AUDIT = `select actor, old_values, new_values from app_public.audit_logs
  where action = 'CANCEL_SUBSCRIPTION' and resource_id = $1`

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

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
})

/** Runs `work` as the owner of a dealer with a subscription, and rolls everything back. */
function withSubscription(
  options: { status?: string; endAt?: string },
  work: (client: pg.PoolClient, id: string, dealerId: string) => Promise<void>,
): Promise<void> {
  return rolledBack(database, async client => {
    const dealerId = await makeDealer(client, userId)
    const id = await makeSubscription(client, dealerId, { packageId, ...options })
    await client.query("update app_public.dealer_subscriptions set updated_at = now() - interval '1 day'")
    await become(client, { dealer: userId })
    await work(client, id, dealerId)
  })
}

test('a cancelled subscription keeps its times and quota, and the audit trail has the user', () =>
  withSubscription({}, async (client, id) => {
    const before = await client.query('select * from app_public.dealer_subscriptions where id = $1', [id])
    const { rows } = await client.query(CANCEL, [id])
    expect(rows).toEqual([{ ...before.rows[0], status: 'cancelled', updated_at: expect.any(Date) }])
    expect(rows[0].updated_at > before.rows[0].updated_at).toBe(true)
    await become(client, 'owner')
    const audit = await client.query(AUDIT, [id])
    expect(audit.rows).toEqual([
      { actor: userId, old_values: { status: 'active' }, new_values: { status: 'cancelled' } },
    ])
  }))

test('a pending subscription that was granted can be cancelled, and then never starts', () =>
  withSubscription({ status: 'pending' }, async (client, id) => {
    const { rows } = await client.query(CANCEL, [id])
    expect(rows).toEqual([expect.objectContaining({ status: 'cancelled', start_at: null, end_at: null })])
    await become(client, 'owner')
    await client.query(EXPIRE)
    const after = await client.query('select status from app_public.dealer_subscriptions where id = $1', [id])
    expect(after.rows).toEqual([{ status: 'cancelled' }])
  }))

test('a pending subscription that is paid cannot be cancelled, by a member or by an admin', async () => {
  const dealerId = await makeDealer(database.owner, userId)
  for (let number = 1; number <= 2; number += 1) {
    await payAndCommit(database, await buyAndCommit(database, userId, dealerId, packageId))
  }
  const pending = "select id from app_public.dealer_subscriptions where dealer_id = $1 and status = 'pending'"
  const id = await single(database.owner, pending, [dealerId])
  await rolledBack(database, async client => {
    for (const as of [{ dealer: userId }, { admin: userId }]) {
      await become(client, as)
      expect(await refusal(client, CANCEL, [id])).toBe('FC008')
    }
  })
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['active', 'pending'])
  await committed(database, { dealer: userId }, client =>
    client.query(
      "select app_public.cancel_subscription(id) from app_public.dealer_subscriptions where status = 'active' and dealer_id = $1",
      [dealerId],
    ),
  )
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['cancelled', 'pending'])
})

test('a second cancellation changes nothing and returns the same result', () =>
  withSubscription({}, async (client, id) => {
    const first = await client.query(CANCEL, [id])
    expect((await client.query(CANCEL, [id])).rows).toEqual(first.rows)
    await become(client, 'owner')
    expect((await client.query(AUDIT, [id])).rowCount).toBe(1)
  }))

test('20 concurrent cancellations write one audit entry', async () => {
  const dealerId = await makeDealer(database.owner, userId)
  const id = await makeSubscription(database.owner, dealerId, { packageId })
  const outcomes = await concurrently(database, { dealer: userId }, 20, client => client.query(CANCEL, [id]))
  expect(countOutcomes(outcomes)).toEqual({ ok: 20 })
  expect((await database.owner.query(AUDIT, [id])).rowCount).toBe(1)
})

test('an ended subscription cannot be cancelled, before or after the expiry run', async () => {
  await withSubscription({ status: 'expired' }, async (client, id) => {
    expect(await refusal(client, CANCEL, [id])).toBe('FC008')
  })
  await withSubscription({ endAt: 'clock_timestamp()' }, async (client, id) => {
    expect(await refusal(client, CANCEL, [id])).toBe('FC008')
  })
})

test('a cancellation by a non-member or a visitor, or of an unknown subscription, is refused', () =>
  withSubscription({}, async (client, id, dealerId) => {
    const attempts: [As, string, string][] = [
      [{ dealer: randomUUID() }, id, 'FC003'],
      [{ admin: randomUUID() }, id, 'FC003'],
      [{ dealer: '' }, id, 'FC001'],
      ['visitor', id, '42501'],
      [{ dealer: userId }, randomUUID(), 'FC004'],
    ]
    for (const [as, subscriptionId, expected] of attempts) {
      await become(client, as)
      expect(await refusal(client, CANCEL, [subscriptionId])).toBe(expected)
    }
    await become(client, 'owner')
    expect(await subscriptionStatuses(client, dealerId)).toEqual(['active'])
  }))

test('a cancellation that waits for the expiry run is refused', async () => {
  const dealerId = await makeDealer(database.owner, userId)
  const id = await makeSubscription(database.owner, dealerId, { packageId, endAt: 'clock_timestamp()' })
  const both = { expiryRun: 'owner', canceller: { dealer: userId } } as const
  await interleave(database, both, async ({ expiryRun, canceller }) => {
    await expiryRun.query(EXPIRE)
    const waiting = await canceller.startBlocked(CANCEL, [id])
    await expiryRun.commit()
    expect(await sqlstate(waiting.result)).toBe('FC008')
  })
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['expired'])
})

test('a cancellation that waits until the subscription has ended is refused', async () => {
  const dealerId = await makeDealer(database.owner, userId)
  const endAt = "clock_timestamp() + interval '0.5 seconds'"
  const id = await makeSubscription(database.owner, dealerId, { packageId, endAt })
  const both = { holder: 'owner', canceller: { dealer: userId } } as const
  await interleave(database, both, async ({ holder, canceller }) => {
    await holder.query('select from app_public.dealers where id = $1 for update', [dealerId])
    const waiting = await canceller.startBlocked(CANCEL, [id])
    await holder.query('select pg_sleep_until(end_at) from app_public.dealer_subscriptions where id = $1', [
      id,
    ])
    await holder.commit()
    expect(await sqlstate(waiting.result)).toBe('FC008')
  })
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['active'])
})
