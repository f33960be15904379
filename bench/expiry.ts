/** Expiry runs over a million due rows, compared with one UPDATE of the same rows, and during publications. */
import { setTimeout as sleep } from 'node:timers/promises'
import { fillListings } from './support/activeListings.ts'
import type { Cluster, Database } from './support/cluster.ts'
import { copyDataset, type Dataset } from './support/dataset.ts'
import {
  type DuringJob,
  duringTable,
  duringTarget,
  measureDuring,
  PUBLICATION_FLOW,
  runJob,
} from './support/duringJob.ts'
import { memoryOf } from './support/memory.ts'
import { cpuOf, cpuOfFamily } from './support/proc.ts'
import type { Progress } from './support/progress.ts'
import {
  type Bench,
  interleave,
  type Result,
  type Row,
  type Scenario,
  type Target,
  withFewerRounds,
} from './support/scenario.ts'
import { startApi, startWorker } from './support/servers.ts'
import { figure, ratio } from './support/statistics.ts'
import { fillSubscriptions } from './support/subscriptions.ts'

const FULL = 2_000_000
const QUICK = 40_000

/** Reading pg_stat_activity takes a few milliseconds of a core, so frequent samples would slow the publications down. */
const SAMPLE_MS = 25

const COLUMNS = {
  rate: 'rows /s',
  seconds: 'seconds',
  worker: 'worker CPU µs',
  postgres: 'Postgres CPU µs',
  memory: 'peak MB',
}

type Subject = {
  rows: string
  task: string
  table: string
  endColumn: string
  /** Makes so many rows. Half of them are due. */
  fill(dataset: Dataset, total: number, progress: Progress): Promise<void>
}

export const expiry = scenarioOf({
  rows: 'subscriptions',
  task: 'expire_subscriptions',
  table: 'dealer_subscriptions',
  endColumn: 'end_at',
  fill: ({ database }, total, progress) => fillSubscriptions(database, total, progress),
})

export const listingExpiry = scenarioOf({
  rows: 'listings',
  task: 'expire_listings',
  table: 'listings',
  endColumn: 'expires_at',
  fill: (dataset, total, progress) => fillListings(dataset, total, progress, 180),
})

const isDue = ({ endColumn }: Subject, at = 'clock_timestamp()') =>
  `status = 'active' and ${endColumn} <= ${at}`

/** Sets `updated_at` as a run does: without it each row gets an audit entry, which is not compared here. */
const plainUpdate = (subject: Subject) => `
  update app_public.${subject.table} set status = 'expired', updated_at = clock_timestamp()
  where ${isDue(subject)}`

/** A worker adds a run of each task when it starts. That run would share the measured work, with lanes of its own. */
const ADD_NO_RUNS =
  "create or replace function app_private.schedule_missed_expiry() returns void language sql as ''"

/** Locks last until the end of their transaction, so no lock is older than the worker's oldest transaction that writes. */
const OLDEST_TRANSACTION = `
  select coalesce(max(extract(epoch from clock_timestamp() - a.xact_start)) * 1000, 0)::double precision as age
  from pg_stat_activity as a
  where a.datname = current_database() and a.application_name = 'forecourt worker' and a.backend_xid is not null`

/** `cpu` is in milliseconds, and not a number without Linux's /proc. */
type Run = { seconds: number; peak?: number | undefined; cpu: { worker: number; postgres: number } }
type Watched = DuringJob & { longestLock: number }

function scenarioOf(subject: Subject): Scenario {
  return async bench => {
    const { cluster, progress } = bench
    const total = bench.quick ? QUICK : FULL
    progress.expect(1)
    const dataset = await copyDataset(cluster, bench.dataset)
    try {
      await subject.fill(dataset, total, progress)
      const runs = await interleave<'task' | 'update', Run>(withFewerRounds(bench), {
        task: () => onCopy(bench, dataset, database => runTask(bench, subject, database)),
        update: () =>
          onCopy(bench, dataset, ({ superuser }) =>
            timed(cluster, [], () => superuser.query(plainUpdate(subject))),
          ),
      })
      progress.step('publications during a run')
      const during = await onCopy(bench, dataset, database =>
        runDuringPublications(bench, subject, { ...dataset, database }),
      )
      return report(subject, total, runs, during)
    } finally {
      await dataset.database.drop()
    }
  }
}

/** Each run starts with the same rows on the same pages. */
async function onCopy<Value>(
  { cluster }: Bench,
  dataset: Dataset,
  work: (database: Database) => Promise<Value>,
) {
  const { database } = await copyDataset(cluster, dataset)
  try {
    await database.superuser.query(ADD_NO_RUNS)
    await database.superuser.query('checkpoint')
    return await work(database)
  } finally {
    await database.drop()
  }
}

