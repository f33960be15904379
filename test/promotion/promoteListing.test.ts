/** promoteListing and quotePromotion: who may, what pays, and how long it lasts. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules, countDealerRows } from '../support/ledger.ts'
import { makeListing, STATUSES } from '../support/listings.ts'
import { promote, quotePromotion, result, sellPromotions } from '../support/promotions.ts'
import { makeAdmin, makeSeller, makeSellerIn, type Seller } from '../support/seller.ts'
import { makeSubscription, makeUser, single } from '../support/testData.ts'

const DAY = 86_400_000

let database: TestDatabase
let server: TestServer

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

afterEach(async () => expect(await brokenRules(database.superuser)).toEqual([]))

/** Makes a seller in a country that sells promotions. */
async function makePromoter(options: Parameters<typeof sellPromotions>[2] = {}): Promise<Seller> {
  const seller = await makeSeller(database, server)
  await sellPromotions(database.owner, seller.country, options)
  return seller
}
const active = (seller: Seller) => makeListing(database.owner, seller, 'ACTIVE')
const subscribe = (seller: Seller, options: Parameters<typeof makeSubscription>[2]) =>
  makeSubscription(database.owner, seller.dealerId, { country: seller.country, ...options })
const used = async (subscriptionId: string) =>
  (
    await database.owner.query(
      `select used_listing_quota as listings, used_premium_quota as premium, used_highlight_quota as highlights
       from app_public.dealer_subscriptions where id = $1`,
      [subscriptionId],
    )
  ).rows[0]
const flags = async (listingId: string, token?: string) => {
  const { data } = await server.call<{ listing: Record<string, unknown> }>(
    `{ listing(id: "${listingId}") { isPremium isHighlighted promotions { nodes { kind } totalCount } } }`,
    token === undefined ? {} : { token },
  )
  return data.listing
}

test('the status and the role decide who may promote and who may quote', async () => {
  const seller = await makePromoter()
  const staffId = await makeUser(database.owner)
  await database.owner.query(
    "insert into app_public.dealer_users (dealer_id, user_id, role) values ($1, $2, 'staff')",
    [seller.dealerId, staffId],
  )
  const member = (status: string) => (status === 'ACTIVE' ? 'done' : `409 conflict ${status}`)
  const roles: [string | undefined, (status: string) => string][] = [
    [seller.token, member],
    [await server.tokenFor(staffId), member],
    [(await makeSellerIn(database, server, seller.country)).token, () => '403 forbidden'],
    [await makeAdmin(database, server), () => '403 forbidden'],
    [undefined, () => '401 unauthenticated'],
  ]
  for (const status of STATUSES) {
    const listingId = await makeListing(database.owner, seller, status)
    for (const [index, [token, expected]] of roles.entries()) {
      const answers = [
        await promote(server, token, { listingId }),
        await quotePromotion(server, token, listingId),
      ]
      expect([status, index, ...answers.map(result)]).toEqual([
        status,
        index,
        expected(status),
        expected(status),
      ])
    }
  }
  const { token } = seller
  expect(result(await promote(server, token, { listingId: randomUUID() }))).toBe('404 not_found')
  expect(result(await quotePromotion(server, token, randomUUID()))).toBe('404 not_found')
})

test('a listing whose end no expiry run has recorded cannot be promoted', async () => {
  const seller = await makePromoter()
  const listingId = await active(seller)
  await database.owner.query('update app_public.listings set expires_at = clock_timestamp() where id = $1', [
    listingId,
  ])
  expect(result(await promote(server, seller.token, { listingId }))).toBe('409 conflict ACTIVE')
  expect(result(await quotePromotion(server, seller.token, listingId))).toBe('409 conflict ACTIVE')
})

test.each(['is_active', 'can_publish'])('a dealer that may not publish may not promote: %s', async column => {
  const seller = await makePromoter()
  const listingId = await active(seller)
  await database.owner.query(`update app_public.dealers set ${column} = false where id = $1`, [
    seller.dealerId,
  ])
  expect(result(await promote(server, seller.token, { listingId }))).toBe('403 forbidden')
  expect(result(await quotePromotion(server, seller.token, listingId))).toBe('403 forbidden')
})

