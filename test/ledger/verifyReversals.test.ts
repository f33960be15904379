/** verify_reversals() finds each kind of broken reversal. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, rolledBack, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import { makeCountry, makeDealer, makeSubscription, makeUser, publish } from '../support/testData.ts'

const OPPOSITE = 'a reversal is not the opposite of the row that it gives back'
const CHARGE = 'the charge of a rejected listing was not given back'
const RENEWAL = 'a renewal was given back, but its listing is not rejected'
const QUOTA = 'the used quota of a subscription is not the number of its ledger rows'
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
    const subscribed = await makeDealer(client, userId)
    await makeSubscription(client, subscribed)
    const paying = await makeDealer(client, userId)
    const moderate = async (id: string, decision: 'approve' | 'reject') => {
      await become(client, { admin: randomUUID() })
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