async function timed({ postmaster }: Cluster, worker: number[], work: () => Promise<unknown>): Promise<Run> {
  const cpu = () => ({ worker: cpuOf(worker), postgres: cpuOfFamily(postmaster) })
  const before = cpu()
  const began = performance.now()
  await work()
  const seconds = (performance.now() - began) / 1000
  const after = cpu()
  const used = (part: 'worker' | 'postgres') => (after[part] ?? Number.NaN) - (before[part] ?? Number.NaN)
  return { seconds, cpu: { worker: used('worker'), postgres: used('postgres') } }
}

/** The job in a worker process, from its request to its end. */
async function runTask({ cluster }: Bench, subject: Subject, database: Database): Promise<Run> {
  const worker = await startWorker(cluster, database)
  try {
    const run = await timed(cluster, [worker.pid], () => expire(subject, database))
    return { ...run, peak: memoryOf(worker.pid)?.peak }
  } finally {
    await worker.stop()
  }
}

async function expire(subject: Subject, database: Database): Promise<void> {
  // rows become due during the run, too
  const { rows } = await database.superuser.query<{ at: string }>('select clock_timestamp()::text as at')
  await runJob(database, subject.task)
  const { rowCount } = await database.superuser.query(
    `select from app_public.${subject.table} where ${isDue(subject, '$1')} limit 1`,
    [rows[0]?.at],
  )
  if (rowCount !== 0) throw new Error('the job is done, but rows are still due')
}

/** The same flow of publications before, during and after a run. */
async function runDuringPublications(
  bench: Bench,
  subject: Subject,
  { database, dealers }: Dataset,
): Promise<Watched> {
  const { cluster } = bench
  const api = await startApi(cluster, database)
  const worker = await startWorker(cluster, database)
  let longestLock = 0
  try {
    const during = await measureDuring(bench, { api, dealers }, async () => {
      const stopped = new AbortController()
      const job = expire(subject, database).finally(() => stopped.abort())
      const [longest] = await Promise.all([sampleLocks(database, stopped.signal), job])
      longestLock = longest
    })
    return { ...during, longestLock }
  } finally {
    await worker.stop()
    await api.stop()
  }
}

/** The age of the oldest writing transaction of the worker, in milliseconds: the longest of all samples. */
async function sampleLocks({ superuser }: Database, stopped: AbortSignal): Promise<number> {
  let longest = 0
  while (!stopped.aborted) {
    const { rows } = await superuser.query<{ age: number }>(OLDEST_TRANSACTION)
    longest = Math.max(longest, rows[0]?.age ?? 0)
    await sleep(SAMPLE_MS)
  }
  return longest
}

/** Microseconds for each row. */
function cpuRow(runs: Run[], rows: number): Row['figures'] {
  const each = (part: keyof Run['cpu']) => runs.map(({ cpu }) => (cpu[part] * 1000) / rows)
  const measured = (['worker', 'postgres'] as const).filter(part => each(part).every(value => value > 0))
  return Object.fromEntries(measured.map(part => [part, figure(each(part))]))
}

function report(
  { task: name, rows: what }: Subject,
  total: number,
  { task, update }: Record<'task' | 'update', Run[]>,
  during: Watched,
): Result {
  const due = total / 2
  const seconds = (runs: Run[]) => runs.map(run => run.seconds)
  const row = (name: string, runs: Run[]): Row => {
    const peaks = runs.flatMap(({ peak }) => (peak === undefined ? [] : [peak]))
    const rate = figure(seconds(runs).map(value => due / value))
    const memory: Row['figures'] = peaks.length > 0 ? { memory: figure(peaks) } : {}
    const cpu = cpuRow(runs, due)
    return { name, figures: { rate, seconds: figure(seconds(runs)), ...cpu, ...memory } }
  }
  const rows = [row(`${name}, a worker`, task), row('one plain UPDATE', update)]
  const memory = rows[0]?.figures.memory
  const times = ratio(seconds(task), seconds(update))
  const targets: Target[] = [
    { name: 'whole run', measured: figure(seconds(task)), bound: 15, sense: 'at most', unit: 's' },
    { name: 'over the plain UPDATE', measured: times, bound: 1.5, sense: 'at most', unit: 'x' },
    {
      name: 'longest lock',
      measured: figure([during.longestLock]),
      bound: 100,
      sense: 'at most',
      unit: 'ms',
    },
    duringTarget(during),
  ]
  if (memory !== undefined) {
    targets.splice(2, 0, { name: 'peak memory', measured: memory, bound: 100, sense: 'at most', unit: 'MB' })
  }
  return {
    title: `${due.toLocaleString('en-US')} due of ${total.toLocaleString('en-US')} ${what}`,
    tables: [{ columns: COLUMNS, rows }, duringTable(during)],
    targets,
    notes: [
      'Each run has its own copy of the database. The longest lock is the oldest writing transaction of the worker,',
      `sampled every ${SAMPLE_MS} ms during publications at ${PUBLICATION_FLOW.rate}/s.`,
    ],
  }
}
