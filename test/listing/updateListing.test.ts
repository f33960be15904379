/** updateListing: what changes, what stays, and when an edit is reviewed. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import { makeListing, outcome, step } from '../support/listings.ts'
import { makeSeller, type Seller } from '../support/seller.ts'
import { single } from '../support/testData.ts'

let database: TestDatabase
let server: TestServer
let seller: Seller

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  seller = await makeSeller(database, server)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

afterEach(async () => expect(await brokenRules(database.superuser)).toEqual([]))

const update = (listingId: string, input: Record<string, unknown>, token = seller.token) =>
  step(server, token, 'updateListing', { listingId, ...input })

async function queue(id: string) {
  const { rows } = await database.owner.query(
    'select reason from app_public.moderation_queue where listing_id = $1',
    [id],
  )
  return rows.map(({ reason }) => reason)
}

test('an update changes the fields that it has, and no others', async () => {
  const id = await makeListing(database.owner, seller)
  const { listing } = await update(id, {
    title: ' Blue  car ',
    description: 'a\r\nb',
    price: '5',
    externalId: 'A-1',
  })
  expect(listing).toMatchObject({
    title: 'Blue  car',
    description: 'a\nb',
    price: '5.00',
    externalId: 'A-1',
    status: 'PENDING',
  })
  const second = await update(id, { title: null, images: ['https://a.example/1.jpg'] })
  expect(second.listing).toEqual({ ...listing, updatedAt: second.listing?.updatedAt })
})

test('an empty text clears the description and the reference', async () => {
  const id = await makeListing(database.owner, seller)
  await update(id, { description: 'A text.', externalId: randomUUID() })
  expect((await update(id, { description: '', externalId: '' })).listing).toMatchObject({
    description: null,
    externalId: null,
  })
})

test('the same update again changes nothing, not even the time', async () => {
  const id = await makeListing(database.owner, seller, 'ACTIVE')
  const { listing } = await update(id, { title: 'New', attributes: { doors: 4 } })
  expect((await update(id, { title: 'New', attributes: { doors: 4 } })).listing).toEqual(listing)
})

test.each([
  ['title', 'Another car'],
  ['description', 'Another text.'],
  ['images', ['https://a.example/2.jpg']],
  ['attributes', { color: 'red' }],
])(
  'an edit of the %s of an active listing keeps it active, and puts it into the queue',
  async (field, value) => {
    const id = await makeListing(database.owner, seller, 'ACTIVE')
    expect((await update(id, { [field]: value })).listing?.status).toBe('ACTIVE')
    expect(await queue(id)).toEqual(['edited'])
  },
)

test.each([
  ['PENDING', 'new'],
  ['REJECTED', 'none'],
] as const)('an edit of a %s listing is no reason to review it: %s', async (status, reason) => {
  const id = await makeListing(database.owner, seller, status)
  await update(id, { title: 'Another car' })
  const present = 'select coalesce(moderation_reason::text, $2) from app_public.listings where id = $1'
  expect(await single(database.owner, present, [id, 'none'])).toBe(reason)
})

test('a new price or reference of an active listing is not reviewed', async () => {
  const id = await makeListing(database.owner, seller, 'ACTIVE')
  expect((await update(id, { price: '1', externalId: randomUUID() })).listing?.status).toBe('ACTIVE')
  expect(await queue(id)).toEqual([])
})

test('an edit of a trusted dealer is not reviewed', async () => {
  const trusted = await makeSeller(database, server)
  const id = await makeListing(database.owner, trusted, 'ACTIVE')
  await database.owner.query('update app_public.dealers set is_trusted = true where id = $1', [
    trusted.dealerId,
  ])
  await update(id, { title: 'Another car' }, trusted.token)
  expect(await queue(id)).toEqual([])
})

test('a listing that stands in the queue already keeps its reason and its place', async () => {
  const id = await makeListing(database.owner, seller, 'ACTIVE')
  await update(id, { title: 'First' })
  const since = async () =>
    (
      await database.owner.query(
        'select since::text from app_public.moderation_queue where listing_id = $1',
        [id],
      )
    ).rows[0].since
  const before = await since()
  await update(id, { title: 'Second' })
  expect(await since()).toBe(before)
})

test.each([
  ['title', ''],
  ['description', 'a'.repeat(10_001)],
  ['images', ['ftp://a.example']],
  ['attributes', []],
  ['price', '-1'],
  ['externalId', 'a\nb'],
])('a value that createListing refuses is refused: %s', async (field, value) => {
  const id = await makeListing(database.owner, seller)
  const { response } = await update(id, { [field]: value })
  expect([response.status, response.errors[0]?.extensions]).toMatchObject([
    422,
    { code: 'invalid_input', detail: { field } },
  ])
})

test('a reference of another live listing is a conflict', async () => {
  const [one, other] = [await makeListing(database.owner, seller), await makeListing(database.owner, seller)]
  await update(one, { externalId: 'taken' })
  const { response } = await update(other, { externalId: 'taken' })
  expect([response.status, response.errors[0]?.extensions]).toMatchObject([
    409,
    { code: 'conflict', detail: { field: 'externalId' } },
  ])
})

test('a listing that does not exist is not found', async () => {
  expect(outcome(await update(randomUUID(), { title: 'A car' }))).toBe('404 not_found')
})

test('a suspended dealer can still correct its listings', async () => {
  const suspended = await makeSeller(database, server)
  const id = await makeListing(database.owner, suspended, 'ACTIVE')
  await database.owner.query('update app_public.dealers set can_publish = false where id = $1', [
    suspended.dealerId,
  ])
  expect(outcome(await update(id, { title: 'Another car' }, suspended.token))).toBe('ACTIVE')
})

test('a closed dealer can take its listings down, and cannot change them', async () => {
  const closed = await makeSeller(database, server)
  const id = await makeListing(database.owner, closed, 'ACTIVE')
  await database.owner.query('update app_public.dealers set is_active = false where id = $1', [
    closed.dealerId,
  ])
  expect(outcome(await update(id, { price: '1' }, closed.token))).toBe('403 forbidden')
  expect(outcome(await step(server, closed.token, 'withdrawListing', { listingId: id }))).toBe('WITHDRAWN')
})
