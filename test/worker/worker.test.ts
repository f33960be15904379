/** The worker: its crontab, its jobs, its stop and its recovery. */
import { readdir, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { parseCrontab } from 'graphile-worker'
import { startWorkerRole } from '../../src/worker/role.ts'
import { makeTaskList } from '../../src/worker/runner.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { type RecordedLog, recordLog } from '../support/recordedLog.ts'
import { startRelay } from '../support/relay.ts'
import { makeCountry, makeDealer, makeSubscription, makeUser } from '../support/testData.ts'
import { holding, until, untilWaitingForLock } from '../support/waits.ts'

const tasks = new URL('../../tasks/', import.meta.url)
const taskList = makeTaskList([], { mailer: undefined, key: Buffer.alloc(32) })

let database: TestDatabase
let recorded: RecordedLog
/** The id of a subscription that is due for expiry. */
let due: string

beforeEach(async () => {
  recorded = recordLog('info')
  database = await cloneDatabase()
  await makeCountry(database.owner)
  due = await makeDueSubscription()
})

afterEach(async () => {
  await database.drop()
})

async function makeDueSubscription(): Promise<string> {
  const dealerId = await makeDealer(database.owner, await makeUser(database.owner))
  return makeSubscription(database.owner, dealerId, { endAt: "now() - interval '1 minute'" })
}

/** Starts a worker, runs `work`, and stops the worker. */
async function withWorker(
  work: () => Promise<void>,
  { databaseUrl = database.ownerUrl, ...options }: { databaseUrl?: string; statementTimeoutMs?: number } = {},
) {
  const worker = await startWorkerRole({ databaseUrl, log: recorded.log, ...options })
  try {
    await work()
  } finally {
    await worker.stop()
  }
}

async function addJob(): Promise<void> {
  await database.owner.query("select graphile_worker.add_job('expire_subscriptions')")
}

async function statusOf(subscriptionId: string): Promise<string> {
  const { rows } = await database.superuser.query<{ status: string }>(
    'select status from app_public.dealer_subscriptions where id = $1',
    [subscriptionId],
  )
  return rows[0]?.status ?? 'gone'
}

/** Reads all remaining jobs: waiting, failed and locked ones. */
async function remainingJobs(): Promise<unknown[]> {
  const { rows } = await database.superuser.query(
    'select attempts, last_error, locked_at is not null as locked from graphile_worker._private_jobs',
  )
  return rows
}

const untilExpired = () =>
  until('the subscription has expired', async () => (await statusOf(due)) === 'expired')
const untilDone = () => until('no job is left', async () => (await remainingJobs()).length === 0)

test('every file in tasks/ is a task of the worker, and every task has a file', async () => {
  const files = (await readdir(tasks)).filter(file => file.endsWith('.ts'))
  expect(Object.keys(taskList).sort()).toEqual(files.map(file => file.replace(/\.ts$/, '')).sort())
})

test('the crontab runs every task except the event-driven ones, each at its time', async () => {
  const lines = (await readFile(new URL('crontab', tasks), 'utf8')).split('\n')
  const times = lines.filter(line => /^[\d*]/.test(line)).map(line => line.split(' '))
  expect(Object.fromEntries(times.map(([min, hour, , , , task]) => [task, `${hour}:${min}`]))).toEqual({
    expire_subscriptions: '0:0',
    expire_listings: '0:15',
    end_promotions: '*:*',
    remove_idle_rate_limit_counters: '*:7',
    remove_ended_sessions: '*:37',
    maintain_audit_logs: '0:20',
    verify_ledger: '2:30',
    remove_old_alerts: '3:15',
    maintain_mails: '*:*/5',
    alert_pricing_gaps: '6:0',
  })
  for (const [, , ...days] of times) expect(days.slice(0, 3)).toEqual(['*', '*', '*'])
  const items = parseCrontab(lines.join('\n'))
  expect(items.map(({ task }) => task).sort()).toEqual(
    Object.keys(taskList)
      .filter(task => !task.startsWith('send_'))
      .sort(),
  )
})

test.each([
  'end_promotions',
  'remove_idle_rate_limit_counters',
  'remove_ended_sessions',
  'maintain_audit_logs',
  'maintain_mails',
  'verify_ledger',
  'remove_old_alerts',
  'alert_pricing_gaps',
])('the worker runs %s successfully', async task => {
  await withWorker(async () => {
    await untilDone()
    await database.owner.query('select graphile_worker.add_job($1)', [task])
    await until('the job is done', async () =>
      recorded.lines.some(({ msg }) => String(msg).includes(`(${task},`) && /success/.test(String(msg))),
    )
    await untilDone()
  })
  expect(recorded.lines.filter(({ level }) => Number(level) >= 50)).toEqual([])
})

test.each([
  ['expire_subscriptions', 0],
  ['expire_listings', 15],
])('the crontab starts one expiry run daily, in a serial queue, with backfill: %s', async (name, minute) => {
  const items = parseCrontab(await readFile(new URL('crontab', tasks), 'utf8'))
  const daily = items.filter(({ task }) => task === name)
  expect(daily).toHaveLength(1)
  const days = Array.from({ length: 7 * 24 * 60 }, (_, minute) => ({
    min: minute % 60,
    hour: Math.floor(minute / 60) % 24,
    date: 1 + Math.floor(minute / 1440),
    month: 3,
    dow: Math.floor(minute / 1440),
  }))
  const times = days.filter(time => daily[0]?.match(time)).map(({ hour, min, dow }) => [dow, hour, min])
  expect(times).toEqual([0, 1, 2, 3, 4, 5, 6].map(dow => [dow, 0, minute]))
  expect(daily[0]?.options.backfillPeriod).toBeGreaterThanOrEqual(86_400_000)
  expect(daily[0]?.options.queueName).toBe(name)
})

test('every task that a database function adds exists in the worker', async () => {
  const { rows } = await database.superuser.query<{ task: string }>(
    `select distinct (regexp_matches(prosrc, $$add_job\\(\\s*'([^']+)'$$, 'g'))[1] as task
     from pg_proc where pronamespace::regnamespace::text in ('app_public', 'app_private')`,
  )
  expect(rows.length).toBeGreaterThan(0)
  for (const { task } of rows) expect(Object.keys(taskList)).toContain(task)
})

test('a job expires the due subscriptions and is then removed', async () => {
  await withWorker(async () => {
    await addJob()
    await untilExpired()
    await untilDone()
  })
  const { rows } = await database.superuser.query(
    "select new_values from app_public.audit_logs where action = 'SYSTEM_EXPIRE'",
  )
  expect(rows).toEqual([{ new_values: { count: 1, ids: [due] } }])
})

test('one job expires several batches, each with its own entry in the audit trail', async () => {
  await database.superuser.query(
    `with made as (
       insert into app_public.dealers (company_name, country, dealer_type)
       select 'Test', 'DE', 'general' from generate_series(1, 1500) returning id)
     insert into app_public.dealer_subscriptions
       (dealer_id, package_id, status, duration_days, included_listing_quota, start_at, end_at)
     select made.id, s.package_id, 'active', 30, 1, now() - interval '2 days', now() - interval '1 day'
     from made cross join app_public.dealer_subscriptions as s`,
  )
  await withWorker(async () => {
    await untilDone()
  })
  const { rows } = await database.superuser.query<{ count: string }>(
    "select new_values ->> 'count' as count from app_public.audit_logs where action = 'SYSTEM_EXPIRE' order by id",
  )
  expect(rows.map(({ count }) => count)).toEqual(['500', '500', '500', '1'])
})

test('a stopping worker finishes its running job and records the completion', async () => {
  const worker = await startWorkerRole({ databaseUrl: database.ownerUrl, log: recorded.log })
  await untilDone()
  due = await makeDueSubscription()
  await holding(
    database,
    'lock table app_public.dealer_subscriptions in exclusive mode',
    [],
    async release => {
      await addJob()
      await untilWaitingForLock(database, 'forecourt worker')
      const stopping = worker.stop()
      expect(await remainingJobs()).toMatchObject([{ locked: true }])
      await release()
      await stopping
    },
  )
  expect(await statusOf(due)).toBe('expired')
  expect(await remainingJobs()).toEqual([])
})

test('a starting worker catches up on a missed run', async () => {
  await database.superuser.query(
    `insert into graphile_worker._private_known_crontabs (identifier, known_since, last_execution)
     values ('expire_subscriptions', now() - interval '9 days', date_trunc('day', now(), 'UTC') - interval '1 day')`,
  )
  await withWorker(async () => {
    await untilExpired()
    await untilDone()
  })
})

test('a failed job is kept with its error and retried', async () => {
  await database.superuser.query('alter function app_private.plan_expiry rename to plan_expiry_gone')
  // the two runs that each worker asks for at its start
  await withWorker(async () => {
    await until('the jobs have failed', async () => {
      const jobs = (await remainingJobs()) as { last_error: string | null; locked: boolean }[]
      return jobs.length > 0 && jobs.every(job => job.last_error !== null && !job.locked)
    })
    const failed = { attempts: 1, locked: false }
    expect(await remainingJobs()).toMatchObject([failed, failed])
    expect(
      recorded.lines.some(({ level, msg }) => level === 50 && msg.includes('expire_subscriptions')),
    ).toBe(true)
    await database.superuser.query('alter function app_private.plan_expiry_gone rename to plan_expiry')
    await untilExpired()
    await untilDone()
  })
})

test('a statement of a job ends at its timeout, and only the check of the ledger may take longer', async () => {
  const errors = async () => {
    const { rows } = await database.superuser.query(
      'select last_error from graphile_worker._private_jobs where last_error is not null',
    )
    return rows
  }
  /** Holds a lock that the job needs. */
  const whileWaiting = (task: string, table: string, work: () => Promise<void>) =>
    holding(database, `lock table ${table} in access exclusive mode`, [], async () => {
      await database.owner.query('select graphile_worker.add_job($1)', [task])
      await untilWaitingForLock(database, 'forecourt worker')
      await work()
    })
  await withWorker(
    async () => {
      await untilDone()
      await whileWaiting('verify_ledger', 'app_private.ledger_checks', () => sleep(1_500))
      await untilDone()
      await whileWaiting('remove_old_alerts', 'app_private.alerts', () =>
        until('the job has failed', async () => (await errors()).length === 1),
      )
    },
    { statementTimeoutMs: 500 },
  )
  expect(recorded.lines.some(({ msg }) => /verify_ledger.*error/.test(msg))).toBe(false)
})

test('the worker survives the loss of the database and continues when it is back', async () => {
  const relay = await startRelay(database.ownerUrl)
  try {
    await withWorker(
      async () => {
        // the first query for a job must succeed: graphile-worker caches its result, even an error
        await addJob()
        await untilDone()
        due = await makeDueSubscription()
        await relay.cut()
        await until('the loss is noticed', () =>
          recorded.lines.some(({ msg }) => /lost a database/.test(msg)),
        )
        await relay.restore()
        await addJob()
        await untilExpired()
        await untilDone()
      },
      { databaseUrl: relay.url },
    )
  } finally {
    await relay.cut()
  }
})
