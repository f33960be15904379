/** verify_ledger() finds each kind of broken row, and nothing else. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { brokenRules, listingsInOrder } from '../support/ledger.ts'
import { BUY, buy, PAY } from '../support/purchases.ts'
import {
  makeAdminUser,
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  makeUser,
  publish,
} from '../support/testData.ts'
import { concurrently, countOutcomes, interleave } from '../support/transactions.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

/** Runs `work` with one listing from each source and a paid package. Triggers are off, so that the test can break rows. */
function withLedger(work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  return rolledBack(database, async client => {
    await makeCountry(client, { freeListings: 1 })
    const userId = await makeUser(client)
    const dealerId = await makeDealer(client, userId)
    const packageId = await makePackage(client, { listings: 1 })
    await become(client, { dealer: userId })
    const invoiceId = await buy(client, dealerId, packageId)
    await become(client, 'owner')
    await become(client, { admin: await makeAdminUser(client) })
    await client.query(PAY, [invoiceId])
    await become(client, { dealer: userId })
    for (let number = 1; number <= 3; number += 1) await publish(client, dealerId)
    await client.query("reset role; set local session_replication_role = 'replica'")
    await work(client)
  })
}

test('a correct ledger breaks no rule', () =>
  withLedger(async client => {
    expect(await brokenRules(client)).toEqual([])
    expect(await listingsInOrder(client)).toBe(true)
  }))

test.each(['net', 'vat', 'gross'])(
  'an invoice without items is in order only with totals of zero: %s',
  column =>
    withLedger(async client => {
      await client.query(
        `insert into app_public.invoices (dealer_id, kind, country, currency)
       select id, 'package', 'DE', 'EUR' from app_public.dealers`,
      )
      expect(await brokenRules(client)).toEqual([])
      await client.query('alter table app_public.invoices drop constraint invoices_valid')
      await client.query(`update app_public.invoices set ${column}_total = 1 where net_total = 0`)
      expect(await brokenRules(client)).toMatchObject([{ rule: TOTALS }])
    }),
)

const CONSUMED_ONCE = 'a listing does not have exactly one publication in the ledger'
const NO_LISTING = 'a publication in the ledger has no listing'
const SAME_AMOUNTS = 'a paid listing has no invoice item with the same amounts'
const ONE_LISTING = 'an item of a monthly invoice does not belong to exactly one listing'
const QUOTA = 'the used quota of a subscription is not the number of its ledger rows'
const SLOTS = 'the slots in use of a dealer are not its pending and active listings that hold one'
const TOTALS = 'the totals of an invoice are not the sums of its items'
const ONE_SUBSCRIPTION = 'a paid package does not have exactly one subscription'

const ALLOW_ANY_QUOTA =
  'alter table app_public.dealer_subscriptions drop constraint dealer_subscriptions_valid'

const DUPLICATE_LEDGER_ROW = [
  'drop index app_public.ux_listing_consumptions_number',
  `insert into app_public.listing_consumptions
   select again.* from app_public.listing_consumptions as free,
     jsonb_populate_record(free, jsonb_build_object('id', gen_random_uuid())) as again
   where free.source = 'free_quota'`,
]

