/** Cancelling a checkout: what it changes, and which cancellations are refused. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import {
  BUY,
  buy,
  CANCEL_CHECKOUT as CANCEL,
  checkoutStatuses,
  PAY,
  subscriptionStatuses,
} from '../support/purchases.ts'
import { makeAdminUser, makeCountry, makeDealer, makePackage, makeUser, single } from '../support/testData.ts'

const EXPIRE_OFFER = 'update app_public.checkouts set expires_at = created_at where invoice_id = $1'

let database: TestDatabase
let userId: string
let packageId: string
let admin: { admin: string }

beforeAll(async () => {
  database = await cloneDatabase()
  admin = { admin: await makeAdminUser(database.owner) }
  await makeCountry(database.owner)
  packageId = await makePackage(database.owner)
  userId = await makeUser(database.owner)
})

afterAll(() => database.drop())

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
})

/** Runs `work` as the owner of a dealer with an open checkout, and rolls everything back. */
function withCheckout(
  work: (client: pg.PoolClient, id: string, dealerId: string) => Promise<void>,
): Promise<void> {
  return rolledBack(database, async client => {
    const dealerId = await makeDealer(client, userId)
    await become(client, { dealer: userId })
    await work(client, await buy(client, dealerId, packageId), dealerId)
  })
}

test('a cancellation closes the checkout and voids its invoice, and the audit trail has the user', () =>
  withCheckout(async (client, id) => {
    expect(await checkoutStatuses(client, id)).toEqual(['open', 'draft'])
    const { rows } = await client.query(CANCEL, [id])
    expect(rows).toEqual([expect.objectContaining({ invoice_id: id, closed_at: expect.any(Date) })])
    expect(await checkoutStatuses(client, id)).toEqual(['cancelled', 'void'])
    await become(client, 'owner')
    const invoices = await client.query('select updated_at from app_public.invoices where id = $1', [id])
    expect(invoices.rows).toEqual([{ updated_at: rows[0].closed_at }])
    const audit = await client.query(
      `select actor, old_values ->> 'status' as before, new_values ->> 'status' as after from app_public.audit_logs
       where action = 'VOID_INVOICE' and resource_id = $1`,
      [id],
    )
    expect(audit.rows).toEqual([{ actor: userId, before: 'draft', after: 'void' }])
  }))

test('a second cancellation returns the same and changes nothing', () =>
  withCheckout(async (client, id) => {
    const first = await client.query(CANCEL, [id])
    const again = await client.query(CANCEL, [id])
    expect(again.rows).toEqual(first.rows)
    await become(client, 'owner')
    const count =
      "select count(*)::int from app_public.audit_logs where action = 'VOID_INVOICE' and resource_id = $1"
    expect((await client.query(count, [id])).rows).toEqual([{ count: 1 }])
  }))

test('a cancelled checkout stays cancelled after the end of its offer', () =>
  withCheckout(async (client, id) => {
    await client.query(CANCEL, [id])
    const later =
      "select app_public.status_of_checkout(dealer_id, invoice_id, now() + interval '15 days') as status"
    const { rows } = await client.query(`${later} from app_public.checkouts where invoice_id = $1`, [id])
    expect(rows).toEqual([{ status: 'cancelled' }])
  }))

test('another purchase can start after the cancellation, and the first key still returns the cancelled checkout', () =>
  withCheckout(async (client, id, dealerId) => {
    await become(client, 'owner')
    const key = await single(
      client,
      'select idempotency_key from app_public.checkouts where invoice_id = $1',
      [id],
    )
    await become(client, { dealer: userId })
    expect(await refusal(client, BUY, [dealerId, packageId, randomUUID()])).toBe('FC008')
    await client.query(CANCEL, [id])
    expect(await buy(client, dealerId, packageId, key)).toBe(id)
    const other = await buy(client, dealerId, packageId)
    expect(other).not.toBe(id)
    expect(await checkoutStatuses(client, other)).toEqual(['open', 'draft'])
  }))

test('the invoice of a cancelled checkout cannot be paid', () =>
  withCheckout(async (client, id) => {
    await client.query(CANCEL, [id])
    await become(client, admin)
    expect(await refusal(client, PAY, [id])).toBe('FC008')
  }))

test('a paid checkout cannot be cancelled, nor can one that was paid after the end of its offer', () =>
  withCheckout(async (client, id, dealerId) => {
    await become(client, 'owner')
    const late = await makeDealer(client, userId)
    await become(client, { dealer: userId })
    const lateId = await buy(client, late, packageId)
    await become(client, 'owner')
    await client.query(EXPIRE_OFFER, [lateId])
    await become(client, admin)
    for (const invoice of [id, lateId]) await client.query(PAY, [invoice])
    await become(client, { dealer: userId })
    for (const checkout of [id, lateId]) {
      expect(await refusal(client, CANCEL, [checkout])).toBe('FC008')
      expect(await checkoutStatuses(client, checkout)).toEqual(['paid', 'paid'])
    }
    expect(await subscriptionStatuses(client, dealerId)).toEqual(['active'])
  }))

test('an expired checkout cannot be cancelled, before or after the next purchase has voided it', () =>
  withCheckout(async (client, id, dealerId) => {
    await become(client, 'owner')
    await client.query(EXPIRE_OFFER, [id])
    await become(client, { dealer: userId })
    expect(await refusal(client, CANCEL, [id])).toBe('FC008')
    expect(await checkoutStatuses(client, id)).toEqual(['expired', 'draft'])
    await buy(client, dealerId, packageId)
    expect(await refusal(client, CANCEL, [id])).toBe('FC008')
    expect(await checkoutStatuses(client, id)).toEqual(['expired', 'void'])
  }))

test('the offer ends at its last moment: from then on the checkout has expired', () =>
  withCheckout(async (client, id) => {
    const statusAt = (shift: string) =>
      single(
        client,
        `select app_public.status_of_checkout(dealer_id, invoice_id, expires_at + $2::interval)
         from app_public.checkouts where invoice_id = $1`,
        [id, shift],
      )
    expect(await statusAt('-1 microsecond')).toBe('open')
    expect(await statusAt('0')).toBe('expired')
  }))

test('a closed dealer can cancel, because the dealer then owes less', () =>
  withCheckout(async (client, id, dealerId) => {
    await become(client, 'owner')
    await client.query('update app_public.dealers set is_active = false where id = $1', [dealerId])
    await become(client, { dealer: userId })
    await client.query(CANCEL, [id])
    expect(await checkoutStatuses(client, id)).toEqual(['cancelled', 'void'])
  }))

test.each([
  ['a stranger', 'FC003', () => makeUser(database.owner)],
  ['no user', 'FC001', async () => ''],
])('%s cannot cancel, which is %s', (_who, code, user) =>
  withCheckout(async (client, id) => {
    await client.query("select set_config('forecourt.user_id', $1, true)", [await user()])
    expect(await refusal(client, CANCEL, [id])).toBe(code)
  }),
)

test('a checkout that does not exist cannot be cancelled', () =>
  withCheckout(async client => {
    expect(await refusal(client, CANCEL, [randomUUID()])).toBe('FC004')
  }))

test('the ids of monthly invoices are no checkouts', () =>
  withCheckout(async (client, id) => {
    await become(client, 'owner')
    const monthly = await single(
      client,
      `insert into app_public.invoices (dealer_id, kind, country, currency, period_start)
       select dealer_id, 'monthly', country, currency, '2026-01-01' from app_public.invoices where id = $1 returning id`,
      [id],
    )
    await become(client, { dealer: userId })
    expect(await refusal(client, CANCEL, [monthly])).toBe('FC004')
  }))
