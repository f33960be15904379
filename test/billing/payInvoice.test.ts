/** Paying an invoice: the subscription that starts, repeated payments, and payments that meet other calls. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { brokenRules, countSources } from '../support/ledger.ts'
import {
  BUY,
  buy,
  buyAndCommit,
  PAY,
  payAndCommit,
  scheduledExpiryRuns,
  subscriptionStatuses,
} from '../support/purchases.ts'
import { makeAdminUser, makeCountry, makeDealer, makePackage, makeUser } from '../support/testData.ts'
import { concurrently, countOutcomes, interleave, sqlstate } from '../support/transactions.ts'

const PUBLISH = "select app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 1, 'EUR')"

let database: TestDatabase
let userId: string
let packageId: string
let admin: { admin: string }

beforeAll(async () => {
  database = await cloneDatabase()
  admin = { admin: await makeAdminUser(database.owner) }
  await makeCountry(database.owner)
  packageId = await makePackage(database.owner, { listings: 10, days: 30 })
  userId = await makeUser(database.owner)
})

afterAll(() => database.drop())

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
})

const newDealer = () => makeDealer(database.owner, userId)

test('a payment starts the subscription immediately with the quotas that were bought', async () => {
  const dealerId = await newDealer()
  const invoiceId = await buyAndCommit(database, userId, dealerId, packageId)
  await payAndCommit(database, invoiceId)
  const { rows } = await database.owner.query(
    `select s.*, s.start_at = i.paid_at or s.start_at > i.paid_at as after_payment,
       (s.end_at - s.start_at)::text as length, i.status as invoice_status, c.closed_at = i.paid_at as closed
     from app_public.dealer_subscriptions as s
     join app_public.invoices as i on i.dealer_id = s.dealer_id and i.id = s.invoice_id
     join app_public.checkouts as c on c.dealer_id = s.dealer_id and c.invoice_id = s.invoice_id
     where s.dealer_id = $1`,
    [dealerId],
  )
  expect(rows).toEqual([
    expect.objectContaining({
      package_id: packageId,
      invoice_id: invoiceId,
      status: 'active',
      included_listing_quota: 10,
      used_listing_quota: 0,
      length: '30 days',
      after_payment: true,
      invoice_status: 'paid',
      closed: true,
    }),
  ])
  expect(await scheduledExpiryRuns(database.superuser, dealerId)).toEqual([])
})

test('20 concurrent payments make one subscription and one entry in the audit trail', async () => {
  const dealerId = await newDealer()
  const invoiceId = await buyAndCommit(database, userId, dealerId, packageId)
  const outcomes = await concurrently(
    database,
    admin,
    20,
    async client => (await client.query(PAY, [invoiceId])).rows[0],
  )
  expect(countOutcomes(outcomes)).toEqual({ ok: 20 })
  const invoices = outcomes.map(outcome => JSON.stringify(outcome.status === 'fulfilled' && outcome.value))
  expect(new Set(invoices).size).toBe(1)
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['active'])
  const { rows } = await database.owner.query(
    "select actor, old_values, new_values from app_public.audit_logs where action = 'PAY_INVOICE' and resource_id = $1",
    [invoiceId],
  )
  expect(rows).toEqual([
    {
      actor: admin.admin,
      old_values: { status: 'draft' },
      new_values: { status: 'paid', grossTotal: 58.31 },
    },
  ])
})

test('only an admin can mark an invoice as paid, and the invoice must exist', async () => {
  const dealerId = await newDealer()
  const invoiceId = await buyAndCommit(database, userId, dealerId, packageId)
  for (const as of ['visitor', { dealer: userId }] as const) {
    await rolledBack(database, async client => {
      await become(client, as)
      expect(await refusal(client, PAY, [invoiceId])).toBe('42501')
      const settle = 'select app_private.settle_invoice($1, $2)'
      expect(await refusal(client, settle, [dealerId, invoiceId])).toBe('42501')
    })
  }
  await rolledBack(database, async client => {
    await become(client, admin)
    expect(await refusal(client, PAY, [randomUUID()])).toBe('FC004')
    expect(await refusal(client, 'select app_private.settle_invoice($1, $2)', [dealerId, invoiceId])).toBe(
      '42501',
    )
  })
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual([])
})

test('a change of the package or the VAT rate after the purchase affects neither invoice nor subscription', () =>
  rolledBack(database, async client => {
    const dealerId = await makeDealer(client, userId)
    await become(client, { dealer: userId })
    const invoiceId = await buy(client, dealerId, packageId)
    await become(client, 'owner')
    await client.query(
      `update app_public.dealer_packages set price_net = 999, listing_limit = 1, premium_quota = 9, highlight_quota = 9,
         duration_days = 1, overage = 'block', is_active = false`,
    )
    await client.query("update app_public.vat_rates set rate = 25 where country = 'DE'")
    await become(client, admin)
    await client.query(PAY, [invoiceId])
    await become(client, 'owner')
    const invoices = await client.query(
      'select net_total, vat_total, gross_total from app_public.invoices where id = $1',
      [invoiceId],
    )
    expect(invoices.rows).toEqual([{ net_total: '49.00', vat_total: '9.31', gross_total: '58.31' }])
    const { rows } = await client.query(
      'select * from app_public.dealer_subscriptions where dealer_id = $1',
      [dealerId],
    )
    expect(rows).toEqual([
      expect.objectContaining({
        duration_days: 30,
        overage: 'charge',
        included_listing_quota: 10,
        included_premium_quota: 0,
        included_highlight_quota: 0,
      }),
    ])
  }))

test('a subscription that is bought while another is active stays pending, and an expiry job is scheduled for its start', async () => {
  const dealerId = await newDealer()
  await payAndCommit(database, await buyAndCommit(database, userId, dealerId, packageId))
  await payAndCommit(database, await buyAndCommit(database, userId, dealerId, packageId))
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['active', 'pending'])
  const { rows } = await database.owner.query(
    'select end_at from app_public.dealer_subscriptions where dealer_id = $1 order by id',
    [dealerId],
  )
  expect(rows[1].end_at).toBeNull()
  expect(await scheduledExpiryRuns(database.superuser, dealerId)).toEqual([rows[0].end_at])
})

test('an expired purchase can be paid as long as it is not void', async () => {
  const dealerId = await newDealer()
  const invoiceId = await buyAndCommit(database, userId, dealerId, packageId)
  await database.owner.query(
    'update app_public.checkouts set expires_at = created_at where invoice_id = $1',
    [invoiceId],
  )
  await payAndCommit(database, invoiceId)
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(['active'])
})

test.each([
  ['the next purchase succeeds if the payment comes first', 'pay'],
  ['the payment is refused if the next purchase comes first', 'buy'],
])('an expired purchase is paid during the next purchase: %s', async (_rule, first) => {
  const dealerId = await newDealer()
  const invoiceId = await buyAndCommit(database, userId, dealerId, packageId)
  await database.owner.query(
    'update app_public.checkouts set expires_at = created_at where invoice_id = $1',
    [invoiceId],
  )
  const purchase = [dealerId, packageId, randomUUID()]
  await interleave(database, { payer: admin, buyer: { dealer: userId } }, async ({ payer, buyer }) => {
    if (first === 'pay') {
      await payer.query(PAY, [invoiceId])
      const waiting = await buyer.startBlocked(BUY, purchase)
      await payer.commit()
      await waiting.result
      await buyer.commit()
    } else {
      await buyer.query(BUY, purchase)
      const waiting = await payer.startBlocked(PAY, [invoiceId])
      await buyer.commit()
      expect(await sqlstate(waiting.result)).toBe('FC008')
    }
  })
  expect(await subscriptionStatuses(database.owner, dealerId)).toEqual(first === 'pay' ? ['active'] : [])
})

test('a publication that waits for a payment uses the new subscription', async () => {
  const dealerId = await newDealer()
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
  expect(await countSources(database.owner, dealerId)).toEqual({ subscription_quota: 1 })
})