const DEFECTS: Record<string, { sql: string[]; rules: string[] }> = {
  'a unit of quota that was not counted': {
    sql: ['update app_public.dealer_subscriptions set used_listing_quota = 0'],
    rules: [QUOTA],
  },
  'a unit of quota that was counted twice': {
    sql: [ALLOW_ANY_QUOTA, 'update app_public.dealer_subscriptions set used_listing_quota = 2'],
    rules: [QUOTA],
  },
  'a quota that was used beyond its limit': {
    sql: [ALLOW_ANY_QUOTA, 'update app_public.dealer_subscriptions set included_listing_quota = 0'],
    rules: ['the used quota of a subscription exceeds its included quota'],
  },
  'a slot in use without a listing': {
    sql: ['update app_public.dealers set slots_in_use = 1'],
    rules: [SLOTS],
  },
  'a listing whose slot is not counted': {
    sql: [
      `update app_public.listings as l set holds_slot = true from app_public.listing_consumptions as lc
       where lc.listing_id = l.id and lc.source = 'free_quota'`,
    ],
    rules: [SLOTS],
  },
  'a sold listing that holds a slot': {
    sql: [
      `update app_public.listings as l set holds_slot = true, status = 'sold' from app_public.listing_consumptions as lc
       where lc.listing_id = l.id and lc.source = 'free_quota'`,
    ],
    rules: ['a listing holds a slot although it is neither pending nor active'],
  },
  'a concurrent subscription that counts its ledger rows': {
    sql: ["update app_public.dealer_subscriptions set quota_kind = 'concurrent'"],
    rules: [QUOTA],
  },
  'a deleted subscription': {
    sql: ['delete from app_public.dealer_subscriptions'],
    rules: ['a ledger row uses a subscription that does not exist', ONE_SUBSCRIPTION],
  },
  'a ledger row with another amount than its invoice item': {
    sql: [
      "update app_public.listing_consumptions set net_amount = 1, vat_amount = 1, gross_amount = 2 where source = 'paid_extra'",
    ],
    rules: [SAME_AMOUNTS],
  },
  'a deleted invoice item': {
    sql: ['delete from app_public.invoice_items where price_config_id is not null'],
    rules: [SAME_AMOUNTS, TOTALS],
  },
  'an invoice item of two listings': {
    sql: [
      'drop index app_public.ux_listing_consumptions_one_per_invoice_item',
      `update app_public.listing_consumptions as free
       set source = 'paid_extra', price_config_id = paid.price_config_id, invoice_item_id = paid.invoice_item_id,
         net_amount = paid.net_amount, vat_amount = paid.vat_amount, gross_amount = paid.gross_amount
       from app_public.listing_consumptions as paid
       where free.source = 'free_quota' and paid.source = 'paid_extra'`,
    ],
    rules: [ONE_LISTING],
  },
  'a deleted ledger row of a paid listing': {
    sql: ["delete from app_public.listing_consumptions where source = 'paid_extra'"],
    rules: [ONE_LISTING, CONSUMED_ONCE],
  },
  'a published listing without a ledger row': {
    sql: ["delete from app_public.listing_consumptions where source = 'free_quota'"],
    rules: [CONSUMED_ONCE],
  },
  'a listing that was consumed twice': {
    sql: DUPLICATE_LEDGER_ROW,
    rules: [CONSUMED_ONCE],
  },
  'a ledger row whose listing was deleted': {
    sql: [
      `delete from app_public.listings as l using app_public.listing_consumptions as lc
       where lc.listing_id = l.id and lc.source = 'free_quota'`,
    ],
    rules: [NO_LISTING],
  },
  'a wrong invoice total': {
    sql: [
      "update app_public.invoices set net_total = 1, vat_total = 1, gross_total = 2 where kind = 'package'",
    ],
    rules: [TOTALS],
  },
  'a deleted invoice': {
    sql: ["delete from app_public.invoices where kind = 'monthly'"],
    rules: ['an item has no invoice', SAME_AMOUNTS],
  },
  'an invoice item in another currency': {
    sql: ["update app_public.invoice_items set currency = 'CHF' where package_id is not null"],
    rules: ['an item has another currency or country than its invoice'],
  },
  'a paid package without a subscription': {
    sql: ['update app_public.dealer_subscriptions set invoice_id = null'],
    rules: [ONE_SUBSCRIPTION],
  },
  'a subscription for an unpaid package': {
    sql: ["update app_public.invoices set status = 'draft', paid_at = null where kind = 'package'"],
    rules: ['an unpaid package has a subscription'],
  },
  'a subscription from a monthly invoice': {
    sql: [
      `update app_public.dealer_subscriptions as s set invoice_id = i.id
       from app_public.invoices as i where i.kind = 'monthly'`,
    ],
    rules: ['a subscription does not belong to a package invoice', ONE_SUBSCRIPTION],
  },
  'a subscription that was bought and granted': {
    sql: ["update app_public.dealer_subscriptions set grant_reason = 'A test' where invoice_id is not null"],
    rules: ['a subscription was both granted and bought'],
  },
}

