/** What a new listing is: its status by dealer and country, its end, and the dealer's own reference. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules, readLedger } from '../support/ledger.ts'
import { outcome, step } from '../support/listings.ts'
import { makeAdmin, makeSeller, type Seller } from '../support/seller.ts'

const DAY = 86_400_000
const CREATE = `mutation ($input: CreateListingInput!) {
  createListing(input: $input) { listing { id status externalId createdAt publishedAt expiresAt } }
}`
type Created = {
  id: string
  status: string
  externalId: string | null
  createdAt: string
  publishedAt: string | null
  expiresAt: string | null
}

let database: TestDatabase
let server: TestServer
let admin: string
let seller: Seller

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  admin = await makeAdmin(database, server)
  seller = await makeSeller(database, server)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

afterEach(async () => expect(await brokenRules(database.superuser)).toEqual([]))

async function create({ dealerId, token }: Seller, input: Record<string, unknown> = {}) {
  const response = await server.call<{ createListing: { listing: Created } | null } | null>(CREATE, {
    token,
    variables: {
      input: {
        dealerId,
        idempotencyKey: randomUUID(),
        title: 'A car',
        module: 'auto',
        price: '1',
        currency: 'EUR',
        ...input,
      },
    },
  })
  return { ...response, listing: response.data?.createListing?.listing as Created }
}

const inQueue = async (id: string) =>
  (
    await database.owner.query<{ reason: string }>(
      'select reason from app_public.moderation_queue where listing_id = $1',
      [id],
    )
  ).rows.map(({ reason }) => reason)
const days = ({ publishedAt, expiresAt }: Created) =>
  (Date.parse(expiresAt as string) - Date.parse(publishedAt as string)) / DAY

test('a listing waits for its approval, and is shown for as long as its country says', async () => {
  const { listing } = await create(seller)
  expect(listing).toMatchObject({ status: 'PENDING', publishedAt: null, expiresAt: null })
  expect(await inQueue(listing.id)).toEqual(['new'])
  // the days are those of the creation, not of the approval
  await database.owner.query('update app_public.country_currencies set listing_days = 7 where country = $1', [
    seller.country,
  ])
  const approved = await step(server, admin, 'moderateListing', {
    listingId: listing.id,
    decision: 'APPROVE',
  })
  expect(days(approved.listing as unknown as Created)).toBe(90)
  const second = await create(seller)
  const shorter = await step(server, admin, 'moderateListing', {
    listingId: second.listing.id,
    decision: 'APPROVE',
  })
  expect(days(shorter.listing as unknown as Created)).toBe(7)
})

test('a listing of a trusted dealer is active at once, and nobody reviews it', async () => {
  const trusted = await makeSeller(database, server)
  await database.owner.query('update app_public.dealers set is_trusted = true where id = $1', [
    trusted.dealerId,
  ])
  const { listing } = await create(trusted)
  expect(listing).toMatchObject({ status: 'ACTIVE', publishedAt: listing.createdAt })
  expect(days(listing)).toBe(90)
  expect(await inQueue(listing.id)).toEqual([])
})

test('a listing of a country that moderates afterwards is active at once, and stands in the queue', async () => {
  const free = await makeSeller(database, server)
  await database.owner.query(
    "update app_public.country_currencies set moderation = 'after' where country = $1",
    [free.country],
  )
  const { listing } = await create(free)
  expect(listing).toMatchObject({ status: 'ACTIVE', publishedAt: listing.createdAt })
  expect(await inQueue(listing.id)).toEqual(['published'])
})

test('the public sees an active listing until its end, and its dealer longer', async () => {
  const { listing } = await create(seller)
  await step(server, admin, 'moderateListing', { listingId: listing.id, decision: 'APPROVE' })
  const sees = async (token?: string) => {
    const query = `{ listing(id: "${listing.id}") { id } }`
    const { data } = await server.call<{ listing: unknown }>(query, token === undefined ? {} : { token })
    return data.listing !== null
  }
  expect([await sees(), await sees(seller.token)]).toEqual([true, true])
  await database.owner.query(
    "update app_public.listings set published_at = now() - interval '1 day', expires_at = now() where id = $1",
    [listing.id],
  )
  expect([await sees(), await sees(seller.token), await sees(admin)]).toEqual([false, true, true])
})

test('a reference is trimmed, and an empty one is none', async () => {
  expect((await create(seller, { externalId: ' A 1 ' })).listing.externalId).toBe('A 1')
  expect((await create(seller, { externalId: ' ' })).listing.externalId).toBeNull()
})

test('a reference is unique among the pending and active listings of its dealer', async () => {
  const { listing } = await create(seller, { externalId: 'unique' })
  const conflict = await create(seller, { externalId: 'unique' })
  expect([conflict.status, conflict.errors[0]?.extensions]).toMatchObject([
    409,
    { code: 'conflict', detail: { field: 'externalId' } },
  ])
  expect((await create(await makeSeller(database, server), { externalId: 'unique' })).status).toBe(200)
  await step(server, seller.token, 'withdrawListing', { listingId: listing.id })
  expect((await create(seller, { externalId: 'unique' })).status).toBe(200)
})

test('a reference of 101 characters or two lines is refused', async () => {
  for (const externalId of ['a'.repeat(101), 'a\nb']) {
    const { status, errors } = await create(seller, { externalId })
    expect([status, errors[0]?.extensions]).toMatchObject([
      422,
      { code: 'invalid_input', detail: { field: 'externalId' } },
    ])
  }
})

test('a retry with another reference is a conflict, and one without a reference matches a listing of release 0.2', async () => {
  const idempotencyKey = randomUUID()
  const first = await create(seller, { idempotencyKey, externalId: 'kept' })
  expect((await create(seller, { idempotencyKey, externalId: 'kept' })).listing).toEqual(first.listing)
  for (const externalId of ['other', null]) {
    const { errors } = await create(seller, { idempotencyKey, externalId })
    expect(errors[0]?.extensions.code).toBe('idempotency_conflict')
  }
  const plain = await create(seller)
  // the hash of release 0.2
  const { rows } = await database.owner.query(
    `select payload_hash = sha256(convert_to(
       jsonb_build_array('A car', 'auto', 1, 'EUR', null, null, null)::text, 'UTF8')) as same
     from app_public.listings where id = $1`,
    [plain.listing.id],
  )
  expect(rows).toEqual([{ same: true }])
})

test('the days of a country are 1 to 3660', async () => {
  const set = (value: number) =>
    database.owner.query('update app_public.country_currencies set listing_days = $2 where country = $1', [
      seller.country,
      value,
    ])
  for (const value of [0, 3661]) await expect(set(value)).rejects.toMatchObject({ code: '23514' })
})

test('moderation, days and trust are set by a DBA and recorded', async () => {
  const { rows } = await database.owner.query(
    `select resource_type, new_values from app_public.audit_logs
     where new_values ?| '{moderation,is_trusted,listing_days}' and action = 'UPDATE' order by id`,
  )
  expect(rows.map(row => row.resource_type)).toEqual(['country_currencies', 'dealers', 'country_currencies'])
})

test('a listing that was active before release 0.3 is taken down with the times that are known, and gets nothing back', async () => {
  const { listing } = await create(seller)
  await database.owner.query("update app_public.listings set status = 'active' where id = $1", [listing.id])
  const { listing: rejected } = await step(server, admin, 'moderateListing', {
    listingId: listing.id,
    decision: 'REJECT',
    reason: 'No car.',
  })
  expect(rejected).toMatchObject({ publishedAt: listing.createdAt, expiresAt: rejected?.updatedAt })
  expect(await readLedger(database.owner, listing.id)).toEqual(['publication paid_extra 5.95'])
})

test('a listing that was active before release 0.3 has no end, stays visible, and is not renewed', async () => {
  const { listing } = await create(seller)
  await database.owner.query("update app_public.listings set status = 'active' where id = $1", [listing.id])
  const { data } = await server.call<{ listing: unknown }>(
    `{ listing(id: "${listing.id}") { id expiresAt } }`,
  )
  expect(data.listing).toEqual({ id: listing.id, expiresAt: null })
  const renewal = { listingId: listing.id, idempotencyKey: randomUUID() }
  expect(outcome(await step(server, seller.token, 'renewListing', renewal))).toBe('409 conflict ACTIVE')
  expect(outcome(await step(server, seller.token, 'markListingSold', { listingId: listing.id }))).toBe('SOLD')
})
