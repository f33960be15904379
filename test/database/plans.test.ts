/** An operation reads as little with many rows of its dealer and of others, even if statistics are missing or outdated. */
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import type pg from 'pg'
import { type As, become, cloneDatabase, type TestDatabase } from '../support/database.ts'
import { makeListing, type Status } from '../support/listings.ts'
import { sellPromotions } from '../support/promotions.ts'
import {
  makeAdminUser,
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  makeUser,
  single,
} from '../support/testData.ts'
import { committed } from '../support/transactions.ts'
import { stopAutovacuum, tuplesRead } from '../support/tuplesRead.ts'

const ROWS = 3000
/** More than any of the operations reads of its own rows, and far less than the rows of a dealer. */
const MOST = 100

type World = {
  database: TestDatabase
  client: pg.PoolClient
  userId: string
  adminId: string
  packageId: string
  subscriptionId: string
  invoiceId: string
  /** Of the dealer that pays, by status. */
  listings: Partial<Record<Status, string>>
  dealers: { free: string; subscribed: string; slots: string; paying: string; buyer: string }
}

type Statement = { as?: As | 'admin'; sql: string; values: unknown[] }

const asMember = (sql: string, ...values: unknown[]): Statement => ({ sql, values })
const asVisitor = (sql: string, ...values: unknown[]): Statement => ({ as: 'authenticator', sql, values })
const publish = (dealerId: string) =>
  asMember(
    `select c.* from app_public.create_listing($1, $2, 'A car', 'auto', 9900, 'EUR') as l
     cross join lateral app_public.consumption_of_listing(l.dealer_id, l.id) as c`,
    dealerId,
    randomUUID(),
  )
const buy = (dealerId: string, packageId: string) =>
  asMember('select invoice_id from app_public.buy_package($1, $2, $3)', dealerId, packageId, randomUUID())
const asAdmin = (sql: string, ...values: unknown[]): Statement => ({ as: 'admin', sql, values })
const asOwner = (sql: string, ...values: unknown[]): Statement => ({ as: 'owner', sql, values })
const twice = (statement: Statement) => [statement, statement]

/** The statements of each operation. An operation of a dealer runs as its owner. */
const operations: Record<string, (world: World) => Statement[]> = {
  'publish from the free quota': ({ dealers }) => [publish(dealers.free)],
  'publish from a subscription': ({ dealers }) => [publish(dealers.subscribed)],
  'publish into a slot': ({ dealers }) => [publish(dealers.slots)],
  'publish for a price': ({ dealers }) => [publish(dealers.paying)],
  'publish again with the same key': ({ dealers }) => twice(publish(dealers.paying)),
  'quote a price': ({ dealers }) => [asMember('select app_public.quote_listing($1)', dealers.paying)],
  'quote a package': ({ dealers, packageId }) => [
    asMember('select app_public.quote_package($1, $2)', dealers.paying, packageId),
  ],
  'buy a package again with the same key': ({ dealers, packageId }) => twice(buy(dealers.paying, packageId)),
  'pay an invoice': ({ invoiceId }) => [asAdmin('select app_public.pay_invoice($1)', invoiceId)],
  'edit a listing': ({ listings }) => [
    asMember("select app_public.update_listing($1, external_id => 'R-1', title => 'B')", listings.ACTIVE),
  ],
  'withdraw a listing': ({ listings }) => [
    asMember('select app_public.withdraw_listing($1)', listings.PENDING),
  ],
  'renew a listing': ({ listings }) => [
    asMember('select app_public.renew_listing($1, $2)', listings.EXPIRED, randomUUID()),
  ],
  'resubmit a listing': ({ listings }) => [
    asMember('select app_public.resubmit_listing($1, $2)', listings.REJECTED, randomUUID()),
  ],
  'promote a listing': ({ listings }) => [
    asMember("select app_public.promote_listing($1, 'premium', $2)", listings.ACTIVE, randomUUID()),
  ],
  'quote a promotion': ({ listings }) => [
    asMember("select app_public.quote_promotion($1, 'premium')", listings.ACTIVE),
  ],
  'end promotions': ({ listings }) => [
    asMember("select app_public.promote_listing($1, 'premium', $2)", listings.ACTIVE, randomUUID()),
    asOwner('update app_public.listings set premium_until = now() where id = $1', listings.ACTIVE),
    asOwner('select app_private.end_promotions()'),
  ],
  'approve a listing': ({ listings }) => [
    asAdmin("select app_public.moderate_listing($1, 'approve')", listings.PENDING),
  ],
  'reject a listing': ({ listings }) => [
    asAdmin("select app_public.moderate_listing($1, 'reject', 'No car.')", listings.PENDING),
  ],
  'read the first page of the moderation queue': () => [
    asAdmin('select * from app_public.moderation_queue order by since, listing_id limit 10'),
  ],
  'cancel a checkout': ({ invoiceId }) => [asMember('select app_public.cancel_checkout($1)', invoiceId)],
  'cancel a subscription': ({ subscriptionId }) => [
    asMember('select app_public.cancel_subscription($1)', subscriptionId),
  ],
  register: () => [
    asVisitor(
      "select app_public.sign_up($1, 'Test', '$argon2id$none', '\\x01')",
      `${randomUUID()}@example.com`,
    ),
  ],
  'log in': () => [
    asVisitor("select app_public.begin_login('nobody@example.com', '::1')"),
    asVisitor("select app_public.log_in('nobody@example.com', '::1', '', 5, '$argon2id$none', '\\x02')"),
  ],
  'take a rate limit': () => [
    asVisitor("select app_public.take_rate_limit_batch(array['\\x01'::bytea], '{1000}', '{60}', '{1}')"),
  ],
}