test.each(Object.entries(DEFECTS))('the check finds %s', (_defect, { sql, rules }) =>
  withLedger(async client => {
    let changed: number | null = null
    for (const statement of sql) changed = (await client.query(statement)).rowCount
    expect(changed).toBe(1)
    expect((await brokenRules(client)).map(({ rule }) => rule).sort()).toEqual([...rules].sort())
    const listingRules = rules.filter(rule => rule === CONSUMED_ONCE || rule === NO_LISTING)
    expect(await listingsInOrder(client)).toBe(listingRules.length === 0)
  }),
)

test('a finding has the dealer, the row and the numbers that differ', () =>
  withLedger(async client => {
    const { rows } = await client.query(
      'update app_public.dealer_subscriptions set used_listing_quota = 0 returning dealer_id, id',
    )
    const detail = { used: 0, included: 1, ledger_rows: 1 }
    expect(await brokenRules(client)).toEqual([{ rule: QUOTA, ...rows[0], detail }])
  }))

test('checks find nothing while dealers publish, buy, pay and cancel concurrently', async () => {
  await makeCountry(database.owner, { freeListings: 3 })
  const userId = await makeUser(database.owner)
  const packageId = await makePackage(database.owner, { listings: 5 })
  const dealerIds = await Promise.all(Array.from({ length: 6 }, () => makeDealer(database.owner, userId)))
  const subscriptionIds = await Promise.all(
    dealerIds.slice(3).map(dealerId => makeSubscription(database.owner, dealerId, { packageId })),
  )
  let busy = true
  const checks = (async () => {
    let findings: unknown[] = []
    do {
      findings = findings.concat(await brokenRules(database.owner))
      if (!(await listingsInOrder(database.owner))) findings.push('listings are not in order')
    } while (busy)
    return findings
  })()
  const adminId = await makeAdminUser(database.owner)
  const outcomes = await concurrently(database, { dealer: userId }, 20, async (client, index) => {
    const dealerId = dealerIds[index % dealerIds.length] as string
    for (let number = 0; number < 5; number += 1) {
      await publish(client, dealerId)
      await client.query('commit; begin')
      await become(client, { dealer: userId })
    }
    const subscriptionId = subscriptionIds[index]
    if (subscriptionId !== undefined) {
      await client.query('select app_public.cancel_subscription($1)', [subscriptionId])
    } else if (index < dealerIds.length) {
      const { rows } = await client.query(BUY, [dealerId, packageId, randomUUID()])
      await become(client, { admin: adminId })
      await client.query(PAY, [rows[0].invoice_id])
    }
  })
  busy = false
  expect(countOutcomes(outcomes)).toEqual({ ok: 20 })
  expect(await checks).toEqual([])
  expect(await brokenRules(database.owner)).toEqual([])
  const { rows } = await database.owner.query(
    'select count(distinct source)::integer as sources, count(*)::integer as listings from app_public.listing_consumptions',
  )
  expect(rows).toEqual([{ sources: 3, listings: 100 }])
})

test('a check does not wait for a publication and locks no row', async () => {
  const country = await makeCountry(database.owner, { country: 'AT' })
  const userId = await makeUser(database.owner)
  const dealerId = await makeDealer(database.owner, userId, country)
  await interleave(
    database,
    { publisher: { dealer: userId }, checker: 'owner' },
    async ({ publisher, checker }) => {
      await publisher.query(
        "select app_public.create_listing($1, gen_random_uuid(), 'A', 'auto', 1, 'EUR')",
        [dealerId],
      )
      await checker.query("set local lock_timeout to '1ms'")
      expect((await checker.query('select * from app_private.verify_ledger()')).rows).toEqual([])
      const { rows } = await database.superuser.query(
        "select distinct mode from pg_locks where pid = $1 and locktype <> 'virtualxid'",
        [checker.pid],
      )
      expect(rows).toEqual([{ mode: 'AccessShareLock' }])
      await publisher.commit()
    },
  )
})

test('no role of the API can call verify_ledger()', () =>
  rolledBack(database, async client => {
    const roles = ['visitor', 'authenticator', { dealer: randomUUID() }, { admin: randomUUID() }] as const
    for (const as of roles) {
      await become(client, as)
      expect(await refusal(client, 'select app_private.verify_ledger()')).toBe('42501')
      await client.query('reset role')
    }
  }))
