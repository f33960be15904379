/** Constraints on VAT rates, prices and free quotas: only one of each kind may be valid at a moment. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { makeCountry, makeUser } from '../support/testData.ts'
import { interleave, sqlstate } from '../support/transactions.ts'

const VAT = 'insert into app_public.vat_rates (country, rate, valid) values ($1, $2, $3)'
const PRICE = `insert into app_public.price_configs (country, segment, pricing_type, unit_price_net, currency, price_version, valid)
  values ($1, $2, $3, 5, $4, $5, $6)`
const FREE = `insert into app_public.free_quota_configs (country, segment, quota_amount, period_days, valid)
  values ($1, $2, 2, 30, $3)`
const Y2024 = '[2024-01-01, 2025-01-01)'
const Y2025 = '[2025-01-01, 2026-01-01)'
/** Each of these periods overlaps 2024. */
const OVERLAPS = [
  Y2024,
  '[2024-12-31 23:59:59.999999, 2025-06-01)',
  '[2023-01-01, 2024-01-01]',
  '[2024-03-01, 2024-04-01)',
  '[2023-01-01, 2026-01-01)',
  '(,)',
  '[2024-06-01,)',
]

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

test('two VAT rates of a country cannot overlap, but can adjoin', () =>
  rolledBack(database, async client => {
    await client.query(VAT, ['DE', 19, Y2024])
    for (const overlap of OVERLAPS) expect(await refusal(client, VAT, ['DE', 16, overlap])).toBe('23P01')
    await client.query(VAT, ['DE', 16, Y2025])
    await client.query(VAT, ['DE', 16, '[2023-01-01, 2024-01-01)'])
    await client.query(VAT, ['AT', 20, Y2024])
  }))

test('a VAT rate cannot be extended into the period of another', () =>
  rolledBack(database, async client => {
    await client.query(VAT, ['DE', 19, Y2024])
    await client.query(VAT, ['DE', 16, Y2025])
    const extend = "update app_public.vat_rates set valid = '[2024-01-01, 2025-01-02)' where rate = 19"
    expect(await refusal(client, extend)).toBe('23P01')
  }))

test('two prices of the same kind cannot overlap, but can adjoin; prices of different kinds can overlap', () =>
  rolledBack(database, async client => {
    await makeCountry(client, { price: null })
    await makeCountry(client, { country: 'AT', price: null })
    await client.query(PRICE, ['DE', 'dealer', 'pay_per_listing', 'EUR', 1, Y2024])
    for (const overlap of OVERLAPS) {
      const values = ['DE', 'dealer', 'pay_per_listing', 'EUR', 2, overlap]
      expect(await refusal(client, PRICE, values)).toBe('23P01')
    }
    await client.query(PRICE, ['DE', 'dealer', 'pay_per_listing', 'EUR', 2, Y2025])
    await client.query(PRICE, ['DE', 'individual', 'pay_per_listing', 'EUR', 1, Y2024])
    await client.query(PRICE, ['DE', 'dealer', 'premium_fee', 'EUR', 1, Y2024])
    await client.query(PRICE, ['AT', 'dealer', 'pay_per_listing', 'EUR', 1, Y2024])
  }))

test('two free quotas of a segment cannot overlap, but can adjoin', () =>
  rolledBack(database, async client => {
    await client.query(FREE, ['DE', 'dealer', Y2024])
    for (const overlap of OVERLAPS)
      expect(await refusal(client, FREE, ['DE', 'dealer', overlap])).toBe('23P01')
    await client.query(FREE, ['DE', 'dealer', Y2025])
    await client.query(FREE, ['DE', 'individual', Y2024])
    await client.query(FREE, ['AT', 'dealer', Y2024])
  }))

test('the second of two concurrent inserts of overlapping VAT rates waits and is refused', () =>
  interleave(database, { first: 'owner', second: 'owner' }, async ({ first, second }) => {
    await first.query(VAT, ['FR', 20, Y2024])
    const waiting = await second.startBlocked(VAT, ['FR', 21, Y2024])
    await first.commit()
    expect(await sqlstate(waiting.result)).toBe('23P01')
  }))

