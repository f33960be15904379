/** The metrics of the database and the worker in `/metrics`, also while the database is unreachable. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { Registry } from 'prom-client'
import { reportDatabase } from '../../src/metrics/databaseMetrics.ts'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, rolledBack, type TestDatabase } from '../support/database.ts'
import { type Relay, startRelay } from '../support/relay.ts'
import { makeCountry, makeDealer, makeSubscription, makeUser } from '../support/testData.ts'
import { interleave } from '../support/transactions.ts'
import { until } from '../support/waits.ts'

let database: TestDatabase
let relay: Relay
let server: TestServer

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  relay = await startRelay(database.ownerUrl)
  server = await startServer({ ...database, ownerUrl: relay.url })
})

afterAll(async () => {
  await server.stop()
  await relay.cut()
  await database.drop()
})

async function scrape(): Promise<{ status: number; text: string }> {
  const response = await fetch(`${server.url}/metrics`)
  return { status: response.status, text: await response.text() }
}

async function untilDatabaseIs(up: boolean): Promise<string> {
  let text = ''
  await until(`the database is ${up ? 'up' : 'down'}`, async () => {
    const response = await scrape()
    expect(response.status).toBe(200)
    text = response.text
    return text.includes(`\nforecourt_database_up ${up ? 1 : 0}\n`)
  })
  return text
}

/** Reads the metrics as the login of the API does: `name label` → value. */
async function readMetrics(client: pg.ClientBase): Promise<Record<string, number>> {
  await client.query('set local role forecourt_authenticator')
  const { rows } = await client.query('select * from app_public.operation_metrics()')
  await client.query('set local role forecourt_test_owner')
  return Object.fromEntries(
    rows.map(({ metric, labels, value }) => [[metric, ...Object.values(labels)].join(' '), value]),
  )
}

test('without the database the process metrics remain, and the database metrics are missing', async () => {
  expect(await untilDatabaseIs(true)).toMatch(/^subscriptions_due 0$/m)
  await relay.cut()
  const text = await untilDatabaseIs(false)
  expect(text).toMatch(/^process_resident_memory_bytes \d+$/m)
  expect(text).not.toMatch(/^(subscriptions_due|worker_jobs_due|database_sessions_waiting_for_locks) /m)
  await relay.restore()
  expect(await untilDatabaseIs(true)).toMatch(/^subscriptions_due 0$/m)
})

test('a database that does not respond does not block a scrape', async () => {
  await untilDatabaseIs(true)
  relay.stall()
  await untilDatabaseIs(false)
  await relay.cut()
  await relay.restore()
})

test('the database is queried at most once in five seconds, whatever the number of scrapes', async () => {
  let queries = 0
  const pool = {
    query: async () => ({ rows: [{ metric: 'subscriptions_due', labels: {}, value: ++queries }] }),
  }
  const registry = new Registry()
  const refresh = reportDatabase(pool as unknown as pg.Pool, registry)
  for (let round = 0; round < 3; round += 1) await Promise.all(Array.from({ length: 10 }, refresh))
  expect(await registry.metrics()).toContain('\nsubscriptions_due 1\n')
})

test('a label that the database no longer reports is removed, and an unknown metric is ignored', async () => {
  let rows = [
    { metric: 'worker_jobs_failing', labels: { task: 'one' }, value: 1 },
    { metric: 'unknown', labels: {}, value: 1 },
  ]
  const registry = new Registry()
  const pool = { query: async () => ({ rows }) } as unknown as pg.Pool
  await reportDatabase(pool, registry)()
  expect(await registry.metrics()).toContain('\nworker_jobs_failing{task="one"} 1\n')
  expect(await registry.metrics()).not.toContain('unknown')
  rows = []
  const again = new Registry()
  await reportDatabase(pool, again)()
  expect(await again.metrics()).not.toMatch(/^worker_jobs_failing\S* /m)
})

test('only the login of the API can read the metrics', async () => {
  for (const role of ['visitor', 'dealer', 'admin']) {
    const { rows } = await database.superuser.query(
      "select has_function_privilege($1, 'app_public.operation_metrics()', 'execute') as may",
      [`forecourt_${role}`],
    )
    expect(rows[0]?.may).toBe(false)
  }
})

test('a subscription counts as due from its end until it is expired', async () => {
  await rolledBack(database, async client => {
    const dealerId = await makeDealer(client, await makeUser(client))
    const before = await readMetrics(client)
    await makeSubscription(client, dealerId, { endAt: "now() - interval '1 minute'" })
    expect((await readMetrics(client)).subscriptions_due).toBe((before.subscriptions_due ?? 0) + 1)
    await client.query('select app_private.expire_subscriptions()')
    const after = await readMetrics(client)
    expect(after.subscriptions_due).toBe(before.subscriptions_due)
  })
})

