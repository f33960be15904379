/** The recipe that syncs a stock of 500 cars, run as a dealer's software runs it. */

import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { makeApiKey } from '../support/apiKeys.ts'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { EXACT_COUNTING, metric, onlyLimits } from '../support/limits.ts'
import { makeAdmin, makeSeller, type Seller } from '../support/seller.ts'
import { runScript } from '../support/shell.ts'
import { single } from '../support/testData.ts'
import { type Recipes, writeRecipes } from './recipes.ts'

type Car = { id: string; arrived: string; title: string; price: string; currency: string }

const CARS = 500
const SUMMARY = /(\d+) published, (\d+) updated, (\d+) withdrawn, (\d+) problems\n$/

let database: TestDatabase
let server: TestServer
let recipes: Recipes
let seller: Seller
let apiKey: string
let stock: Car[]

beforeAll(async () => {
  recipes = await writeRecipes()
  database = await cloneDatabase()
  server = await startServer(database, EXACT_COUNTING)
  seller = await makeSeller(database, server)
  apiKey = (await makeApiKey(server, seller.token, seller.dealerId)).token
  const [car] = JSON.parse(await readFile(join(recipes.directory, 'stock.json'), 'utf8')) as [Car]
  stock = Array.from({ length: CARS }, (_, number) => ({ ...car, id: `A-${number}` }))
})

afterAll(async () => {
  await server.stop()
  await database.drop()
  recipes.remove()
})

/** Runs the script on the stock: its exit code, and its counts or else its output. */
async function sync(cars = stock) {
  await writeFile(join(recipes.directory, 'stock.json'), JSON.stringify(cars))
  const { status, output } = await runScript(
    `'${process.execPath}' sync.mjs stock.json`,
    { FORECOURT_URL: `${server.url}/graphql`, FORECOURT_API_KEY: apiKey, FORECOURT_DEALER: seller.dealerId },
    recipes.directory,
  )
  return [status, ...(SUMMARY.exec(output)?.slice(1).map(Number) ?? [output])]
}

/** The number of live listings, of all listings, and of charges. */
async function published(): Promise<number[]> {
  const { rows } = await database.owner.query<{ counts: number[] }>(
    `select array[count(distinct l.id) filter (where l.status in ('pending', 'active')), count(distinct l.id), count(c.id)]::int[] as counts
     from app_public.listings as l left join app_public.listing_consumptions as c on c.listing_id = l.id
     where l.dealer_id = $1`,
    [seller.dealerId],
  )
  return rows[0]?.counts ?? []
}

const listingOf = (externalId: string) =>
  single(database.owner, 'select id from app_public.listings where external_id = $1', [externalId])

test('two runs at once publish 500 cars once, within the limit', async () => {
  await onlyLimits({ database, servers: [server] }, { listing_batch: { max: 4, window: 1 } })
  const runs = await Promise.all([sync(), sync()])
  // the run that starts later may find cars that the other one has published
  expect(runs.map(([code, _published, ...others]) => [code, ...others])).toEqual(Array(2).fill([0, 0, 0, 0]))
  expect(await published()).toEqual([CARS, CARS, CARS])
  expect(
    await metric(server, 'rate_limit_checks_total{policy="listing_batch",outcome="refused"}'),
  ).toBeGreaterThan(0)
})

test('the same stock changes nothing', async () => {
  expect(await sync()).toEqual([0, 0, 0, 0, 0])
})

test('a stock that has changed updates, withdraws and publishes only what differs', async () => {
  const [, , repriced, renamed, ...rest] = stock as [Car, Car, Car, Car, ...Car[]]
  const added = { ...repriced, id: 'B-1' }
  stock = [{ ...repriced, price: '19900.50' }, { ...renamed, title: 'Golf VIII GTI' }, ...rest, added]
  expect(await sync()).toEqual([0, 1, 2, 2, 0])
  expect(await published()).toEqual([CARS - 1, CARS + 1, CARS + 1])
  expect(await sync()).toEqual([0, 0, 0, 0, 0])
})

test('a car that comes back is published again, and one that was rejected is only reported', async () => {
  const [, ...rest] = stock as [Car, ...Car[]]
  const returned = { ...rest[0], id: 'A-0', arrived: '2027-01-07' } as Car
  const input = { listingId: await listingOf('B-1'), decision: 'REJECT', reason: 'A test' }
  await server.call(
    'mutation ($input: ModerateListingInput!) { moderateListing(input: $input) { listing { id } } }',
    { token: await makeAdmin(database, server), variables: { input } },
  )
  stock = [...stock, returned]
  expect(await sync()).toEqual([1, 1, 0, 0, 1])
})

test('an empty stock ends no listing', async () => {
  expect((await sync([]))[0]).not.toBe(0)
  expect((await published())[0]).toBeGreaterThan(CARS - 3)
})
