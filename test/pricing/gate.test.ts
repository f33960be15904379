/** The pricing gate: a publication or purchase needs a currency, a VAT rate and a price, and exactly one of each. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import {
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  makeUser,
  publish,
} from '../support/testData.ts'

const ITEM = `select unit_price_net, net_amount, vat_rate, vat_amount, gross_amount, currency, discount
  from app_private.price_item($1, row('EUR', $2, $3)::app_private.pricing_gate)`

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

type Refusal = { code: string; missing?: string; ambiguous?: string }

/** The code of the refusal with `missing` and `ambiguous` of its detail. Clients must not rely on the message. */
async function refusalDetail(client: pg.ClientBase, sql: string, values: unknown[]): Promise<Refusal> {
  await client.query('savepoint refused')
  try {
    await client.query(sql, values)
  } catch (error) {
    await client.query('rollback to savepoint refused')
    const { code, detail } = error as pg.DatabaseError
    const { missing, ambiguous } = JSON.parse(detail ?? '{}')
    return { code: code ?? '', ...(missing && { missing }), ...(ambiguous && { ambiguous }) }
  }
  throw new Error('was not refused')
}

const PUBLISH = "select app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 1, 'EUR')"
const QUOTE = 'select app_public.quote_listing($1)'

/** Makes a dealer whose owner is the current user. */
async function makePublisher(client: pg.PoolClient): Promise<string> {
  const userId = await makeUser(client)
  const dealerId = await makeDealer(client, userId)
  await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
  return dealerId
}

// unit price, minor units, VAT rate, net amount, VAT amount, gross amount
const AMOUNTS = [
  ['5.00', 2, '19', '5.00', '0.95', '5.95'],
  ['49.00', 2, '8.1', '49.00', '3.97', '52.97'],
  ['0.125', 2, '0', '0.13', '0.00', '0.13'],
  ['0.124', 2, '0', '0.12', '0.00', '0.12'],
  ['2.50', 2, '7', '2.50', '0.18', '2.68'],
  ['0.50', 2, '1', '0.50', '0.01', '0.51'],
  ['0.49', 2, '1', '0.49', '0.00', '0.49'],
  ['0.00', 2, '19', '0.00', '0.00', '0.00'],
  ['2.5', 0, '10', '3', '0', '3'],
  ['3.5', 0, '10', '4', '0', '4'],
  ['500', 0, '10', '500', '50', '550'],
  ['505', 0, '10', '505', '51', '556'],
  ['1.0005', 3, '5', '1.001', '0.050', '1.051'],
  ['1.010', 3, '5', '1.010', '0.051', '1.061'],
  ['999999.99', 2, '100', '999999.99', '999999.99', '1999999.98'],
] as const

test.each(AMOUNTS)(
  'a price of %s with %i minor units and %s %% VAT is %s net, %s VAT, %s gross',
  (unitPrice, minorUnits, rate, net, vat, gross) =>
    rolledBack(database, async client => {
      const { rows } = await client.query(ITEM, [unitPrice, minorUnits, rate])
      expect(rows).toEqual([
        {
          unit_price_net: unitPrice,
          net_amount: net,
          vat_rate: rate,
          vat_amount: vat,
          gross_amount: gross,
          currency: 'EUR',
          discount: (0).toFixed(minorUnits),
        },
      ])
    }),
)

test('a missing currency is reported before a missing VAT rate, and that before a missing price', () =>
  rolledBack(database, async client => {
    const dealerId = await makePublisher(client)
    for (const call of [PUBLISH, QUOTE]) {
      expect(await refusalDetail(client, call, [dealerId])).toEqual({ code: 'FC005', missing: 'currency' })
    }
    await makeCountry(client, { vatRate: null, price: null })
    for (const call of [PUBLISH, QUOTE]) {
      expect(await refusalDetail(client, call, [dealerId])).toEqual({ code: 'FC005', missing: 'vat_rate' })
    }
    await client.query(
      "insert into app_public.vat_rates (country, rate, valid) values ('DE', 19, '[2020-01-01,)')",
    )
    for (const call of [PUBLISH, QUOTE]) {
      expect(await refusalDetail(client, call, [dealerId])).toEqual({ code: 'FC005', missing: 'price' })
    }
    await client.query("select app_private.set_price('DE', 'dealer', 'pay_per_listing', 5, '2020-01-01')")
    await publish(client, dealerId)
  }))

test('without a VAT rate no listing can be published, not even a free or included one', () =>
  rolledBack(database, async client => {
    await makeCountry(client, { vatRate: null, freeListings: 5 })
    const dealerId = await makePublisher(client)
    await makeSubscription(client, dealerId)
    expect(await refusalDetail(client, PUBLISH, [dealerId])).toEqual({ code: 'FC005', missing: 'vat_rate' })
    const { rows } = await client.query('select from app_public.listings')
    expect(rows).toEqual([])
  }))

