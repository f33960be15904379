/** Buying a package: the invoice and checkout that a purchase makes, the idempotency key, and refused purchases. */
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
import { brokenRules, countDealerRows } from '../support/ledger.ts'
import { BUY, buy, buyAndCommit, PAY, payAndCommit } from '../support/purchases.ts'
import { makeAdminUser, makeCountry, makeDealer, makePackage, makeUser } from '../support/testData.ts'
import { concurrently, countOutcomes, interleave, sqlstate } from '../support/transactions.ts'

const NO_ROWS = { invoices: 0, items: 0, checkouts: 0, subscriptions: 0 }

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

const newDealer = () => makeDealer(database.owner, userId)

/** Runs `work` in a transaction with this role, and rolls it back. */
function runAs(as: As, work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  return rolledBack(database, async client => {
    await become(client, as)
    await work(client)
  })
}

test('a purchase makes a draft invoice with the current price and VAT, and a checkout that is open for 14 days', async () => {
  const dealerId = await newDealer()
  const invoiceId = await buyAndCommit(database, userId, dealerId, packageId)
  const invoices = await database.owner.query('select * from app_public.invoices where dealer_id = $1', [
    dealerId,
  ])
  const totals = { net_total: '49.00', vat_total: '9.31', gross_total: '58.31' }
  expect(invoices.rows).toEqual([
    expect.objectContaining({
      id: invoiceId,
      kind: 'package',
      status: 'draft',
      country: 'DE',
      currency: 'EUR',
      ...totals,
    }),
  ])
  const items = await database.owner.query('select * from app_public.invoice_items where dealer_id = $1', [
    dealerId,
  ])
  expect(items.rows).toEqual([
    expect.objectContaining({
      invoice_id: invoiceId,
      package_id: packageId,
      price_config_id: null,
      price_version: null,
      unit_price_net: '49.00',
      discount: '0.00',
      net_amount: '49.00',
      vat_rate: '19.00',
      vat_amount: '9.31',
      gross_amount: '58.31',
      country: 'DE',
      currency: 'EUR',
    }),
  ])
  const checkouts = await database.owner.query(
    `select invoice_id, provider, url, closed_at, (expires_at - created_at)::text as open_for
     from app_public.checkouts where dealer_id = $1`,
    [dealerId],
  )
  expect(checkouts.rows).toEqual([
    { invoice_id: invoiceId, provider: 'manual', url: null, closed_at: null, open_for: '14 days' },
  ])
  expect(await countDealerRows(database.owner, dealerId)).toMatchObject({ subscriptions: 0 })
})

test('20 concurrent purchases with one key make one invoice and one checkout', async () => {
  const dealerId = await newDealer()
  const key = randomUUID()
  const outcomes = await concurrently(database, { dealer: userId }, 20, client =>
    buy(client, dealerId, packageId, key),
  )
  expect(countOutcomes(outcomes)).toEqual({ ok: 20 })
  expect(new Set(outcomes.map(outcome => outcome.status === 'fulfilled' && outcome.value)).size).toBe(1)
  expect(await countDealerRows(database.owner, dealerId)).toMatchObject({
    invoices: 1,
    items: 1,
    checkouts: 1,
  })
})

test('one of 20 concurrent purchases succeeds and 19 are refused', async () => {
  const dealerId = await newDealer()
  const outcomes = await concurrently(database, { dealer: userId }, 20, client =>
    buy(client, dealerId, packageId),
  )
  expect(countOutcomes(outcomes)).toEqual({ ok: 1, FC008: 19 })
  expect(await countDealerRows(database.owner, dealerId)).toMatchObject({
    invoices: 1,
    items: 1,
    checkouts: 1,
  })
})

test('a used key with another package or other URLs is refused, also before the first purchase commits', async () => {
  const dealerId = await newDealer()
  const key = randomUUID()
  const buyWith = 'select app_public.buy_package($1, $2, $3, $4, $5)'
  const urls = ['https://example.com/yes', 'https://example.com/no']
  const first = [dealerId, packageId, key, ...urls]
  const others = [
    [dealerId, await makePackage(database.owner), key, ...urls],
    [dealerId, packageId, key, 'https://example.com/other', urls[1]],
    [dealerId, packageId, key, urls[0], null],
    [dealerId, packageId, key, urls[1], urls[0]],
  ]
  const both = { buyer: { dealer: userId }, other: { dealer: userId } }
  await interleave(database, both, async ({ buyer, other }) => {
    await buyer.query(buyWith, first)
    const waiting = await other.startBlocked(buyWith, others[0])
    await buyer.commit()
    expect(await sqlstate(waiting.result)).toBe('FC007')
  })
  await runAs({ dealer: userId }, async client => {
    for (const values of others) expect(await refusal(client, buyWith, values)).toBe('FC007')
    await client.query(buyWith, first)
  })
  expect(await countDealerRows(database.owner, dealerId)).toMatchObject({
    invoices: 1,
    items: 1,
    checkouts: 1,
  })
})

test('a second purchase is refused while the first is open, and succeeds after the first is paid', async () => {
  const dealerId = await newDealer()
  const invoiceId = await buyAndCommit(database, userId, dealerId, packageId)
  expect(await sqlstate(buyAndCommit(database, userId, dealerId, packageId))).toBe('FC008')
  await payAndCommit(database, invoiceId)
  await buyAndCommit(database, userId, dealerId, packageId)
  expect(await countDealerRows(database.owner, dealerId)).toMatchObject({ invoices: 2, checkouts: 2 })
})

