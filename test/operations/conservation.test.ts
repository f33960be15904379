/** The query over the books that other tests rely on finds each kind of broken row. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { brokenRules } from '../support/conservation.ts'
import { become, cloneDatabase, rolledBack, type TestDatabase } from '../support/database.ts'
import { buy, PAY } from '../support/purchases.ts'
import { makeCountry, makeDealer, makePackage, makeUser, publish } from '../support/world.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

/** One listing of each source and a paid package; then, past all triggers, whatever the test breaks. */
function withBooks(work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  return rolledBack(database, async client => {
    await makeCountry(client, { freeListings: 1 })
    const userId = await makeUser(client)
    const dealerId = await makeDealer(client, userId)
    const packageId = await makePackage(client, { listings: 1 })
    await become(client, { dealer: userId })
    const invoiceId = await buy(client, dealerId, packageId)
    await become(client, { admin: randomUUID() })
    await client.query(PAY, [invoiceId])
    await become(client, { dealer: userId })
    for (let number = 1; number <= 3; number += 1) await publish(client, dealerId)
    await client.query("reset role; set local session_replication_role = 'replica'")
    await work(client)
  })
}

test('books that are in order break no rule', () =>
  withBooks(async client => {
    expect(await brokenRules(client)).toEqual([])
  }))

const BREAKS: [string, string, string[]][] = [
  [
    'a unit that was not taken',
    'update app_public.dealer_subscriptions set used_listing_quota = 0',
    ['used quota is not the number of ledger rows'],
  ],
  [
    'a ledger row that tells another amount than its item',
    `update app_public.listing_consumptions set net_amount = 1, vat_amount = 1, gross_amount = 2 where source = 'paid_extra'`,
    ['a paid listing has no invoice item of the same amounts'],
  ],
  [
    'an item that is gone',
    'delete from app_public.invoice_items where price_config_id is not null',
    [
      'a paid listing has no invoice item of the same amounts',
      'totals of an invoice are not the sums of its items',
    ],
  ],
  [
    'a paid ledger row that is gone',
    "delete from app_public.listing_consumptions where source = 'paid_extra'",
    [
      'an item of a monthly invoice is of no listing, or of several',
      'a listing past draft has not exactly one ledger row',
    ],
  ],
  [
    'a listing without a ledger row',
    "delete from app_public.listing_consumptions where source = 'free_quota'",
    ['a listing past draft has not exactly one ledger row'],
  ],
  [
    'a total that is wrong',
    "update app_public.invoices set net_total = 1, vat_total = 1, gross_total = 2 where kind = 'package'",
    ['totals of an invoice are not the sums of its items'],
  ],
  [
    'an item in another currency',
    "update app_public.invoice_items set currency = 'CHF' where package_id is not null",
    ['an item is in another currency than its invoice'],
  ],
  [
    'a paid package that made no subscription',
    'update app_public.dealer_subscriptions set invoice_id = null',
    ['a paid package has not exactly one subscription'],
  ],
]

test.each(BREAKS)('%s is found', (_what, sql, rules) =>
  withBooks(async client => {
    expect((await client.query(sql)).rowCount).toBe(1)
    expect((await brokenRules(client)).map(({ rule }) => rule).sort()).toEqual([...rules].sort())
  }),
)