test('a price and a package must have the currency of their country', () =>
  rolledBack(database, async client => {
    await makeCountry(client, { price: null })
    await makeCountry(client, { country: 'CH', currency: 'CHF', price: null })
    for (const [country, currency] of [
      ['DE', 'CHF'],
      ['CH', 'EUR'],
      ['DE', 'XXX'],
      ['IT', 'EUR'],
    ]) {
      const values = [country, 'dealer', 'pay_per_listing', currency, 1, Y2024]
      expect(await refusal(client, PRICE, values)).toBe('23503')
      const makePackage = `insert into app_public.dealer_packages (key, country, name, price_net, currency, duration_days, listing_limit)
        values ('basic', $1, '{"en": "Basic"}', 49, $2, 30, 10)`
      expect(await refusal(client, makePackage, [country, currency])).toBe('23503')
    }
  }))

test('a country has one currency, which cannot change while prices use it', () =>
  rolledBack(database, async client => {
    await makeCountry(client)
    await client.query("insert into app_public.currencies values ('CHF', 2)")
    const second = "insert into app_public.country_currencies values ('DE', 'CHF')"
    expect(await refusal(client, second)).toBe('23505')
    const other = "update app_public.country_currencies set currency = 'CHF' where country = 'DE'"
    expect(await refusal(client, other)).toBe('23503')
  }))

test('a VAT rate, a price and a free quota must be within their bounds and have a non-empty period', () =>
  rolledBack(database, async client => {
    await makeCountry(client, { price: null, vatRate: null })
    for (const rate of [-1, 100.01]) expect(await refusal(client, VAT, ['DE', rate, Y2024])).toBe('23514')
    expect(await refusal(client, VAT, ['DE', 19, 'empty'])).toBe('23514')
    expect(await refusal(client, VAT, ['de', 19, Y2024])).toBe('23514')
    const price = PRICE.replace('5,', '$7,')
    for (const amount of ['-0.01', '1000000', 'NaN', 'Infinity']) {
      const values = ['DE', 'dealer', 'pay_per_listing', 'EUR', 1, Y2024, amount]
      expect(await refusal(client, price, values)).toBe('23514')
    }
    expect(await refusal(client, PRICE, ['DE', 'dealer', 'pay_per_listing', 'EUR', 0, Y2024])).toBe('23514')
    expect(await refusal(client, PRICE, ['DE', 'dealer', 'pay_per_listing', 'EUR', 1, 'empty'])).toBe('23514')
    expect(await refusal(client, FREE.replace('2, 30', '-1, 30'), ['DE', 'dealer', Y2024])).toBe('23514')
    expect(await refusal(client, FREE.replace('2, 30', '2, 0'), ['DE', 'dealer', Y2024])).toBe('23514')
    expect(await refusal(client, FREE, ['DE', 'dealer', 'empty'])).toBe('23514')
  }))

const TABLES = ['currencies', 'country_currencies', 'vat_rates', 'price_configs', 'free_quota_configs']

test('every role of the API can read the configuration, and none can write it', () =>
  rolledBack(database, async client => {
    await makeCountry(client, { freeListings: 2 })
    const userId = await makeUser(client)
    for (const as of ['visitor', { dealer: userId }, { admin: userId }] as const) {
      await become(client, as)
      for (const table of TABLES) {
        const { rows } = await client.query(`select * from app_public.${table}`)
        expect(rows).not.toEqual([])
        expect(await refusal(client, `delete from app_public.${table}`)).toBe('42501')
        const [column] = Object.keys(rows[0])
        const update = `update app_public.${table} set ${column} = ${column}`
        expect(await refusal(client, update)).toBe('42501')
      }
      expect(await refusal(client, VAT, ['DE', 1, '[2000-01-01, 2001-01-01)'])).toBe('42501')
      const set = "select app_private.set_price('DE', 'dealer', 'pay_per_listing', 0)"
      expect(await refusal(client, set)).toBe('42501')
    }
  }))
