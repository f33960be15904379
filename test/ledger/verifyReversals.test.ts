/** verify_reversals() finds each kind of broken reversal. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, rolledBack, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import {
  makeAdminUser,
  makeCountry,
  makeDealer,
  makeSubscription,
  makeUser,
  publish,
} from '../support/testData.ts'

const OPPOSITE = 'a reversal is not the opposite of the row that it gives back'
const CHARGE = 'the charge of a rejected listing was not given back'
const RENEWAL = 'a renewal was given back, but its listing is not rejected'
const QUOTA = 'the used quota of a subscription is not the number of its ledger rows'
const SUBSCRIPTION = 'a ledger row uses a subscription that does not exist'
const SAME_ITEM = 'a paid listing has no invoice item with the same amounts'
const NOT_ONE = 'a listing does not have exactly one publication in the ledger'
const NO_LISTING = 'a publication in the ledger has no listing'
const ONE_LISTING = 'an item of a monthly invoice does not belong to exactly one listing'

/** The ids of the rejected listings: of a subscription, for a price, and one that had been taken down and resubmitted. */
type Rejected = { included: string; paid: string; renewed: string }

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

/** Triggers are off in `work`, so that the test can break rows. */
function withReversals(work: (client: pg.PoolClient, listings: Rejected) => Promise<void>): Promise<void> {
  return rolledBack(database, async client => {
    await makeCountry(client)
    const userId = await makeUser(client)
    const adminId = await makeAdminUser(client)
    const subscribed = await makeDealer(client, userId)
    await makeSubscription(client, subscribed)
    const paying = await makeDealer(client, userId)
    const moderate = async (id: string, decision: 'approve' | 'reject') => {
      await become(client, { admin: adminId })
      await client.query("select app_public.moderate_listing($1, $2, 'No car.')", [id, decision])
      await become(client, { dealer: userId })
    }
    await become(client, { dealer: userId })
    const included = await publish(client, subscribed)
    const paid = await publish(client, paying)
    const renewed = await publish(client, subscribed)
    for (const id of [included, paid]) await moderate(id, 'reject')
    await moderate(renewed, 'approve')
    await moderate(renewed, 'reject')
    await client.query('select app_public.resubmit_listing($1, gen_random_uuid())', [renewed])
    await moderate(renewed, 'reject')
    await client.query("reset role; set local session_replication_role = 'replica'")
    await work(client, { included, paid, renewed })
  })
}

test('reversals in order break no rule', () =>
  withReversals(async client => {
    expect(await brokenRules(client)).toEqual([])
  }))

const ROWS = "from app_public.listing_consumptions where kind = 'reversal' and listing_id = $1"
const change = (set: string) =>
  `update app_public.listing_consumptions set ${set} where kind = 'reversal' and listing_id = $1`

const DEFECTS: [string, keyof Rejected, string, string[]][] = [
  ['a lost reversal of a publication', 'included', `delete ${ROWS}`, [CHARGE, QUOTA]],
  ['a lost reversal of a renewal', 'renewed', `delete ${ROWS}`, [CHARGE, QUOTA]],
  [
    'a reversal that forgets a running subscription',
    'included',
    change('subscription_id = null'),
    [OPPOSITE, QUOTA],
  ],
  [
    'a reversal of a price that nobody gives back',
    'paid',
    change('invoice_item_id = null'),
    [OPPOSITE, ONE_LISTING],
  ],
  [
    'a reversal for another subscription',
    'included',
    change('subscription_id = gen_random_uuid()'),
    [OPPOSITE, QUOTA, SUBSCRIPTION],
  ],
  [
    'a reversal with another source',
    'included',
    `with ended as (update app_public.dealer_subscriptions set end_at = start_at + interval '1 second')
     ${change("source = 'free_quota', subscription_id = null")}`,
    [OPPOSITE, QUOTA],
  ],
  [
    'a reversal before its row',
    'included',
    change("created_at = created_at - interval '1 hour'"),
    [OPPOSITE],
  ],
  ['a reversal of a reversal', 'included', change('reverses = id'), [CHARGE, OPPOSITE]],
  [
    'a reversal of another listing',
    'included',
    change('listing_id = gen_random_uuid()'),
    [OPPOSITE, NO_LISTING],
  ],
  [
    'a reversal with other amounts',
    'paid',
    change('net_amount = net_amount - 1, gross_amount = gross_amount - 1'),
    [OPPOSITE, SAME_ITEM],
  ],
  [
    'a pending listing whose publication was given back',
    'included',
    "update app_public.listings set status = 'pending', rejected_at = null, rejection_reason = null where id = $1",
    [NOT_ONE],
  ],
  [
    'a listing that was taken down and whose publication was given back',
    'included',
    "update app_public.listings set published_at = now(), expires_at = now() + interval '1 day' where id = $1",
    [NOT_ONE],
  ],
  [
    'a rejected listing with two publications that stand',
    'included',
    `with lost as (delete ${ROWS})
     insert into app_public.listing_consumptions select r.* from app_public.listing_consumptions as lc,
       jsonb_populate_record(lc, jsonb_build_object('id', gen_random_uuid(), 'number', 2)) as r
     where lc.kind = 'publication' and lc.listing_id = $1`,
    [CHARGE, CHARGE, NOT_ONE, QUOTA],
  ],
  [
    'a renewal that was given back although its listing is active',
    'renewed',
    "update app_public.listings set status = 'active', rejected_at = null, rejection_reason = null where id = $1",
    [RENEWAL],
  ],
]

test.each(DEFECTS)('the check finds %s', (_defect, listing, sql, rules) =>
  withReversals(async (client, listings) => {
    expect((await client.query(sql, [listings[listing]])).rowCount).toBe(1)
    expect((await brokenRules(client)).map(({ rule }) => rule).sort()).toEqual([...rules].sort())
  }),
)