test('the next purchase voids an expired open purchase, which can then no longer be paid', async () => {
  const dealerId = await newDealer()
  const key = randomUUID()
  await runAs('owner', async client => {
    await become(client, { dealer: userId })
    const oldId = await buy(client, dealerId, packageId, key)
    await become(client, 'owner')
    await client.query(
      'update app_public.checkouts set expires_at = clock_timestamp() where invoice_id = $1',
      [oldId],
    )
    await become(client, { dealer: userId })
    const newId = await buy(client, dealerId, packageId)
    expect(await buy(client, dealerId, packageId, key)).toBe(oldId)
    await become(client, 'owner')
    const { rows } = await client.query(
      `select i.id, i.status, c.closed_at is null as open from app_public.invoices as i
       join app_public.checkouts as c on c.dealer_id = i.dealer_id and c.invoice_id = i.id
       where i.dealer_id = $1 order by i.id`,
      [dealerId],
    )
    expect(rows).toEqual([
      { id: oldId, status: 'void', open: false },
      { id: newId, status: 'draft', open: true },
    ])
    await become(client, { admin: await makeAdminUser(client) })
    expect(await refusal(client, PAY, [oldId])).toBe('FC008')
    expect((await client.query(PAY, [newId])).rows).toEqual([expect.objectContaining({ status: 'paid' })])
  })
})

test('a package must be on sale in the country of the dealer', async () => {
  const dealerId = await newDealer()
  await runAs('owner', async client => {
    await makeCountry(client, { country: 'CH', currency: 'CHF' })
    const foreignId = await makePackage(client, { country: 'CH', currency: 'CHF' })
    const endedId = await makePackage(client)
    await client.query('update app_public.dealer_packages set is_active = false where id = $1', [endedId])
    await become(client, { dealer: userId })
    expect(await refusal(client, BUY, [dealerId, foreignId, randomUUID()])).toBe('FC010')
    expect(await refusal(client, BUY, [dealerId, endedId, randomUUID()])).toBe('FC004')
    expect(await refusal(client, BUY, [dealerId, randomUUID(), randomUUID()])).toBe('FC004')
    await become(client, 'owner')
    expect(await countDealerRows(client, dealerId)).toMatchObject(NO_ROWS)
  })
})

test('a missing currency or VAT rate is reported before an unknown package', () =>
  runAs('owner', async client => {
    const dealerId = await makeDealer(client, userId, 'IT')
    const attempts = [packageId, randomUUID()]
    await become(client, { dealer: userId })
    for (const id of attempts) expect(await refusal(client, BUY, [dealerId, id, randomUUID()])).toBe('FC005')
    await become(client, 'owner')
    await makeCountry(client, { country: 'IT', vatRate: null })
    await become(client, { dealer: userId })
    for (const id of attempts) expect(await refusal(client, BUY, [dealerId, id, randomUUID()])).toBe('FC005')
    await become(client, 'owner')
    expect(await countDealerRows(client, dealerId)).toMatchObject(NO_ROWS)
  }))

test('a package can be bought in a country without a listing price', () =>
  runAs('owner', async client => {
    await makeCountry(client, { country: 'ES', price: null })
    const dealerId = await makeDealer(client, userId, 'ES')
    const id = await makePackage(client, { country: 'ES' })
    await become(client, { dealer: userId })
    await buy(client, dealerId, id)
  }))

test('a closed dealer cannot buy a package; a suspended dealer can', async () => {
  const dealerId = await newDealer()
  await runAs('owner', async client => {
    await client.query('update app_public.dealers set is_active = false where id = $1', [dealerId])
    await become(client, { dealer: userId })
    expect(await refusal(client, BUY, [dealerId, packageId, randomUUID()])).toBe('FC003')
    await become(client, 'owner')
    await client.query('update app_public.dealers set is_active = true, can_publish = false where id = $1', [
      dealerId,
    ])
    await become(client, { dealer: userId })
    await buy(client, dealerId, packageId)
  })
})

test('a call by a non-member or a visitor, or for an unknown dealer, is refused and writes nothing', async () => {
  const dealerId = await newDealer()
  const stranger = await makeUser(database.owner)
  const attempts: [As, string, string][] = [
    [{ dealer: stranger }, dealerId, 'FC003'],
    [{ admin: stranger }, dealerId, 'FC003'],
    [{ dealer: '' }, dealerId, 'FC001'],
    ['visitor', dealerId, '42501'],
    [{ dealer: userId }, randomUUID(), 'FC004'],
  ]
  for (const [as, id, expected] of attempts) {
    await runAs(as, async client => {
      expect(await refusal(client, BUY, [id, packageId, randomUUID()])).toBe(expected)
    })
  }
  expect(await countDealerRows(database.owner, dealerId)).toMatchObject(NO_ROWS)
})

test.each([
  ['with a script', 'javascript:alert(1)'],
  ['without a scheme', 'example.com'],
  ['without a host', 'https://'],
  ['with a space', 'https://example.com/a b'],
  ['of more than 2,000 characters', `https://${'a'.repeat(2000)}`],
])('a return URL %s is refused', async (_case, url) => {
  const dealerId = await newDealer()
  await runAs({ dealer: userId }, async client => {
    const buyWith = 'select app_public.buy_package($1, $2, $3, $4, $5)'
    for (const urls of [
      [url, null],
      [null, url],
    ]) {
      expect(await refusal(client, buyWith, [dealerId, packageId, randomUUID(), ...urls])).toBe('23514')
    }
  })
})
