/** Dealers, users and granted subscriptions in the hands of an admin: what changes, what is recorded, and with which reason. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import { makeAdmin, makeSeller, type Seller } from '../support/seller.ts'
import { makeAdminUser, makePackage, makeSubscription, makeUser } from '../support/testData.ts'
import { committed } from '../support/transactions.ts'
import { admin, type Mutation, trailOf } from './calls.ts'

let database: TestDatabase
let server: TestServer
let token: string

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  token = await makeAdmin(database, server)
})

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

const send = (name: Mutation, input: Record<string, unknown>) => admin(server, token, name, input)
const codeOf = async ({ token: by, dealerId }: Seller) =>
  (await createListing(server, by, dealerId)).errors[0]?.extensions.code

test('a dealer is suspended, closed and trusted with a reason, and the same status again changes nothing', async () => {
  const seller = await makeSeller(database, server)
  const status = (isActive: boolean, canPublish: boolean, more = {}) =>
    send('setDealerStatus', { dealerId: seller.dealerId, isActive, canPublish, reason: ' Fraud ', ...more })
  const trail = await trailOf(database, () => status(true, false))
  expect(trail).toContainEqual({
    action: 'SET_DEALER_STATUS dealers',
    actor: expect.any(String),
    old_values: { is_active: true, can_publish: true, is_trusted: false },
    new_values: { is_active: true, can_publish: false, is_trusted: false, reason: 'Fraud' },
  })
  expect(await codeOf(seller)).toBe('forbidden')
  expect(await trailOf(database, () => status(true, false))).toEqual([])
  expect((await status(false, true)).row).toMatchObject({ isActive: false, canPublish: true })
  expect(await codeOf(seller)).toBe('forbidden')
  expect((await status(true, true, { isTrusted: true })).row).toMatchObject({ isTrusted: true })
  expect((await status(true, true)).row).toMatchObject({ isTrusted: true })
  expect(await codeOf(seller)).toBeUndefined()
})

test.each(['', ' \n', '\u00ad', 'x'.repeat(1001)])(
  'a reason must be a text of 1 to 1,000 characters: %j',
  async reason => {
    const { dealerId } = await makeSeller(database, server)
    const input = { dealerId, isActive: false, canPublish: true, reason }
    expect(await send('setDealerStatus', input)).toMatchObject({ code: 'invalid_input', field: 'reason' })
  },
)

test('a user is locked and unlocked with a reason, once', async () => {
  const userId = await makeUser(database.owner)
  for (const [name, locked] of [
    ['lockUser', expect.any(String)],
    ['unlockUser', null],
  ] as const) {
    const trail = await trailOf(database, async () =>
      expect((await send(name, { userId, reason: 'Stolen' })).row).toMatchObject({
        id: userId,
        lockedAt: locked,
      }),
    )
    expect(JSON.stringify(trail)).toContain('Stolen')
    expect(await trailOf(database, () => send(name, { userId, reason: 'Stolen' }))).toEqual([])
  }
})

test('an admin cannot lock its own account', async () => {
  const userId = await makeUser(database.owner)
  await database.owner.query('update app_public.users set is_admin = true where id = $1', [userId])
  const own = await server.tokenFor(userId, 'admin')
  const refused = await admin(server, own, 'lockUser', { userId, reason: 'A test' })
  expect([refused.status, refused.code, refused.field]).toEqual([409, 'conflict', 'userId'])
})

test('of two admins who lock each other at once, one succeeds', async () => {
  const ids = [await makeAdminUser(database.owner), await makeAdminUser(database.owner)]
  const locks = await Promise.all(
    ids.map((id, index) =>
      committed(database, { admin: id }, client =>
        client.query("select app_public.lock_user($1, 'A test.')", [ids[1 - index]]),
      ).then(
        () => 'locked',
        (error: { code?: string }) => error.code,
      ),
    ),
  )
  expect(locks.sort()).toEqual(['FC003', 'locked'])
})

test('admins find a user by the e-mail address, and nobody else sees other accounts', async () => {
  const userId = await makeUser(database.owner, 'wanted@example.com')
  const find = (by: string) =>
    server.call<{ users: { nodes: { id: string }[] } }>(
      '{ users(condition: { email: "wanted@example.com", isLocked: false }) { nodes { id email isAdmin lockedAt createdAt } } }',
      { token: by },
    )
  const { data } = await find(token)
  expect(data.users.nodes).toMatchObject([{ id: userId, isAdmin: false, lockedAt: null }])
  const { status, errors } = await find(await server.tokenFor(userId))
  expect([status, errors[0]?.extensions.code]).toEqual([403, 'forbidden'])
})

async function grantable(listings = 3) {
  const seller = await makeSeller(database, server)
  const packageId = await makePackage(database.owner, { country: seller.country, listings })
  return { seller, input: { dealerId: seller.dealerId, packageId, reason: 'An outage' } }
}

test('a granted subscription starts at once with the quotas of its package, and pays for listings', async () => {
  const { seller, input } = await grantable()
  let row: unknown
  const trail = await trailOf(database, async () => {
    row = (await send('grantSubscription', input)).row
  })
  expect(row).toMatchObject({
    status: 'ACTIVE',
    includedListingQuota: 3,
    grantReason: 'An outage',
    invoiceId: null,
  })
  const granted = trail.find(({ action }) => action === 'GRANT_SUBSCRIPTION dealer_subscriptions')
  expect(granted?.new_values).toMatchObject({ reason: 'An outage', dealer_id: seller.dealerId })
  await database.owner.query('update app_public.dealer_packages set listing_limit = 99 where id = $1', [
    input.packageId,
  ])
  const { data } = await createListing(server, seller.token, seller.dealerId)
  expect(data.createListing?.listing.consumption.source).toBe('SUBSCRIPTION_QUOTA')
  expect((await send('grantSubscription', input)).row).toMatchObject({ includedListingQuota: 3 })
})

test('a grant waits behind a running subscription, and the same grant again is the same subscription', async () => {
  const { seller, input } = await grantable()
  await makeSubscription(database.owner, seller.dealerId, { country: seller.country })
  const { row } = await send('grantSubscription', input)
  expect(row).toMatchObject({ status: 'PENDING', startAt: null })
  expect(await trailOf(database, () => send('grantSubscription', input))).toEqual([])
  const other = await send('grantSubscription', { ...input, reason: 'Another outage' })
  expect(other.row).toMatchObject({ status: 'PENDING' })
  expect(other.row?.id).not.toBe(row?.id)
})

test('of twenty grants at once there is one subscription', async () => {
  const { seller, input } = await grantable()
  const outcomes = await Promise.all(Array.from({ length: 20 }, () => send('grantSubscription', input)))
  const granted = outcomes.filter(({ status }) => status === 200)
  expect(granted.length).toBeGreaterThan(0)
  expect(outcomes.filter(({ status }) => ![200, 429, 503].includes(status))).toEqual([])
  expect(new Set(granted.map(({ row }) => row?.id)).size).toBe(1)
  const { rows } = await database.owner.query(
    'select count(*)::int as count from app_public.dealer_subscriptions where dealer_id = $1',
    [seller.dealerId],
  )
  expect(rows).toEqual([{ count: 1 }])
})

test('a package of another country or off sale, and a closed dealer, get no grant', async () => {
  const { seller, input } = await grantable()
  const { input: elsewhere } = await grantable()
  expect(await send('grantSubscription', { ...input, packageId: elsewhere.packageId })).toMatchObject({
    code: 'invalid_input',
    field: 'packageId',
  })
  await send('retirePackage', { packageId: elsewhere.packageId })
  expect(await send('grantSubscription', elsewhere)).toMatchObject({ code: 'not_found', field: 'packageId' })
  await send('setDealerStatus', {
    dealerId: seller.dealerId,
    isActive: false,
    canPublish: true,
    reason: 'A test',
  })
  expect(await send('grantSubscription', input)).toMatchObject({ code: 'forbidden', field: 'dealerId' })
})

test.each([
  ['no owner', 'delete from app_public.dealer_users where dealer_id = $1'],
  [
    'a locked owner alone',
    `update app_public.users set locked_at = now()
     where id = (select user_id from app_public.dealer_users where dealer_id = $1)`,
  ],
])('a dealer with %s is not opened', async (_, change) => {
  const seller = await makeSeller(database, server)
  const input = { dealerId: seller.dealerId, canPublish: true, reason: 'A test' }
  await send('setDealerStatus', { ...input, isActive: false })
  await database.owner.query(change, [seller.dealerId])
  expect(await send('setDealerStatus', { ...input, isActive: true })).toMatchObject({
    status: 409,
    code: 'conflict',
    field: 'dealerId',
  })
})
