/** The daily check for pricing configuration that is missing or will end soon. */
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

async function alertMessages(client: pg.PoolClient): Promise<string[]> {
  const { rows } = await client.query<{ message: string }>(
    "select message from app_private.alerts where kind = 'pricing_gap' order by message",
  )
  return rows.map(({ message }) => message)
}

/** Makes a country with a dealer and a package, but without a VAT rate. */
async function makeGap(client: pg.PoolClient): Promise<void> {
  await makeCountry(client, { vatRate: null })
  await makeDealer(client, await makeUser(client))
  await makePackage(client)
}

test('a complete configuration raises no alert', () =>
  rolledBack(database, async client => {
    await makeCountry(client)
    await makeDealer(client, await makeUser(client))
    await makePackage(client)
    expect(await alertGaps(client)).toBe(0)
    expect(await alertMessages(client)).toEqual([])
  }))

test('each missing configuration of a country raises one alert a day', () =>
  rolledBack(database, async client => {
    await makeGap(client)
    await makeDealer(client, await makeUser(client), 'XX')
    expect(await alertGaps(client)).toBe(5)
    const expected = [
      'DE has no vat rate now.',
      'XX has no currency now.',
      'XX has no package now.',
      'XX has no price now.',
      'XX has no vat rate now.',
    ]
    expect(await alertMessages(client)).toEqual(expected)
    expect(await alertGaps(client)).toBe(0)
    // as if the alerts were from an earlier day
    await client.query("update app_private.alerts set key = key || ' then'")
    expect(await alertGaps(client)).toBe(5)
  }))

test('several gaps of one kind raise one alert with the start of the first gap and a list of all', () =>
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
    expect(await alertMessages(client)).toEqual([
      expect.stringMatching(/^DE has no vat rate from \d{4}-\d\d-\d\d \d\d:\d\d UTC\.$/),
    ])
    const { rows } = await client.query('select details from app_private.alerts')
    expect(rows).toMatchObject([{ details: { country: 'DE', missing: 'vat_rate' } }])
    expect(rows[0].details.gaps).toHaveLength(2)
    expect(rows[0].details.gaps[1].ends_at).toBeNull()
  }))