const rowsOfTest = await readFile(new URL('grownRows.sql', import.meta.url), 'utf8')

/** Gives each of these dealers this many rows more, and makes as many other dealers. */
async function grow({ database }: World, rows: number, dealers: string[]): Promise<void> {
  const sql = rowsOfTest
    .replaceAll('$rows', String(rows))
    .replaceAll('$dealers', `'{${dealers.join(',')}}'::uuid[]`)
  await database.superuser.query(`begin; ${sql}; commit`)
}

async function makeWorld(): Promise<World> {
  const database = await cloneDatabase()
  const { owner } = database
  await stopAutovacuum(database)
  await makeCountry(owner, { country: 'DE', freeListings: 20 })
  await makeCountry(owner, { country: 'AT' })
  await sellPromotions(owner, 'AT')
  const userId = await makeUser(owner)
  const adminId = await makeAdminUser(owner)
  const packageId = await makePackage(owner, { country: 'AT' })
  const dealers = {
    free: await makeDealer(owner, userId),
    subscribed: await makeDealer(owner, userId, 'AT'),
    slots: await makeDealer(owner, userId, 'AT'),
    paying: await makeDealer(owner, userId, 'AT'),
    buyer: await makeDealer(owner, userId, 'AT'),
  }
  const subscriptionId = await makeSubscription(owner, dealers.subscribed, { packageId })
  await makeSubscription(owner, dealers.slots, { packageId, quotaKind: 'concurrent' })
  const { sql, values } = buy(dealers.buyer, packageId)
  const invoiceId = await committed(database, { dealer: userId }, client => single(client, sql, values))
  const listings: World['listings'] = {}
  for (const status of ['PENDING', 'ACTIVE', 'REJECTED', 'EXPIRED'] as const)
    listings[status] = await makeListing(owner, { userId, dealerId: dealers.paying }, status)
  const client = await database.superuser.connect()
  return { database, client, userId, adminId, packageId, subscriptionId, invoiceId, listings, dealers }
}

/** Runs an operation, takes it back, and returns the rows and index entries that it has read. */
function readBy(world: World, name: string): Promise<number> {
  const { client, database, userId, adminId } = world
  return tuplesRead(database, client, async () => {
    await client.query('begin')
    try {
      for (const { as = { dealer: userId }, sql, values } of operations[name]?.(world) ?? []) {
        await become(client, as === 'admin' ? { admin: adminId } : as)
        await client.query(sql, values)
      }
    } finally {
      await client.query('rollback')
    }
  })
}

describe.each([
  ['without statistics', false],
  ['with statistics that say that a dealer has one row', true],
])('%s', (_state, analyzed) => {
  let world: World

  beforeAll(async () => {
    world = await makeWorld()
    const dealers = Object.values(world.dealers)
    if (analyzed) {
      await grow(world, 1, dealers)
      await grow(world, ROWS, [])
      await world.database.superuser.query('analyze')
    }
    await grow(world, ROWS, dealers)
  })

  afterAll(async () => {
    world.client.release()
    await world.database.drop()
  })

  test.each(Object.keys(operations))('%s', async name => {
    await readBy(world, name)
    expect(await readBy(world, name)).toBeLessThan(MOST)
  })
})
