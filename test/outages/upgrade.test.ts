/**
 * The upgrade of a filled database from release 0.2, as docs/operations.md describes it: clients of 0.2 publish, read, buy and pay,
 * next to a worker of 0.2, while the migrations run and afterwards next to the new API. Then listings of 0.2 take the steps of 0.3.
 */
import { randomUUID } from 'node:crypto'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { projectDirectory } from '../../scripts/support/commands.ts'
import { copyProject, type ProjectCopy } from '../scripts/projectCopy.ts'
import { clientOf, createListing, jwtSecret, startServer, type TestServer } from '../support/apiServer.ts'
import { killLeftOvers, start } from '../support/commandProcess.ts'
import { emptyDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import { outcome, type StepName, step } from '../support/listings.ts'
import { makeAdmin } from '../support/seller.ts'
import {
  makeAdminUser,
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  registerUser,
  single,
} from '../support/testData.ts'
import { committed } from '../support/transactions.ts'
import { startLoad, type Work } from './load.ts'
import { type Api02, makeApi02, runExpiry02 } from './statements02.ts'

const DAY = 86_400_000
const DEALERS = 20
const LISTINGS = 150
/** The last migration of release 0.2. */
const LAST = '000010-metrics.sql'

type Member = { userId: string; dealerId: string; token: string }

let database: TestDatabase
/** This build with the migrations of 0.2. */
let old: ProjectCopy
let oldApi: Api02
let packageId: string
let adminId: string
/** The new API, once the migrations have run. */
let server: TestServer
let admin: string
const members: Member[] = []

beforeAll(async () => {
  database = await emptyDatabase()
  old = copyProject()
  const committedFolder = join(old.directory, 'migrations/committed')
  for (const file of readdirSync(committedFolder)) if (file > LAST) rmSync(join(committedFolder, file))
  await migrate(old.directory)
  oldApi = makeApi02(database.ownerUrl)
  await fill()
})

afterAll(async () => {
  await server?.stop()
  await oldApi?.stop()
  await killLeftOvers()
  old?.remove()
  await database.drop()
})

afterEach(async () => expect(await brokenRules(database.superuser)).toEqual([]))

async function migrate(directory: string): Promise<void> {
  const migration = start('migrate', { DATABASE_URL: database.ownerUrl, JWT_SECRET: jwtSecret }, directory)
  if ((await migration.ended) !== 0) throw new Error(migration.output())
}

/** Dealers that publish from each source, and their listings in each status, as a DBA has set them in 0.2. */
async function fill(): Promise<void> {
  await makeCountry(database.owner, { freeListings: 2 })
  packageId = await makePackage(database.owner)
  adminId = await makeAdminUser(database.owner)
  const tokens = clientOf('')
  for (let number = 0; number < DEALERS; number += 1) {
    const userId = await registerUser(database.owner)
    const dealerId = await makeDealer(database.owner, userId)
    await makeSubscription(database.owner, dealerId)
    members.push({ userId, dealerId, token: await tokens.tokenFor(userId) })
    await committed(database, { dealer: userId }, client =>
      client.query(
        `select count(l.id) from generate_series(1, ${LISTINGS}) as n
         cross join lateral app_public.create_listing($1, gen_random_uuid(), 'Car ' || n, 'auto', 9900, 'EUR') as l`,
        [dealerId],
      ),
    )
  }
  await database.owner.query(
    `update app_public.listings as l set status = s.statuses[1 + n.number % cardinality(s.statuses)]
     from (select dealer_id, id, row_number() over (order by id) as number from app_public.listings) as n,
       (select enum_range(null::app_public.listing_status) as statuses) as s
     where l.dealer_id = n.dealer_id and l.id = n.id`,
  )
}

/** A request of a client of 0.2. It has the status 200, or an SQLSTATE. */
function request(work: () => Promise<unknown>): () => Work {
  return () => async () => {
    try {
      await work()
      return { status: 200, text: '' }
    } catch (error) {
      return { status: 500, text: String((error as { code?: unknown }).code ?? error) }
    }
  }
}

function clients(): (() => Work)[] {
  const [one, two, three, , ...others] = members.slice(0, -1) as [Member, Member, Member, Member, ...Member[]]
  let purchases = 0
  const buyer = () => others[purchases++ % others.length] as Member
  return [
    request(() => oldApi.createListing(one)),
    request(() => oldApi.createListing(one, 'all')),
    request(() => oldApi.createListing(two, 'images')),
    request(() => oldApi.quoteListing(three)),
    request(() => oldApi.page()),
    request(async () => oldApi.listing(three, await oldApi.createListing(three))),
    request(async () => oldApi.payInvoice(adminId, await oldApi.buyPackage(buyer(), packageId))),
    // the worker runs a failed job again
    request(() => runExpiry02(database.owner).catch(() => runExpiry02(database.owner))),
  ]
}

const KEPT = { idempotencyKey: randomUUID(), title: 'Published in 0.2' }
let kept: string | undefined

test('the migrations run while clients of release 0.2 publish, read, buy and pay, and no request fails', async () => {
  const [, , , seller] = members as [Member, Member, Member, Member]
  kept = await oldApi.createListing(seller, 'none', KEPT)
  const load = startLoad(() => [], clients())
  try {
    await load.further()
    await migrate(projectDirectory)
    await load.further()
    server = await startServer(database)
    admin = await makeAdmin(database, server)
    await load.further()
  } finally {
    await load.stop()
  }
  expect([...new Set(load.answers)]).toEqual(['200'])
})

test('after the migrations every index is valid, and every constraint has checked the rows of 0.2', async () => {
  const { rows } = await database.superuser.query(
    `select indexrelid::regclass::text as name from pg_index where not indisvalid
     union all select conname from pg_constraint where not convalidated`,
  )
  expect(rows).toEqual([])
})

test('a retry across the upgrade answers with the listing of the first call', async () => {
  const [, , , seller] = members as [Member, Member, Member, Member]
  const { data } = await createListing(server, seller.token, seller.dealerId, KEPT)
  expect([data.createListing?.listing.id, typeof kept]).toEqual([kept, 'string'])
})

/** A listing of the last dealer that was in this status when the migrations ran, and has not changed since. */
async function listingOf(status: string): Promise<{ listingId: string; token: string }> {
  const { dealerId, token } = members.at(-1) as Member
  const listingId = await single(
    database.owner,
    `select id from app_public.listings
     where dealer_id = $1 and status = $2 and updated_at = created_at order by id limit 1`,
    [dealerId, status],
  )
  return { listingId, token }
}

test('a listing that was pending in 0.2 is approved for the days of its country', async () => {
  const { listingId } = await listingOf('pending')
  const { listing } = await step(server, admin, 'moderateListing', { listingId, decision: 'APPROVE' })
  expect(listing).toMatchObject({ status: 'ACTIVE', publishedAt: listing?.updatedAt })
  const [from, to] = [listing?.publishedAt, listing?.expiresAt].map(time => Date.parse(time ?? ''))
  expect(Number(to) - Number(from)).toBe(90 * DAY)
})

test('a listing that was pending in 0.2 is given back when it is rejected, and pays again when it is resubmitted', async () => {
  const { listingId, token } = await listingOf('pending')
  const input = { listingId, idempotencyKey: randomUUID() }
  await step(server, admin, 'moderateListing', { listingId, decision: 'REJECT', reason: 'No car.' })
  expect(outcome(await step(server, token, 'resubmitListing', input))).toBe('PENDING')
  const { rows } = await database.owner.query(
    'select kind from app_public.listing_consumptions where listing_id = $1 order by id',
    [listingId],
  )
  expect(rows.map(({ kind }) => kind)).toEqual(['publication', 'reversal', 'publication'])
})

test.each([
  ['active', 'markListingSold', 'SOLD'],
  ['active', 'withdrawListing', 'WITHDRAWN'],
  // 0.2 stored no times, so nobody knows how long ago that was
  ['rejected', 'resubmitListing', '409 conflict REJECTED'],
  ['expired', 'renewListing', '409 conflict EXPIRED'],
  ['active', 'renewListing', '409 conflict ACTIVE'],
] as const)('a listing that was %s in 0.2: %s answers %s', async (status, name, expected) => {
  const { listingId, token } = await listingOf(status)
  const keyed: readonly StepName[] = ['resubmitListing', 'renewListing']
  const input = keyed.includes(name) ? { listingId, idempotencyKey: randomUUID() } : { listingId }
  expect(outcome(await step(server, token, name, input))).toBe(expected)
})

test('a listing that was active in 0.2 has no end: the public sees it, and no expiry run ends it', async () => {
  const { listingId } = await listingOf('active')
  await database.owner.query('select app_private.expire_listings()')
  const { data } = await server.call<{ listing: unknown }>(
    `{ listing(id: "${listingId}") { status expiresAt } }`,
  )
  expect(data.listing).toEqual({ status: 'ACTIVE', expiresAt: null })
})

test('the statements of the worker of 0.2 run on the new schema', async () => {
  const { dealerId } = members.at(-1) as Member
  await database.owner.query(
    'update app_public.dealer_subscriptions set end_at = now() where dealer_id = $1',
    [dealerId],
  )
  expect(await runExpiry02(database.owner)).toEqual({ due: 1, expired: 1 })
})
