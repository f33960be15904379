/** This commit compared with another one: both run at once, each on its own Postgres, and are measured in turns. */
import { sqlSides } from './publish.ts'
import { makeReads } from './read.ts'
import { startCluster } from './support/cluster.ts'
import { checkOut, migrateWith } from './support/commit.ts'
import { copyDataset, type Dataset, makeDataset } from './support/dataset.ts'
import { fillLedger, LEAST_ROWS } from './support/history.ts'
import type { HttpRequest, Load } from './support/jobs.ts'
import { publishing } from './support/operations.ts'
import { switchLimits } from './support/policies.ts'
import {
  type Bench,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  p99Of,
  type Result,
  type Row,
  rateOf,
  rateTimes,
  type Target,
} from './support/scenario.ts'
import { type Server, startApi, startApiOf } from './support/servers.ts'
import { httpSide, type Side, sendFirstRequests } from './support/sides.ts'
import { type Figure, ratio } from './support/statistics.ts'

/** The same works on both commits, in this order. */
const WORKS = {
  limited: 'createListing, limits on',
  hot: 'createListing, one dealer, limits on',
  unlimited: 'createListing, limits off',
  function: 'the function alone',
  update: 'UPDATE of one row in a bare table',
  listing: 'a listing by its id',
  page: '20 listings with dealer and consumption',
  quote: 'quoteListing',
}
type Work = keyof typeof WORKS
type Loads = Record<Work, { before: Load[]; now: Load[] }>

type Version = { bench: Bench; dataset: Dataset; api: Server; sides: Record<Work, Side> }

export async function against(bench: Bench): Promise<Result> {
  const { cluster, progress } = bench
  progress.step(`the files of ${bench.against}`)
  const project = await checkOut(bench.against ?? '')
  const itsCluster = await startCluster(
    () => {},
    url => migrateWith(project, url),
  )
  const itsBench = { ...bench, cluster: itsCluster }
  const itsDataset = await makeDataset(itsCluster)
  await fillLedger(itsDataset, LEAST_ROWS, progress)
  const dataset = await copyDataset(cluster, bench.dataset)
  const apis: Server[] = []
  try {
    for (const start of [
      () => startApiOf(project, itsCluster, itsDataset.database),
      () => startApi(cluster, dataset.database),
    ])
      apis.push(await start())
    const [itsApi, api] = apis as [Server, Server]
    const before = await prepare(itsBench, itsDataset, itsApi)
    const now = await prepare(bench, dataset, api)
    const loads: Partial<Loads> = {}
    for (const work of Object.keys(WORKS) as Work[]) {
      const mode = work === 'limited' || work === 'hot' ? 'enforce' : 'off'
      for (const version of [before, now]) await switchLimits(version.dataset.database, mode)
      const sides = { before: before.sides[work], now: now.sides[work] }
      loads[work] = await interleave(bench, sides)
    }
    return report(bench.against ?? '', loads as Loads)
  } finally {
    for (const api of apis) await api.stop()
    await dataset.database.drop()
    await itsCluster.stop()
  }
}

/** Makes the listings that are read, and warms up the server. */
async function prepare(bench: Bench, dataset: Dataset, api: Server): Promise<Version> {
  const reads = await makeReads(dataset)
  const publications = publishing(dataset.dealers)
  const { function: direct, update } = await sqlSides(bench, dataset)
  for (const requests of [publications, ...Object.values(reads).map(({ ours }) => ours)])
    await sendFirstRequests(bench, api, requests)
  const over = (requests: HttpRequest[]) => httpSide(bench, api, requests)
  const sides = {
    limited: over(publications),
    hot: over(publishing([dataset.hotDealer])),
    unlimited: over(publications),
    function: direct,
    update,
    listing: over(reads.listing.ours),
    page: over(reads.page.ours),
    quote: over(reads.quote.ours),
  }
  return { bench, dataset, api, sides }
}

/** API and Postgres together, in milliseconds for each operation. */
const cpuOfBoth = ({ cpu: { api = 0, postgres = Number.NaN } }: Load) => api + postgres

function report(hash: string, loads: Loads): Result {
  const works = Object.keys(WORKS) as Work[]
  const times = (work: Work, pick: (load: Load) => number): Figure =>
    ratio(loads[work].now.map(pick), loads[work].before.map(pick))
  const measured = works.flatMap(work => [
    loadRow(`${WORKS[work]}: before`, loads[work].before),
    loadRow(`${WORKS[work]}: now`, loads[work].now),
  ])
  const ratios = works.map((work): Row => {
    const cpu = times(work, cpuOfBoth)
    const figures = { rate: times(work, rateOf), p99: times(work, p99Of) }
    return { name: WORKS[work], figures: Number.isNaN(cpu.median) ? figures : { ...figures, cpu } }
  })
  const shares = (['before', 'now'] as const).map((version): Row => {
    const of = (work: Work, baseline: Work) => rateTimes(loads[work][version], loads[baseline][version])
    return { name: version, figures: { limits: of('limited', 'unlimited'), bare: of('function', 'update') } }
  })
  return {
    title: `this commit over ${hash.slice(0, 12)}, 16 connections`,
    tables: [
      { columns: { rate: 'rate, x', p99: 'p99, x', cpu: 'CPU of API and Postgres, x' }, rows: ratios },
      { columns: LOAD_COLUMNS, rows: measured },
      { columns: { limits: 'limits on over off, x', bare: 'function over bare UPDATE, x' }, rows: shares },
    ],
    targets: targetsOf(times),
    notes: ['Both APIs and both servers of Postgres run all the time, and only one of them has work.'],
  }
}

function targetsOf(times: (work: Work, pick: (load: Load) => number) => Figure): Target[] {
  const target = (name: string, measured: Figure, sense: Target['sense'], bound: number): Target => ({
    name,
    measured,
    bound,
    sense,
    unit: 'x',
  })
  return [
    target('rate', times('limited', rateOf), 'at least', 2),
    target('p99', times('limited', p99Of), 'at most', 0.55),
    target('rate, one dealer', times('hot', rateOf), 'at least', 2.5),
    target('CPU of API and Postgres', times('limited', cpuOfBoth), 'at most', 0.55),
  ]
}
