/** Alerts, runs, metrics and the audit trail a microsecond before, at and after each bound. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { atEach, cloneFrozen, freeze, NOON } from '../support/frozenClock.ts'
import { single } from '../support/testData.ts'

const RETENTION = `${NOON} + 90 * interval '24 hours'`

let database: TestDatabase

beforeAll(async () => {
  database = await cloneFrozen()
})

afterAll(() => database.drop())

const putAlerts = (client: pg.ClientBase, count: number, kind = 'test', at = NOON) =>
  client.query(
    `insert into app_private.alerts (kind, key, message, created_at)
     select $1, 'put ' || n || ${at}, 'A test.', ${at} from generate_series(1, $2) as n`,
    [kind, count],
  )

const count = async (client: pg.ClientBase, from: string) =>
  Number(await single(client, `select count(*) from ${from}`))

/** The owner sees the start only of its own sessions, and this session is that of a superuser. */
const seeAllSessions = (client: pg.ClientBase) => client.query('reset role')

const sendAlert = (client: pg.ClientBase, key: string, kind = 'test') =>
  single(client, "select app_private.send_alert($1, $2, 'A test.')", [kind, key])

const jobs = (client: pg.ClientBase, task: string) =>
  count(client, `graphile_worker.jobs where task_identifier = '${task}'`)

test('an alert and its deliveries are removed only more than 90 days after it was raised', async () => {
  const left = await atEach(database, RETENTION, async client => {
    await putAlerts(client, 1)
    await client.query("select app_private.record_alert_delivery(a.id, 'email') from app_private.alerts as a")
    const removed = await single(client, 'select app_private.remove_old_alerts()')
    return [
      removed,
      await count(client, 'app_private.alerts'),
      await count(client, 'app_private.alert_deliveries'),
    ]
  })
  expect(left).toEqual([
    [0, 1, 1],
    [0, 1, 1],
    [1, 0, 0],
  ])
})

test('the removal of alerts keeps the deliveries of the others', () =>
  rolledBack(database, async client => {
    await freeze(client, `${RETENTION} + interval '1 hour'`)
    await putAlerts(client, 1)
    await putAlerts(client, 1, 'test', RETENTION)
    await client.query("select app_private.record_alert_delivery(a.id, 'email') from app_private.alerts as a")
    expect(await single(client, 'select app_private.remove_old_alerts()')).toBe(1)
    expect(await count(client, `app_private.alerts where created_at = ${RETENTION}`)).toBe(1)
    expect(await count(client, 'app_private.alert_deliveries')).toBe(1)
  }))

test.each([
  ['an empty run that has ended', 'expire', 0, [1, 1, 0]],
  ['a run that counted something', 'expire', 1, [1, 1, 1]],
  ['a run of another task', 'other', 0, [1, 1, 1]],
] as const)(
  'a run removes old runs only more than 90 days after their start: %s',
  async (_what, task, counted, expected) => {
    const left = await atEach(database, RETENTION, async client => {
      await client.query(
        `insert into app_private.job_runs (task, started_at, finished_at, counted, backend_pid, backend_started_at)
       values ($1, ${NOON}, ${NOON}, $2, 0, ${NOON})`,
        [task, counted],
      )
      await seeAllSessions(client)
      await client.query("select app_private.begin_job_run('expire')")
      return count(client, 'app_private.job_runs where backend_pid = 0')
    })
    expect(left).toEqual(expected)
  },
)

test('50 alerts of a kind are sent within an hour, the next one is not, and another alert says so', () =>
  rolledBack(database, async client => {
    await freeze(client, NOON)
    await putAlerts(client, 48)
    const seen: number[][] = []
    for (const key of ['49', '50', '51', '52']) {
      expect(await sendAlert(client, key)).toBe(true)
      seen.push([
        await jobs(client, 'send_alert'),
        await count(client, "app_private.alerts where kind = 'alert_flood'"),
      ])
    }
    expect(seen).toEqual([
      [1, 0],
      [2, 0],
      [3, 1],
      [3, 1],
    ])
    await sendAlert(client, '1', 'other')
    expect(await jobs(client, 'send_alert')).toBe(4)
  }))

