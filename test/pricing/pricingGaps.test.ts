/** The view of pricing gaps: which configuration is missing now or within 90 days. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { makeAdminUser, makeCountry, makeDealer, makePackage, makeUser } from '../support/testData.ts'

let database: TestDatabase
let userId: string

beforeAll(async () => {
  database = await cloneDatabase()
  userId = await makeUser(database.owner)
})

afterAll(() => database.drop())

/** The gaps as text: country, missing configuration, start and end in days from now, and since when. */
async function readGaps(client: pg.PoolClient): Promise<string[]> {
  const days = (column: string) =>
    `coalesce((extract(epoch from ${column} - now()) / 86400)::numeric(9, 2)::float8::text, '-')`
  const { rows } = await client.query<{ line: string }>(
    `select format('%s %s: %s to %s, since %s', country, missing, ${days('starts_at')}, ${days('ends_at')}, ${days('since')}) as line
     from app_public.pricing_gaps order by country, missing, starts_at`,
  )
  return rows.map(({ line }) => line)
}

/** Runs `work` in a country with a currency, a dealer and a package, but without VAT rates. Rolls everything back. */
function inCountry(
  work: (client: pg.PoolClient) => Promise<void>,
  price: string | null = '5',
): Promise<void> {
  return rolledBack(database, async client => {
    await makeCountry(client, { vatRate: null, price })
    await makeDealer(client, userId)
    await makePackage(client)
    await work(client)
  })
}

/** Adds a VAT rate that is valid between two days from now; null means unbounded. */
async function addVat(client: pg.PoolClient, from: number | null, to: number | null): Promise<void> {
  await client.query(
    `insert into app_public.vat_rates (country, rate, valid)
     values ('DE', 19, tstzrange(now() + $1 * interval '24 hours', now() + $2 * interval '24 hours'))`,
    [from, to],
  )
}

test('a country without configuration has a gap of every kind, without a "since"', () =>
  rolledBack(database, async client => {
    await makeDealer(client, userId, 'XX')
    expect(await readGaps(client)).toEqual([
      'XX currency: 0 to -, since -',
      'XX package: 0 to -, since -',
      'XX price: 0 to -, since -',
      'XX vat_rate: 0 to -, since -',
    ])
  }))

test('a country with unlimited configuration has no gap', () =>
  inCountry(async client => {
    await addVat(client, -100, null)
    expect(await readGaps(client)).toEqual([])
  }))

test('a gap between two VAT rates lasts until the next rate, since the end of the last one', () =>
  inCountry(async client => {
    await addVat(client, -100, -60)
    await addVat(client, -50, -3)
    await addVat(client, 10, null)
    expect(await readGaps(client)).toEqual(['DE vat_rate: 0 to 10, since -3'])
  }))

test('a gap before the first VAT rate lasts until the rate, without a "since"', () =>
  inCountry(async client => {
    await addVat(client, 10, null)
    expect(await readGaps(client)).toEqual(['DE vat_rate: 0 to 10, since -'])
  }))

test('a VAT rate that will end leaves a gap from its end on', () =>
  inCountry(async client => {
    await addVat(client, null, 20)
    expect(await readGaps(client)).toEqual(['DE vat_rate: 20 to -, since 20'])
  }))

test('each gap of the next 90 days is a separate row, and adjoining rates leave no gap', () =>
  inCountry(async client => {
    await addVat(client, -5, 20)
    await addVat(client, 25, 30)
    await addVat(client, 30, 40)
    await addVat(client, 42, 95)
    expect(await readGaps(client)).toEqual([
      'DE vat_rate: 20 to 25, since 20',
      'DE vat_rate: 40 to 42, since 40',
    ])
  }))

test('a gap that begins after more than 90 days is not shown', () =>
  inCountry(async client => {
    await addVat(client, -5, 91)
    expect(await readGaps(client)).toEqual([])
  }))

test('a gap has the same key before and after it begins', () =>
  inCountry(async client => {
    await addVat(client, -100, -3)
    await addVat(client, 10, 20)
    const { rows } = await client.query<{ key: string; expected: string; began: boolean }>(
      `select key, country || '/' || missing || '/' || to_char(since at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as expected,
         since < now() as began
       from app_public.pricing_gaps order by starts_at`,
    )
    expect(rows.map(({ began }) => began)).toEqual([true, false])
    for (const { key, expected } of rows) expect(key).toBe(expected)
  }))

test.each([
  ['a microsecond before', '- 1', 1],
  ['at', '+ 0', 0],
])('a gap is shown if it begins before the end of the 90 days: %s', (_when, offset, gaps) =>
  inCountry(async client => {
    await client.query(
      `insert into app_public.vat_rates (country, rate, valid)
       values ('DE', 19, tstzrange(null, now() + 90 * interval '24 hours' ${offset} * interval '1 microsecond'))`,
    )
    expect(await readGaps(client)).toHaveLength(gaps)
  }),
)

test('only the listing price for dealers closes a price gap', () =>
  inCountry(async client => {
    await addVat(client, null, null)
    await client.query("select app_private.set_price('DE', 'individual', 'pay_per_listing', 1, '2020-01-01')")
    await client.query("select app_private.set_price('DE', 'dealer', 'premium_fee', 1, '2020-01-01')")
    expect(await readGaps(client)).toEqual(['DE price: 0 to -, since -'])
    await client.query(
      "select app_private.set_price('DE', 'dealer', 'pay_per_listing', 1, now() + interval '48 hours')",
    )
    expect(await readGaps(client)).toEqual(['DE price: 0 to 2, since -'])
  }, null))

test('a package that is not on sale does not close a package gap', () =>
  inCountry(async client => {
    await addVat(client, null, null)
    await client.query('update app_public.dealer_packages set is_active = false')
    expect(await readGaps(client)).toEqual(['DE package: 0 to -, since -'])
  }))

test('a country is checked while it has an active dealer or a package on sale', () =>
  inCountry(async client => {
    await client.query('update app_public.dealers set is_active = false')
    expect(await readGaps(client)).toEqual(['DE vat_rate: 0 to -, since -'])
    await client.query('update app_public.dealer_packages set is_active = false')
    expect(await readGaps(client)).toEqual([])
  }))

test('only an admin can see the gaps', () =>
  inCountry(async client => {
    await become(client, { admin: await makeAdminUser(client) })
    expect(await readGaps(client)).toEqual(['DE vat_rate: 0 to -, since -'])
    for (const as of ['visitor', 'authenticator', { dealer: userId }] as const) {
      await become(client, as)
      expect(await refusal(client, 'select from app_public.pricing_gaps')).toBe('42501')
    }
  }))
