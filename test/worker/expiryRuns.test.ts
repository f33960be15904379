/** Expiry runs across worker processes that are killed, stopped, run in parallel or miss a run. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { startWorkerRole } from '../../src/worker/role.ts'
import { makeProgress, progressLine } from '../../tasks/support/expiry.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import {
  expiryAuditFaults,
  makeDueSubscriptions,
  readExpiryRuns,
  recordExpiryRun,
} from '../support/expiryRuns.ts'
import { type RecordedLog, recordLog } from '../support/recordedLog.ts'
import { makeCountry, makeDealer, makePackage, makeUser } from '../support/testData.ts'
import { committed } from '../support/transactions.ts'
import { until } from '../support/waits.ts'

const workerProcess = fileURLToPath(new URL('../support/workerProcess.ts', import.meta.url))
const NO_FAULTS = { left_over: 0, too_early: 0, miscounted: 0, listed_twice: 0, unmatched: 0 }

let database: TestDatabase
let recorded: RecordedLog

beforeEach(async () => {
  recorded = recordLog('info')
  database = await cloneDatabase()
  await makeCountry(database.owner)
  await makePackage(database.owner)
})

afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.stop()
  await database.drop()
})

type Worker = Awaited<ReturnType<typeof startWorkerRole>>

const workers: Worker[] = []

async function startWorker(): Promise<Worker> {
  const worker = await startWorkerRole({ databaseUrl: database.ownerUrl, log: recorded.log })
  workers.push(worker)
  return worker
}

async function count(sql: string): Promise<number> {
  const { rows } = await database.superuser.query<{ count: number }>(`select count(*)::integer ${sql}`)
  return rows[0]?.count ?? 0
}

const countExpired = () => count("from app_public.dealer_subscriptions where status = 'expired'")
const countJobs = () => count('from graphile_worker._private_jobs')
/** Counts the runs that have committed a batch. A batch of a killed worker may still commit, but it counts for its own run. */
const countRunsWithBatch = () => count('from app_private.job_runs where counted > 0')
const untilExpired = (number: number) =>
  until(`${number} subscriptions are expired`, async () => (await countExpired()) >= number)
const untilNoJob = () => until('no job is left', async () => (await countJobs()) === 0)

/** Makes each batch last at least this long, so that a test can interrupt a run. */
async function slowBatches(milliseconds: number): Promise<void> {
  await database.superuser.query(`
    create or replace function public.slow() returns trigger language plpgsql as
      'begin perform pg_sleep(${milliseconds / 1000}); return null; end';
    create or replace trigger slow after update on app_public.dealer_subscriptions
      for each statement execute function public.slow()`)
}

test('each subscription expires exactly once although the worker is killed 20 times during a run', async () => {
  await makeDueSubscriptions(database, 60_000)
  await slowBatches(40)
  for (let kill = 1; kill <= 20; kill += 1) {
    const before = await countRunsWithBatch()
    const child = spawn(process.execPath, [workerProcess, database.ownerUrl], { stdio: 'ignore' })
    await until('the run has committed a batch', async () => (await countRunsWithBatch()) > before)
    await sleep(Math.random() * 40)
    child.kill('SIGKILL')
    await once(child, 'close')
    expect(await countExpired()).toBeLessThan(60_000)
  }
  await slowBatches(0)
  await startWorker()
  await untilExpired(60_000)
  await until('every run has ended', async () =>
    (await readExpiryRuns(database)).every(({ finished_at }) => finished_at !== null),
  )
  expect(await expiryAuditFaults(database)).toEqual(NO_FAULTS)
  const all = await readExpiryRuns(database)
  expect(all.reduce((sum, { counted }) => sum + Number(counted), 0)).toBe(60_000)
  // a worker may have started two runs
  const dead = all.filter(({ error }) => error === 'The worker of this run died.')
  expect(dead.length).toBeGreaterThanOrEqual(20)
})