test('quota of the kind pays first, then its price, and each quote equals its charge', async () => {
  const seller = await makePromoter()
  const subscription = await subscribe(seller, { premium: 1, highlights: 2, overage: 'block' })
  const listingId = await active(seller)
  const charges: unknown[] = []
  for (const kind of ['PREMIUM', 'HIGHLIGHT', 'PREMIUM', 'HIGHLIGHT', 'HIGHLIGHT'] as const) {
    const { quote } = await quotePromotion(server, seller.token, listingId, kind)
    const { promotion } = await promote(server, seller.token, { listingId, kind })
    const { source, netAmount, grossAmount, currency } = quote ?? {}
    expect(promotion?.consumption).toEqual({ kind, source, netAmount, grossAmount, currency })
    charges.push([kind, source, grossAmount, quote?.subscriptionRemaining])
  }
  // the overage of listings is another matter
  expect(charges).toEqual([
    ['PREMIUM', 'SUBSCRIPTION_QUOTA', '0.00', 1],
    ['HIGHLIGHT', 'SUBSCRIPTION_QUOTA', '0.00', 2],
    ['PREMIUM', 'PAID_EXTRA', '10.71', 0],
    ['HIGHLIGHT', 'SUBSCRIPTION_QUOTA', '0.00', 1],
    ['HIGHLIGHT', 'PAID_EXTRA', '10.71', 0],
  ])
  expect(await used(subscription)).toEqual({ listings: 1, premium: 1, highlights: 2 })
})

test('a cancelled subscription keeps its quota, and of two the one that ends first is used first', async () => {
  const seller = await makePromoter()
  const later = await subscribe(seller, { premium: 1 })
  const sooner = await subscribe(seller, {
    premium: 1,
    status: 'cancelled',
    endAt: "now() + interval '1 day'",
  })
  const over = await subscribe(seller, { premium: 1, status: 'cancelled', endAt: 'now()' })
  const listingId = await active(seller)
  const seen: unknown[] = []
  for (let time = 0; time < 3; time += 1) {
    const { promotion } = await promote(server, seller.token, { listingId })
    seen.push([promotion?.consumption.source, (await used(sooner)).premium, (await used(later)).premium])
  }
  expect(seen).toEqual([
    ['SUBSCRIPTION_QUOTA', 1, 0],
    ['SUBSCRIPTION_QUOTA', 1, 1],
    ['PAID_EXTRA', 1, 1],
  ])
  expect((await used(over)).premium).toBe(0)
})

test('a pending subscription starts only where none runs', async () => {
  const seller = await makePromoter()
  const running = await subscribe(seller, { premium: 0 })
  const pending = await subscribe(seller, { premium: 1, status: 'pending' })
  const listingId = await active(seller)
  const source = async () =>
    (await promote(server, seller.token, { listingId })).promotion?.consumption.source
  expect(await source()).toBe('PAID_EXTRA')
  await database.owner.query('update app_public.dealer_subscriptions set end_at = now() where id = $1', [
    running,
  ])
  expect((await quotePromotion(server, seller.token, listingId)).quote).toMatchObject({
    source: 'SUBSCRIPTION_QUOTA',
    subscriptionRemaining: 1,
  })
  expect(await source()).toBe('SUBSCRIPTION_QUOTA')
  const { rows } = await database.owner.query(
    'select id, status from app_public.dealer_subscriptions where dealer_id = $1 order by id',
    [seller.dealerId],
  )
  expect(rows).toEqual([
    { id: running, status: 'expired' },
    { id: pending, status: 'active' },
  ])
})

test('without a price of its kind nothing is promoted, not even by quota, and nothing is written', async () => {
  const seller = await makePromoter({ kinds: ['highlight'] })
  await subscribe(seller, { premium: 1 })
  const listingId = await active(seller)
  const before = await countDealerRows(database.owner, seller.dealerId)
  expect(result(await quotePromotion(server, seller.token, listingId))).toBe(
    '409 pricing_config_missing price',
  )
  expect(result(await promote(server, seller.token, { listingId }))).toBe('409 pricing_config_missing price')
  expect(await countDealerRows(database.owner, seller.dealerId)).toEqual(before)
  expect(result(await promote(server, seller.token, { listingId, kind: 'HIGHLIGHT' }))).toBe('done')
})

test('without a VAT rate nothing is promoted', async () => {
  const seller = await makePromoter()
  const listingId = await active(seller)
  await database.owner.query('delete from app_public.vat_rates where country = $1', [seller.country])
  const refusal = '409 pricing_config_missing vat_rate'
  expect(result(await quotePromotion(server, seller.token, listingId))).toBe(refusal)
  expect(result(await promote(server, seller.token, { listingId }))).toBe(refusal)
})

