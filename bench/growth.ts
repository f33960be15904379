/** Publication with ledgers of ten thousand to ten million rows for the same dealers, and the check of the largest ledger. */

import { copyDataset, type Dataset } from './support/dataset.ts'
import {
  type DuringJob,
  duringTable,
  duringTarget,
  measureDuring,
  PUBLICATION_FLOW,
  runJob,
} from './support/duringJob.ts'
import { fillLedger, LEAST_ROWS } from './support/history.ts'
import type { Load } from './support/jobs.ts'
import { memoryOf } from './support/memory.ts'
import { publishing } from './support/operations.ts'
import { switchLimits } from './support/policies.ts'
import {
  type Bench,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  type Result,
  type Row,
  rateShare,
  withFewerRounds,
} from './support/scenario.ts'
import { type Server, startApi, startWorker } from './support/servers.ts'
import { httpSide, sendFirstRequests } from './support/sides.ts'
import { figure } from './support/statistics.ts'
import { formatNumber } from './support/table.ts'

const FULL = [LEAST_ROWS, 1_000_000, 10_000_000]
const QUICK = [LEAST_ROWS, 30_000, 100_000]

const LAST_CHECK = 'select broken, findings from app_private.ledger_checks order by id desc limit 1'

type Stage = { rows: number; dataset: Dataset; api: Server }
type Check = DuringJob & { seconds: number; peak: number | undefined }

export async function growth(bench: Bench): Promise<Result> {
  const { cluster, progress } = bench
  const stages: Stage[] = []
  const startedAt = performance.now()
  try {
    for (const rows of bench.quick ? QUICK : FULL) {
      const dataset = await copyDataset(cluster, bench.dataset)
      if (rows > LEAST_ROWS) await fillLedger(dataset, rows - LEAST_ROWS, progress)
      stages.push({ rows, dataset, api: await startApi(cluster, dataset.database) })
    }
    const loadingSeconds = (performance.now() - startedAt) / 1000
    const requests = publishing(bench.dataset.dealers)
    for (const { api, dataset } of stages) {
      await switchLimits(dataset.database, 'enforce')
      await sendFirstRequests(bench, api, requests)
    }
    const sides = stages.map(({ rows, api }) => [
      `${formatNumber(rows)} rows`,
      httpSide(bench, api, requests),
    ])
    const loads: Record<string, Load[]> = await interleave(withFewerRounds(bench), Object.fromEntries(sides))
    progress.expect(1)
    progress.step('check of the ledger')
    return report(loads, await verify(bench, stages.at(-1) as Stage), loadingSeconds)
  } finally {
    for (const { api, dataset } of stages) {
      await api.stop()
      await dataset.database.drop()
    }
  }
}

/** The nightly check in a worker process, during publications. */
async function verify(bench: Bench, { dataset: { database, dealers }, api }: Stage): Promise<Check> {
  const worker = await startWorker(bench.cluster, database)
  try {
    let seconds = 0
    const during = await measureDuring(bench, { api, dealers }, async () => {
      const began = performance.now()
      await runJob(database, 'verify_ledger')
      seconds = (performance.now() - began) / 1000
    })
    const { rows } = await database.superuser.query<{ broken: number; findings: unknown }>(LAST_CHECK)
    if (rows[0]?.broken !== 0) throw new Error(`the ledger is broken: ${JSON.stringify(rows[0])}`)
    return { ...during, seconds, peak: memoryOf(worker.pid)?.peak }
  } finally {
    await worker.stop()
  }
}

function report(loads: Record<string, Load[]>, check: Check, loadingSeconds: number): Result {
  const stages = Object.entries(loads)
  const [first, last] = [stages[0], stages.at(-1)]
  const memory: Row['figures'] = check.peak === undefined ? {} : { memory: figure([check.peak]) }
  return {
    title: 'createListing as the ledger grows, 16 connections, 9,000 dealers, limits on',
    tables: [
      { columns: LOAD_COLUMNS, rows: stages.map(([name, values]) => loadRow(name, values)) },
      {
        columns: { seconds: 'seconds', memory: 'peak MB' },
        rows: [
          { name: `verify_ledger, ${last?.[0]}`, figures: { seconds: figure([check.seconds]), ...memory } },
        ],
      },
      duringTable(check),
    ],
    targets: [
      {
        name: `rate at ${last?.[0]} over ${first?.[0]}`,
        measured: rateShare(last?.[1] ?? [], first?.[1] ?? []),
        bound: 95,
        sense: 'at least',
        unit: '%',
      },
      duringTarget(check),
    ],
    notes: [
      'Each size has its own database and server; they are measured in turns.',
      `Filling the databases took ${Math.round(loadingSeconds)} s.`,
      `verify_ledger runs in a worker on the largest ledger during publications at ${PUBLICATION_FLOW.rate}/s.`,
      'It found no broken row.',
    ],
  }
}
