/**
 * Random operations of eight dealers at once, each compared with a plain model of the dealer. A failure prints the seed; set
 * STOCK_SEED to repeat the operations.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import { sellPromotions } from '../support/promotions.ts'
import { makeAdmin, makeSellerIn } from '../support/seller.ts'
import { makeCountry, makePackage } from '../support/testData.ts'
import { type Package, Stock } from './model.ts'
import { type Operation, type Operator, operation, perform } from './operations.ts'

const SEED = Number(process.env.STOCK_SEED ?? Math.floor(Math.random() * 2 ** 31))
const OPERATIONS = Number(process.env.STOCK_OPERATIONS ?? 5000)
const DEALERS = 8
const FREE = 5
const TIMEOUT_MS = 900_000
/** 5.00 and 9.00 net with 19 % VAT. */
const GROSS = { listing: 5.95, promotion: 10.71 }

const PACKAGES: Package[] = [
  { quotaKind: 'PER_PERIOD', listings: 4, premium: 1, highlight: 0, overage: 'charge' },
  { quotaKind: 'CONCURRENT', listings: 8, premium: 0, highlight: 2, overage: 'charge' },
  { quotaKind: 'PER_PERIOD', listings: 2, premium: 0, highlight: 1, overage: 'block' },
  { quotaKind: 'CONCURRENT', listings: 3, premium: 1, highlight: 1, overage: 'block' },
]

let database: TestDatabase
let server: TestServer

/** A slow machine refuses requests. Each may be sent again, with the same keys. */
const patient = (): TestServer => ({
  ...server,
  async call(query, options) {
    for (;;) {
      const response = await server.call<never>(query, options)
      if (response.status !== 429 && response.status !== 503) return response
      await new Promise(resolve => setTimeout(resolve, 200))
    }
  },
})

beforeAll(async () => {
  database = await cloneDatabase()
  await database.owner.query("update app_public.rate_limit_policies set mode = 'off'")
  await makeCountry(database.owner, { freeListings: FREE })
  await sellPromotions(database.owner, 'DE')
  server = await startServer(database)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

async function makePackages(): Promise<Operator['packages']> {
  const made = []
  for (const { quotaKind, ...one } of PACKAGES) {
    const kind = quotaKind === 'CONCURRENT' ? 'concurrent' : 'per_period'
    const id = await makePackage(database.owner, { ...one, quotaKind: kind })
    await database.owner.query(
      'update app_public.dealer_packages set premium_quota = $2, highlight_quota = $3 where id = $1',
      [id, one.premium, one.highlight],
    )
    made.push({ ...one, quotaKind, id })
  }
  return made
}

/** The same as `Stock.view`, read from the database. */
async function viewOf({ seller, ids }: Operator) {
  const { rows } = await database.superuser.query<{ view: ReturnType<Stock['view']> & { total: number } }>(
    `select json_build_object(
       'listings', coalesce((
         select jsonb_agg(concat_ws(',', upper(l.status::text), case when l.holds_slot then 'true' else 'false' end,
           concat_ws(' ', case when l.is_highlighted then 'HIGHLIGHT' end, case when l.is_premium then 'PREMIUM' end)) order by i.number)
         from unnest($2::uuid[]) with ordinality as i (id, number) join app_public.listings as l on l.id = i.id), '[]'),
       'subscriptions', coalesce((
         select jsonb_agg(concat_ws(',', case when s.end_at <= now() then 'ended' else s.status::text end,
           s.used_listing_quota, s.used_premium_quota, s.used_highlight_quota) order by s.id)
         from app_public.dealer_subscriptions as s where s.dealer_id = $1), '[]'),
       'slots', (select d.slots_in_use from app_public.dealers as d where d.id = $1),
       'total', coalesce((select sum(lc.gross_amount) from app_public.listing_consumptions as lc where lc.dealer_id = $1), 0),
       'count', (select count(*) from app_public.listings as l where l.dealer_id = $1)) as view`,
    [seller.dealerId, ids],
  )
  return rows[0]?.view
}

function expectedView({ model }: Operator) {
  const { paid, ...view } = model.view()
  const total = paid.listings * GROSS.listing + paid.promotions * GROSS.promotion
  return { ...view, total: Math.round(total * 100) / 100, count: model.listings.length }
}

/** Runs the operations one after the other. */
async function operate(operator: Operator, planned: readonly Operation[]): Promise<void> {
  const done: string[] = []
  for (const [number, next] of planned.entries()) {
    const answers = await perform(operator, next)
    done.push(`${next.name} ${next.at} ${next.choice}: ${answers?.[0] ?? ''}`)
    const context = { seed: SEED, dealer: operator.seller.dealerId, number, last: done.slice(-5) }
    if (answers !== undefined)
      expect({ ...context, answer: answers[0] }).toEqual({ ...context, answer: answers[1] })
    await expectView(operator, context)
  }
}

/** Another dealer's expiry run may hold a row that ours has skipped, and records it a moment later. */
async function expectView(operator: Operator, context: object, attempts = 40): Promise<void> {
  const wanted = { ...context, ...expectedView(operator) }
  for (let attempt = 1; attempt < attempts; attempt += 1) {
    const found = { ...context, ...(await viewOf(operator)) }
    if (JSON.stringify(found) === JSON.stringify(wanted)) return
    await database.owner.query('select app_private.expire_listings(10), app_private.expire_subscriptions(10)')
    await new Promise(resolve => setTimeout(resolve, 25))
  }
  expect({ ...context, ...(await viewOf(operator)) }).toEqual(wanted)
}

test(
  'random operations of eight dealers answer and store what the model says, and leave the ledger in order',
  async () => {
    const adminToken = await makeAdmin(database, server)
    const packages = await makePackages()
    const planned = fc.sample(operation, { seed: SEED, numRuns: OPERATIONS })
    const each = Math.ceil(planned.length / DEALERS)
    const runs = Array.from({ length: DEALERS }, async (_, index) => {
      const seller = await makeSellerIn(database, server, 'DE')
      const operator = {
        database,
        server: patient(),
        seller,
        adminToken,
        packages,
        model: new Stock(FREE),
        ids: [],
        lastKey: '',
      }
      await operate(operator, planned.slice(index * each, (index + 1) * each))
    })
    const results = await Promise.allSettled(runs)
    expect(results.filter(({ status }) => status === 'rejected')).toEqual([])
    expect(await brokenRules(database.superuser)).toEqual([])
  },
  TIMEOUT_MS,
)
