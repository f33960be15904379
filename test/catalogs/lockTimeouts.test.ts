/** Waiting too long for a lock is an error that the client can act on, and writes nothing. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type As, cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules, countDealerRows } from '../support/ledger.ts'
import { BUY, buyAndCommit, CANCEL_CHECKOUT, PAY } from '../support/purchases.ts'
import {
  makeAdminUser,
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  makeUser,
} from '../support/testData.ts'
import { committed, interleave, sqlstate } from '../support/transactions.ts'

const PUBLISH = "select app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 1, 'EUR')"
const CANCEL = 'select app_public.cancel_subscription($1)'
const BEGIN = "select app_public.begin_login($1, '192.0.2.1')"
const CONFLICT = {
  country: 'DE',
  segment: 'dealer',
  configuration: 'price',
  code: 'pricing_config_missing',
  count: 1,
}
// with the hash of makeUser
const COMPLETE = "select app_public.complete_login($1, '192.0.2.1', $2, 5, '$argon2id$none')"

let database: TestDatabase
let userId: string
let packageId: string

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  packageId = await makePackage(database.owner)
  userId = await makeUser(database.owner)
})

afterAll(() => database.drop())

const run = (as: As, sql: string, values: unknown[]) =>
  committed(database, as, client => client.query(sql, values))

async function makeSubscribed(): Promise<{ dealerId: string; subscriptionId: string }> {
  const dealerId = await makeDealer(database.owner, userId)
  return { dealerId, subscriptionId: await makeSubscription(database.owner, dealerId, { packageId }) }
}

test('a function that waits 3 seconds for a lock fails with 55P03 and writes nothing', async () => {
  const dealer = { dealer: userId }
  // a dealer for each, so that they do not wait for each other
  const publisher = await makeSubscribed()
  const other = await makeSubscribed()
  const buyer = await makeSubscribed()
  const canceller = await makeSubscribed()
  const payer = await makeSubscribed()
  const invoiceId = await buyAndCommit(database, userId, payer.dealerId, packageId)
  const adminId = await makeAdminUser(database.owner)
  const emails = ['begin@example.com', 'complete@example.com']
  await makeUser(database.owner, 'complete@example.com')
  for (const email of emails) await run('authenticator', BEGIN, [email])
  const key = "select app_private.account_key('complete@example.com')"
  const { rows: keys } = await database.owner.query(key)
  const dealerIds = [publisher, other, buyer, canceller, payer].map(({ dealerId }) => dealerId)
  const footprints = () => Promise.all(dealerIds.map(dealerId => countDealerRows(database.owner, dealerId)))
  const before = await footprints()

  await interleave(database, { holder: 'owner' }, async ({ holder }) => {
    const lockDealers = 'select from app_public.dealers where id = any ($1) and id <> $2 for no key update'
    await holder.query(lockDealers, [dealerIds, other.dealerId])
    const lockSubscription = 'select from app_public.dealer_subscriptions where id = $1 for update'
    await holder.query(lockSubscription, [other.subscriptionId])
    await holder.query('select from app_private.login_failures for update')
    const attempts = [
      run(dealer, PUBLISH, [publisher.dealerId]),
      run(dealer, PUBLISH, [other.dealerId]),
      run(dealer, BUY, [buyer.dealerId, packageId, randomUUID()]),
      run(dealer, CANCEL, [canceller.subscriptionId]),
      run({ admin: adminId }, PAY, [invoiceId]),
      run(dealer, CANCEL_CHECKOUT, [invoiceId]),
      run('authenticator', BEGIN, [emails[0]]),
      run('authenticator', COMPLETE, [emails[1], keys[0].account_key]),
    ]
    expect(await Promise.all(attempts.map(sqlstate))).toEqual(attempts.map(() => '55P03'))
  })
  expect(await footprints()).toEqual(before)
  expect(await brokenRules(database.superuser)).toEqual([])
  const { rows } = await database.owner.query('select failures from app_private.login_failures')
  expect(rows).toEqual([{ failures: 1 }, { failures: 1 }])
})

test('a function that waits for a lock on a table fails with 55P03, before the timeout of its statement', async () => {
  const email = 'fail@example.com'
  await run('authenticator', BEGIN, [email])
  const { rows } = await database.owner.query('select app_private.account_key($1) as key', [email])
  const key = rows[0].key
  await run('owner', "select app_private.make_audit_partition('2001-01-01')", [])
  await interleave(database, { holder: 'owner' }, async ({ holder }) => {
    await holder.query(`lock table app_public.audit_logs, app_public.users, app_public.dealer_subscriptions,
      app_private.pricing_conflicts in access exclusive mode`)
    const attempts = [
      run('authenticator', COMPLETE, [email, key]),
      run({ dealer: userId }, "select app_public.create_dealer('Test', 'DE', 'general')", []),
      run('authenticator', 'select app_public.record_pricing_conflicts($1)', [JSON.stringify([CONFLICT])]),
      run('authenticator', 'select app_public.operation_metrics()', []),
      run('owner', "select app_private.make_audit_partition('2001-02-01')", []),
      run('owner', "select app_private.drop_audit_partition('2001-01-01', 'a test')", []),
    ]
    expect(await Promise.all(attempts.map(sqlstate))).toEqual(attempts.map(() => '55P03'))
  })
})