test('the next run unlocks the job of a dead worker', async () => {
  await database.superuser.query(
    "select graphile_worker.add_job('expire_subscriptions', queue_name := 'expire_subscriptions')",
  )
  for (const table of ['_private_jobs', '_private_job_queues']) {
    await database.superuser.query(
      `update graphile_worker.${table} set locked_by = 'a dead worker', locked_at = now()`,
    )
  }
  await database.superuser.query(
    `insert into app_private.job_runs (task, worker_id, backend_pid, backend_started_at)
     values ('expire_subscriptions', 'a dead worker', 0, now())`,
  )
  await startWorker()
  await untilNoJob()
  expect((await readExpiryRuns(database)).map(({ error }) => error)).toEqual([
    'The worker of this run died.',
    null,
    null,
  ])
})

test('a stopped worker ends after a batch without an error, and the next worker continues', async () => {
  await makeDueSubscriptions(database, 20_000)
  await slowBatches(50)
  await startWorker()
  await untilExpired(500)
  await workers.pop()?.stop()
  const done = await countExpired()
  expect([done % 500, done < 20_000]).toEqual([0, true])
  expect(await readExpiryRuns(database)).toEqual([
    expect.objectContaining({
      counted: String(done),
      finished_at: expect.any(Date),
      error: expect.stringMatching(/stopped/),
    }),
  ])
  const waiting = 'select attempts, last_error, locked_by from graphile_worker._private_jobs'
  expect((await database.superuser.query(waiting)).rows).toEqual([
    { attempts: 0, last_error: null, locked_by: null },
  ])
  const warnings = recorded.lines.filter(({ level }) => Number(level) >= 40)
  // no mail server is configured
  expect(warnings.filter(({ msg }) => !String(msg).startsWith('mails to users wait'))).toEqual([])
  await slowBatches(0)
  await startWorker()
  await untilExpired(20_000)
  await untilNoJob()
  expect(await expiryAuditFaults(database)).toEqual(NO_FAULTS)
})

test('a worker that starts during a run shares its work', async () => {
  await makeDueSubscriptions(database, 20_000)
  await slowBatches(100)
  await startWorker()
  await untilExpired(500)
  await startWorker()
  await untilExpired(20_000)
  await untilNoJob()
  expect(await expiryAuditFaults(database)).toEqual(NO_FAULTS)
  const busy = (await readExpiryRuns(database)).filter(({ counted }) => Number(counted) > 0)
  expect(busy.length).toBeGreaterThanOrEqual(2)
  expect(busy.reduce((sum, { counted }) => sum + Number(counted), 0)).toBe(20_000)
})

test.each([
  [9_999, 1],
  [10_000, 2],
])('a run over %d subscriptions uses %d lanes and counts as one run', async (due, lanes) => {
  await makeDueSubscriptions(database, due)
  await database.superuser.query(`
    create table public.lanes (pid integer);
    grant insert on public.lanes to public;
    create function public.note() returns trigger language plpgsql as
      'begin insert into public.lanes values (pg_backend_pid()); return null; end';
    create trigger note after update on app_public.dealer_subscriptions
      for each statement execute function public.note()`)
  await startWorker()
  await untilExpired(due)
  await untilNoJob()
  const { rows } = await database.superuser.query(
    'select count(distinct pid)::integer as lanes from public.lanes',
  )
  expect(rows).toEqual([{ lanes }])
  expect(await readExpiryRuns(database)).toEqual([
    expect.objectContaining({ counted: String(due), error: null }),
  ])
  expect(await expiryAuditFaults(database)).toEqual(NO_FAULTS)
})

test('while listings are created, the pause between two batches is more than 8 times as long as a batch', async () => {
  const userId = await makeUser(database.owner)
  const dealerId = await makeDealer(database.owner, userId)
  await committed(database, { dealer: userId }, async client => {
    await client.query("select app_public.create_listing($1, gen_random_uuid(), 'A car', 'auto', 1, 'EUR')", [
      dealerId,
    ])
  })
  await makeDueSubscriptions(database, 2_000)
  await slowBatches(30)
  await database.superuser.query(`
    set session_replication_role = replica;
    update app_public.listings set created_at = now() + interval '1 hour';
    reset session_replication_role;
    create table public.batches (began_at timestamptz, ended_at timestamptz);
    grant insert on public.batches to public;
    create function public.note() returns trigger language plpgsql as
      'begin insert into public.batches values (now(), clock_timestamp()); return null; end';
    create trigger note after update on app_public.dealer_subscriptions
      for each row execute function public.note()`)
  await startWorker()
  await untilNoJob()
  const { rows } = await database.superuser.query(`
    select lead(began_at) over (order by began_at) - max(ended_at) > 8 * (max(ended_at) - began_at) as paused
    from public.batches group by began_at order by began_at`)
  expect(rows.map(({ paused }) => paused)).toEqual([true, true, true, null])
})

