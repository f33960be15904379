/** Ten times as many publications as the server can serve: the latency of accepted and of refused requests. */
import { setTimeout as sleep } from 'node:timers/promises'
import { readConfiguration } from '../src/configuration.ts'
import { REFUSAL_MESSAGE } from '../src/http/admission.ts'
import { OVERLOAD_MS } from '../src/http/slots.ts'
import { copyDataset } from './support/dataset.ts'
import type { HttpJob, Load, Times } from './support/jobs.ts'
import { publishing } from './support/operations.ts'
import { switchLimits } from './support/policies.ts'
import {
  type Bench,
  cpuFigures,
  LOAD_COLUMNS,
  loadRow,
  p99Of,
  type Result,
  type Row,
  rateOf,
  type Target,
  withFewerRounds,
} from './support/scenario.ts'
import { startApi } from './support/servers.ts'
import { httpSide, sendFirstRequests } from './support/sides.ts'
import { figure, ratio } from './support/statistics.ts'

const TIMES = 10
/** The most connections without a refusal: as many requests queue as are in progress. */
const AT_CAPACITY = 2 * readConfiguration({}).maxInProgress
/** Enough that nearly every client has its response before its next request is due. */
const CLIENTS = 600
/** The server first accepts a burst, which is not measured. */
const WARMUP_SECONDS = 1
/** After this pause the overload has ended, and a round starts like the first one. */
const CALM_MS = OVERLOAD_MS + 500

type Round = { capacity: Load; over: Load }

export async function overload(bench: Bench): Promise<Result> {
  const { cluster, progress } = bench
  const { rounds } = bench.quick ? { rounds: 1 } : withFewerRounds(bench)
  const dataset = await copyDataset(cluster, bench.dataset)
  const api = await startApi(cluster, dataset.database)
  const requests = publishing(dataset.dealers)
  const warmup = { window: WARMUP_SECONDS, most: WARMUP_SECONDS }
  const send = (changes: Partial<HttpJob>) => httpSide(bench, api, requests, { warmup, ...changes })
  const measured: Round[] = []
  progress.expect(2 * rounds)
  try {
    await switchLimits(dataset.database, 'enforce')
    await sendFirstRequests(bench, api, requests)
    for (let round = 1; round <= rounds; round++) {
      if (round > 1) await sleep(CALM_MS)
      progress.step(`round ${round} of ${rounds}: at capacity`)
      const capacity = await send({ connections: AT_CAPACITY })(1_000 + round)
      progress.step(`round ${round} of ${rounds}: over capacity`)
      const rate = TIMES * capacity.rate
      // a refusal is recognised by its message, because a database that is down also causes 503
      const flow = { connections: CLIENTS, rate, refusal: REFUSAL_MESSAGE }
      const over = await send(flow)(1_000 + round)
      measured.push({ capacity, over })
    }
  } finally {
    await api.stop()
    await dataset.database.drop()
  }
  return report(measured)
}

function report(rounds: Round[]): Result {
  const capacity = rounds.map(round => round.capacity)
  const accepted = rounds.map(({ over }) => over)
  const refused = accepted.flatMap(over => over.refused ?? [])
  if (refused.some(({ count }) => count === 0))
    throw new Error('no request was refused, so there was no overload')
  const answered = accepted.map(over => over.rate + (over.refused?.rate ?? 0))
  const offered = ratio(answered, capacity.map(rateOf))
  const targets: Target[] = [
    {
      name: 'p99 of the accepted',
      measured: ratio(accepted.map(p99Of), capacity.map(p99Of)),
      bound: 2,
      sense: 'at most',
      unit: 'x',
    },
    {
      name: 'p99 of the refused',
      measured: figure(refused.map(({ p99 }) => p99)),
      bound: 50,
      sense: 'at most',
      unit: 'ms',
    },
  ]
  return {
    title: 'createListing at ten times the capacity, limits on',
    tables: [
      {
        columns: LOAD_COLUMNS,
        rows: [
          loadRow(`at capacity, ${AT_CAPACITY} connections`, capacity),
          { name: `over capacity, ${CLIENTS} connections: accepted`, figures: latencyOf(accepted) },
          {
            name: 'over capacity: refused with 503',
            figures: latencyOf(refused),
          },
          {
            name: 'over capacity: each response',
            figures: { rate: figure(answered), ...cpuFigures(accepted) },
          },
        ],
      },
    ],
    targets,
    notes: [
      'Capacity is the highest load without a refusal: half of the requests are in progress, half are queued.',
      `Over capacity, the server responded to ${offered.median.toFixed(1)} times as many requests. The refusals, and the generator`,
      'that sends their requests, use the same cores, so fewer requests are served.',
    ],
  }
}

function latencyOf(times: Times[]): Row['figures'] {
  const of = (pick: 'rate' | 'p50' | 'p99') => figure(times.map(each => each[pick]))
  return { rate: of('rate'), p50: of('p50'), p99: of('p99') }
}
