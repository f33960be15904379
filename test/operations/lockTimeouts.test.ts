/** A lock that is held too long is an error that the client can act on, and nothing is half done. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { brokenRules } from '../support/conservation.ts'
import { type As, cloneDatabase, type TestDatabase } from '../support/database.ts'
import { footprint } from '../support/ledger.ts'
import { bought, buy, PAY } from '../support/purchases.ts'
import { committed, interleave, sqlstate } from '../support/sessions.ts'
import {
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  makeUser,
  publish,
} from '../support/world.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

test('whatever waits 3 seconds for a lock gives up with 55P03 and has written nothing', async () => {
  await makeCountry(database.owner)
  const packageId = await makePackage(database.owner)
  const userId = await makeUser(database.owner, 'jane@example.com')
  const heldId = await makeDealer(database.owner, userId)
  const subscriptionId = await makeSubscription(database.owner, heldId, { packageId })
  const busyId = await makeDealer(database.owner, userId)
  const busySubscriptionId = await makeSubscription(database.owner, busyId, { packageId })
  const invoiceId = await bought(database, userId, heldId, packageId)
  await committed(database, 'authenticator', client =>
    client.query("select app_public.begin_login('jane@example.com')"),
  )
  const before = [await footprint(database.owner, heldId), await footprint(database.owner, busyId)]
  const run = (as: As, sql: string, values: unknown[] = []) =>
    sqlstate(committed(database, as, client => client.query(sql, values)))
  const dealer = { dealer: userId }

  await interleave(database, { holder: 'owner' }, async ({ holder }) => {
    await holder.query('select from app_public.dealers where id = $1 for no key update', [heldId])
    await holder.query('select from app_public.dealer_subscriptions where id = $1 for update', [
      busySubscriptionId,
    ])
    await holder.query('select from app_private.login_failures for update')
    const outcomes = await Promise.all([
      sqlstate(committed(database, dealer, client => publish(client, heldId))),
      sqlstate(committed(database, dealer, client => publish(client, busyId))),
      sqlstate(committed(database, dealer, client => buy(client, heldId, packageId))),
      run({ admin: randomUUID() }, PAY, [invoiceId]),
      run(dealer, 'select app_public.cancel_subscription($1)', [subscriptionId]),
      run('authenticator', "select app_public.begin_login('jane@example.com')"),
      run('authenticator', "select app_public.complete_login('jane@example.com')"),
    ])
    expect(outcomes).toEqual(Array(7).fill('55P03'))
  })
  expect([await footprint(database.owner, heldId), await footprint(database.owner, busyId)]).toEqual(before)
  expect(await brokenRules(database.superuser)).toEqual([])
  const { rows } = await database.owner.query('select failures from app_private.login_failures')
  expect(rows).toEqual([{ failures: 1 }])
})
