/** Index entries read per publication: their number must depend neither on statistics nor on what is stored already. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { publishBatch, row } from '../support/batches.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { makeCountry, makePackage, makeUser } from '../support/testData.ts'
import { committed } from '../support/transactions.ts'

const DEALERS = 4000
const PUBLICATIONS = 150

let database: TestDatabase
let userId: string
let fleetUserId: string
/** The first has a subscription that is never used up, the second pays for each listing. */
let dealers: string[]

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  const packageId = await makePackage(database.owner)
  userId = await makeUser(database.owner)
  fleetUserId = await makeUser(database.owner)
  const { rows } = await database.owner.query<{ id: string }>(
    `with made as (
       insert into app_public.dealers (company_name, country, dealer_type)
       select 'Dealer ' || n, 'DE', 'auto_dealer' from generate_series(1, ${DEALERS}) as n
       returning id, substr(company_name, 8)::integer as n
     ), members as (
       insert into app_public.dealer_users (dealer_id, user_id, role) select id, $1::uuid, 'owner'::app_public.dealer_role from made where n <= 2 union all select id, $3, 'staff' from made
     ), subscriptions as (
       insert into app_public.dealer_subscriptions
         (dealer_id, package_id, status, duration_days, included_listing_quota, start_at, end_at)
       select id, $2, 'active', 30, case when n = 2 then 0 else 100000 end, now() - interval '1 day', now() + interval '29 days'
       from made
     )
     select id from made order by n`,
    [userId, packageId, fleetUserId],
  )
  dealers = rows.map(({ id }) => id)
})

afterAll(() => database.drop())

/** Publishes in one transaction, and returns the index entries that each publication read on average. */
async function entriesRead(dealerIds: string[], user = userId): Promise<number> {
  const total = async () => {
    const { rows } = await database.superuser.query<{ read: string }>(
      'select sum(idx_tup_read) as read from pg_stat_user_indexes',
    )
    return Number(rows[0]?.read)
  }
  const before = await total()
  await committed(database, { dealer: user }, async client => {
    await client.query('select pg_stat_force_next_flush()')
    for (const dealerId of dealerIds) {
      await client.query(
        `select c.* from app_public.create_listing($1, $2, 'A car', 'auto', 9900, 'EUR') as l
         cross join lateral app_public.consumption_of_listing(l.dealer_id, l.id) as c`,
        [dealerId, randomUUID()],
      )
    }
  })
  return ((await total()) - before) / dealerIds.length
}

/** The same for the listings of a batch. Each has a reference, so that each also looks for that. */
async function entriesReadByBatch(dealerId: string, listings: number): Promise<number> {
  const total = async () => {
    const { rows } = await database.superuser.query<{ read: string }>(
      'select sum(idx_tup_read) as read from pg_stat_user_indexes',
    )
    return Number(rows[0]?.read)
  }
  const before = await total()
  await committed(database, { dealer: userId }, async client => {
    await client.query('select pg_stat_force_next_flush()')
    const batch = Array.from({ length: listings }, () => row({ externalId: randomUUID() }))
    await publishBatch(client, dealerId, batch)
  })
  return ((await total()) - before) / listings
}

const repeat = (dealerId: string | undefined) => Array.from({ length: 10 }, () => dealerId as string)

test('a publication reads few index entries on a database without statistics', async () => {
  for (const dealer of dealers.slice(0, 2)) expect(await entriesRead(repeat(dealer))).toBeLessThan(60)
})

test('a publication reads no more index entries after many others of its dealer', async () => {
  // statistics that say: a dealer has one listing
  await entriesRead(dealers.slice(0, 1_000), fleetUserId)
  await database.superuser.query('analyze')
  for (const dealer of dealers.slice(0, 2)) {
    const first = await entriesRead(repeat(dealer))
    for (let n = 0; n < PUBLICATIONS; n += 10) await entriesRead(repeat(dealer))
    expect(await entriesRead(repeat(dealer))).toBeLessThan(first + 30)
  }
})

test('a listing of a batch reads few index entries, however many listings its dealer has', async () => {
  for (const dealer of dealers.slice(0, 2)) {
    const first = await entriesReadByBatch(dealer, 100)
    expect(first).toBeLessThan(60)
    for (let n = 0; n < 5; n += 1) await entriesReadByBatch(dealer, 100)
    expect(await entriesReadByBatch(dealer, 100)).toBeLessThan(first + 10)
  }
})
