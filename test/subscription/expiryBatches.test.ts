/** The parts of a worker's expiry run: the plan, the search for batches, and one batch. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, rolledBack, type TestDatabase } from '../support/database.ts'
import {
  makeCountry,
  makeDealer,
  makePackage,
  makeSubscription,
  makeUser,
  single,
} from '../support/testData.ts'

const PUBLISH = "select app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 1, 'EUR')"

const PAST = "now() - interval '1 day'"

let database: TestDatabase
let userId: string
let packageId: string

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  packageId = await makePackage(database.owner)
  userId = await makeUser(database.owner)
})

afterAll(() => database.drop())

/** Makes a subscription that ended this long ago, and returns its id. */
async function makeEnded(client: pg.PoolClient, ago: string): Promise<string> {
  return makeSubscription(client, await makeDealer(client, userId), {
    packageId,
    startAt: "now() - interval '90 days'",
    endAt: `clock_timestamp() - interval '${ago}'`,
  })
}

test('batches have the oldest ends of a range in table order, and return where the next batches begin', () =>
  rolledBack(database, async client => {
    const make = async (days: number) => {
      const id = await makeEnded(client, `${days} days`)
      const read = (column: string) =>
        single(client, `select ${column}::text from app_public.dealer_subscriptions where id = $1`, [id])
      return { end: await read('end_at'), tid: await read('ctid') }
    }
    const three = await make(3)
    const five = await make(5)
    const one = await make(1)
    const four = await make(4)
    const two = await make(2)
    const batches = async (from: string, until: string) => {
      const sql = 'select tids::text[], last_end_at::text from app_private.find_due_batches($1, $2, 2, 2)'
      return (await client.query(sql, [from, until])).rows
    }
    expect(await batches('-infinity', 'infinity')).toEqual([
      { tids: [three.tid, five.tid], last_end_at: two.end },
      { tids: [four.tid, two.tid], last_end_at: two.end },
    ])
    expect(await batches(four.end, three.end)).toEqual([
      { tids: [three.tid, four.tid], last_end_at: three.end },
    ])
    expect(await batches(one.end, 'infinity')).toEqual([{ tids: [one.tid], last_end_at: one.end }])
    await client.query('select app_private.expire_rows($1)', [`{"${one.tid}"}`])
    expect(await batches(one.end, 'infinity')).toEqual([])
  }))

test('a batch expires only those of its rows that are still due', () =>
  rolledBack(database, async client => {
    const ended = await makeEnded(client, '1 second')
    const running = await makeSubscription(client, await makeDealer(client, userId), { packageId })
    const cancelled = await makeEnded(client, '1 second')
    await client.query("update app_public.dealer_subscriptions set status = 'cancelled' where id = $1", [
      cancelled,
    ])
    const tids = await single(
      client,
      'select array_agg(ctid) || \'{"(999999,1)"}\' from app_public.dealer_subscriptions where id = any ($1)',
      [[ended, running, cancelled]],
    )
    expect(await single(client, 'select app_private.expire_rows($1)', [tids])).toBe(1)
    const states = 'select status::text from app_public.dealer_subscriptions where id = any ($1) order by id'
    const { rows } = await client.query(states, [[ended, running, cancelled]])
    expect(rows.map(({ status }) => status)).toEqual(['expired', 'active', 'cancelled'])
    expect(await single(client, 'select app_private.expire_rows($1)', [tids])).toBe(0)
  }))

test('the plan of a run has the number of due subscriptions and the median of their ends', () =>
  rolledBack(database, async client => {
    const plan = async () =>
      (await client.query('select due::integer, middle, until_at from app_private.plan_expiry()')).rows[0]
    expect(await plan()).toEqual({ due: 0, middle: null, until_at: expect.any(Date) })
    const ids: string[] = []
    for (const days of [5, 4, 3, 2, 1]) ids.push(await makeEnded(client, `${days} days`))
    await makeSubscription(client, await makeDealer(client, userId), { packageId })
    const end = 'select end_at from app_public.dealer_subscriptions where id = $1'
    const { due, middle, until_at } = await plan()
    expect([due, middle]).toEqual([5, await single(client, end, [ids[2]])])
    expect(Math.abs(until_at - Date.now())).toBeLessThan(60_000)
  }))