test('a flood of the alert about floods raises no further one', () =>
  rolledBack(database, async client => {
    await freeze(client, NOON)
    await putAlerts(client, 50, 'alert_flood')
    expect(await sendAlert(client, '51', 'alert_flood')).toBe(true)
    expect([await jobs(client, 'send_alert'), await count(client, 'app_private.alerts')]).toEqual([0, 51])
  }))

test('an alert no longer counts exactly an hour after it was raised', async () => {
  const sent = await atEach(database, `${NOON} + interval '1 hour'`, async client => {
    await putAlerts(client, 50)
    await sendAlert(client, 'new')
    // the job is for the alert itself, or for the one about the flood
    return [
      await jobs(client, 'send_alert'),
      await count(client, "app_private.alerts where kind = 'alert_flood'"),
    ]
  })
  expect(sent).toEqual([
    [1, 1],
    [1, 0],
    [1, 0],
  ])
})

const months = async (client: pg.ClientBase) =>
  (
    await client.query<{ month: string }>(
      `select right(inhrelid::regclass::text, 7) as month from pg_inherits
       where inhparent = 'app_public.audit_logs'::regclass and inhrelid::regclass::text ~ '\\d$' order by 1`,
    )
  ).rows.map(({ month }) => month)

/** Removes the partitions that the migration made, and makes that of one month. */
async function onlyMonth(client: pg.ClientBase, day: string): Promise<void> {
  for (const month of await months(client)) await client.query(`drop table app_private.audit_logs_${month}`)
  await client.query('alter table app_private.audit_logs_default disable trigger user')
  await client.query('delete from app_private.audit_logs_default')
  await client.query('select app_private.make_audit_partition($1)', [day])
}

test('the maintenance makes the partitions of this month and the next three (UTC)', async () => {
  const made = await atEach(database, "timestamptz '2026-06-01 00:00Z'", async client => {
    await client.query("set local timezone to 'America/New_York'")
    await onlyMonth(client, '2026-06-15')
    await client.query('select app_private.maintain_audit_logs()')
    return months(client)
  })
  expect(made).toEqual([
    ['2026_05', '2026_06', '2026_07', '2026_08'],
    ['2026_06', '2026_07', '2026_08', '2026_09'],
    ['2026_06', '2026_07', '2026_08', '2026_09'],
  ])
})

test('a month is kept for as many full months as the setting says, and then removed', async () => {
  // January ends on 2026-02-01; four months later is 2026-06-01
  const kept = await atEach(database, "timestamptz '2026-06-01 00:00Z'", async client => {
    await onlyMonth(client, '2026-01-15')
    await client.query('update app_private.operation_settings set audit_retention_months = 4')
    const dropped = await single(client, 'select dropped from app_private.maintain_audit_logs()')
    return [dropped, (await months(client)).includes('2026_01')]
  })
  expect(kept).toEqual([
    [0, true],
    [1, false],
    [1, false],
  ])
})

test('without a retention every month is kept', () =>
  rolledBack(database, async client => {
    await freeze(client, NOON)
    await onlyMonth(client, '2001-01-15')
    await client.query('update app_private.operation_settings set audit_retention_months = null')
    expect(await single(client, 'select dropped from app_private.maintain_audit_logs()')).toBe(0)
  }))

test('a month can be dropped only after its end (UTC)', async () => {
  const outcomes = await atEach(database, "timestamptz '2026-06-01 00:00Z'", async client => {
    await client.query("set local timezone to 'America/New_York'")
    await onlyMonth(client, '2026-05-15')
    return refusal(client, "select app_private.drop_audit_partition('2026-05-31', 'a test')").catch(
      () => 'ok',
    )
  })
  expect(outcomes).toEqual(['FC010', 'ok', 'ok'])
})

