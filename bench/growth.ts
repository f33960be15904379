/** Publication as the ledger grows: the same dealers with a history of ten thousand to ten million listings; and the check of the largest. */
import {
  BESIDE,
  type Beside,
  besidePublications,
  besideTable,
  besideTarget,
  runJob,
} from './support/beside.ts'
import { fillLedger } from './support/history.ts'
import type { Load } from './support/jobs.ts'
import { memoryOf } from './support/memory.ts'
import { publishing } from './support/operations.ts'
import {
  type Bench,
  CONNECTIONS,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  type Result,
  type Row,
  rateShare,
} from './support/scenario.ts'
import { type Server, startApi, startWorker } from './support/servers.ts'
import { figure } from './support/statistics.ts'
import { number } from './support/table.ts'
import { copyWorld, type World } from './support/world.ts'

/**
 * What every world begins with: in tables that are nearly empty, statements are planned for empty tables, and those
 * plans are kept.
 */
export const LEAST_ROWS = 10_000
const FULL = [LEAST_ROWS, 1_000_000, 10_000_000]
const QUICK = [LEAST_ROWS, 30_000, 100_000]

const LAST_CHECK = 'select broken, findings from app_private.ledger_checks order by id desc limit 1'

type Stage = { rows: number; world: World; api: Server }
type Check = Beside & { seconds: number; peak: number | undefined }

export async function growth(bench: Bench): Promise<Result> {
  const { cluster, progress, generator, warmup, seconds } = bench
  const stages: Stage[] = []
  const began = performance.now()
  try {
    for (const rows of bench.quick ? QUICK : FULL) {
      const world = await copyWorld(cluster, bench.world)
      if (rows > LEAST_ROWS) await fillLedger(world, rows - LEAST_ROWS, progress)
      stages.push({ rows, world, api: await startApi(cluster, world.database) })
    }
    const loading = (performance.now() - began) / 1000
    const requests = publishing(bench.world.dealers)
    const pace = { connections: CONNECTIONS, warmup, seconds }
    const sides = stages.map(({ rows, api: { url } }) => {
      const run = (seed: number) => generator.run({ kind: 'http', url, requests, ...pace, seed })
      return [`${number(rows)} rows`, run] as const
    })
    const loads = await interleave(bench, Object.fromEntries(sides))
    progress.step('the check of the books')
    return report(loads, await verify(bench, stages.at(-1) as Stage), loading)
  } finally {
    for (const { api, world } of stages) {
      await api.stop()
      await world.database.drop()
    }
  }
}

/** The nightly check in a worker process, beside publications. */
async function verify(bench: Bench, { world: { database, dealers }, api: { url } }: Stage): Promise<Check> {
  const worker = await startWorker(bench.cluster, database)
  try {
    let seconds = 0
    const beside = await besidePublications(bench, { url, dealers }, async () => {
      const began = performance.now()
      await runJob(database, 'verify_ledger')
      seconds = (performance.now() - began) / 1000
    })
    const { rows } = await database.superuser.query<{ broken: number; findings: unknown }>(LAST_CHECK)
    if (rows[0]?.broken !== 0) throw new Error(`the books are broken: ${JSON.stringify(rows[0])}`)
    return { ...beside, seconds, peak: memoryOf(worker.pid)?.peak }
  } finally {
    await worker.stop()
  }
}

function report(loads: Record<string, Load[]>, check: Check, loading: number): Result {
  const stages = Object.entries(loads)
  const [first, last] = [stages[0], stages.at(-1)]
  const memory: Row['figures'] = check.peak === undefined ? {} : { memory: figure([check.peak]) }
  return {
    title: 'createListing as the ledger grows, 16 connections, 9,000 dealers',
    tables: [
      { columns: LOAD_COLUMNS, rows: stages.map(([name, values]) => loadRow(name, values)) },
      {
        columns: { seconds: 'seconds', memory: 'peak MB' },
        rows: [
          { name: `verify_ledger, ${last?.[0]}`, figures: { seconds: figure([check.seconds]), ...memory } },
        ],
      },
      besideTable(check),
    ],
    targets: [
      {
        name: `rate at ${last?.[0]} over ${first?.[0]}`,
        measured: rateShare(last?.[1] ?? [], first?.[1] ?? []),
        bound: 90,
        sense: 'at least',
        unit: '%',
      },
      besideTarget(check),
    ],
    notes: [
      `A database for each size, one server for each, in turns. Filling them took ${Math.round(loading)} s.`,
      `verify_ledger runs in a worker, on the largest, while publications flow at ${BESIDE.rate}/s; it found the books in order.`,
    ],
  }
}
