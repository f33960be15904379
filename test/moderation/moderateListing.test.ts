/** moderateListing and moderationQueue: decisions, their conditions, and decisions that meet other steps. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import { makeListing, outcome, step } from '../support/listings.ts'
import { makeAdmin, makeSeller, type Seller } from '../support/seller.ts'
import { makeAdminUser, single } from '../support/testData.ts'
import { interleave, sqlstate } from '../support/transactions.ts'

const APPROVE = "select status from app_public.moderate_listing($1, 'approve')"
const WITHDRAW = 'select status from app_public.withdraw_listing($1)'

let database: TestDatabase
let server: TestServer
let admin: string
let adminId: string
let seller: Seller

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  admin = await makeAdmin(database, server)
  adminId = await makeAdminUser(database.owner)
  seller = await makeSeller(database, server)
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

afterEach(async () => expect(await brokenRules(database.superuser)).toEqual([]))

const moderate = (listingId: string, input: Record<string, unknown>) =>
  step(server, admin, 'moderateListing', { listingId, ...input })
const approve = (listingId: string, input = {}) => moderate(listingId, { decision: 'APPROVE', ...input })
const reject = (listingId: string, input = {}) =>
  moderate(listingId, { decision: 'REJECT', reason: 'No car.', ...input })
const edit = (listingId: string, title: string) =>
  step(server, seller.token, 'updateListing', { listingId, title })
const steps = async (id: string) =>
  (
    await database.owner.query(
      'select action from app_public.audit_logs where resource_id = $1 order by id',
      [id],
    )
  ).rows.map(row => row.action)

test('an approval shows the listing, and takes it out of the queue', async () => {
  const id = await makeListing(database.owner, seller)
  const { listing } = await approve(id)
  expect(listing).toMatchObject({ status: 'ACTIVE', rejectionReason: null, publishedAt: listing?.updatedAt })
  expect(await queued()).not.toContain(id)
})

test('a rejection has a reason, which the dealer reads and the audit trail keeps', async () => {
  const id = await makeListing(database.owner, seller)
  expect((await reject(id, { reason: ' No\r\ncar. ' })).listing).toMatchObject({
    status: 'REJECTED',
    rejectionReason: 'No\ncar.',
  })
  const { data } = await server.call<{ listing: unknown }>(`{ listing(id: "${id}") { rejectionReason } }`, {
    token: seller.token,
  })
  expect(data.listing).toEqual({ rejectionReason: 'No\ncar.' })
  const recorded = "select new_values ->> 'reason' from app_public.audit_logs where resource_id = $1"
  expect(await single(database.owner, recorded, [id])).toBe('No\ncar.')
  expect(await queued()).not.toContain(id)
})

test.each([undefined, null, '', ' \n ', '\u0007', 'a'.repeat(1_001)])(
  'a rejection without a usable reason is refused: %j',
  async reason => {
    const id = await makeListing(database.owner, seller)
    const { response } = await moderate(id, { decision: 'REJECT', reason })
    expect([response.status, response.errors[0]?.extensions]).toMatchObject([
      422,
      { code: 'invalid_input', detail: { field: 'reason' } },
    ])
  },
)

test('the same decision again answers the same and records nothing', async () => {
  const [good, bad] = [await makeListing(database.owner, seller), await makeListing(database.owner, seller)]
  const approved = await approve(good)
  expect((await approve(good)).listing).toEqual(approved.listing)
  const rejected = await reject(bad)
  expect((await reject(bad, { updatedAt: '2026-01-01T00:00:00Z' })).listing).toEqual(rejected.listing)
  expect([await steps(good), await steps(bad)]).toEqual([['APPROVE_LISTING'], ['REJECT_LISTING']])
})

test('a listing that has changed since the admin read it is a conflict', async () => {
  const id = await makeListing(database.owner, seller)
  const read = (await edit(id, 'First')).listing?.updatedAt
  await edit(id, 'Second')
  for (const decide of [approve, reject]) {
    for (const updatedAt of [read, '2999-01-01T00:00:00Z']) {
      expect(outcome(await decide(id, { updatedAt }))).toBe('409 conflict PENDING')
    }
  }
  const { data } = await server.call<{ listing: { updatedAt: string } }>(
    `{ listing(id: "${id}") { updatedAt } }`,
    { token: admin },
  )
  expect(outcome(await approve(id, data.listing))).toBe('ACTIVE')
})

test('the approval of an edit takes the listing out of the queue, keeps its end, and is recorded', async () => {
  const id = await makeListing(database.owner, seller, 'ACTIVE')
  const before = (await edit(id, 'Another car')).listing
  expect(await queued()).toContain(id)
  expect((await approve(id)).listing).toEqual({ ...before, updatedAt: expect.any(String) })
  expect(await queued()).not.toContain(id)
  expect(await steps(id)).toEqual(['APPROVE_LISTING', 'APPROVE_LISTING'])
})

test.each([
  ['withdrawListing', {}, 'WITHDRAWN'],
  ['markListingSold', {}, 'SOLD'],
  ['moderateListing', { decision: 'REJECT', reason: 'No car.' }, 'REJECTED'],
  ['moderateListing', { decision: 'APPROVE' }, 'ACTIVE'],
] as const)(
  'a listing that leaves the queue has no reason to be in it: %s %j',
  async (name, input, status) => {
    const id = await makeListing(database.owner, seller, 'ACTIVE')
    const before = (await edit(id, 'Another car')).listing
    const token = name === 'moderateListing' ? admin : seller.token
    const { listing } = await step(server, token, name, { listingId: id, ...input })
    expect(listing?.status).toBe(status)
    expect(listing?.updatedAt).not.toBe(before?.updatedAt)
    const reason = 'select coalesce(moderation_reason::text, $2) from app_public.listings where id = $1'
    expect(await single(database.owner, reason, [id, 'none'])).toBe('none')
  },
)

test('a listing that does not exist is not found', async () => {
  expect(outcome(await approve(randomUUID()))).toBe('404 not_found')
})

type Entry = { listingId: string; reason: string; since: string; listing: { title: string } }

async function entries(token?: string) {
  const { data, errors } = await server.call<{ moderationQueue: { nodes: Entry[] } } | null>(
    '{ moderationQueue(first: 100) { nodes { listingId reason since listing { title } } } }',
    token === undefined ? {} : { token },
  )
  return errors[0]?.extensions.code ?? data?.moderationQueue.nodes ?? []
}
const queued = async () => ((await entries(admin)) as Entry[]).map(({ listingId }) => listingId)

test('the queue has the oldest entry first, with the reason and the listing', async () => {
  const edited = await makeListing(database.owner, seller, 'ACTIVE')
  const added = await makeListing(database.owner, seller)
  await edit(edited, 'An edit')
  const nodes = ((await entries(admin)) as Entry[]).slice(-2)
  expect(nodes).toMatchObject([
    { listingId: added, reason: 'NEW', listing: { title: 'A car' } },
    { listingId: edited, reason: 'EDITED', listing: { title: 'An edit' } },
  ])
  expect(nodes.map(({ since }) => since)).toEqual(nodes.map(({ since }) => since).sort())
})

test('a listing of a closed dealer is not in the queue', async () => {
  const closed = await makeSeller(database, server)
  const id = await makeListing(database.owner, closed)
  expect(await queued()).toContain(id)
  await database.owner.query('update app_public.dealers set is_active = false where id = $1', [
    closed.dealerId,
  ])
  expect(await queued()).not.toContain(id)
})

test('only an admin reads the queue', async () => {
  expect([await entries(seller.token), await entries()]).toEqual(['forbidden', 'unauthenticated'])
})

test('a listing that was pending before release 0.3 stands in the queue since its creation', async () => {
  const id = await makeListing(database.owner, seller)
  await database.owner.query(
    'update app_public.listings set moderation_reason = null, moderation_since = null where id = $1',
    [id],
  )
  const { rows } = await database.owner.query(
    `select q.reason, q.since = l.created_at as since_creation from app_public.moderation_queue as q
     join app_public.listings as l on l.id = q.listing_id where l.id = $1`,
    [id],
  )
  expect(rows).toEqual([{ reason: 'new', since_creation: true }])
})

test('an approval that waits for a withdrawal is a conflict, and a withdrawal that waits for an approval is done', async () => {
  const [first, second] = [
    await makeListing(database.owner, seller),
    await makeListing(database.owner, seller),
  ]
  const roles = { moderator: { admin: adminId }, member: { dealer: seller.userId } }
  await interleave(database, roles, async ({ moderator, member }) => {
    await member.query(WITHDRAW, [first])
    const { result } = await moderator.startBlocked(APPROVE, [first])
    await member.commit()
    expect(await sqlstate(result)).toBe('FC008')
  })
  await interleave(database, roles, async ({ moderator, member }) => {
    await moderator.query(APPROVE, [second])
    const { result } = await member.startBlocked(WITHDRAW, [second])
    await moderator.commit()
    expect((await result).rows).toEqual([{ status: 'withdrawn' }])
    await member.commit()
  })
  expect([await steps(first), await steps(second)]).toEqual([
    ['WITHDRAW_LISTING'],
    ['APPROVE_LISTING', 'WITHDRAW_LISTING'],
  ])
})

test('of twenty withdrawals at once one is a step, and all answer the same', async () => {
  const id = await makeListing(database.owner, seller, 'ACTIVE')
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => step(server, seller.token, 'withdrawListing', { listingId: id })),
  )
  expect(new Set(answers.map(({ listing }) => listing?.updatedAt)).size).toBe(1)
  expect(answers.map(outcome)).toEqual(Array(20).fill('WITHDRAWN'))
  expect(await steps(id)).toEqual(['APPROVE_LISTING', 'WITHDRAW_LISTING'])
  expect(await single(database.owner, 'select status from app_public.listings where id = $1', [id])).toBe(
    'withdrawn',
  )
})