test('without a price, free and included listings can still be published', () =>
  rolledBack(database, async client => {
    await makeCountry(client, { price: null, freeListings: 1 })
    const dealerId = await makePublisher(client)
    await makeSubscription(client, dealerId, { listings: 1 })
    await publish(client, dealerId)
    await publish(client, dealerId)
    expect(await refusalDetail(client, PUBLISH, [dealerId])).toEqual({ code: 'FC005', missing: 'price' })
  }))

test('a VAT rate is valid from its start until just before its end', () =>
  rolledBack(database, async client => {
    await makeCountry(client, { vatRate: null })
    await client.query(
      `insert into app_public.vat_rates (country, rate, valid)
       values ('DE', 16, '[2020-07-01Z, 2021-01-01Z)'), ('DE', 19, '[2021-01-01Z, 2022-01-01Z)')`,
    )
    const gate = "select vat_rate from app_private.pass_pricing_gate('DE', 'dealer', null, $1)"
    expect(await refusal(client, gate, ['2020-06-30 23:59:59.999999Z'])).toBe('FC005')
    expect((await client.query(gate, ['2020-07-01Z'])).rows).toEqual([{ vat_rate: '16.00' }])
    expect((await client.query(gate, ['2020-12-31 23:59:59.999999Z'])).rows).toEqual([{ vat_rate: '16.00' }])
    expect((await client.query(gate, ['2021-01-01Z'])).rows).toEqual([{ vat_rate: '19.00' }])
    expect(await refusal(client, gate, ['2022-01-01Z'])).toBe('FC005')
  }))

test('a price is valid from its start until just before its end, only for its segment and pricing type', () =>
  rolledBack(database, async client => {
    await makeCountry(client, { price: null })
    await client.query("select app_private.set_price('DE', 'dealer', 'pay_per_listing', 5, '2021-01-01Z')")
    await client.query("select app_private.set_price('DE', 'dealer', 'pay_per_listing', 6, '2022-01-01Z')")
    const price = "select unit_price_net from app_private.find_price('DE', $1, $2, $3)"
    const listing = ['dealer', 'pay_per_listing']
    expect(await refusal(client, price, [...listing, '2020-12-31 23:59:59.999999Z'])).toBe('FC005')
    expect((await client.query(price, [...listing, '2021-01-01Z'])).rows).toEqual([
      { unit_price_net: '5.00' },
    ])
    const last = await client.query(price, [...listing, '2021-12-31 23:59:59.999999Z'])
    expect(last.rows).toEqual([{ unit_price_net: '5.00' }])
    expect((await client.query(price, [...listing, '2022-01-01Z'])).rows).toEqual([
      { unit_price_net: '6.00' },
    ])
    expect(await refusal(client, price, ['individual', 'pay_per_listing', '2023-01-01Z'])).toBe('FC005')
    expect(await refusal(client, price, ['dealer', 'premium_fee', '2023-01-01Z'])).toBe('FC005')
  }))

test('with two valid VAT rates or prices, every quote, publication and purchase is refused as ambiguous', () =>
  rolledBack(database, async client => {
    await makeCountry(client)
    const dealerId = await makePublisher(client)
    await client.query('alter table app_public.price_configs drop constraint price_configs_one_at_a_time')
    await client.query('alter table app_public.vat_rates drop constraint vat_rates_one_at_a_time')
    await client.query("select app_private.set_price('DE', 'dealer', 'pay_per_listing', 9, '2019-01-01')")
    for (const call of [PUBLISH, QUOTE]) {
      expect(await refusalDetail(client, call, [dealerId])).toEqual({ code: 'FC006', ambiguous: 'price' })
    }
    await client.query(
      "insert into app_public.vat_rates (country, rate, valid) values ('DE', 16, '[2020-01-01,)')",
    )
    for (const call of [PUBLISH, QUOTE]) {
      expect(await refusalDetail(client, call, [dealerId])).toEqual({ code: 'FC006', ambiguous: 'vat_rate' })
    }
    const buy = 'select app_public.buy_package($1, $2, $3)'
    const values = [dealerId, await makePackage(client), randomUUID()]
    expect(await refusalDetail(client, buy, values)).toEqual({ code: 'FC006', ambiguous: 'vat_rate' })
    const quote = 'select app_public.quote_package($1, $2)'
    expect(await refusalDetail(client, quote, values.slice(0, 2))).toEqual({
      code: 'FC006',
      ambiguous: 'vat_rate',
    })
    const { rows } = await client.query('select from app_public.invoices')
    expect(rows).toEqual([])
  }))

test('a dealer cannot call the pricing gate directly', () =>
  rolledBack(database, async client => {
    await become(client, { dealer: await makeUser(client) })
    const gate = "select app_private.pass_pricing_gate('DE', 'dealer', null, now())"
    expect(await refusal(client, gate)).toBe('42501')
  }))
