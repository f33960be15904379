/** The rejection of a listing that was never active gives its charge back, once. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { brokenRules, readLedger } from '../support/ledger.ts'
import { makeListing, outcome, step } from '../support/listings.ts'
import { makeAdmin, makeSeller, type Seller } from '../support/seller.ts'
import { makeAdminUser, makeSubscription, single } from '../support/testData.ts'
import { interleave } from '../support/transactions.ts'

let database: TestDatabase
let server: TestServer
let admin: string
let adminId: string

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  admin = await makeAdmin(database, server)
  adminId = await makeAdminUser(database.owner)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

afterEach(async () => expect(await brokenRules(database.superuser)).toEqual([]))

const LAST_MONTH = "period_start = period_start - interval '1 month'"

const reject = (listingId: string) =>
  step(server, admin, 'moderateListing', { listingId, decision: 'REJECT', reason: 'No car.' })
const resubmit = ({ token }: Seller, listingId: string) =>
  step(server, token, 'resubmitListing', { listingId, idempotencyKey: randomUUID() })
const freeLeft = async ({ token, dealerId }: Seller) => {
  const { data } = await server.call<{ quoteListing: { freeRemaining: number } }>(
    `{ quoteListing(dealerId: "${dealerId}") { freeRemaining } }`,
    { token },
  )
  return data.quoteListing.freeRemaining
}

const ledger = (listingId: string) => readLedger(database.owner, listingId)

test('a rejected free listing gives its free quota back, and its resubmission uses it again', async () => {
  const seller = await makeSeller(database, server, { freeListings: 1 })
  const id = await makeListing(database.owner, seller)
  expect(await freeLeft(seller)).toBe(0)
  await reject(id)
  expect(await freeLeft(seller)).toBe(1)
  expect(outcome(await resubmit(seller, id))).toBe('PENDING')
  expect(await freeLeft(seller)).toBe(0)
  expect(await ledger(id)).toEqual(
    ['publication free_quota 0', 'reversal free_quota 0', 'publication free_quota 0'].map(line =>
      expect.stringMatching(new RegExp(`^${line}`)),
    ),
  )
})

test('a reversal that is in the free period longer than its listing gives nothing extra', async () => {
  const seller = await makeSeller(database, server, { freeListings: 1 })
  const id = await makeListing(database.owner, seller)
  await reject(id)
  const client = await database.superuser.connect()
  await client.query("set session_replication_role to 'replica'")
  await client.query(
    `update app_public.listing_consumptions set created_at = now() - interval '31 days'
     where listing_id = $1 and kind = 'publication'`,
    [id],
  )
  client.release(true)
  expect(await freeLeft(seller)).toBe(1)
})

test('a rejected listing of a subscription gives its quota back, also where the subscription was cancelled', async () => {
  const seller = await makeSeller(database, server)
  const subscription = await makeSubscription(database.owner, seller.dealerId, { country: seller.country })
  const used = async () =>
    Number(
      await single(
        database.owner,
        'select used_listing_quota from app_public.dealer_subscriptions where id = $1',
        [subscription],
      ),
    )
  const [one, other] = [await makeListing(database.owner, seller), await makeListing(database.owner, seller)]
  await reject(one)
  expect(await used()).toBe(1)
  await database.owner.query(
    "update app_public.dealer_subscriptions set status = 'cancelled' where id = $1",
    [subscription],
  )
  await reject(other)
  expect(await used()).toBe(0)
})

test('an ended subscription gets nothing back', async () => {
  const seller = await makeSeller(database, server)
  const subscription = await makeSubscription(database.owner, seller.dealerId, { country: seller.country })
  const id = await makeListing(database.owner, seller)
  await database.owner.query('update app_public.dealer_subscriptions set end_at = now() where id = $1', [
    subscription,
  ])
  await reject(id)
  const { rows } = await database.owner.query(
    `select s.used_listing_quota as used, lc.subscription_id as named from app_public.dealer_subscriptions as s
     join app_public.listing_consumptions as lc on lc.dealer_id = s.dealer_id and lc.kind = 'reversal' where s.id = $1`,
    [subscription],
  )
  expect(rows).toEqual([{ used: 1, named: null }])
})

const items = async ({ dealerId }: Seller) =>
  (
    await database.owner.query(
      `select concat_ws(' ', i.status, it.quantity, it.gross_amount) as line from app_public.invoice_items as it
     join app_public.invoices as i on i.id = it.invoice_id where it.dealer_id = $1 order by it.created_at, it.id`,
      [dealerId],
    )
  ).rows.map(({ line }) => line)
const totals = async ({ dealerId }: Seller) =>
  (
    await database.owner.query(
      'select gross_total from app_public.invoices where dealer_id = $1 order by created_at',
      [dealerId],
    )
  ).rows.map(row => row.gross_total)

test('a rejected paid listing becomes a negative item of the open draft', async () => {
  const seller = await makeSeller(database, server)
  const [id] = [await makeListing(database.owner, seller), await makeListing(database.owner, seller)]
  await reject(id as string)
  expect(await items(seller)).toEqual(['draft 1 5.95', 'draft 1 5.95', 'draft -1 -5.95'])
  expect(await totals(seller)).toEqual(['5.95'])
})

test('a reversal names the admin, and a month in which all was given back is paid', async () => {
  const seller = await makeSeller(database, server)
  const id = await makeListing(database.owner, seller)
  await reject(id)
  const actor = `select u.is_admin from app_public.listing_consumptions as lc
    join app_public.users as u on u.id = lc.created_by where lc.listing_id = $1 and lc.reverses is not null`
  expect(await single(database.owner, actor, [id])).toBe(true)
  const close = `update app_public.invoices set ${LAST_MONTH} where dealer_id = $1 returning id`
  const invoiceId = await single(database.owner, close, [seller.dealerId])
  const { data } = await server.call(
    `mutation { payInvoice(input: { invoiceId: "${invoiceId}" }) { invoice { status grossTotal } } }`,
    { token: admin },
  )
  expect(data).toEqual({ payInvoice: { invoice: { status: 'PAID', grossTotal: '0.00' } } })
})

test('a reversal has the price of the publication, and not that of today', async () => {
  const seller = await makeSeller(database, server)
  const id = await makeListing(database.owner, seller)
  await database.owner.query("select app_private.set_price($1, 'dealer', 'pay_per_listing', 7)", [
    seller.country,
  ])
  await reject(id)
  expect(await items(seller)).toEqual(['draft 1 5.95', 'draft -1 -5.95'])
})

test.each([
  ['was closed with its month', `${LAST_MONTH}, status = 'paid', paid_at = now()`, 'paid'],
  ['is that of the month before', LAST_MONTH, 'draft'],
])('where the draft %s, a reversal opens one with a negative total', async (_what, change, status) => {
  const seller = await makeSeller(database, server)
  const id = await makeListing(database.owner, seller)
  await database.owner.query(`update app_public.invoices set ${change} where dealer_id = $1`, [
    seller.dealerId,
  ])
  await reject(id)
  expect(await items(seller)).toEqual([`${status} 1 5.95`, 'draft -1 -5.95'])
  expect(await totals(seller)).toEqual(['5.95', '-5.95'])
})

test('a price on a void invoice is not given back, and the resubmission has a price again', async () => {
  const seller = await makeSeller(database, server)
  const id = await makeListing(database.owner, seller)
  await database.owner.query("update app_public.invoices set status = 'void' where dealer_id = $1", [
    seller.dealerId,
  ])
  await reject(id)
  expect(await items(seller)).toEqual(['void 1 5.95'])
  expect(await ledger(id)).toEqual(['publication paid_extra 5.95', 'reversal paid_extra -5.95'])
  expect(outcome(await resubmit(seller, id))).toBe('PENDING')
  expect(await items(seller)).toEqual(['void 1 5.95', 'draft 1 5.95'])
})

test('a month with a negative total cannot be paid', async () => {
  const seller = await makeSeller(database, server)
  const id = await makeListing(database.owner, seller)
  const change = (set: string) =>
    database.owner.query(`update app_public.invoices set ${set} where dealer_id = $1 returning id`, [
      seller.dealerId,
    ])
  await change(LAST_MONTH)
  await reject(id)
  await change(LAST_MONTH)
  const invoiceId = await single(
    database.owner,
    'select id from app_public.invoices where dealer_id = $1 and gross_total < 0',
    [seller.dealerId],
  )
  const { status, errors } = await server.call(
    `mutation { payInvoice(input: { invoiceId: "${invoiceId}" }) { invoice { id } } }`,
    { token: admin },
  )
  expect([status, errors[0]?.extensions]).toMatchObject([
    409,
    { code: 'conflict', detail: { field: 'invoiceId', status: 'DRAFT' } },
  ])
})

test('a reversal gives back the row with the highest number, although the clock was set back', async () => {
  const seller = await makeSeller(database, server)
  const id = await makeListing(database.owner, seller, 'REJECTED')
  await resubmit(seller, id)
  const client = await database.superuser.connect()
  await client.query("set session_replication_role to 'replica'")
  await client.query(
    `update app_public.listing_consumptions set created_at = created_at - interval '1 hour'
     where listing_id = $1 and kind = 'publication' and number = 2`,
    [id],
  )
  client.release(true)
  await reject(id)
  const reversed = `select string_agg(o.kind || ' ' || o.number, ', ' order by o.number) as rows
    from app_public.listing_consumptions as r join app_public.listing_consumptions as o on o.id = r.reverses
    where r.listing_id = $1`
  expect(await single(database.owner, reversed, [id])).toBe('publication 1, publication 2')
})

test('a second publication of a listing is refused while the first one stands', async () => {
  const seller = await makeSeller(database, server)
  const id = await makeListing(database.owner, seller)
  await rolledBack(database, async client => {
    await client.query("select set_config('forecourt.user_id', $1, true)", [seller.userId])
    const charge = `select app_private.charge_listing(l, 'publication', gen_random_uuid(), clock_timestamp())
      from app_public.listings as l where l.id = $1`
    expect(await refusal(client, charge, [id])).toBe('23505')
  })
})

test('of twenty rejections at once one gives back', async () => {
  const seller = await makeSeller(database, server, { freeListings: 1 })
  const id = await makeListing(database.owner, seller)
  const answers = await Promise.all(Array.from({ length: 20 }, () => reject(id)))
  expect(answers.map(outcome)).toEqual(Array(20).fill('REJECTED'))
  expect(await ledger(id)).toHaveLength(2)
  expect(await freeLeft(seller)).toBe(1)
})

const REJECT = "select app_public.moderate_listing($1, 'reject', 'No car.')"
const PUBLISH = `select lc.source from app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 1, 'EUR') as l
  cross join lateral app_public.consumption_of_listing(l.dealer_id, l.id) as lc`

test.each(['rejection', 'publication'] as const)(
  'a rejection and a publication at once on the last free quota wait for each other: the %s first',
  async first => {
    const seller = await makeSeller(database, server, { freeListings: 1 })
    const id = await makeListing(database.owner, seller)
    const roles = { moderator: { admin: adminId }, member: { dealer: seller.userId } }
    await interleave(database, roles, async ({ moderator, member }) => {
      if (first === 'rejection') {
        await moderator.query(REJECT, [id])
        const { result } = await member.startBlocked(PUBLISH, [seller.dealerId])
        await moderator.commit()
        expect((await result).rows).toEqual([{ source: 'free_quota' }])
        await member.commit()
      } else {
        const published = await member.query(PUBLISH, [seller.dealerId])
        expect(published.rows).toEqual([{ source: 'paid_extra' }])
        const { result } = await moderator.startBlocked(REJECT, [id])
        await member.commit()
        await result
        await moderator.commit()
      }
    })
    expect(await freeLeft(seller)).toBe(first === 'rejection' ? 0 : 1)
  },
)
