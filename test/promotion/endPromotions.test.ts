/** The end of promotions: by time, with the listing, and against other work at the same moment. */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { startWorkerRole } from '../../src/worker/role.ts'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { atEach, cloneFrozen, freeze, NOON } from '../support/frozenClock.ts'
import { brokenRules } from '../support/ledger.ts'
import { makeListing } from '../support/listings.ts'
import { sellPromotions } from '../support/promotions.ts'
import { recordLog } from '../support/recordedLog.ts'
import { makeAdminUser, makeCountry, makeDealer, makeUser, publish, single } from '../support/testData.ts'
import { committed, concurrently, interleave } from '../support/transactions.ts'
import { until } from '../support/waits.ts'

const PROMOTE = 'select * from app_public.promote_listing($1, $2, $3)'
const END = 'select app_private.end_promotions($1) as count'
const REJECT = "select app_public.moderate_listing($1, 'reject', 'A test.')"

type Kind = 'premium' | 'highlight'

let database: TestDatabase
let seller: { userId: string; dealerId: string }
let member: { dealer: string }

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  await sellPromotions(database.owner, 'DE')
  // also an admin, who takes listings down
  const userId = await makeAdminUser(database.owner)
  seller = { userId, dealerId: await makeDealer(database.owner, userId) }
  member = { dealer: userId }
})

afterAll(() => database.drop())

afterEach(async () => {
  expect(await brokenRules(database.superuser)).toEqual([])
  await end()
})

const end = async (size = 1000) => Number(await single(database.owner, END, [size]))
const promote = (id: string, kind: Kind) =>
  committed(database, member, client => client.query(PROMOTE, [id, kind, randomUUID()]))

/** Makes an active listing with these promotions. */
async function makePromoted(...kinds: Kind[]): Promise<string> {
  const id = await makeListing(database.owner, seller, 'ACTIVE')
  for (const kind of kinds) await promote(id, kind)
  return id
}

/** Runs a statement without triggers. */
async function withoutTriggers(sql: string, values: unknown[]): Promise<void> {
  const client = await database.superuser.connect()
  await client.query("set session_replication_role to 'replica'")
  await client.query(sql, values)
  client.release(true)
}

/** Moves the promotions of a kind into the past. */
async function move(id: string, kind: Kind, by: string): Promise<void> {
  await withoutTriggers(
    `update app_public.listing_promotions set starts_at = starts_at + $3::interval, ends_at = ends_at + $3::interval
     where listing_id = $1 and kind = $2`,
    [id, kind, by],
  )
  const column = { premium: 'premium_until', highlight: 'highlighted_until' }[kind]
  await withoutTriggers(`update app_public.listings set ${column} = ${column} + $2::interval where id = $1`, [
    id,
    by,
  ])
}

const FLAGS = `select array_remove(array[case when is_premium then 'premium' end, case when is_highlighted then 'highlight' end,
  case when num_nonnulls(premium_until, highlighted_until) <> is_premium::integer + is_highlighted::integer then 'times differ' end], null) as flags
  from app_public.listings where id = $1`
const flagsOf = (id: string) => single(database.owner, FLAGS, [id])

test('a flag goes when its promotion has ended, and the other one stays', async () => {
  const both = await makePromoted('premium', 'highlight')
  const running = await makePromoted('premium')
  await move(both, 'premium', '-8 days')
  const updatedAt = () =>
    single(database.owner, 'select updated_at::text from app_public.listings where id = $1', [both])
  const before = await updatedAt()
  expect(await end()).toBe(1)
  expect([await flagsOf(both), await flagsOf(running)]).toEqual([['highlight'], ['premium']])
  // a client that asks for changes must see this one
  expect(await updatedAt()).not.toBe(before)
  expect(await end()).toBe(0)
  await move(both, 'highlight', '-8 days')
  expect(await end()).toBe(1)
  expect(await flagsOf(both)).toEqual([])
})

test('the promotions that ended first are taken off first, a batch at a time', async () => {
  const ids: string[] = []
  for (const days of [9, 10, 8]) {
    const id = await makePromoted('premium')
    await move(id, 'premium', `-${days} days`)
    ids.push(id)
  }
  expect(await end(2)).toBe(2)
  expect(await Promise.all(ids.map(flagsOf))).toEqual([[], [], ['premium']])
})

test('an extended promotion stays until its last end', async () => {
  const id = await makePromoted('premium', 'premium')
  await move(id, 'premium', '-8 days')
  expect(await end()).toBe(0)
  expect(await flagsOf(id)).toEqual(['premium'])
})

const DUE = "select value from app_public.operation_metrics() where metric = 'promotions_due'"
const due = () => single(database.owner, DUE)

test('the worker ends what is due, and a metric shows what it has not ended yet', async () => {
  const id = await makePromoted('highlight')
  expect(await due()).toBe(0)
  await move(id, 'highlight', '-8 days')
  expect(await due()).toBe(1)
  const worker = await startWorkerRole({ databaseUrl: database.ownerUrl, log: recordLog('info').log })
  await database.owner.query("select graphile_worker.add_job('end_promotions')")
  await until('the flag is gone', async () => (await flagsOf(id)).length === 0)
  await worker.stop()
  expect(await due()).toBe(0)
})

