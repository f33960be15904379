/** verify_ledger() finds promotions that do not agree with the ledger, the quota or the listing. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, rolledBack, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import { sellPromotions } from '../support/promotions.ts'
import { makeCountry, makeDealer, makeSubscription, makeUser, publish } from '../support/testData.ts'

const ONE_ROW = 'a promotion does not belong to exactly one ledger row of its listing and kind'
const QUOTA = 'the used quota of a subscription is not the number of its promotions'
const FLAG = 'a listing is shown as promoted without a promotion'
const REVERSAL = 'a reversal is not the opposite of the row that it gives back'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

/** Runs `work` with a listing that has a premium placement of a subscription and a highlight for a price. Triggers are off. */
function withPromotions(work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  return rolledBack(database, async client => {
    await makeCountry(client)
    await sellPromotions(client, 'DE')
    const userId = await makeUser(client)
    const dealerId = await makeDealer(client, userId)
    await makeSubscription(client, dealerId, { premium: 2 })
    await client.query('update app_public.dealers set is_trusted = true')
    await client.query("update app_public.country_currencies set moderation = 'after'")
    await become(client, { dealer: userId })
    const id = await publish(client, dealerId)
    for (const kind of ['premium', 'highlight'])
      await client.query('select app_public.promote_listing($1, $2, gen_random_uuid())', [id, kind])
    await client.query("reset role; set local session_replication_role = 'replica'")
    await work(client)
  })
}

test('correct promotions break no rule', () =>
  withPromotions(async client => expect(await brokenRules(client)).toEqual([])))

test.each([
  [
    'a premium placement that was not counted',
    'update app_public.dealer_subscriptions set used_premium_quota = 0',
    [QUOTA],
  ],
  [
    'a premium placement that was counted twice',
    'update app_public.dealer_subscriptions set used_premium_quota = 2',
    [QUOTA],
  ],
  [
    'a promotion without its row',
    "delete from app_public.listing_promotions where kind = 'premium'",
    [FLAG, ONE_ROW],
  ],
  [
    'a promotion of another kind than was paid',
    "update app_public.listing_promotions set kind = 'highlight' where kind = 'premium'",
    [FLAG, ONE_ROW],
  ],
  [
    'a promotion of another listing',
    "update app_public.listing_promotions set listing_id = dealer_id where kind = 'highlight'",
    [FLAG, ONE_ROW],
  ],
  [
    'a promotion that nobody paid',
    "insert into app_public.listing_promotions select dealer_id, listing_id, dealer_id, kind, starts_at, ends_at from app_public.listing_promotions where kind = 'highlight'",
    [ONE_ROW],
  ],
  [
    'a flag with another end than its promotion',
    "update app_public.listings set premium_until = premium_until + interval '1 day'",
    [FLAG],
  ],
  ['a flag without an end', 'update app_public.listings set highlighted_until = null', [FLAG]],
  ['a flag of a listing that is not active', "update app_public.listings set status = 'withdrawn'", [FLAG]],
])('the check finds %s', (_defect, sql, rules) =>
  withPromotions(async client => {
    expect((await client.query(sql)).rowCount).toBe(1)
    expect((await brokenRules(client)).map(({ rule }) => rule).sort()).toEqual(rules)
  }),
)

test('the check finds a promotion that was given back', () =>
  withPromotions(async client => {
    await client.query(
      `insert into app_public.listing_consumptions (dealer_id, listing_id, kind, reverses, source, net_amount, vat_rate, vat_amount, gross_amount, currency, created_by, created_at)
       select dealer_id, listing_id, 'reversal', id, source, -net_amount, vat_rate, -vat_amount, -gross_amount, currency, created_by, created_at
       from app_public.listing_consumptions where kind = 'premium'`,
    )
    expect((await brokenRules(client)).map(({ rule }) => rule)).toContain(REVERSAL)
  }))
