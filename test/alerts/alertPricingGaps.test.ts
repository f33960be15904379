/** The daily look at what configuration is missing or soon will be. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { cloneDatabase, rolledBack, type TestDatabase } from '../support/database.ts'
import { makeCountry, makeDealer, makePackage, makeUser, single } from '../support/testData.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

const alertGaps = (client: pg.PoolClient) => single(client, 'select app_private.alert_pricing_gaps()')

async function messages(client: pg.PoolClient): Promise<string[]> {
  const { rows } = await client.query<{ message: string }>(
    "select message from app_private.alerts where kind = 'pricing_gap' order by message",
  )
  return rows.map(({ message }) => message)
}

/** A country with a dealer and a package, and without a VAT rate. */
async function makeGap(client: pg.PoolClient): Promise<void> {
  await makeCountry(client, { vatRate: null })
  await makeDealer(client, await makeUser(client))
  await makePackage(client)
}

test('where nothing is missing nobody is told', () =>
  rolledBack(database, async client => {
    await makeCountry(client)
    await makeDealer(client, await makeUser(client))
    await makePackage(client)
    expect(await alertGaps(client)).toBe(0)
    expect(await messages(client)).toEqual([])
  }))

test('what is missing is told once a day for each country and what it lacks', () =>
  rolledBack(database, async client => {
    await makeGap(client)
    await makeDealer(client, await makeUser(client), 'XX')
    expect(await alertGaps(client)).toBe(5)
    const lacks = [
      'DE has no vat rate now.',
      'XX has no currency now.',
      'XX has no package now.',
      'XX has no price now.',
      'XX has no vat rate now.',
    ]
    expect(await messages(client)).toEqual(lacks)
    expect(await alertGaps(client)).toBe(0)
    // a day goes by
    await client.query("update app_private.alerts set key = key || ' then'")
    expect(await alertGaps(client)).toBe(5)
  }))

test('several gaps of one kind are one alert, which says when the first begins and lists them all', () =>
  rolledBack(database, async client => {
    await makeGap(client)
    for (const [from, to] of [
      [-5, 20],
      [25, 30],
    ]) {
      await client.query(
        `insert into app_public.vat_rates (country, rate, valid)
         values ('DE', 19, tstzrange(now() + $1 * interval '24 hours', now() + $2 * interval '24 hours'))`,
        [from, to],
      )
    }
    expect(await alertGaps(client)).toBe(1)
    expect(await messages(client)).toEqual([
      expect.stringMatching(/^DE has no vat rate from \d{4}-\d\d-\d\d \d\d:\d\d UTC\.$/),
    ])
    const { rows } = await client.query('select details from app_private.alerts')
    expect(rows).toMatchObject([{ details: { country: 'DE', missing: 'vat_rate' } }])
    expect(rows[0].details.gaps).toHaveLength(2)
    expect(rows[0].details.gaps[1].ends_at).toBeNull()
  }))
