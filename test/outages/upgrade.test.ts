/**
 * The upgrade of a filled database from release 0.2, as docs/operations.md describes it: an API of 0.2 publishes and reads while the
 * migrations run, and afterwards next to the new API. Then listings of 0.2 take the steps of 0.3.
 */
import { randomUUID } from 'node:crypto'
import { readdirSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { projectDirectory } from '../../scripts/support/commands.ts'
import { copyProject, type ProjectCopy } from '../scripts/projectCopy.ts'
import { startApiProcess } from '../support/apiProcess.ts'
import { createListing, jwtSecret, startServer, type TestServer } from '../support/apiServer.ts'
import { killLeftOvers, start } from '../support/commandProcess.ts'
import { emptyDatabase, type TestDatabase } from '../support/database.ts'
import { brokenRules } from '../support/ledger.ts'
import { outcome, type StepName, step } from '../support/listings.ts'
import { recordLog } from '../support/recordedLog.ts'
import { makeAdmin } from '../support/seller.ts'
import { makeCountry, makeDealer, makeSubscription, makeUser, single } from '../support/testData.ts'
import { committed } from '../support/transactions.ts'
import { startLoad, type Work } from './load.ts'

const DAY = 86_400_000
const DEALERS = 20
const LISTINGS = 150
/** The last migration of release 0.2. */
const LAST = '000010-metrics.sql'

type Member = { dealerId: string; token: string }

let database: TestDatabase
/** This build with the migrations of 0.2. PostGraphile makes the API from the schema, so it has the mutations of 0.2, and calls them so. */
let old: ProjectCopy
let oldApi: TestServer
const oldLog = recordLog()
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
  // as after a release: until then package.json has the version of the last one
  const { version } = JSON.parse(await readFile('package.json', 'utf8'))
  await database.owner.query(
    `create or replace function app_public.oldest_release() returns text language sql return '${version}'`,
  )
  await database.owner.query("update app_public.rate_limit_policies set mode = 'off'")
  oldApi = await startApiProcess(database, { LOG_LEVEL: 'warn' }, oldLog, old.directory)
  await fill()
})

afterAll(async () => {
  await server?.stop()
  await oldApi?.stop()
  await killLeftOvers()
  old.remove()
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
  for (let number = 0; number < DEALERS; number += 1) {
    const userId = await makeUser(database.owner)
    const dealerId = await makeDealer(database.owner, userId)
    await makeSubscription(database.owner, dealerId)
    members.push({ dealerId, token: await oldApi.tokenFor(userId) })
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

/** A publication with the arguments of 0.2. Those that are left out decide whether the API names the arguments or sends them in order. */
function publish({ dealerId, token }: Member, input: Record<string, unknown>): () => Work {
  return () => {
    const idempotencyKey = randomUUID()
    return api => createListing(api, token, dealerId, { idempotencyKey, ...input })
  }
}

function clients(): (() => Work)[] {
  const [one, two, three] = members as [Member, Member, Member]
  const read = (query: string, token?: string) => (): Work => api =>
    api.call(query, token === undefined ? {} : { token })
  return [
    publish(one, {}),
    publish(one, { description: 'A text.', attributes: { doors: 4 }, images: ['https://a.example/1.jpg'] }),
    publish(two, { images: ['https://a.example/1.jpg'] }),
    read(`{ quoteListing(dealerId: "${three.dealerId}") { source grossAmount freeRemaining } }`, three.token),
    read(
      '{ listings(first: 20, orderBy: [CREATED_AT_DESC]) { totalCount nodes { id title seller { companyName } } } }',
    ),
    read(
      '{ invoices(first: 5) { nodes { id grossTotal items(first: 5) { nodes { grossAmount } } } } }',
      one.token,
    ),
  ]
}

const KEPT = { idempotencyKey: randomUUID(), title: 'Published in 0.2' }
let kept: string | undefined

test('the migrations run while an API of release 0.2 publishes and reads, and no request fails', async () => {
  const [, , , seller] = members as [Member, Member, Member, Member]
  const first = await createListing(oldApi, seller.token, seller.dealerId, KEPT)
  kept = first.data.createListing?.listing.id
  const load = startLoad(() => [oldApi], clients())
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
  expect({ answers: [...new Set(load.answers)], log: oldLog.lines }).toEqual({ answers: ['200'], log: [] })
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
  const client = await database.owner.connect()
  const one = async (sql: string, values: unknown[] = []) => (await client.query(sql, values)).rows[0]
  const run = await one("select app_private.begin_job_run('expire_subscriptions', 'a worker of 0.2') as id")
  const plan = await one(
    'select p.due::integer, p.until_at::text as until from app_private.plan_expiry() as p',
  )
  const due = await one(
    'select b.tids::text, b.last_end_at::text from app_private.find_due_batches($1, $2, 500, 32) as b',
    ['-infinity', plan.until],
  )
  const batch = await one(
    'select b.expired, b.is_publishing from app_private.run_expiry_batch($1, $2) as b',
    [run.id, due.tids],
  )
  await client.query('select app_private.end_expiry($1)', [true])
  await client.query('select app_private.finish_job_run($1, $2)', [run.id, null])
  client.release()
  expect([plan.due, batch.expired]).toEqual([1, 1])
})
