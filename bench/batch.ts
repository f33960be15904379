/** Batches of 100 listings, compared with the same listings published one by one. */
import { copyDataset } from './support/dataset.ts'
import type { Load } from './support/jobs.ts'
import { publishing, publishingBatches } from './support/operations.ts'
import {
  type Bench,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  p99Of,
  type Result,
  rateTimes,
  type Target,
  withFewerRounds,
} from './support/scenario.ts'
import { startApi } from './support/servers.ts'
import { httpSide, sendFirstRequests } from './support/sides.ts'
import { figure } from './support/statistics.ts'

const LISTINGS = 100
/** The bodies of their batches are in the memory of the generator. */
const DEALERS = 900
/** How long another publication of the dealer waits for its lock. */
const LOCK_TIMEOUT_MS = 3_000

export async function batch(bench: Bench): Promise<Result> {
  const { cluster } = bench
  const dataset = await copyDataset(cluster, bench.dataset)
  const api = await startApi(cluster, dataset.database)
  const dealers = dataset.dealers.slice(0, DEALERS)
  try {
    await sendFirstRequests(bench, api, publishing(dealers))
    await sendFirstRequests(bench, api, publishingBatches(dealers.slice(0, 30), LISTINGS))
    const loads = await interleave(withFewerRounds(bench), {
      single: httpSide(bench, api, publishing(dealers)),
      batch: httpSide(bench, api, publishingBatches(dealers, LISTINGS)),
      hot: httpSide(bench, api, publishingBatches([dataset.hotDealer], LISTINGS)),
    })
    return report(loads)
  } finally {
    await api.stop()
    await dataset.database.drop()
  }
}

/** The rate and the CPU time of each listing. The times remain those of the request. */
function perListing(load: Load): Load {
  const cpu = Object.entries(load.cpu).map(([part, milliseconds]) => [part, milliseconds / LISTINGS])
  return { ...load, rate: load.rate * LISTINGS, cpu: Object.fromEntries(cpu) as Load['cpu'] }
}

function report(loads: Record<'single' | 'batch' | 'hot', Load[]>): Result {
  const { single } = loads
  const batches = loads.batch.map(perListing)
  const targets: Target[] = [
    {
      name: 'listings a second, batches over one by one',
      measured: rateTimes(batches, single),
      bound: 5,
      sense: 'at least',
      unit: 'x',
    },
    {
      name: 'p99 of a batch, all for one dealer',
      measured: figure(loads.hot.map(p99Of)),
      bound: LOCK_TIMEOUT_MS,
      sense: 'at most',
      unit: 'ms',
    },
  ]
  return {
    title: `createListings with ${LISTINGS} listings, 16 connections, limits off`,
    tables: [
      {
        columns: { ...LOAD_COLUMNS, rate: 'listings /s' },
        rows: [
          loadRow('createListing, 900 dealers', single),
          loadRow('createListings, 900 dealers', batches),
          loadRow('createListings, one dealer', loads.hot.map(perListing)),
        ],
      },
    ],
    targets,
    notes: ['CPU is that for each listing, p50 and p99 are those of a request.'],
  }
}
