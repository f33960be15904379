/** The nightly run over a million due subscriptions, beside one plain UPDATE of the same rows, and beside publications. */
import {
  BESIDE,
  type Beside,
  besidePublications,
  besideTable,
  besideTarget,
  runJob,
} from './support/beside.ts'
import type { Database } from './support/cluster.ts'
import { memoryOf } from './support/memory.ts'
import { type Bench, interleave, type Result, type Row, type Target } from './support/scenario.ts'
import { startApi, startWorker } from './support/servers.ts'
import { figure, ratio } from './support/statistics.ts'
import { fillSubscriptions } from './support/subscriptions.ts'
import { copyWorld, type World } from './support/world.ts'

const FULL = 2_000_000
const QUICK = 40_000

const SAMPLE_MS = 5

/** Sets `updated_at` as a run does: without it each row gets an audit entry, which is not compared here. */
const PLAIN_UPDATE = `
  update app_public.dealer_subscriptions set status = 'expired', updated_at = clock_timestamp()
  where status = 'active' and end_at <= clock_timestamp()`

const RAN = `
  insert into app_private.job_runs (task, finished_at, backend_pid, backend_started_at)
  values ('expire_subscriptions', clock_timestamp(), 0, clock_timestamp())`

/** Locks are held until the end of a transaction: none of the worker's is older than its oldest transaction that writes. */
const OLDEST_TRANSACTION = `
  select coalesce(max(extract(epoch from clock_timestamp() - a.xact_start)) * 1000, 0)::double precision as age
  from pg_stat_activity as a
  where a.datname = current_database() and a.application_name = 'forecourt worker' and a.backend_xid is not null`

type Run = { seconds: number; peak: number | undefined }
type Watched = Beside & { longestLock: number }

export async function expiry(bench: Bench): Promise<Result> {
  const { cluster, progress } = bench
  const total = bench.quick ? QUICK : FULL
  progress.expect(1)
  const world = await copyWorld(cluster, bench.world)
  try {
    await fillSubscriptions(world.database, total, progress)
    const runs = await interleave<'task' | 'update', Run>(bench, {
      task: () => onCopy(bench, world, database => runTask(bench, database)),
      update: () => onCopy(bench, world, runUpdate),
    })
    progress.step('publications beside it')
    const beside = await onCopy(bench, world, database => runBeside(bench, { ...world, database }))
    return report(total, runs, beside)
  } finally {
    await world.database.drop()
  }
}

/** Each run begins with the same rows on the same pages. */
async function onCopy<Value>({ cluster }: Bench, world: World, work: (database: Database) => Promise<Value>) {
  const { database } = await copyWorld(cluster, world)
  try {
    // else a worker that starts makes up for a missed night at once, and two runs share the work
    await database.superuser.query(RAN)
    await database.superuser.query('checkpoint')
    return await work(database)
  } finally {
    await database.drop()
  }
}

async function runUpdate({ superuser }: Database): Promise<Run> {
  const began = performance.now()
  await superuser.query(PLAIN_UPDATE)
  return { seconds: (performance.now() - began) / 1000, peak: undefined }
}

/** The job in a worker process, from when it is asked for until it is gone. */
async function runTask({ cluster }: Bench, database: Database): Promise<Run> {
  const worker = await startWorker(cluster, database)
  try {
    const began = performance.now()
    await expire(database)
    const seconds = (performance.now() - began) / 1000
    return { seconds, peak: memoryOf(worker.pid)?.peak }
  } finally {
    await worker.stop()
  }
}

async function expire(database: Database): Promise<void> {
  await runJob(database, 'expire_subscriptions')
  const { rowCount } = await database.superuser.query(
    "select from app_public.dealer_subscriptions where status = 'active' and end_at <= clock_timestamp() limit 1",
  )
  if (rowCount !== 0) throw new Error('the job is done, and subscriptions are still due')
}

/** The same flow of publications before, during and after a run. */
async function runBeside(bench: Bench, { database, dealers }: World): Promise<Watched> {
  const { cluster } = bench
  const api = await startApi(cluster, database)
  const worker = await startWorker(cluster, database)
  let longestLock = 0
  try {
    const beside = await besidePublications(bench, { url: api.url, dealers }, async () => {
      const samples = setInterval(async () => {
        const { rows } = await database.superuser.query<{ age: number }>(OLDEST_TRANSACTION)
        longestLock = Math.max(longestLock, rows[0]?.age ?? 0)
      }, SAMPLE_MS)
      try {
        await expire(database)
      } finally {
        clearInterval(samples)
      }
    })
    return { ...beside, longestLock }
  } finally {
    await worker.stop()
    await api.stop()
  }
}

function report(total: number, { task, update }: Record<'task' | 'update', Run[]>, beside: Watched): Result {
  const due = total / 2
  const seconds = (runs: Run[]) => runs.map(run => run.seconds)
  const row = (name: string, runs: Run[]): Row => {
    const peaks = runs.flatMap(({ peak }) => (peak === undefined ? [] : [peak]))
    const rate = figure(seconds(runs).map(value => due / value))
    const memory: Row['figures'] = peaks.length > 0 ? { memory: figure(peaks) } : {}
    return { name, figures: { rate, seconds: figure(seconds(runs)), ...memory } }
  }
  const rows = [row('expire_subscriptions, a worker', task), row('one plain UPDATE', update)]
  const memory = rows[0]?.figures.memory
  const times = ratio(seconds(task), seconds(update))
  const targets: Target[] = [
    { name: 'all of it', measured: figure(seconds(task)), bound: 15, sense: 'at most', unit: 's' },
    { name: 'over the plain UPDATE', measured: times, bound: 1.5, sense: 'at most', unit: 'x' },
    {
      name: 'longest lock',
      measured: figure([beside.longestLock]),
      bound: 100,
      sense: 'at most',
      unit: 'ms',
    },
    besideTarget(beside),
  ]
  if (memory !== undefined) {
    targets.splice(2, 0, { name: 'peak memory', measured: memory, bound: 100, sense: 'at most', unit: 'MB' })
  }
  return {
    title: `${due.toLocaleString('en-US')} due of ${total.toLocaleString('en-US')} subscriptions`,
    tables: [
      { columns: { rate: 'rows /s', seconds: 'seconds', memory: 'peak MB' }, rows },
      besideTable(beside),
    ],
    targets,
    notes: [
      'Each run has a copy of the database of its own. The longest lock is the oldest writing transaction of the worker,',
      `looked at every ${SAMPLE_MS} ms while publications flow at ${BESIDE.rate}/s.`,
    ],
  }
}
