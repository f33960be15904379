/** Public pages of `listings` with few and with a million active listings: the first page, those of a country, and one far behind. */
import { fillListings } from './support/activeListings.ts'
import { copyDataset, type Dataset } from './support/dataset.ts'
import type { Load } from './support/jobs.ts'
import { operation, PUBLIC_PAGE } from './support/operations.ts'
import {
  type Bench,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  p50Of,
  type Result,
  rateShare,
  withFewerRounds,
} from './support/scenario.ts'
import { ask, type Server, startApi } from './support/servers.ts'
import { httpSide, sendFirstRequests } from './support/sides.ts'
import { figure } from './support/statistics.ts'
import { formatNumber } from './support/table.ts'

const FULL = { few: 10_000, many: 1_000_000 }
const QUICK = { few: 1_000, many: 20_000 }
/** Rows before the page that is far behind. */
const BEHIND = 5_000
const LARGEST_PAGE = 100

type Stage = { dataset: Dataset; api: Server }
type Page = { listings: { pageInfo: { endCursor: string } } }
type Loads = Record<'few' | 'many' | 'country' | 'behind' | 'single', Load[]>

export async function storefront(bench: Bench): Promise<Result> {
  const sizes = bench.quick ? QUICK : FULL
  const stages: Stage[] = []
  try {
    for (const rows of [sizes.few, sizes.many]) {
      const dataset = await copyDataset(bench.cluster, bench.dataset)
      await fillListings(dataset, rows, bench.progress)
      stages.push({ dataset, api: await startApi(bench.cluster, dataset.database) })
    }
    const [few, many] = stages as [Stage, Stage]
    const first = [operation(PUBLIC_PAGE, { first: 20 })]
    const country = [operation(PUBLIC_PAGE, { first: 20, country: 'DE' })]
    const behind = [operation(PUBLIC_PAGE, { first: 20, after: await cursorAfter(many.api, BEHIND) })]
    for (const { api } of stages)
      await sendFirstRequests(
        bench,
        api,
        Array(300)
          .fill([...first, ...country, ...behind])
          .flat(),
      )
    const loads = await interleave(withFewerRounds(bench), {
      few: httpSide(bench, few.api, first),
      many: httpSide(bench, many.api, first),
      country: httpSide(bench, many.api, country),
      behind: httpSide(bench, many.api, behind),
      single: httpSide(bench, many.api, first, { connections: 1 }),
    })
    return report(sizes, loads)
  } finally {
    for (const { api, dataset } of stages) {
      await api.stop()
      await dataset.database.drop()
    }
  }
}

/** The cursor behind so many rows. */
async function cursorAfter(api: Server, rows: number): Promise<string> {
  let after: string | undefined
  for (let read = 0; read < rows; read += LARGEST_PAGE) {
    const { body } = operation(PUBLIC_PAGE, { first: LARGEST_PAGE, after })
    after = (await ask<Page>(api, '/graphql', undefined, body)).listings.pageInfo.endCursor
  }
  return after ?? ''
}

function report({ few, many }: typeof FULL, loads: Loads): Result {
  const size = (rows: number) => `${formatNumber(rows)} active`
  return {
    title: 'listings of a visitor by PREMIUM_FIRST, 20 a page with their sellers, 16 connections, limits off',
    tables: [
      {
        columns: LOAD_COLUMNS,
        rows: [
          loadRow(`first page, ${size(few)}`, loads.few),
          loadRow(`first page, ${size(many)}`, loads.many),
          loadRow(`first page of a country, ${size(many)}`, loads.country),
          loadRow(`the page after ${formatNumber(BEHIND)} rows, ${size(many)}`, loads.behind),
          loadRow(`first page, ${size(many)}, one connection`, loads.single),
        ],
      },
    ],
    targets: [
      {
        name: `first page, ${size(many)}, one connection, p50`,
        measured: figure(loads.single.map(p50Of)),
        bound: 5,
        sense: 'at most',
        unit: 'ms',
      },
      {
        name: `rate at ${size(many)} over ${size(few)}`,
        measured: rateShare(loads.many, loads.few),
        bound: 90,
        sense: 'at least',
        unit: '%',
      },
    ],
    notes: [
      'One listing in a hundred is premium. Each size has the 10,000 listings of the other scenarios besides.',
    ],
  }
}
