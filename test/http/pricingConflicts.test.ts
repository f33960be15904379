/** Refusals for missing pricing configuration are recorded, although their transactions are rolled back. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { recordLog } from '../support/recordedLog.ts'
import { makeSeller, makeSellerIn, type Seller } from '../support/seller.ts'
import { makePackage } from '../support/testData.ts'
import { holding, until } from '../support/waits.ts'

let database: TestDatabase
let server: TestServer
const recorded = recordLog('info')

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database, {}, recorded.log)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

type Conflict = { pricing_type: string | null; configuration: string; code: string; count: number }

async function readConflicts(country: string): Promise<Conflict[]> {
  const { rows } = await database.owner.query<Conflict>(
    `select pricing_type, configuration, code, count::integer from app_private.pricing_conflicts
     where country = $1 and segment = 'dealer' order by configuration, pricing_type nulls last`,
    [country],
  )
  return rows
}

/** Waits until this many conflicts of the country are recorded. */
const untilRecorded = (country: string, count: number) =>
  until(`${count} conflicts are recorded`, async () => {
    const recordedSoFar = await readConflicts(country)
    return recordedSoFar.reduce((sum, conflict) => sum + conflict.count, 0) >= count
  })

const publish = ({ token, dealerId }: Seller) => createListing(server, token, dealerId)

const quote = ({ token, dealerId }: Seller) =>
  server.call('query ($dealerId: UUID!) { quoteListing(dealerId: $dealerId) { source } }', {
    token,
    variables: { dealerId },
  })

async function buy({ token, dealerId, country }: Seller) {
  const packageId = await makePackage(database.owner, { country })
  return server.call(
    'mutation ($input: BuyPackageInput!) { buyPackage(input: $input) { checkout { url } } }',
    {
      token,
      variables: { input: { dealerId, packageId, idempotencyKey: randomUUID() } },
    },
  )
}

async function readConflictMetrics(country: string): Promise<string[]> {
  const text = await (await fetch(`${server.url}/metrics`)).text()
  const lines = text.split('\n').filter(line => line.startsWith('pricing_conflicts_total{'))
  return lines.filter(line => line.includes(`country="${country}"`)).sort()
}

const missing = { code: 'pricing_config_missing', count: 1 }

test('a refused listing, quote and purchase are recorded with the missing configuration and the price type', async () => {
  const seller = await makeSeller(database, server, { vatRate: null })
  const responses = [await publish(seller), await quote(seller), await buy(seller)]
  expect(responses.map(({ status }) => status)).toEqual([409, 409, 409])
  expect(responses.map(({ errors }) => errors[0]?.extensions.detail)).toMatchObject([
    { missing: 'vat_rate', segment: 'DEALER', pricingType: 'PAY_PER_LISTING' },
    { missing: 'vat_rate', segment: 'DEALER', pricingType: 'PAY_PER_LISTING' },
    { missing: 'vat_rate', segment: 'DEALER' },
  ])
  await untilRecorded(seller.country, 3)
  expect(await readConflicts(seller.country)).toEqual([
    { ...missing, pricing_type: 'pay_per_listing', configuration: 'vat_rate', count: 2 },
    { ...missing, pricing_type: null, configuration: 'vat_rate' },
  ])
  const labels = (type: string) =>
    `{country="${seller.country}",pricing_type="${type}",code="pricing_config_missing"}`
  expect(await readConflictMetrics(seller.country)).toEqual([
    `pricing_conflicts_total${labels('none')} 1`,
    `pricing_conflicts_total${labels('pay_per_listing')} 2`,
  ])
})

test('an ambiguous price is recorded as ambiguous', async () => {
  const seller = await makeSeller(database, server)
  await database.owner.query(
    'alter table app_public.price_configs drop constraint price_configs_one_at_a_time',
  )
  await database.owner.query(
    `select app_private.set_price('${seller.country}', 'dealer', 'pay_per_listing', 9, '2019-01-01')`,
  )
  expect((await publish(seller)).status).toBe(409)
  await untilRecorded(seller.country, 1)
  expect(await readConflicts(seller.country)).toEqual([
    { pricing_type: 'pay_per_listing', configuration: 'price', code: 'pricing_config_ambiguous', count: 1 },
  ])
})

test('other refusals are not recorded', async () => {
  const seller = await makeSeller(database, server)
  const stranger = await makeSellerIn(database, server, seller.country)
  expect((await publish({ ...seller, token: stranger.token })).status).toBe(403)
  expect((await createListing(server, seller.token, seller.dealerId, { title: '' })).status).toBe(422)
  expect(await readConflictMetrics(seller.country)).toEqual([])
})

test('200 conflicts are recorded with at most one statement a second, and none is lost', async () => {
  const seller = await makeSeller(database, server, { price: null })
  await database.owner.query(
    `create table public.recordings (at timestamptz default clock_timestamp());
     create function public.note_recording() returns trigger language plpgsql security definer as $$
     begin insert into public.recordings default values; return null; end $$;
     create trigger noted after insert or update on app_private.pricing_conflicts
       for each statement execute function public.note_recording()`,
  )
  const started = Date.now()
  for (let round = 0; round < 5; round += 1) {
    const responses = await Promise.all(Array.from({ length: 40 }, () => publish(seller)))
    expect(responses.every(({ status }) => status === 409)).toBe(true)
  }
  await untilRecorded(seller.country, 200)
  const seconds = (Date.now() - started) / 1000
  const recordings = await database.owner.query('select from public.recordings')
  // an insert with "on conflict" fires the triggers of both
  expect(recordings.rowCount).toBeLessThanOrEqual(2 * Math.ceil(seconds + 1))
  expect(await readConflicts(seller.country)).toEqual([
    { ...missing, pricing_type: 'pay_per_listing', configuration: 'price', count: 200 },
  ])
})

test('a failure to record conflicts does not change the response and loses no conflict', async () => {
  const seller = await makeSeller(database, server, { price: null })
  await holding(
    database,
    'lock table app_private.pricing_conflicts in access exclusive mode',
    [],
    async () => {
      expect((await publish(seller)).status).toBe(409)
      await until('the failure is logged', () =>
        recorded.lines.some(({ msg }) => msg === 'could not record pricing conflicts'),
      )
      const again = await publish(seller)
      expect([again.status, again.errors[0]?.extensions.code]).toEqual([409, 'pricing_config_missing'])
    },
  )
  // a stop records the remaining conflicts
  await server.stop()
  expect(await readConflicts(seller.country)).toMatchObject([{ count: 2 }])
  server = await startServer(database, {}, recorded.log)
})
