/** Publication as the ledger grows: the same dealers with a history of ten thousand to ten million listings. */
import { fillLedger } from './support/history.ts'
import type { Load } from './support/jobs.ts'
import { publishing } from './support/operations.ts'
import {
  type Bench,
  CONNECTIONS,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  type Result,
  rateShare,
} from './support/scenario.ts'
import { type Server, startApi } from './support/servers.ts'
import { number } from './support/table.ts'
import { copyWorld, type World } from './support/world.ts'

/**
 * What every world begins with: in tables that are nearly empty, statements are planned for empty tables, and those
 * plans are kept.
 */
export const LEAST_ROWS = 10_000
const FULL = [LEAST_ROWS, 1_000_000, 10_000_000]
const QUICK = [LEAST_ROWS, 30_000, 100_000]

type Stage = { rows: number; world: World; api: Server }

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
    return report(await interleave(bench, Object.fromEntries(sides)), loading)
  } finally {
    for (const { api, world } of stages) {
      await api.stop()
      await world.database.drop()
    }
  }
}

function report(loads: Record<string, Load[]>, loading: number): Result {
  const stages = Object.entries(loads)
  const [first, last] = [stages[0], stages.at(-1)]
  return {
    title: 'createListing as the ledger grows, 16 connections, 9,000 dealers',
    tables: [{ columns: LOAD_COLUMNS, rows: stages.map(([name, values]) => loadRow(name, values)) }],
    targets: [
      {
        name: `rate at ${last?.[0]} over ${first?.[0]}`,
        measured: rateShare(last?.[1] ?? [], first?.[1] ?? []),
        bound: 90,
        sense: 'at least',
        unit: '%',
      },
    ],
    notes: [
      `A database for each size, one server for each, in turns. Filling them took ${Math.round(loading)} s.`,
    ],
  }
}