test.each([
  ['withdrawn', 'select app_public.withdraw_listing($1)'],
  ['sold', 'select app_public.mark_listing_sold($1)'],
  ['taken down', REJECT],
  [
    'expired',
    "update app_public.listings set status = 'expired', updated_at = now(), published_at = now() - interval '91 days', expires_at = now() - interval '1 day' where id = $1",
  ],
])('a listing that is %s has no promotion any more, and gets none back', async (_step, sql) => {
  const id = await makePromoted('premium', 'highlight')
  await committed(database, 'owner', async client => {
    await client.query("select set_config('forecourt.user_id', $1, true)", [seller.userId])
    await client.query(sql, [id])
  })
  expect(await flagsOf(id)).toEqual([])
})

test('a renewal before the end keeps the promotions, and one after the end starts without any', async () => {
  const renewed: unknown[] = []
  for (const left of ['10 days', '-1 minute']) {
    const id = await makePromoted('premium')
    await withoutTriggers(
      "update app_public.listings set published_at = now() - interval '80 days', expires_at = now() + $2::interval where id = $1",
      [id, left],
    )
    await committed(database, member, client =>
      client.query('select app_public.renew_listing($1, gen_random_uuid())', [id]),
    )
    renewed.push(await flagsOf(id))
    const { rows } = await promote(id, 'premium')
    renewed.push(rows[0].starts_at > new Date(Date.now() + 60_000) ? 'extends' : 'starts')
  }
  expect(renewed).toEqual([['premium'], 'extends', [], 'starts'])
})

test.each(['promotion', 'take-down'])('a promotion against a take-down: the %s is first', async first => {
  const id = await makeListing(database.owner, seller, 'ACTIVE')
  const roles = { promoter: member, moderator: { admin: seller.userId } } as const
  await interleave(database, roles, async ({ promoter, moderator }) => {
    const values = [id, 'premium', randomUUID()]
    if (first === 'promotion') {
      await promoter.query(PROMOTE, values)
      const { result } = await moderator.startBlocked(REJECT, [id])
      await promoter.commit()
      await result
      await moderator.commit()
    } else {
      await moderator.query(REJECT, [id])
      const { result } = await promoter.startBlocked(PROMOTE, values)
      await moderator.commit()
      await expect(result).rejects.toMatchObject({ code: 'FC008' })
    }
  })
  const { rows } = await database.owner.query(
    "select kind from app_public.listing_consumptions where listing_id = $1 and kind = 'premium'",
    [id],
  )
  expect([rows.length, await flagsOf(id)]).toEqual([first === 'promotion' ? 1 : 0, []])
})

test('promotions of a listing at once follow each other without a gap', async () => {
  const id = await makeListing(database.owner, seller, 'ACTIVE')
  const outcomes = await concurrently(database, member, 10, client =>
    client.query(PROMOTE, [id, 'premium', randomUUID()]),
  )
  expect(outcomes.map(({ status }) => status)).toEqual(Array(10).fill('fulfilled'))
  const { rows } = await database.owner.query(
    `select count(*)::integer as promotions, count(distinct starts_at)::integer as starts,
       max(ends_at) - min(starts_at) = 70 * interval '24 hours' as is_whole,
       max(ends_at) = (select premium_until from app_public.listings where id = $1) as is_shown
     from app_public.listing_promotions where listing_id = $1`,
    [id],
  )
  expect(rows).toEqual([{ promotions: 10, starts: 10, is_whole: true, is_shown: true }])
})

test('the worker does not wait for a listing that is being promoted, and the promotion goes on', async () => {
  const id = await makePromoted('premium')
  await move(id, 'premium', '-8 days')
  await interleave(database, { promoter: member, worker: 'owner' }, async ({ promoter, worker }) => {
    await promoter.query(PROMOTE, [id, 'premium', randomUUID()])
    await worker.query("set local lock_timeout to '1s'")
    expect((await worker.query(END, [10])).rows).toEqual([{ count: 0 }])
    await promoter.commit()
  })
  expect(await end()).toBe(0)
  expect(await flagsOf(id)).toEqual(['premium'])
})

test('a flag goes exactly at the end of its promotion', async () => {
  const frozen = await cloneFrozen()
  const ended = await atEach(frozen, `${NOON} + 7 * interval '24 hours'`, async client => {
    const at = await single(client, "select current_setting('forecourt.frozen_now')")
    await freeze(client, NOON)
    await makeCountry(client)
    await sellPromotions(client, 'DE')
    const userId = await makeUser(client)
    const dealerId = await makeDealer(client, userId)
    await client.query('update app_public.dealers set is_trusted = true')
    await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
    await client.query(PROMOTE, [await publish(client, dealerId), 'premium', randomUUID()])
    await freeze(client, `timestamptz '${at}'`)
    return single(client, END, [10])
  })
  await frozen.drop()
  expect(ended).toEqual([0, 1, 1])
})

test('no role of the API can end promotions', () =>
  rolledBack(database, async client => {
    for (const as of ['visitor', 'authenticator', member, { admin: seller.userId }] as const) {
      await become(client, as)
      expect(await refusal(client, END, [1])).toBe('42501')
      await client.query('reset role')
    }
  }))
