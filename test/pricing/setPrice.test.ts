/** set_price(): a new price closes the one before it, and an existing price never changes. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { makeCountry } from '../support/testData.ts'
import { interleave, sqlstate } from '../support/transactions.ts'

const SET = "select * from app_private.set_price($1, 'dealer', 'pay_per_listing', $2, $3)"

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

/** The listing prices of a country with their periods, ordered by version. */
async function priceHistory(db: Pick<pg.ClientBase, 'query'>, country = 'DE'): Promise<string[]> {
  const { rows } = await db.query<{ line: string }>(
    `select format('%s: %s %s [%s, %s)', price_version, unit_price_net, currency,
       (lower(valid) at time zone 'UTC')::date, (upper(valid) at time zone 'UTC')::date) as line
     from app_public.price_configs where country = $1 and pricing_type = 'pay_per_listing' order by price_version`,
    [country],
  )
  return rows.map(({ line }) => line)
}

test('a new price ends the one before it and gets the next version and the currency of the country', () =>
  rolledBack(database, async client => {
    await client.query("set local timezone to 'UTC'")
    await makeCountry(client, { country: 'CH', currency: 'CHF', price: null })
    await client.query(SET, ['CH', '5.00', '2024-01-01'])
    await client.query(SET, ['CH', '6.50', '2025-01-01'])
    await client.query(SET, ['CH', '7.00', '2026-01-01'])
    expect(await priceHistory(client, 'CH')).toEqual([
      '1: 5.00 CHF [2024-01-01, 2025-01-01)',
      '2: 6.50 CHF [2025-01-01, 2026-01-01)',
      '3: 7.00 CHF [2026-01-01, )',
    ])
    const { rows } = await client.query(
      "select new_values from app_public.audit_logs where action = 'SET_PRICE'",
    )
    expect(rows).toHaveLength(3)
  }))

test('each segment and pricing type has its own version numbers', () =>
  rolledBack(database, async client => {
    await makeCountry(client)
    const set = 'select price_version from app_private.set_price($1, $2, $3, 1, $4)'
    for (const values of [
      ['DE', 'individual', 'pay_per_listing', '2024-01-01'],
      ['DE', 'dealer', 'premium_fee', '2024-01-01'],
    ]) {
      expect((await client.query(set, values)).rows).toEqual([{ price_version: 1 }])
    }
    const { rows } = await client.query(set, ['DE', 'dealer', 'pay_per_listing', '2024-01-01'])
    expect(rows).toEqual([{ price_version: 2 }])
  }))

test('a price of one country ends none of another country, segment or pricing type, and has its own version', () =>
  rolledBack(database, async client => {
    await makeCountry(client)
    await makeCountry(client, { country: 'CH', currency: 'CHF' })
    const set = 'select app_private.set_price($1, $2, $3, 1, $4)'
    await client.query(set, ['DE', 'individual', 'pay_per_listing', '2020-01-01'])
    await client.query(set, ['DE', 'dealer', 'premium_fee', '2020-01-01'])
    await client.query(SET, ['DE', '6', '2024-01-01'])
    await client.query(SET, ['CH', '7', '2025-01-01'])
    const { rows } = await client.query(
      `select concat_ws(' ', country, segment, pricing_type, price_version, upper(valid)::date) as line
       from app_public.price_configs order by country, segment, pricing_type, price_version`,
    )
    expect(rows.map(({ line }) => line)).toEqual([
      'CH dealer pay_per_listing 1 2025-01-01',
      'CH dealer pay_per_listing 2',
      'DE dealer pay_per_listing 1 2024-01-01',
      'DE dealer pay_per_listing 2',
      'DE dealer premium_fee 1',
      'DE individual pay_per_listing 1',
    ])
  }))

test('a refused price does not end the current one', () =>
  rolledBack(database, async client => {
    await client.query("set local timezone to 'UTC'")
    await makeCountry(client)
    expect(await refusal(client, SET, ['DE', '-1', '2025-01-01'])).toBe('23514')
    expect(await refusal(client, SET, ['IT', '5', '2025-01-01'])).toBe('FC004')
    expect(await priceHistory(client)).toEqual(['1: 5.00 EUR [2020-01-01, )'])
  }))

test('a price cannot start at or before the start of a later price', () =>
  rolledBack(database, async client => {
    await client.query("set local timezone to 'UTC'")
    await makeCountry(client)
    await client.query(SET, ['DE', '6', '2025-01-01'])
    expect(await refusal(client, SET, ['DE', '7', '2025-01-01'])).toBe('23P01')
    expect(await refusal(client, SET, ['DE', '7', '2024-01-01'])).toBe('23P01')
    expect(await priceHistory(client)).toEqual([
      '1: 5.00 EUR [2020-01-01, 2025-01-01)',
      '2: 6.00 EUR [2025-01-01, )',
    ])
  }))