test('a failing lane ends the other lane too, the run records the error, and a retry expires the rest', async () => {
  await makeDueSubscriptions(database, 20_000)
  // the oldest subscriptions, all in the older half, cannot be expired
  await database.superuser.query(`
    create function public.refuse() returns trigger language plpgsql as
      $$begin if old.end_at < now() - interval '15000 seconds' then raise 'not this one'; end if; return new; end$$;
    create trigger refuse before update on app_public.dealer_subscriptions
      for each row execute function public.refuse()`)
  await startWorker()
  await until('the run has ended', async () => (await readExpiryRuns(database))[0]?.finished_at != null)
  const [run] = await readExpiryRuns(database)
  expect(run).toMatchObject({ error: 'not this one', counted: String(await countExpired()) })
  expect(await countExpired()).toBeGreaterThanOrEqual(10_000)
  await database.superuser.query('drop trigger refuse on app_public.dealer_subscriptions')
  await untilExpired(20_000)
  await untilNoJob()
  expect(await expiryAuditFaults(database)).toEqual(NO_FAULTS)
})

test('the first worker of a new database starts an expiry run immediately', async () => {
  await makeDueSubscriptions(database, 3)
  expect(await count('from graphile_worker._private_known_crontabs')).toBe(0)
  await startWorker()
  await untilExpired(3)
  await untilNoJob()
  expect(await readExpiryRuns(database)).toEqual([expect.objectContaining({ counted: '3', error: null })])
})

test.each([
  ['two days', '2 days'],
  ['nine days (more than the crontab backfills)', '9 days'],
])('a starting worker catches up on the missed runs of %s', async (_case, ago) => {
  await makeDueSubscriptions(database, 3)
  await recordExpiryRun(database, ago)
  await database.superuser.query(
    `insert into graphile_worker._private_known_crontabs (identifier, known_since, last_execution)
     values ('expire_subscriptions', now() - interval '30 days', date_trunc('minute', now()) - $1::interval)`,
    [ago],
  )
  await startWorker()
  await untilExpired(3)
  await untilNoJob()
  expect(await expiryAuditFaults(database)).toEqual(NO_FAULTS)
})

test('a starting worker looks for due subscriptions even if a run has succeeded since midnight', async () => {
  await recordExpiryRun(database)
  await makeDueSubscriptions(database, 3)
  await startWorker()
  await untilExpired(3)
  await untilNoJob()
})

test('several starting workers queue one run of subscriptions and one of listings', async () => {
  for (let number = 1; number <= 3; number += 1) {
    await database.owner.query('select app_private.schedule_missed_expiry()')
  }
  expect(await countJobs()).toBe(2)
})

test('a failed run records its error', async () => {
  await database.superuser.query('alter function app_private.plan_expiry rename to plan_expiry_gone')
  await startWorker()
  await until('the run has failed', async () => (await readExpiryRuns(database))[0]?.error != null)
  expect(await readExpiryRuns(database)).toEqual([
    expect.objectContaining({ counted: '0', error: expect.stringMatching(/does not exist/) }),
  ])
})

test('progress is logged at most once in five seconds and counts every expired subscription', () => {
  let time = 0
  const lines: string[] = []
  const progress = makeProgress(2_000, 'subscriptions', { info: line => void lines.push(line) }, () => time)
  for (time of [1_000, 4_999, 5_000, 9_999]) progress.count(500)
  expect(lines).toEqual([expect.stringMatching(/^expired 1500 subscriptions, 500 left, 300\/s, /)])
  expect(progress.done()).toBe(2_000)
})

test('a progress line has the number done, the number left, the rate and the expected end', () => {
  const noon = Date.UTC(2026, 0, 1, 12)
  expect(progressLine('subscriptions', 50_000, 100_000, 5, noon)).toBe(
    'expired 50000 subscriptions, 100000 left, 10000/s, done at about 2026-01-01T12:00:10.000Z',
  )
})
