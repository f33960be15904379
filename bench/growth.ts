/** Publication with ledgers of ten thousand to ten million rows for the same dealers. */
import { LEAST_ROWS } from './support/history.ts'
import type { Load } from './support/jobs.ts'
import { publishing } from './support/operations.ts'
import {
  type Bench,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  type Result,
  rateShare,
  withFewerRounds,
} from './support/scenario.ts'
import { httpSide, sendFirstRequests } from './support/sides.ts'
import { endStage, type Stage, startStage } from './support/stages.ts'
import { formatNumber } from './support/table.ts'

const FULL = [LEAST_ROWS, 1_000_000, 10_000_000]
const QUICK = [LEAST_ROWS, 30_000, 100_000]

export async function growth(bench: Bench): Promise<Result> {
  const stages: Stage[] = []
  const startedAt = performance.now()
  try {
    for (const rows of bench.quick ? QUICK : FULL) stages.push(await startStage(bench, rows))
    const loadingSeconds = (performance.now() - startedAt) / 1000
    const requests = publishing(bench.dataset.dealers)
    for (const { api } of stages) await sendFirstRequests(bench, api, requests)
    const sides = stages.map(({ rows, api }) => [
      `${formatNumber(rows)} rows`,
      httpSide(bench, api, requests),
    ])
    return report(await interleave(withFewerRounds(bench), Object.fromEntries(sides)), loadingSeconds)
  } finally {
    for (const stage of stages) await endStage(stage)
  }
}

function report(loads: Record<string, Load[]>, loadingSeconds: number): Result {
  const stages = Object.entries(loads)
  const [first, last] = [stages[0], stages.at(-1)]
  return {
    title: 'createListing as the ledger grows, 16 connections, 9,000 dealers, limits on',
    tables: [{ columns: LOAD_COLUMNS, rows: stages.map(([name, values]) => loadRow(name, values)) }],
    targets: [
      {
        name: `rate at ${last?.[0]} over ${first?.[0]}`,
        measured: rateShare(last?.[1] ?? [], first?.[1] ?? []),
        bound: 95,
        sense: 'at least',
        unit: '%',
      },
    ],
    notes: [
      'Each size has its own database and server; they are measured in turns.',
      `Filling the databases took ${Math.round(loadingSeconds)} s.`,
    ],
  }
}