const EDITS = [
  'unit_price_net = 4',
  "segment = 'individual'",
  "pricing_type = 'premium_fee'",
  'price_version = 9',
  "country = 'AT'",
  "currency = 'CHF'",
  'id = gen_random_uuid()',
  "valid = '[2021-01-01,)'",
  "valid = '[2019-01-01,)'",
  "valid = '(2020-01-01, 2030-01-01)'",
  "valid = '[2020-01-01, 2031-01-01)'",
  "valid = '(,)'",
  "valid = 'empty'",
  "valid = '[2020-01-01, 2021-01-01)', unit_price_net = 4",
]

test.each(EDITS)('a price cannot be edited: %s', edit =>
  rolledBack(database, async client => {
    await makeCountry(client, { price: null })
    await client.query(
      `insert into app_public.price_configs (country, segment, pricing_type, unit_price_net, currency, price_version, valid)
       values ('DE', 'dealer', 'pay_per_listing', 5, 'EUR', 1, '[2020-01-01, 2030-01-01)')`,
    )
    expect(await refusal(client, `update app_public.price_configs set ${edit}`)).toBe('55000')
  }),
)

test('a price cannot be removed, and its only possible change is an earlier end', () =>
  rolledBack(database, async client => {
    await makeCountry(client)
    expect(await refusal(client, 'delete from app_public.price_configs')).toBe('55000')
    await client.query("update app_public.price_configs set valid = '[2020-01-01, 2025-01-01)'")
    const reopen = "update app_public.price_configs set valid = '[2020-01-01,)'"
    expect(await refusal(client, reopen)).toBe('55000')
  }))

test('a price without a start can also be ended', () =>
  rolledBack(database, async client => {
    await makeCountry(client, { price: null })
    await client.query(
      `insert into app_public.price_configs (country, segment, pricing_type, unit_price_net, currency, price_version, valid)
       values ('DE', 'dealer', 'pay_per_listing', 5, 'EUR', 1, '(,)')`,
    )
    await client.query(SET, ['DE', '6', '2025-01-01'])
    expect(await priceHistory(client)).toHaveLength(2)
  }))

test('the second of two concurrent prices waits and follows the first', async () => {
  await makeCountry(database.owner, { country: 'AT' })
  await interleave(database, { first: 'owner', second: 'owner' }, async ({ first, second }) => {
    await first.query(SET, ['AT', '6', '2025-01-01Z'])
    const waiting = await second.startBlocked(SET, ['AT', '7', '2026-01-01Z'])
    await first.commit()
    await waiting.result
    await second.commit()
  })
  expect(await priceHistory(database.owner, 'AT')).toEqual([
    '1: 5.00 EUR [2020-01-01, 2025-01-01)',
    '2: 6.00 EUR [2025-01-01, 2026-01-01)',
    '3: 7.00 EUR [2026-01-01, )',
  ])
})

test('the second of two concurrent prices with the same start is refused and changes nothing', async () => {
  await makeCountry(database.owner, { country: 'FR' })
  await interleave(database, { first: 'owner', second: 'owner' }, async ({ first, second }) => {
    await first.query(SET, ['FR', '6', '2025-01-01Z'])
    const waiting = await second.startBlocked(SET, ['FR', '7', '2025-01-01Z'])
    await first.commit()
    expect(await sqlstate(waiting.result)).toBe('23P01')
  })
  expect(await priceHistory(database.owner, 'FR')).toEqual([
    '1: 5.00 EUR [2020-01-01, 2025-01-01)',
    '2: 6.00 EUR [2025-01-01, )',
  ])
})

test('two concurrent first prices get the versions 1 and 2', async () => {
  await makeCountry(database.owner, { country: 'NL', price: null })
  await interleave(database, { first: 'owner', second: 'owner' }, async ({ first, second }) => {
    await first.query(SET, ['NL', '6', '2025-01-01Z'])
    const waiting = await second.startBlocked(SET, ['NL', '7', '2026-01-01Z'])
    await first.commit()
    await waiting.result
    await second.commit()
  })
  expect(await priceHistory(database.owner, 'NL')).toEqual([
    '1: 6.00 EUR [2025-01-01, 2026-01-01)',
    '2: 7.00 EUR [2026-01-01, )',
  ])
})
