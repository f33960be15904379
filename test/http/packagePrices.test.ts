/** `priceGross` and `vatRate` of packages over HTTP: for everybody, equal to the charge, and null where nothing can be sold. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { buyPackage } from '../support/graphqlOperations.ts'
import { makeAdmin, makeMisconfiguredSeller, makeSeller, newCountry } from '../support/seller.ts'
import { type Country, makeCountry, makePackage } from '../support/testData.ts'

type Row = { priceNet: string; priceGross: string | null; vatRate: string | null; country: string }

let database: TestDatabase
let server: TestServer

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

async function readPrices(country?: string, token?: string): Promise<Row[]> {
  const condition = country === undefined ? '' : `(condition: {country: "${country}"})`
  const { data, errors } = await server.call<{ dealerPackages: { nodes: Row[] } }>(
    `{ dealerPackages${condition} { nodes { country priceNet priceGross vatRate } } }`,
    token === undefined ? {} : { token },
  )
  expect(errors).toEqual([])
  return data.dealerPackages.nodes
}

const EXAMPLES: [options: Country, priceNet: string, priceGross: string, vatRate: string][] = [
  [{ vatRate: 19 }, '49.00', '58.31', '19.00'],
  [{ vatRate: 8.1 }, '49.00', '52.97', '8.10'],
  [{ vatRate: 0 }, '0.00', '0.00', '0.00'],
  [{ vatRate: 7 }, '0.125', '0.14', '7.00'],
  [{ currency: 'JPY', minorUnits: 0, vatRate: 10 }, '505', '556', '10.00'],
  [{ currency: 'BHD', minorUnits: 3, vatRate: 5 }, '1.0005', '1.051', '5.00'],
]

test.each(EXAMPLES)(
  'in a country with %j, a package for %s net costs %s, which is what a purchase charges',
  async (options, priceNet, priceGross, vatRate) => {
    const { country, token, dealerId } = await makeSeller(database, server, options)
    const packageId = await makePackage(database.owner, {
      country,
      priceNet,
      currency: options.currency ?? 'EUR',
    })
    for (const reader of [undefined, token]) {
      expect(await readPrices(country, reader)).toEqual([{ country, priceNet, priceGross, vatRate }])
    }
    const { data } = await buyPackage(server, token, { dealerId, packageId })
    expect(data.buyPackage?.checkout.invoice.grossTotal).toBe(priceGross)
  },
)

test.each(['no VAT', 'two VAT rates'] as const)(
  'a package of a country with %s has a net price, and null for its gross price and VAT rate',
  async change => {
    const { country } = await makeMisconfiguredSeller(database, server, change)
    await makePackage(database.owner, { country })
    expect(await readPrices(country)).toEqual([
      { country, priceNet: '49.00', priceGross: null, vatRate: null },
    ])
  },
)

test('a rate that ends now no longer counts, and the one that starts now does', async () => {
  const country = await makeCountry(database.owner, { country: newCountry(), vatRate: null })
  await makePackage(database.owner, { country })
  await database.owner.query(
    `insert into app_public.vat_rates (country, rate, valid) values
       ($1, 16, tstzrange('2020-01-01', now())), ($1, 7, tstzrange(now(), now() + interval '1 day')),
       ($1, 25, tstzrange(now() + interval '1 day', null))`,
    [country],
  )
  expect(await readPrices(country)).toMatchObject([{ priceGross: '52.43', vatRate: '7.00' }])
})

test('each package of a page has the prices of its own country, also one that an admin sees off sale', async () => {
  const [first, second] = [
    await makeCountry(database.owner, { country: newCountry(), vatRate: 20 }),
    await makeCountry(database.owner, { country: newCountry(), vatRate: 5 }),
  ]
  for (const country of [first, second, first])
    await makePackage(database.owner, { country, priceNet: '10.00' })
  await database.owner.query('update app_public.dealer_packages set is_active = false where country = $1', [
    second,
  ])
  const rows = await readPrices(undefined, await makeAdmin(database, server))
  const grossIn = (country: string) => rows.filter(row => row.country === country).map(row => row.priceGross)
  expect([grossIn(first), grossIn(second)]).toEqual([['12.00', '12.00'], ['10.50']])
})