test('a new partition takes exactly the rows of its month (UTC) out of the default one', () =>
  rolledBack(database, async client => {
    await freeze(client, NOON)
    await client.query("set local timezone to 'America/New_York'")
    await onlyMonth(client, '2001-01-15')
    for (const at of [
      '2026-03-31 23:59:59.999999Z',
      '2026-04-01 00:00Z',
      '2026-04-30 23:59:59.999999Z',
      '2026-05-01 00:00Z',
    ]) {
      await client.query(
        "insert into app_public.audit_logs (action, resource_type, created_at) values ('TEST', 'test', $1)",
        [at],
      )
    }
    expect(await single(client, "select app_private.make_audit_partition('2026-04-30')")).toBe(true)
    expect(await single(client, "select app_private.make_audit_partition('2026-04-01')")).toBe(false)
    const rows = ['audit_logs_2026_04', 'audit_logs_default'].map(table =>
      count(client, `app_private.${table}`),
    )
    expect(await Promise.all(rows)).toEqual([2, 2])
  }))

/** Metrics by name, without labels. */
async function metrics(client: pg.ClientBase, source: string): Promise<Record<string, number>> {
  const { rows } = await client.query<{ metric: string; value: number }>(
    `select metric, value from app_private.${source}() order by metric`,
  )
  return Object.fromEntries(rows.map(({ metric, value }) => [metric, value]))
}

async function putJob(client: pg.ClientBase, changes: string): Promise<void> {
  const add = `select (graphile_worker.add_job('test', run_at := ${NOON}, max_attempts := 3)).id`
  const id = await single(client, add)
  // the view of the jobs cannot be written
  await client.query('reset role')
  await client.query(`update graphile_worker._private_jobs set ${changes} where id = $1`, [id])
  await client.query('set local role forecourt_test_owner')
}

test('a job is due exactly from its time on, unless it is locked or has failed for the last time', async () => {
  const due = await atEach(database, NOON, async client => {
    await putJob(client, 'attempts = 0')
    await putJob(client, 'attempts = 2')
    await putJob(client, 'attempts = 3')
    await putJob(client, "locked_at = now(), locked_by = 'w'")
    const { worker_jobs_due, worker_oldest_due_job_age_seconds } = await metrics(client, 'job_metrics')
    return [worker_jobs_due, worker_oldest_due_job_age_seconds]
  })
  expect(due).toEqual([
    [0, 0],
    [2, 0],
    [2, 0.000001],
  ])
})

test('a job fails until its last attempt, and is then given up', () =>
  rolledBack(database, async client => {
    await freeze(client, NOON)
    await putJob(client, "attempts = 2, last_error = 'x'")
    await putJob(client, "attempts = 3, last_error = 'x'")
    await putJob(client, "attempts = 4, last_error = 'x'")
    const { worker_jobs_failing, worker_jobs_given_up } = await metrics(client, 'job_metrics')
    expect([worker_jobs_failing, worker_jobs_given_up]).toEqual([1, 2])
  }))

test('the lock of a job is released when every worker has started after it', async () => {
  const locked = await rolledBack(database, async client => {
    await freeze(client, NOON)
    await client.query("set local application_name to 'forecourt worker'")
    const seen: boolean[] = []
    for (const offset of ['- 1', '+ 0', '+ 1']) {
      const started = `(select backend_start ${offset} * interval '1 microsecond' from pg_stat_activity where pid = pg_backend_pid())`
      await putJob(client, `locked_at = ${started}, locked_by = 'w${offset}'`)
    }
    await seeAllSessions(client)
    await client.query('select app_private.release_dead_workers()')
    const { rows } = await client.query(
      'select locked_by is not null as locked from graphile_worker.jobs order by id',
    )
    for (const row of rows) seen.push(row.locked)
    return seen
  })
  expect(locked).toEqual([false, true, true])
})
