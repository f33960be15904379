/** verify_listings_from() checks the listings in steps, each over whole dealers. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, rolledBack, type TestDatabase } from '../support/database.ts'
import { listingsInOrder } from '../support/ledger.ts'
import { makeCountry, makeDealer, makeUser, publish } from '../support/testData.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

/** Makes a dealer for each number, with that many listings, and returns the dealers ordered by id. */
async function makeSellers(client: pg.PoolClient, listings: number[]): Promise<string[]> {
  const userId = await makeUser(client)
  const dealerIds: string[] = []
  for (let count = 0; count < listings.length; count += 1) dealerIds.push(await makeDealer(client, userId))
  dealerIds.sort()
  await become(client, { dealer: userId })
  for (const [index, dealerId] of dealerIds.entries())
    for (let number = 0; number < (listings[index] as number); number += 1) await publish(client, dealerId)
  await client.query("reset role; set local session_replication_role = 'replica'")
  return dealerIds
}

test('each step covers whole dealers', () =>
  rolledBack(database, async client => {
    await makeCountry(client)
    const [first, , third, , last] = await makeSellers(client, [1, 1, 5, 0, 1])
    const nextAfter = async (dealerId: string | undefined, size: number) => {
      const { rows } = await client.query('select * from app_private.verify_listings_from($1, $2)', [
        dealerId,
        size,
      ])
      return rows[0]
    }
    expect(await nextAfter(first, 1)).toEqual({ in_order: true, next_dealer_id: third })
    expect(await nextAfter(third, 1)).toEqual({ in_order: true, next_dealer_id: last })
    expect(await nextAfter(last, 1)).toEqual({ in_order: true, next_dealer_id: null })
    expect(await nextAfter(first, 8)).toEqual({ in_order: true, next_dealer_id: null })
  }))

test.each([0, 1, 2])('the steps also check a dealer that has ledger rows but no listings: dealer %d', index =>
  rolledBack(database, async client => {
    await makeCountry(client)
    const dealerIds = await makeSellers(client, [1, 1, 1])
    await client.query('delete from app_public.listings where dealer_id = $1', [dealerIds[index]])
    for (const size of [1, 2, 10]) expect(await listingsInOrder(client, size)).toBe(false)
    await client.query('delete from app_public.listing_consumptions where dealer_id = $1', [dealerIds[index]])
    for (const size of [1, 2, 10]) expect(await listingsInOrder(client, size)).toBe(true)
  }),
)