test('it lasts as long as its price says, also where quota pays, and a new price keeps the duration', async () => {
  const seller = await makePromoter({ days: 14 })
  await subscribe(seller, { premium: 1 })
  const days = async () => {
    const { promotion } = await promote(server, seller.token, { listingId: await active(seller) })
    return [
      promotion?.consumption.source,
      (Date.parse(promotion?.endsAt ?? '') - Date.parse(promotion?.startsAt ?? '')) / DAY,
    ]
  }
  expect(await days()).toEqual(['SUBSCRIPTION_QUOTA', 14])
  await database.owner.query("select app_private.set_price($1, 'dealer', 'premium_fee', 10)", [
    seller.country,
  ])
  expect(await days()).toEqual(['PAID_EXTRA', 14])
})

test('a second promotion of the kind extends the first, and one of the other kind does not', async () => {
  const seller = await makePromoter()
  const listingId = await active(seller)
  const first = (await promote(server, seller.token, { listingId })).promotion
  expect(await flags(listingId)).toMatchObject({ isPremium: true, isHighlighted: false })
  const other = (await promote(server, seller.token, { listingId, kind: 'HIGHLIGHT' })).promotion
  expect(Date.parse(other?.startsAt ?? '')).toBeLessThan(Date.parse(first?.endsAt ?? ''))
  const { quote } = await quotePromotion(server, seller.token, listingId)
  const second = (await promote(server, seller.token, { listingId })).promotion
  expect(second?.startsAt).toBe(first?.endsAt)
  expect([quote?.startsAt, quote?.endsAt]).toEqual([second?.startsAt, second?.endsAt])
  expect(await flags(listingId)).toMatchObject({ isPremium: true, isHighlighted: true })
  const until = await single(database.owner, 'select premium_until from app_public.listings where id = $1', [
    listingId,
  ])
  expect(new Date(until)).toEqual(new Date(second?.endsAt ?? ''))
})

test('a promotion after the end of the last one starts now, also before the worker has noticed the end', async () => {
  const seller = await makePromoter()
  const listingId = await active(seller)
  await promote(server, seller.token, { listingId })
  const client = await database.superuser.connect()
  await client.query("set session_replication_role to 'replica'")
  await client.query(
    `update app_public.listing_promotions set starts_at = starts_at - interval '8 days', ends_at = ends_at - interval '8 days' where listing_id = $1`,
    [listingId],
  )
  await client.query(
    "update app_public.listings set premium_until = premium_until - interval '8 days' where id = $1",
    [listingId],
  )
  client.release(true)
  const before = Date.now()
  const { promotion } = await promote(server, seller.token, { listingId })
  expect(Math.abs(Date.parse(promotion?.startsAt ?? '') - before)).toBeLessThan(60_000)
})

test('the same key promotes once, also when twenty arrive at once, and another input is then a conflict', async () => {
  const seller = await makePromoter()
  const listingId = await active(seller)
  const input = { listingId, kind: 'PREMIUM' as const, idempotencyKey: randomUUID() }
  const answers = await Promise.all(Array.from({ length: 20 }, () => promote(server, seller.token, input)))
  expect(answers.map(result)).toEqual(Array(20).fill('done'))
  expect(new Set(answers.map(({ promotion }) => JSON.stringify(promotion))).size).toBe(1)
  expect((await flags(listingId, seller.token)).promotions).toMatchObject({ totalCount: 1 })
  const refusal = '409 idempotency_conflict'
  expect(result(await promote(server, seller.token, { ...input, kind: 'HIGHLIGHT' }))).toBe(refusal)
  expect(result(await promote(server, seller.token, { ...input, listingId: await active(seller) }))).toBe(
    refusal,
  )
  // a retry answers also after the listing has ended
  await database.owner.query("update app_public.listings set status = 'withdrawn' where id = $1", [listingId])
  expect((await promote(server, seller.token, input)).promotion).toEqual(answers[0]?.promotion)
})

test('everybody sees that a listing is promoted, and only its members and admins by what', async () => {
  const seller = await makePromoter()
  const listingId = await active(seller)
  await promote(server, seller.token, { listingId })
  const shown = { isPremium: true, isHighlighted: false }
  const promotions = { nodes: [{ kind: 'PREMIUM' }], totalCount: 1 }
  const stranger = await makeSellerIn(database, server, seller.country)
  expect(await flags(listingId, seller.token)).toEqual({ ...shown, promotions })
  expect(await flags(listingId, await makeAdmin(database, server))).toEqual({ ...shown, promotions })
  for (const token of [undefined, stranger.token]) {
    expect(await flags(listingId, token)).toEqual({ ...shown, promotions: { nodes: [], totalCount: 0 } })
  }
})
