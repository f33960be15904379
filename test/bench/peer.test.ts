/** The application tier that the benchmark compares with. The comparison is only fair if it keeps the same rules. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { charge } from '../../bench/peer/money.ts'
import { type Publication, type Published, publish } from '../../bench/peer/publish.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules, countDealerRows, countSources, readCharges } from '../support/ledger.ts'
import { newCountry } from '../support/seller.ts'
import {
  type Country,
  makeCountry,
  makeDealer,
  makeSubscription,
  makeUser,
  publish as publishInSql,
} from '../support/testData.ts'
import { committed, countOutcomes } from '../support/transactions.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

type Seller = { userId: string; dealerId: string; country: string }

async function makeSeller(options: Country = {}): Promise<Seller> {
  const country = await makeCountry(database.owner, { country: newCountry(), ...options })
  const userId = await makeUser(database.owner)
  return { userId, dealerId: await makeDealer(database.owner, userId, country), country }
}

function sellListing({ userId, dealerId }: Seller, changes: Partial<Publication> = {}): Promise<Published> {
  const car = { title: 'A car', module: 'auto', price: '9900', currency: 'EUR' }
  return publish(database.owner, userId, { dealerId, idempotencyKey: randomUUID(), ...car, ...changes })
}

const concurrentCalls = <Value>(count: number, work: () => Promise<Value>) =>
  Promise.allSettled(Array.from({ length: count }, work))

test('50 concurrent publications with 2 free, 10 included and a price split into 2, 10 and 38', async () => {
  const seller = await makeSeller({ freeListings: 2 })
  await makeSubscription(database.owner, seller.dealerId, { country: seller.country })
  expect(countOutcomes(await concurrentCalls(50, () => sellListing(seller)))).toEqual({ ok: 50 })
  const paidBy = await countSources(database.owner, seller.dealerId)
  expect(paidBy).toEqual({ free_quota: 2, subscription_quota: 10, paid_extra: 38 })
  expect(await brokenRules(database.superuser)).toEqual([])
})

test('of 50 concurrent publications with 10 included and no price, 10 succeed and 40 are refused and leave no rows', async () => {
  const seller = await makeSeller({ price: null })
  await makeSubscription(database.owner, seller.dealerId, { country: seller.country })
  expect(countOutcomes(await concurrentCalls(50, () => sellListing(seller)))).toEqual({
    ok: 10,
    pricing_config_missing: 40,
  })
  expect(await countDealerRows(database.owner, seller.dealerId)).toMatchObject({
    listings: 10,
    consumptions: 10,
    used: 10,
  })
  expect(await brokenRules(database.superuser)).toEqual([])
})

test('20 concurrent calls with the same key make one listing and get the same result', async () => {
  const seller = await makeSeller()
  const idempotencyKey = randomUUID()
  const results = await Promise.all(Array.from({ length: 20 }, () => sellListing(seller, { idempotencyKey })))
  expect(new Set(results.map(result => JSON.stringify(result))).size).toBe(1)
  expect(await readCharges(database.owner, seller.dealerId)).toEqual(['paid_extra 5.95'])
})

test('the same key with another title is refused', async () => {
  const seller = await makeSeller()
  const idempotencyKey = randomUUID()
  await sellListing(seller, { idempotencyKey })
  const again = sellListing(seller, { idempotencyKey, title: 'Another car' })
  await expect(again).rejects.toMatchObject({ code: 'idempotency_conflict' })
})

test('a user who is not a member of the dealer is refused', async () => {
  const seller = await makeSeller()
  const stranger = sellListing({ ...seller, userId: await makeUser(database.owner) })
  await expect(stranger).rejects.toMatchObject({ code: 'forbidden' })
})

test('a publication in a country without a VAT rate is refused, even if it would be free', async () => {
  const seller = await makeSeller({ vatRate: null, freeListings: 2 })
  await expect(sellListing(seller)).rejects.toMatchObject({ code: 'pricing_config_missing' })
})

test('a publication beyond the quota is refused if the package forbids overage', async () => {
  const seller = await makeSeller()
  const { country } = seller
  await makeSubscription(database.owner, seller.dealerId, { country, listings: 1, overage: 'block' })
  await sellListing(seller)
  await expect(sellListing(seller)).rejects.toMatchObject({ code: 'quota_exhausted' })
})

test('five listings in a row get the same charges as from the SQL function', async () => {
  const country = { freeListings: 2, vatRate: 19 }
  const ours = await makeSeller(country)
  const theirs = await makeSeller(country)
  for (const { dealerId, country } of [ours, theirs]) {
    await makeSubscription(database.owner, dealerId, { country, listings: 2 })
  }
  for (let listing = 0; listing < 5; listing++) {
    await sellListing(theirs)
    await committed(database, { dealer: ours.userId }, client => publishInSql(client, ours.dealerId))
  }
  const charged = await readCharges(database.owner, theirs.dealerId)
  expect(charged).toEqual(await readCharges(database.owner, ours.dealerId))
  expect(charged.at(-1)).toBe('paid_extra 5.95')
})

test.each([
  ['5.00', '19.00', 2, { net: '5.00', vat: '0.95', gross: '5.95' }],
  ['0.50', '7.00', 2, { net: '0.50', vat: '0.04', gross: '0.54' }],
  ['0.125', '0.00', 2, { net: '0.13', vat: '0.00', gross: '0.13' }],
  ['500', '10.00', 0, { net: '500', vat: '50', gross: '550' }],
  ['0.004', '8.10', 3, { net: '0.004', vat: '0.000', gross: '0.004' }],
])(
  '%s net with %s %% VAT is rounded half away from zero to %s decimals',
  (net, vatRate, decimals, expected) => {
    expect(charge(net, vatRate, decimals)).toEqual({ vatRate, ...expected })
  },
)
