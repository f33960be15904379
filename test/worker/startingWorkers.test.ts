/** What a worker does in the database when it starts. */
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import pg from 'pg'
import { makeTaskList } from '../../src/worker/runner.ts'
import type { SendMailOptions } from '../../tasks/send_mail.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { recordExpiryRun } from '../support/expiryRuns.ts'
import { single } from '../support/testData.ts'
import { until } from '../support/waits.ts'

let database: TestDatabase

beforeEach(async () => {
  database = await cloneDatabase()
})

afterEach(() => database.drop())

const count = async (from: string) => Number(await single(database.superuser, `select count(*) ${from}`))

test.each(['expire_subscriptions', 'send_alert'])(
  'a starting worker takes the %s job of a worker that died, even if a run has succeeded since',
  async task => {
    await database.owner.query("select graphile_worker.add_job($1, '{}')", [task])
    await database.superuser.query(
      "update graphile_worker._private_jobs set locked_by = 'worker-dead', locked_at = now() - interval '1 minute', attempts = 1",
    )
    await recordExpiryRun(database)
    await database.owner.query('select app_private.schedule_missed_expiry()')
    expect(await count("from graphile_worker._private_jobs where locked_by = 'worker-dead'")).toBe(0)
  },
)

test('a starting worker leaves the jobs of living workers alone', async () => {
  const living = new pg.Client({ connectionString: database.ownerUrl, application_name: 'forecourt worker' })
  await living.connect()
  try {
    await database.owner.query("select graphile_worker.add_job('send_alert', '{}')")
    await database.superuser.query(
      "update graphile_worker._private_jobs set locked_by = 'worker-living', locked_at = clock_timestamp(), attempts = 1",
    )
    await database.owner.query('select app_private.schedule_missed_expiry()')
    expect(await count("from graphile_worker._private_jobs where locked_by = 'worker-living'")).toBe(1)
  } finally {
    await living.end()
  }
})

test('on a new database, schedule_missed_expiry and a starting runner do not deadlock', async () => {
  const names = Object.keys(makeTaskList([], {} as SendMailOptions))
  expect(names).toEqual([...names].sort())
  const [runner, starting] = [await database.superuser.connect(), await database.owner.connect()]
  const add = (name: string) =>
    runner.query('insert into graphile_worker._private_tasks (identifier) values ($1)', [name])
  const pid = await single(starting, 'select pg_backend_pid()')
  await runner.query('begin')
  await add('expire_listings')
  const started = starting.query('select app_private.schedule_missed_expiry()')
  await until('the starting worker waits', async () =>
    Boolean(await single(database.superuser, 'select cardinality(pg_blocking_pids($1)) > 0', [pid])),
  )
  await add('expire_subscriptions')
  await runner.query('commit')
  await started
  for (const client of [runner, starting]) client.release()
  expect(await count('from graphile_worker._private_jobs')).toBe(2)
})
