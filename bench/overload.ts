/** Ten times as many publications as the server can take: what becomes of those that it lets in, and of those that it refuses. */
import { setTimeout as sleep } from 'node:timers/promises'
import { readConfiguration } from '../src/configuration.ts'
import { REFUSAL_MESSAGE } from '../src/http/admission.ts'
import { OVERLOAD_MS } from '../src/http/slots.ts'
import type { Load } from './support/jobs.ts'
import { publishing } from './support/operations.ts'
import { type Bench, LOAD_COLUMNS, loadRow, p99Of, type Result, type Target } from './support/scenario.ts'
import { startApi } from './support/servers.ts'
import { figure, ratio } from './support/statistics.ts'
import { copyWorld } from './support/world.ts'

const TIMES = 10
/** The most that are served without a refusal: as many wait as are in progress. */
const AT_CAPACITY = 2 * readConfiguration({}).maxInProgress
/** So many that nearly each has its answer before its next request is due. */
const CLIENTS = 600
/** A burst is let in at first; what counts is what follows. */
const WARMUP = 1
/** After that the next round begins as the first did. */
const CALM_MS = OVERLOAD_MS + 500

type Round = { capacity: Load; over: Load }

export async function overload(bench: Bench): Promise<Result> {
  const { cluster, generator, progress, quick, seconds } = bench
  const rounds = quick ? 1 : bench.rounds
  const world = await copyWorld(cluster, bench.world)
  const api = await startApi(cluster, world.database)
  const flow = {
    kind: 'http',
    url: api.url,
    requests: publishing(world.dealers),
    warmup: WARMUP,
    seconds,
  } as const
  const measured: Round[] = []
  progress.expect(2 * rounds)
  try {
    // the first publications of a server are slower than all others
    await generator.run({ ...flow, seed: 1_000, connections: AT_CAPACITY })
    for (let round = 1; round <= rounds; round++) {
      if (round > 1) await sleep(CALM_MS)
      const paced = { ...flow, seed: 1_000 + round }
      progress.step(`round ${round} of ${rounds}: at capacity`)
      const capacity = await generator.run({ ...paced, connections: AT_CAPACITY })
      progress.step(`round ${round} of ${rounds}: over it`)
      const rate = TIMES * capacity.rate
      // by its message: a 503 alone may be of a database that is gone
      const over = await generator.run({ ...paced, connections: CLIENTS, rate, refusal: REFUSAL_MESSAGE })
      measured.push({ capacity, over })
    }
  } finally {
    await api.stop()
    await world.database.drop()
  }
  return report(measured)
}

function report(rounds: Round[]): Result {
  const capacity = rounds.map(round => round.capacity)
  const accepted = rounds.map(({ over }) => over)
  const refused = accepted.flatMap(over => over.refused ?? [])
  if (refused.some(({ count }) => count === 0)) throw new Error('no request was refused: it was no overload')
  const of = (pick: 'rate' | 'p50' | 'p99') => figure(refused.map(times => times[pick]))
  const offered = figure(
    rounds.map(({ capacity: { rate }, over }) => (over.rate + (over.refused?.rate ?? 0)) / rate),
  )
  const targets: Target[] = [
    {
      name: 'p99 of the accepted',
      measured: ratio(accepted.map(p99Of), capacity.map(p99Of)),
      bound: 2,
      sense: 'at most',
      unit: 'x',
    },
    { name: 'p99 of the refused', measured: of('p99'), bound: 50, sense: 'at most', unit: 'ms' },
  ]
  return {
    title: 'createListing at ten times the capacity',
    tables: [
      {
        columns: LOAD_COLUMNS,
        rows: [
          loadRow(`at capacity, ${AT_CAPACITY} connections`, capacity),
          loadRow(`over it, ${CLIENTS} connections: accepted`, accepted),
          {
            name: 'over it: refused with 503',
            figures: { rate: of('rate'), p50: of('p50'), p99: of('p99') },
          },
        ],
      },
    ],
    targets,
    notes: [
      'At capacity is the most that is served without a refusal: half of the connections are in progress, half wait.',
      `Answered were ${offered.median.toFixed(1)} times as many requests as there; the refusals, and the generator that sends`,
      'for them, take from the same cores what is not served then.',
    ],
  }
}
