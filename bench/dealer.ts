/** Publications of one dealer, which wait for each other, and of its neighbours, which should not. */
import { setTimeout as sleep } from 'node:timers/promises'
import { copyDataset, type Dataset, type Dealer } from './support/dataset.ts'
import { fillLedger } from './support/history.ts'
import type { Load } from './support/jobs.ts'
import { startGenerator } from './support/load.ts'
import { publishing, publishingPlain } from './support/operations.ts'
import { switchLimits, withLimits } from './support/policies.ts'
import {
  type Bench,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  type Result,
  rateOf,
  rateShare,
  rateTimes,
  type Target,
  withFewerRounds,
} from './support/scenario.ts'
import { type Server, startApi, startReference } from './support/servers.ts'
import { httpJob, httpSide, sendFirstRequests, stopAnalysing } from './support/sides.ts'
import { figure } from './support/statistics.ts'

const LISTINGS = { full: 100_000, quick: 2_000 }
/** Seconds from the start of the first measurement to the end of the last one, and the length of each. */
const GROWING = { full: { seconds: 60, part: 5 }, quick: { seconds: 3, part: 0.5 } }
const LOCKED_SECONDS = { full: 20, quick: 3 }

const HOLD = 'select from app_public.dealers where id = $1 for update'
/** The clients of the locked dealer retry like clients that respect Retry-After: 1. */
const WAITING = { connections: 20, rate: 20 }
const NEIGHBOURS = { connections: 4 }

/** After the lock, until the requests that waited for it have ended. */
const RELEASE_MS = 1_000

const NAMES = {
  few: 'one dealer, limits on',
  many: 'one dealer with 100,000 listings, limits on',
  off: 'one dealer, limits off',
  peer: '(b) application tier, one dealer',
}

type Growing = Record<'first' | 'last', Load>
type Locked = { without: Load[]; during: Load }

export async function dealer(bench: Bench): Promise<Result> {
  const { cluster } = bench
  const dataset = await copyDataset(cluster, bench.dataset)
  const mode = bench.quick ? 'quick' : 'full'
  // every third dealer has a subscription, like the hot dealer
  const similar = dataset.dealers.filter((_, index) => index % 3 === 0)
  const [large, growing, ...fresh] = similar as [Dealer, Dealer, ...Dealer[]]
  await fillLedger(dataset, LISTINGS[mode], bench.progress, large.dealerId)
  await stopAnalysing(dataset.database)
  const api = await startApi(cluster, dataset.database)
  const peer = await startReference(cluster, dataset.database, 'peer')
  try {
    await sendFirstRequests(bench, api, publishing(dataset.dealers.slice(1_000)))
    await sendFirstRequests(bench, peer, publishingPlain(dataset.dealers.slice(1_000)))
    const grown = await measureGrowing(bench, dataset, { api, dealer: growing })
    const locked = await measureLocked(bench, dataset, api)
    const { hotDealer, database } = dataset
    const loads = await interleave(withFewerRounds(bench), {
      // another dealer in each round, because a round publishes thousands of listings
      few: withLimits(database, seed =>
        httpSide(bench, api, publishing(fresh.slice(seed % 100, (seed % 100) + 1)))(seed),
      ),
      many: withLimits(database, httpSide(bench, api, publishing([large]))),
      off: httpSide(bench, api, publishing([hotDealer])),
      peer: httpSide(bench, peer, publishingPlain([hotDealer])),
    })
    return report(loads, grown, locked)
  } finally {
    await api.stop()
    await peer.stop()
    await dataset.database.drop()
  }
}

/** One dealer without listings publishes, while the statistics of Postgres still say that a dealer has about one. */
async function measureGrowing(
  bench: Bench,
  { database }: Dataset,
  { api, dealer }: { api: Server; dealer: Dealer },
): Promise<Growing> {
  const { seconds, part } = GROWING[bench.quick ? 'quick' : 'full']
  await switchLimits(database, 'enforce')
  bench.progress.expect(3)
  bench.progress.step(`one dealer for ${seconds} s, without analyze`)
  const send = (length: number) =>
    httpSide(bench, api, publishing([dealer]), { warmup: { window: 0, most: 0 }, seconds: length })(1_000)
  const first = await send(part)
  await send(seconds - 2 * part)
  const last = await send(part)
  await switchLimits(database, 'off')
  return { first, last }
}

/** Clients of other dealers before, during and after a lock on one dealer, for which many clients publish. */
async function measureLocked(bench: Bench, { database, dealers }: Dataset, api: Server): Promise<Locked> {
  const length = LOCKED_SECONDS[bench.quick ? 'quick' : 'full']
  const [locked, ...others] = dealers.slice(1_000) as [Dealer, ...Dealer[]]
  const neighbours = (seconds: number) =>
    httpSide(bench, api, publishing(others), { ...NEIGHBOURS, seconds })(1_000)
  await switchLimits(database, 'enforce')
  bench.progress.step('neighbours without a lock')
  const before = await neighbours(bench.seconds)
  bench.progress.step(`neighbours while one dealer is locked for ${length} s`)
  const second = startGenerator()
  const client = await database.superuser.connect()
  let during: Load
  try {
    await client.query('begin')
    await client.query(HOLD, [locked.dealerId])
    const { seconds: _, ...job } = httpJob(bench, api, publishing([locked]))
    // every error counts as a refusal: only the neighbours are measured
    const waiting = second.start({ ...job, ...WAITING, refusal: '"errors"', seed: 1 })
    during = await neighbours(length)
    await client.query('rollback')
    await sleep(RELEASE_MS)
    await waiting.stop()
  } finally {
    client.release(true)
    await second.stop()
  }
  const after = await neighbours(bench.seconds)
  await switchLimits(database, 'off')
  return { without: [before, after], during }
}

function report(loads: Record<keyof typeof NAMES, Load[]>, growing: Growing, locked: Locked): Result {
  const { few, many, off, peer } = loads
  const { first, last } = growing
  const usual = figure(locked.without.map(rateOf)).median
  const targets: Target[] = [
    {
      name: 'without analyze, last 5 of 60 s over first 5 s',
      measured: figure([last.rate / first.rate]),
      bound: 0.9,
      sense: 'at least',
      unit: 'x',
    },
    {
      name: 'neighbours of a locked dealer, during / without',
      measured: figure([locked.during.rate / usual]),
      bound: 0.5,
      sense: 'at least',
      unit: 'x',
    },
    {
      name: '100,000 listings over few',
      measured: rateShare(many, few),
      bound: 90,
      sense: 'at least',
      unit: '%',
    },
    { name: 'off over (b)', measured: rateTimes(off, peer), bound: 3, sense: 'at least', unit: 'x' },
  ]
  const names = Object.keys(NAMES) as (keyof typeof NAMES)[]
  return {
    title: 'createListing for one dealer, and for its neighbours',
    tables: [
      { columns: LOAD_COLUMNS, rows: names.map(key => loadRow(NAMES[key], loads[key])) },
      {
        columns: LOAD_COLUMNS,
        rows: [
          loadRow('without analyze, the first 5 s of a new dealer', [first]),
          loadRow('without analyze, the last 5 of 60 s', [last]),
          loadRow('neighbours without a lock, 4 connections', locked.without),
          loadRow('neighbours while one dealer is locked for 20 s', [locked.during]),
        ],
      },
    ],
    targets,
    notes: [
      'Autovacuum is off, so the statistics of Postgres remain those of the start: about one listing for each dealer.',
      `While the dealer is locked, ${WAITING.connections} clients send ${WAITING.rate} requests a second for it.`,
    ],
  }
}
