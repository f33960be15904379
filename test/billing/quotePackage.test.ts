/** Quotes of packages: a quote equals the charge of the purchase, has the same refusals, and writes nothing. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, rolledBack, type TestDatabase } from '../support/database.ts'
import { countDealerRows } from '../support/ledger.ts'
import { BUY, buy, CANCEL_CHECKOUT, PAY } from '../support/purchases.ts'
import { makeAdminUser, makeCountry, makeDealer, makePackage, makeUser } from '../support/testData.ts'

const QUOTE = 'select * from app_public.quote_package($1, $2)'
const ITEM = `select net_amount, vat_rate, vat_amount, gross_amount, currency from app_public.invoice_items where invoice_id = $1`
const TOTALS = `select net_total as net_amount, vat_total as vat_amount, gross_total as gross_amount, currency
  from app_public.invoices where id = $1`

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

type World = { client: pg.PoolClient; userId: string; dealerId: string; packageId: string }
type Options = Parameters<typeof makeCountry>[1] & { priceNet?: string }

/** Runs `work` as the owner of a dealer in a configured country with a package, and rolls everything back. */
function withPackage(options: Options, work: (world: World) => Promise<void>): Promise<void> {
  return rolledBack(database, async client => {
    const { priceNet = '49.00', ...configuration } = options ?? {}
    const country = await makeCountry(client, configuration)
    const packageId = await makePackage(client, {
      country,
      priceNet,
      currency: configuration.currency ?? 'EUR',
    })
    const userId = await makeUser(client)
    const dealerId = await makeDealer(client, userId, country)
    await become(client, { dealer: userId })
    await work({ client, userId, dealerId, packageId })
  })
}

const EXAMPLES = [
  [{ vatRate: 19 }, ['49.00', '19.00', '9.31', '58.31', 'EUR']],
  [{ vatRate: 8.1, priceNet: '49.00' }, ['49.00', '8.10', '3.97', '52.97', 'EUR']],
  [{ vatRate: 7, priceNet: '0.125' }, ['0.13', '7.00', '0.01', '0.14', 'EUR']],
  [{ vatRate: 0, priceNet: '0' }, ['0.00', '0.00', '0.00', '0.00', 'EUR']],
  [
    { country: 'JP', currency: 'JPY', minorUnits: 0, vatRate: 10, priceNet: '505' },
    ['505', '10.00', '51', '556', 'JPY'],
  ],
  [
    { country: 'BH', currency: 'BHD', minorUnits: 3, vatRate: 5, priceNet: '1.0005' },
    ['1.001', '5.00', '0.050', '1.051', 'BHD'],
  ],
] as const

test.each(EXAMPLES)('a quote equals the item and the invoice of the purchase: %j', (options, amounts) =>
  withPackage(options, async ({ client, dealerId, packageId }) => {
    const [net_amount, vat_rate, vat_amount, gross_amount, currency] = amounts
    const { rows } = await client.query(QUOTE, [dealerId, packageId])
    expect(rows).toEqual([{ net_amount, vat_rate, vat_amount, gross_amount, currency }])
    const invoiceId = await buy(client, dealerId, packageId)
    expect((await client.query(ITEM, [invoiceId])).rows).toEqual(rows)
    expect((await client.query(TOTALS, [invoiceId])).rows).toEqual([
      { net_amount, vat_amount, gross_amount, currency },
    ])
  }),
)

test('a quote follows the price and the VAT rate that are valid now', () =>
  withPackage({ vatRate: null }, async ({ client, userId, dealerId, packageId }) => {
    await become(client, 'owner')
    await client.query(
      `insert into app_public.vat_rates (country, rate, valid)
       values ('DE', 16, tstzrange('2020-01-01', now())), ('DE', 7, tstzrange(now(), null))`,
    )
    await client.query('update app_public.dealer_packages set price_net = 10 where id = $1', [packageId])
    await become(client, { dealer: userId })
    const { rows } = await client.query(QUOTE, [dealerId, packageId])
    expect(rows).toMatchObject([{ net_amount: '10.00', vat_rate: '7.00', gross_amount: '10.70' }])
  }))

