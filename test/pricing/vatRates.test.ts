/** A VAT rate is stored as it was entered, or refused: nothing rounds it. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { readCharges } from '../support/ledger.ts'
import { makeCountry, makeDealer, makeUser, publish, single } from '../support/testData.ts'

const INSERT =
  "insert into app_public.vat_rates (country, rate, valid) values ('DE', $1::numeric, '[2020-01-01,)')"

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

test.each([
  ['14.975', '14.975'],
  ['8.1234', '8.1234'],
  ['19', '19.00'],
  ['8.1', '8.10'],
  ['0', '0.00'],
  ['100', '100.00'],
  ['19.000000', '19.00'],
  ['5.50000', '5.50'],
])('a rate of up to 4 decimal places keeps its value, by insert and by update: %s', (entered, stored) =>
  rolledBack(database, async client => {
    await client.query(INSERT, [entered])
    const rate = 'select rate::text from app_public.vat_rates'
    expect(await single(client, rate)).toBe(stored)
    await client.query('update app_public.vat_rates set rate = 1')
    await client.query('update app_public.vat_rates set rate = $1::numeric', [entered])
    expect(await single(client, rate)).toBe(stored)
  }),
)

test.each(['14.97501', '0.00001', '100.00001', '-0.0001', '100.0001', 'NaN', 'Infinity'])(
  'a rate with more decimal places or out of range is refused, by insert and by update: %s',
  rate =>
    rolledBack(database, async client => {
      expect(await refusal(client, INSERT, [rate])).toBe('23514')
      await client.query(INSERT, ['1'])
      const update = 'update app_public.vat_rates set rate = $1::numeric'
      expect(await refusal(client, update, [rate])).toBe('23514')
    }),
)

test('200.00 at 14.975 % is billed with 29.95 of VAT', () =>
  rolledBack(database, async client => {
    await makeCountry(client, { vatRate: 14.975, price: '200.00' })
    const userId = await makeUser(client)
    const dealerId = await makeDealer(client, userId)
    await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
    await publish(client, dealerId)
    expect(await readCharges(client, dealerId)).toEqual(['paid_extra 229.95'])
    const item = "select vat_rate::text || ' ' || vat_amount from app_public.invoice_items"
    expect(await single(client, item)).toBe('14.975 29.95')
  }))
