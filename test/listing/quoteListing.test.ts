/** Quotes: a quote equals the charge of the next publication and writes nothing. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { countDealerRows } from '../support/ledger.ts'
import {
  type Country,
  makeCountry,
  makeDealer,
  makeSubscription,
  makeUser,
  publish,
} from '../support/testData.ts'

const QUOTE = 'select * from app_public.quote_listing($1)'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

type Quote = {
  source: string
  net_amount: string
  vat_rate: string
  gross_amount: string
  currency: string
  free_remaining: number
  subscription_remaining: number
}

/** Runs `work` with a dealer in a configured country, and rolls everything back. */
function withDealer(
  country: Country,
  work: (client: pg.PoolClient, dealerId: string, userId: string) => Promise<void>,
): Promise<void> {
  return rolledBack(database, async client => {
    await makeCountry(client, country)
    await client.query("insert into app_public.currencies values ('EUR', 2) on conflict do nothing")
    const userId = await makeUser(client)
    await work(client, await makeDealer(client, userId, country.country), userId)
  })
}

async function readQuote(client: pg.PoolClient, dealerId: string): Promise<Quote> {
  const { rows } = await client.query<Quote>(QUOTE, [dealerId])
  return rows[0] as Quote
}

/** Publishes a listing and returns its charge. */
async function publishAndReadCharge(client: pg.PoolClient, dealerId: string): Promise<Partial<Quote>> {
  const listingId = await publish(client, dealerId)
  const { rows } = await client.query(
    'select source, net_amount, vat_rate, gross_amount, currency from app_public.listing_consumptions where listing_id = $1',
    [listingId],
  )
  return rows[0]
}

test('a quote equals the next charge from every source, and counts down the remaining quota', () =>
  withDealer({ freeListings: 1, vatRate: 7, price: '0.50' }, async (client, dealerId, userId) => {
    await makeSubscription(client, dealerId, { listings: 1 })
    await become(client, { dealer: userId })
    const quotes: Quote[] = []
    for (let number = 1; number <= 4; number += 1) {
      const quoted = await readQuote(client, dealerId)
      const { free_remaining: _free, subscription_remaining: _included, ...amounts } = quoted
      expect(await publishAndReadCharge(client, dealerId)).toEqual(amounts)
      quotes.push(quoted)
    }
    const free = { net_amount: '0.00', vat_rate: '7.00', gross_amount: '0.00', currency: 'EUR' }
    const paid = { ...free, net_amount: '0.50', gross_amount: '0.54' }
    expect(quotes).toEqual([
      { source: 'free_quota', ...free, free_remaining: 1, subscription_remaining: 1 },
      { source: 'subscription_quota', ...free, free_remaining: 0, subscription_remaining: 1 },
      { source: 'paid_extra', ...paid, free_remaining: 0, subscription_remaining: 0 },
      { source: 'paid_extra', ...paid, free_remaining: 0, subscription_remaining: 0 },
    ])
  }))

test('a quote in a currency without minor units equals the next charge', () =>
  withDealer(
    { country: 'JP', currency: 'JPY', minorUnits: 0, vatRate: 10, price: '505' },
    async (client, dealerId, userId) => {
      await become(client, { dealer: userId })
      const {
        free_remaining: _free,
        subscription_remaining: _included,
        ...amounts
      } = await readQuote(client, dealerId)
      expect(amounts).toMatchObject({ net_amount: '505', gross_amount: '556', currency: 'JPY' })
      expect(await publishAndReadCharge(client, dealerId)).toEqual(amounts)
    },
  ))

test('a quote writes nothing: it works in a read-only transaction', () =>
  withDealer({ freeListings: 1 }, async (client, dealerId, userId) => {
    await makeSubscription(client, dealerId)
    const before = await countDealerRows(client, dealerId)
    await become(client, { dealer: userId })
    await client.query('set transaction read only')
    expect(await readQuote(client, dealerId)).toMatchObject({ source: 'free_quota' })
    await become(client, 'owner')
    expect(await countDealerRows(client, dealerId)).toEqual(before)
  }))

test('a quote is refused with the same code as the publication', () =>
  withDealer({ price: null }, async (client, dealerId, userId) => {
    const create = "select app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 1, 'EUR')"
    await become(client, { dealer: userId })
    for (const call of [QUOTE, create]) expect(await refusal(client, call, [dealerId])).toBe('FC005')
    await become(client, 'owner')
    await makeSubscription(client, dealerId, { listings: 0, overage: 'block' })
    await become(client, { dealer: userId })
    for (const call of [QUOTE, create]) expect(await refusal(client, call, [dealerId])).toBe('FC009')
    for (const call of [QUOTE, create]) expect(await refusal(client, call, [randomUUID()])).toBe('FC004')
  }))