test('a quote writes nothing: it works in a read-only transaction, also while an expired checkout is not void yet', () =>
  withPackage({}, async ({ client, userId, dealerId, packageId }) => {
    await buy(client, dealerId, packageId)
    await become(client, 'owner')
    await client.query('update app_public.checkouts set expires_at = created_at')
    const before = await countDealerRows(client, dealerId)
    await become(client, { dealer: userId })
    await client.query('savepoint quote')
    await client.query('set transaction read only')
    expect((await client.query(QUOTE, [dealerId, packageId])).rows).toMatchObject([{ gross_amount: '58.31' }])
    await client.query('rollback to savepoint quote')
    await become(client, 'owner')
    expect(await countDealerRows(client, dealerId)).toEqual(before)
    const { rows } = await client.query('select status from app_public.invoices where dealer_id = $1', [
      dealerId,
    ])
    expect(rows).toEqual([{ status: 'draft' }])
  }))

/** The code and the detail of a refusal, without the moment in it. */
async function refusalOf(client: pg.PoolClient, sql: string, values: unknown[]): Promise<unknown> {
  await client.query('savepoint refusal')
  try {
    await client.query(sql, values)
  } catch (error) {
    await client.query('rollback to savepoint refusal')
    const { code, detail } = error as pg.DatabaseError
    const { at: _at, ...facts } = JSON.parse(detail ?? '{}')
    return { code, ...facts }
  }
  throw new Error(`was not refused: ${sql}`)
}

type Refusal = [name: string, code: string, change: (world: World) => Promise<Partial<World>>]

const asOwner =
  (sql: string) =>
  async ({ client }: World) => {
    await client.query(sql)
    return {}
  }

const REFUSALS: Refusal[] = [
  ['a closed dealer', 'FC003', asOwner('update app_public.dealers set is_active = false')],
  ['a package that does not exist', 'FC004', async () => ({ packageId: randomUUID() })],
  [
    'a package that is not on sale',
    'FC004',
    asOwner('update app_public.dealer_packages set is_active = false'),
  ],
  ['a dealer that does not exist', 'FC004', async () => ({ dealerId: randomUUID() })],
  ['a country without a VAT rate', 'FC005', asOwner('delete from app_public.vat_rates')],
  [
    'a country without a currency',
    'FC005',
    async ({ client, userId }) => ({ dealerId: await makeDealer(client, userId, 'XX') }),
  ],
  [
    'two VAT rates at once',
    'FC006',
    async ({ client }) => {
      await client.query('alter table app_public.vat_rates drop constraint vat_rates_one_at_a_time')
      await client.query(
        "insert into app_public.vat_rates (country, rate, valid) values ('DE', 7, '[2021-01-01,)')",
      )
      return {}
    },
  ],
  [
    'an open checkout',
    'FC008',
    async ({ client, userId, dealerId, packageId }) => {
      await become(client, { dealer: userId })
      await buy(client, dealerId, packageId)
      return {}
    },
  ],
  [
    'a package of another country',
    'FC010',
    async ({ client }) => {
      const country = await makeCountry(client, { country: 'AT' })
      return { packageId: await makePackage(client, { country }) }
    },
  ],
  ['a stranger', 'FC003', async ({ client }) => ({ userId: await makeUser(client) })],
  ['a caller without a user', 'FC001', async () => ({ userId: '' })],
]

test.each(REFUSALS)('quote and purchase are refused alike: %s is %s', (_name, code, change) =>
  withPackage({}, async world => {
    const { client } = world
    await become(client, 'owner')
    const { dealerId, packageId, userId } = { ...world, ...(await change(world)) }
    await become(client, { dealer: userId })
    const refused = await refusalOf(client, QUOTE, [dealerId, packageId])
    expect(refused).toMatchObject({ code })
    expect(await refusalOf(client, BUY, [dealerId, packageId, randomUUID()])).toEqual(refused)
  }),
)

test.each(['paid', 'cancelled'])('after a checkout is %s, a package has a quote again', step =>
  withPackage({}, async ({ client, userId, dealerId, packageId }) => {
    const id = await buy(client, dealerId, packageId)
    await become(client, 'owner')
    const adminId = await makeAdminUser(client)
    await become(client, step === 'paid' ? { admin: adminId } : { dealer: userId })
    await client.query(step === 'paid' ? PAY : CANCEL_CHECKOUT, [id])
    await become(client, { dealer: userId })
    expect((await client.query(QUOTE, [dealerId, packageId])).rows).toHaveLength(1)
    await buy(client, dealerId, packageId)
  }),
)
