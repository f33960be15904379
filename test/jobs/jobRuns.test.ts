/** The runs of the worker's tasks: a run ends once and by its own id, and the runs of dead connections are closed. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { single } from '../support/testData.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

/** Runs `work` in a transaction of the owner's own session, and rolls it back. A session sees the start of its own login only. */
async function asOwner(work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  const client = await database.owner.connect()
  try {
    await client.query('begin')
    await work(client)
  } finally {
    await client.query('rollback')
    client.release()
  }
}

const begin = (client: pg.ClientBase, task = 'test') =>
  single(client, "select app_private.begin_job_run($1, 'worker-1')", [task])
const finish = (client: pg.ClientBase, id: string, error: string | null) =>
  client.query('select app_private.finish_job_run($1, $2)', [id, error])

async function runs(client: pg.ClientBase): Promise<Record<string, unknown>> {
  const { rows } = await client.query<{ id: string; ended: boolean; error: string | null }>(
    'select id, finished_at is not null as ended, error from app_private.job_runs',
  )
  return Object.fromEntries(rows.map(({ id, ended, error }) => [id, ended ? (error ?? 'succeeded') : 'open']))
}

/** A run of a connection that is gone. */
const putDead = (client: pg.ClientBase, changes = '') =>
  single(
    client,
    `insert into app_private.job_runs (task, worker_id, backend_pid, backend_started_at)
     select 'test', 'dead', pid ${changes}, backend_start - interval '1 second' from pg_stat_activity where pid = pg_backend_pid()
     returning id`,
  )

test('a run belongs to its connection and worker', () =>
  asOwner(async client => {
    await begin(client, 'first')
    const { rows } = await client.query(
      `select r.task, r.worker_id, r.counted, a.pid = pg_backend_pid() as own from app_private.job_runs as r
       join pg_stat_activity as a on a.pid = r.backend_pid and a.backend_start = r.backend_started_at`,
    )
    expect(rows).toEqual([{ task: 'first', worker_id: 'worker-1', counted: '0', own: true }])
  }))

test('a run ends by its own id, once, with its error', () =>
  asOwner(async client => {
    const [first, second, third] = [await begin(client), await begin(client), await begin(client)]
    await finish(client, first, null)
    await finish(client, second, 'failed')
    await finish(client, first, 'too late')
    await finish(client, randomUUID(), 'unknown')
    expect(await runs(client)).toEqual({ [first]: 'succeeded', [second]: 'failed', [third]: 'open' })
  }))

test('the next run closes the runs whose connection is gone, also where its pid was used again', () =>
  asOwner(async client => {
    const [gone, reused] = [await putDead(client, '+ 1000000'), await putDead(client)]
    const own = await begin(client)
    const states = await runs(client)
    expect([states[gone], states[reused], states[own]]).not.toContain('succeeded')
    expect([states[gone] === 'open', states[reused] === 'open', states[own]]).toEqual([false, false, 'open'])
  }))

test('a run that has ended is not closed again', () =>
  asOwner(async client => {
    const id = await putDead(client)
    await finish(client, id, null)
    await client.query('select app_private.release_dead_workers()')
    expect(await runs(client)).toEqual({ [id]: 'succeeded' })
  }))

test('the jobs of a closed run are unlocked, and those of other workers are not', () =>
  asOwner(async client => {
    await client.query("set local application_name to 'forecourt worker'")
    await putDead(client)
    for (const worker of ['dead', 'alive']) {
      const id = await single(client, "select (graphile_worker.add_job('test')).id")
      await client.query(
        'update graphile_worker._private_jobs set locked_at = clock_timestamp(), locked_by = $2 where id = $1',
        [id, worker],
      )
    }
    await client.query('select app_private.release_dead_workers()')
    const { rows } = await client.query('select locked_by from graphile_worker.jobs order by id')
    expect(rows).toEqual([{ locked_by: null }, { locked_by: 'alive' }])
  }))