test('a batch adds to the count of its run, and reports whether a listing was made within the last second', () =>
  rolledBack(database, async client => {
    const dealerId = await makeDealer(client, userId)
    const runId = await single(
      client,
      `insert into app_private.job_runs (task, backend_pid, backend_started_at)
       values ('expire_subscriptions', 0, now()) returning id`,
    )
    const batch = async () =>
      single(
        client,
        `select b.is_publishing from (
           select array_agg(ctid) as tids from app_public.dealer_subscriptions where status = 'active'
         ) as s cross join app_private.run_expiry_batch($1, s.tids) as b`,
        [runId],
      )
    await makeEnded(client, '1 day')
    expect(await batch()).toBe(false)
    await become(client, { dealer: userId })
    await client.query(PUBLISH, [dealerId])
    await become(client, 'owner')
    expect(await batch()).toBe(true)
    await client.query('select pg_sleep(1.1)')
    expect(await batch()).toBe(false)
    expect(
      await single(client, 'select counted::integer from app_private.job_runs where id = $1', [runId]),
    ).toBe(1)
  }))

test('a call continues at the end of the last subscription that the call before has expired', () =>
  rolledBack(database, async client => {
    for (const ago of ['3 days', '2 days', '1 day']) await makeEnded(client, ago)
    await client.query('select app_private.expire_subscriptions(2)')
    const { rows } = await client.query(
      `select p.expired_until = max(s.end_at) as is_last from app_private.expiry_progress as p, app_public.dealer_subscriptions as s
       where s.status = 'expired' and p.task = 'expire_subscriptions' group by p.expired_until`,
    )
    expect(rows).toEqual([{ is_last: true }])
  }))

test.each([
  ['an active one is due', { status: 'active', endAt: PAST }, false, 1],
  ['an active one is due, but the run knows that it is complete', { status: 'active', endAt: PAST }, true, 0],
  ['an active one is not due', { status: 'active' }, false, 0],
  ['a cancelled one has ended', { status: 'cancelled', endAt: PAST }, false, 0],
  ['an expired one has ended', { status: 'expired', endAt: PAST }, false, 0],
])('the end of a run schedules another one only for what is left: %s', (_what, options, complete, jobs) =>
  rolledBack(database, async client => {
    const startAt = "now() - interval '90 days'"
    await makeSubscription(client, await makeDealer(client, userId), { packageId, startAt, ...options })
    await client.query('select app_private.end_expiry($1)', [complete])
    const { rows } = await client.query(
      "select from graphile_worker.jobs where key = 'expire_subscriptions:skipped' and run_at > now()",
    )
    expect(rows).toHaveLength(jobs)
  }),
)

test('a run that was missed is scheduled for now, once', () =>
  rolledBack(database, async client => {
    for (let call = 0; call < 2; call += 1) await client.query('select app_private.schedule_missed_expiry()')
    const { rows } = await client.query(
      'select task_identifier, run_at <= now() as now from graphile_worker.jobs order by 1',
    )
    expect(rows).toEqual([
      { task_identifier: 'expire_listings', now: true },
      { task_identifier: 'expire_subscriptions', now: true },
    ])
  }))

test('the end of a run schedules none for a pending subscription that waits for its running one', () =>
  rolledBack(database, async client => {
    const dealerId = await makeDealer(client, userId)
    for (const status of ['active', 'pending'])
      await makeSubscription(client, dealerId, { packageId, status })
    await client.query('select app_private.end_expiry()')
    const { rows } = await client.query(
      "select from graphile_worker.jobs where key = 'expire_subscriptions:skipped'",
    )
    expect(rows).toEqual([])
  }))
