/** Measures publications while a job of the worker runs, and without it. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from './cluster.ts'
import type { Dealer } from './dataset.ts'
import type { Load } from './jobs.ts'
import { publishing } from './operations.ts'
import { type Bench, LOAD_COLUMNS, loadRow, type Table, type Target } from './scenario.ts'
import type { Server } from './servers.ts'
import { httpJob, httpSide, sendFirstRequests } from './sides.ts'
import { figure } from './statistics.ts'

/** The rate of publications, far below the capacity of the machine. */
export const PUBLICATION_FLOW = { connections: 8, rate: 150 }
const POLL_MS = 20

export type DuringJob = { without: Load[]; during: Load }

/** Adds a job for a running worker, and waits until it is done. */
export async function runJob({ superuser }: Database, task: string): Promise<void> {
  await superuser.query("select graphile_worker.add_job($1, job_key := 'bench')", [task])
  for (;;) {
    const { rows } = await superuser.query<{ last_error: string | null }>(
      "select last_error from graphile_worker.jobs where key = 'bench'",
    )
    const [job] = rows
    if (job === undefined) return
    if (job.last_error !== null) throw new Error(`the job failed: ${job.last_error}`)
    await sleep(POLL_MS)
  }
}

/** Measures the same flow of publications before, during and after some work. */
export async function measureDuring(
  bench: Bench,
  { api, dealers }: { api: Server; dealers: Dealer[] },
  work: () => Promise<void>,
): Promise<DuringJob> {
  const requests = publishing(dealers)
  const withoutJob = httpSide(bench, api, requests, PUBLICATION_FLOW)
  await sendFirstRequests(bench, api, requests)
  const before = await withoutJob(1_000)
  const { seconds: _, ...flow } = httpJob(bench, api, requests)
  const flowDuring = bench.generator.start({ ...flow, ...PUBLICATION_FLOW, seed: 1_000 })
  await sleep(bench.warmup.most * 1000)
  await work()
  const during = await flowDuring.stop()
  return { without: [before, await withoutJob(1_000)], during }
}

export function duringTable({ without, during }: DuringJob): Table {
  const row = loadRow('publications during the job', [during])
  // the backends of the job count as Postgres, too
  const { postgres: _, ...figures } = row.figures
  return {
    columns: LOAD_COLUMNS,
    rows: [loadRow('publications without the job', without), { ...row, figures }],
  }
}

export function duringTarget({ without, during }: DuringJob): Target {
  const usual = figure(without.map(({ p99 }) => p99)).median
  const slowdown = figure([during.p99 / usual])
  return {
    name: 'p99 of publications, during / without',
    measured: slowdown,
    bound: 2,
    sense: 'at most',
    unit: 'x',
  }
}
