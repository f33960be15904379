/** open_country(): one call gives a country all that a publication needs, and never changes a country that was opened before. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { makeCountry, makeDealer, makeUser, publish } from '../support/testData.ts'
import { interleave, sqlstate } from '../support/transactions.ts'

const OPEN = 'select minor_units from app_private.open_country($1, $2, $3, $4)'
const GERMANY = ['DE', 'EUR', '19', '5.00']

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

/** All that is configured for a country. */
async function configurationOf(db: Pick<pg.ClientBase, 'query'>, country: string): Promise<unknown> {
  const { rows } = await db.query(
    `select (select array_agg(row(c.currency, c.closed_at)) from app_public.country_currencies as c where c.country = $1)::text as currencies,
       (select array_agg(row(v.rate, v.valid) order by v.valid) from app_public.vat_rates as v where v.country = $1)::text as rates,
       (select array_agg(row(p.segment, p.unit_price_net, p.valid) order by p.segment, p.valid) from app_public.price_configs as p
        where p.country = $1)::text as prices`,
    [country],
  )
  return rows[0]
}

test('in a country that was opened, a dealer publishes at the price with VAT', () =>
  rolledBack(database, async client => {
    await client.query(OPEN, GERMANY)
    const userId = await makeUser(client)
    const dealerId = await makeDealer(client, userId)
    await become(client, { dealer: userId })
    await publish(client, dealerId)
    await become(client, 'owner')
    const { rows } = await client.query(
      'select net_amount, vat_rate, gross_amount, currency from app_public.listing_consumptions',
    )
    expect(rows).toEqual([{ net_amount: '5.00', vat_rate: '19.00', gross_amount: '5.95', currency: 'EUR' }])
  }))

test('both segments have the price, and all of it holds from now on without an end', () =>
  rolledBack(database, async client => {
    await client.query(OPEN, GERMANY)
    const { rows } = await client.query(
      `select p.segment, p.unit_price_net, p.valid = tstzrange(now(), null) and v.valid = p.valid as from_now
       from app_public.price_configs as p join app_public.vat_rates as v using (country) order by p.segment`,
    )
    expect(rows).toEqual([
      { segment: 'dealer', unit_price_net: '5.00', from_now: true },
      { segment: 'individual', unit_price_net: '5.00', from_now: true },
    ])
  }))

test.each([
  ['EUR', 2],
  ['JPY', 0],
  ['KWD', 3],
])('the currency %s gets the %s decimal places of ISO 4217', (currency, places) =>
  rolledBack(database, async client => {
    const { rows } = await client.query(OPEN, ['DE', currency, '19', '5'])
    expect(rows).toEqual([{ minor_units: places }])
  }),
)

test('a currency that is known keeps its decimal places', () =>
  rolledBack(database, async client => {
    await client.query("insert into app_public.currencies values ('EUR', 4)")
    expect((await client.query(OPEN, GERMANY)).rows).toEqual([{ minor_units: 4 }])
  }))

test('a country that is open, or that was closed, is refused and stays as it is', () =>
  rolledBack(database, async client => {
    await makeCountry(client)
    const before = await configurationOf(client, 'DE')
    for (const values of [GERMANY, ['DE', 'CHF', '8.1', '9']])
      expect(await refusal(client, OPEN, values)).toBe('FC008')
    expect(await configurationOf(client, 'DE')).toEqual(before)
    await client.query('update app_public.country_currencies set closed_at = now()')
    expect(await refusal(client, OPEN, GERMANY)).toBe('FC008')
    const { rows } = await client.query('select code from app_public.currencies')
    expect(rows).toEqual([{ code: 'EUR' }])
  }))

test.each([
  ['a country in small letters', ['de', 'EUR', '19', '5']],
  ['a currency with a symbol', ['DE', '€', '19', '5']],
  ['a VAT rate over 100 %', ['DE', 'EUR', '190', '5']],
  ['a VAT rate with 5 decimal places', ['DE', 'EUR', '19.00001', '5']],
  ['a price of a million', ['DE', 'EUR', '19', '1000000']],
])('%s is refused, with a sentence on the constraint', (_value, values) =>
  rolledBack(database, async client => {
    await client.query('savepoint refused')
    const error = await client.query(OPEN, values).catch(reason => reason)
    await client.query('rollback to savepoint refused')
    expect(error).toMatchObject({ code: '23514' })
    const { rows } = await client.query(
      "select obj_description(oid, 'pg_constraint') as comment from pg_constraint where conname = $1",
      [error.constraint],
    )
    expect(rows).toEqual([{ comment: expect.stringMatching(/^@field \w+\nPlease .*\.$/) }])
  }),
)

test('every part is in the audit trail', () =>
  rolledBack(database, async client => {
    await client.query(OPEN, GERMANY)
    const { rows } = await client.query(
      'select action, resource_type, count(*)::integer from app_public.audit_logs where created_at >= now() group by 1, 2 order by 1, 2',
    )
    expect(rows).toEqual([
      { action: 'INSERT', resource_type: 'country_currencies', count: 1 },
      { action: 'INSERT', resource_type: 'currencies', count: 1 },
      { action: 'INSERT', resource_type: 'price_configs', count: 2 },
      { action: 'INSERT', resource_type: 'vat_rates', count: 1 },
      { action: 'SET_PRICE', resource_type: 'price_configs', count: 2 },
    ])
  }))

test('of two sessions that open the same country, the second waits and is refused', async () => {
  await interleave(database, { first: 'owner', second: 'owner' }, async ({ first, second }) => {
    await first.query(OPEN, ['AT', 'EUR', '20', '5'])
    const waiting = await second.startBlocked(OPEN, ['AT', 'EUR', '10', '9'])
    await first.commit()
    expect(await sqlstate(waiting.result)).toBe('FC008')
  })
  expect(await configurationOf(database.owner, 'AT')).toMatchObject({
    rates: expect.stringContaining('20.00'),
    prices: expect.stringMatching(/dealer,5.00,.*individual,5.00,/),
  })
})
