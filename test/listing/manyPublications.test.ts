/** A dealer's thousandth listing reads as much as its first, although nothing has analyzed the tables since they were empty. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, databaseAlone, type TestDatabase } from '../support/database.ts'
import { makeCountry, makeDealer, makeSubscription, makeUser } from '../support/testData.ts'
import { tuplesRead } from '../support/tuplesRead.ts'

/** The free quota counts the dealer's free listings, so a publication may read this many rows more than the first. */
const FREE_LISTINGS = 10

/** Listings that one measurement publishes. */
const MEASURED = 100

let database: TestDatabase
let userId: string
let dealers: Record<'free' | 'subscribed' | 'paying', string>

beforeAll(async () => {
  database = await databaseAlone()
  const { owner } = database
  await makeCountry(owner, { country: 'DE', freeListings: FREE_LISTINGS })
  await makeCountry(owner, { country: 'AT' })
  userId = await makeUser(owner)
  dealers = {
    free: await makeDealer(owner, userId),
    subscribed: await makeDealer(owner, userId, 'AT'),
    paying: await makeDealer(owner, userId, 'AT'),
  }
  await makeSubscription(owner, dealers.subscribed, { country: 'AT', listings: 100_000 })
})

afterAll(() => database.drop())

/** Publishes in transactions of ten listings: a transaction cannot remove the row versions that it has replaced itself. */
async function publish(client: pg.PoolClient, dealerId: string, count: number): Promise<void> {
  for (let published = 0; published < count; published += 10) {
    await client.query('begin')
    await become(client, { dealer: userId })
    for (let n = 0; n < 10; n += 1) {
      await client.query(
        `select c.* from app_public.create_listing($1, $2, 'A car', 'auto', 9900, 'EUR') as l
         cross join lateral app_public.consumption_of_listing(l.dealer_id, l.id) as c`,
        [dealerId, randomUUID()],
      )
    }
    await client.query('commit')
  }
}

/** Rows and index entries that each of a hundred publications reads on average. */
async function readPerCall(client: pg.PoolClient, dealerId: string): Promise<number> {
  return (await tuplesRead(database, client, () => publish(client, dealerId, MEASURED))) / MEASURED
}

/** A connection keeps the plans of its first calls, so a new connection measures the plans that are made later. */
async function onNewConnection<Value>(work: (client: pg.PoolClient) => Promise<Value>): Promise<Value> {
  const client = await database.superuser.connect()
  try {
    return await work(client)
  } finally {
    client.release(true)
  }
}

test.each([
  ['free', 600],
  ['subscribed', 600],
  ['paying', 3000],
] as const)(
  'without analyze, the last listings of a %s dealer read as much as its first: %i listings',
  async (name, count) => {
    const dealerId = dealers[name]
    const [first, last] = await onNewConnection(async client => {
      const before = await readPerCall(client, dealerId)
      await publish(client, dealerId, count - 3 * MEASURED)
      return [before, await readPerCall(client, dealerId)]
    })
    const lastPlanned = await onNewConnection(client => readPerCall(client, dealerId))
    expect(last).toBeLessThan(first + FREE_LISTINGS)
    expect(lastPlanned).toBeLessThan(first + FREE_LISTINGS)
  },
)
