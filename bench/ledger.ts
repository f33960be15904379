/** The nightly check of a large ledger in a worker process, during publications. */
import {
  type DuringJob,
  duringTable,
  duringTarget,
  measureDuring,
  PUBLICATION_FLOW,
  runJob,
} from './support/duringJob.ts'
import { memoryOf } from './support/memory.ts'
import type { Bench, Result, Row } from './support/scenario.ts'
import { startWorker } from './support/servers.ts'
import { endStage, type Stage, startStage } from './support/stages.ts'
import { figure } from './support/statistics.ts'
import { formatNumber } from './support/table.ts'

const FULL = 10_000_000
const QUICK = 100_000

const LAST_CHECK = 'select broken, findings from app_private.ledger_checks order by id desc limit 1'

type Check = DuringJob & { seconds: number; peak: number | undefined }

export async function ledger(bench: Bench): Promise<Result> {
  const stage = await startStage(bench, bench.quick ? QUICK : FULL)
  try {
    bench.progress.expect(1)
    bench.progress.step('check of the ledger')
    return report(stage.rows, await verify(bench, stage))
  } finally {
    await endStage(stage)
  }
}

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

function report(rows: number, check: Check): Result {
  const memory: Row['figures'] = check.peak === undefined ? {} : { memory: figure([check.peak]) }
  const name = `verify_ledger, ${formatNumber(rows)} rows`
  return {
    title: `the check of ${formatNumber(rows)} ledger rows, and publications during it`,
    tables: [
      {
        columns: { seconds: 'seconds', memory: 'peak MB' },
        rows: [{ name, figures: { seconds: figure([check.seconds]), ...memory } }],
      },
      duringTable(check),
    ],
    targets: [duringTarget(check)],
    notes: [
      `verify_ledger runs in a worker during publications at ${PUBLICATION_FLOW.rate}/s, with limits on.`,
      'It found no broken row.',
    ],
  }
}
