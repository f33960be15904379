/** A job of the worker, and what it does to publications that go on meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from './cluster.ts'
import type { Load } from './jobs.ts'
import { publishing } from './operations.ts'
import { type Bench, LOAD_COLUMNS, loadRow, type Table, type Target } from './scenario.ts'
import { figure } from './statistics.ts'
import type { Dealer } from './world.ts'

/** Publications that go on at this rate, far below what the machine can do. */
export const BESIDE = { connections: 8, rate: 150 }
const POLL_MS = 20

export type Beside = { without: Load[]; during: Load }

/** Asks a running worker for a task, and comes back when it is done. */
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

/** The same flow of publications before, during and after some work. */
export async function besidePublications(
  { generator, warmup, seconds }: Pick<Bench, 'generator' | 'warmup' | 'seconds'>,
  { url, dealers }: { url: string; dealers: Dealer[] },
  work: () => Promise<void>,
): Promise<Beside> {
  const flow = { kind: 'http', url, requests: publishing(dealers), ...BESIDE, warmup, seed: 1_000 } as const
  const quiet = () => generator.run({ ...flow, seconds: 3 * seconds })
  // the first publications of a server are slower than all others
  await quiet()
  const before = await quiet()
  const busy = generator.start(flow)
  await sleep(warmup * 1000)
  await work()
  const during = await busy.stop()
  return { without: [before, await quiet()], during }
}

export function besideTable({ without, during }: Beside): Table {
  return {
    columns: { p50: LOAD_COLUMNS.p50, p99: LOAD_COLUMNS.p99, rate: LOAD_COLUMNS.rate },
    rows: [loadRow('publications without it', without), loadRow('publications beside it', [during])],
  }
}

export function besideTarget({ without, during }: Beside): Target {
  const usual = figure(without.map(({ p99 }) => p99)).median
  const slower = figure([during.p99 / usual])
  return { name: 'p99 of publications', measured: slower, bound: 2, sense: 'at most', unit: 'x' }
}