test('the last success is the end of the last run without an error, and the total adds up all runs', async () => {
  await rolledBack(database, async client => {
    const run = (end: string, counted: number, error: string | null) =>
      client.query(
        `insert into app_private.job_runs (task, started_at, finished_at, counted, error, backend_pid, backend_started_at)
         values ('expire_subscriptions', $1, $1, $2, $3, 0, $1)`,
        [end, counted, error],
      )
    expect(await readMetrics(client)).not.toHaveProperty('subscription_expiry_last_success_timestamp_seconds')
    await run('2030-01-01T00:00:00Z', 3, null)
    await run('2030-01-02T00:00:00Z', 4, 'stopped')
    expect(await readMetrics(client)).toMatchObject({
      subscription_expiry_last_success_timestamp_seconds: Date.UTC(2030, 0, 1) / 1000,
      subscriptions_expired_total: 7,
    })
  })
})

test('old runs are removed, but their counts are kept, so that the total never falls', async () => {
  await rolledBack(database, async client => {
    const before = await readMetrics(client)
    await client.query('reset role')
    await client.query(
      `insert into app_private.job_runs (task, started_at, finished_at, counted, backend_pid, backend_started_at)
       select 'expire_subscriptions', at, at, counted, 0, at
       from unnest('{0,5}'::integer[]) as counted, (select now() - interval '91 days') as t (at)`,
    )
    await client.query("select app_private.begin_job_run('expire_subscriptions')")
    expect((await readMetrics(client)).subscriptions_expired_total).toBe(
      Number(before.subscriptions_expired_total ?? 0) + 5,
    )
    await client.query('reset role')
    const old = "from app_private.job_runs where started_at < now() - interval '90 days'"
    expect((await client.query(`select counted::integer ${old}`)).rows).toEqual([{ counted: 5 }])
  })
})

test('the ledger metrics report the result of the last check', async () => {
  await rolledBack(database, async client => {
    expect(await readMetrics(client)).not.toHaveProperty('ledger_broken_rows')
    await client.query('select app_private.check_ledger()')
    const { ledger_broken_rows, ledger_last_check_timestamp_seconds } = await readMetrics(client)
    expect(ledger_broken_rows).toBe(0)
    expect(Math.abs((ledger_last_check_timestamp_seconds ?? 0) - Date.now() / 1000)).toBeLessThan(600)
  })
})

test('a job counts as due, failing or given up; a future job and a running job do not count', async () => {
  await rolledBack(database, async client => {
    const add = (more: string) =>
      client.query(`select graphile_worker.add_job('expire_subscriptions'${more})`)
    expect(await readMetrics(client)).toMatchObject({
      worker_jobs_due: 0,
      worker_oldest_due_job_age_seconds: 0,
    })
    await add(", run_at := now() - interval '1 hour'")
    await add(", run_at := now() + interval '1 hour'")
    expect(await readMetrics(client)).toMatchObject({
      worker_jobs_due: 1,
      worker_oldest_due_job_age_seconds: expect.closeTo(3600, -2),
    })
    const set = (values: string) =>
      client.query(`update graphile_worker._private_jobs set ${values} where run_at < now()`)
    await set("locked_at = now(), locked_by = 'a worker', attempts = 1")
    expect(await readMetrics(client)).toMatchObject({ worker_jobs_due: 0 })
    await set("locked_at = null, locked_by = null, last_error = 'failed'")
    const failing = 'worker_jobs_failing expire_subscriptions'
    const givenUp = 'worker_jobs_given_up expire_subscriptions'
    expect(await readMetrics(client)).toMatchObject({ worker_jobs_due: 1, [failing]: 1 })
    await set('attempts = max_attempts')
    const lastMetrics = await readMetrics(client)
    expect(lastMetrics).toMatchObject({ worker_jobs_due: 0, [givenUp]: 1 })
    expect(lastMetrics).not.toHaveProperty(failing)
  })
})

test('sessions that wait for a lock are counted, and the longest wait is reported', async () => {
  await interleave(database, { holder: 'owner', waiter: 'owner' }, async ({ holder, waiter }) => {
    const lock = 'lock table app_public.currencies in access exclusive mode'
    await holder.query(lock)
    const { result } = await waiter.startBlocked(lock)
    const client = await database.superuser.connect()
    await client.query('begin')
    const waits = await readMetrics(client)
    await client.query('rollback')
    client.release()
    expect(waits.database_sessions_waiting_for_locks).toBe(1)
    expect(waits.database_longest_lock_wait_seconds).toBeGreaterThan(0)
    await holder.rollback()
    await result
  })
})
