/** Publication over HTTP, compared with a bare server, the rules in an application tier, and the SQL function alone. */

import type { Database } from './support/cluster.ts'
import { copyDataset, type Dataset } from './support/dataset.ts'
import type { HttpRequest, Load, Pace } from './support/jobs.ts'
import { publication, publishing, publishingPlain } from './support/operations.ts'
import { switchLimits } from './support/policies.ts'
import {
  type Bench,
  CONNECTIONS,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  p99Of,
  type Result,
  rateOf,
  rateShare,
  rateTimes,
  type Target,
} from './support/scenario.ts'
import { ask, type Server, startApi, startReference } from './support/servers.ts'
import { figure, ratio } from './support/statistics.ts'

const FUNCTION = 'select l.id from app_public.create_listing($1, $2, $3, $4, $5, $6) as l'
/** Updates the row that a publication locks first. Updates of a dealer's several subscriptions could deadlock. */
const ONE_ROW = 'update app_public.dealers set updated_at = clock_timestamp() where id = $1'

const NAMES = {
  api: 'Forecourt',
  bare: '(a) bare express + pg, same function',
  peer: '(b) application tier',
  apiLimited: 'Forecourt, rate limits on',
  apiHot: 'Forecourt, one hot dealer',
  peerHot: '(b) application tier, one hot dealer',
  function: '(c) the function alone',
  update: '(c) one-row UPDATE',
  ceiling: 'generator: bare express, same bytes',
}

export async function publish(bench: Bench): Promise<Result> {
  const { cluster } = bench
  const dataset = await copyDataset(cluster, bench.dataset)
  const servers = {
    api: await startApi(cluster, dataset.database),
    bare: await startReference(cluster, dataset.database, 'bare'),
    peer: await startReference(cluster, dataset.database, 'peer'),
  }
  try {
    await assertSameAnswers(servers, dataset)
    return report(await interleave(bench, sidesOf(bench, dataset, servers)))
  } finally {
    for (const server of Object.values(servers)) await server.stop()
    await dataset.database.drop()
  }
}

type Servers = { api: Server; bare: Server; peer: Server }

function sidesOf({ generator, warmup, seconds }: Bench, dataset: Dataset, { api, bare, peer }: Servers) {
  const { database, dealers, hotDealer } = dataset
  const pace = (seed: number): Pace => ({ connections: CONNECTIONS, warmup, seconds, seed })
  const overHttp =
    ({ url }: Server, requests: HttpRequest[]) =>
    (seed: number) =>
      generator.run({ kind: 'http', url, requests, ...pace(seed) })
  const direct = (url: string, setup: string[], text: string, values: string[][]) => (seed: number) =>
    generator.run({ kind: 'sql', url, setup, text, values, ...pace(seed) })
  const publishAll = overHttp(api, publishing(dealers))
  const setup = [`set role forecourt_dealer`, `set forecourt.user_id = '${dataset.fleetUserId}'`]
  return {
    api: publishAll,
    bare: overHttp(bare, publishingPlain(dealers)),
    peer: overHttp(peer, publishingPlain(dealers)),
    apiLimited: (seed: number) => withLimits(database, () => publishAll(seed)),
    apiHot: overHttp(api, publishing([hotDealer])),
    peerHot: overHttp(peer, publishingPlain([hotDealer])),
    function: direct(
      database.superuserUrl,
      setup,
      FUNCTION,
      dealers.map(dealer => Object.values(publication(dealer))),
    ),
    update: direct(
      database.ownerUrl,
      [],
      ONE_ROW,
      dealers.map(({ dealerId }) => [dealerId]),
    ),
    ceiling: overHttp(
      bare,
      publishing(dealers).map(request => ({ ...request, path: '/ceiling' })),
    ),
  }
}

async function withLimits(database: Database, work: () => Promise<Load>): Promise<Load> {
  await switchLimits(database, 'enforce')
  const load = await work()
  await switchLimits(database, 'off')
  return load
}

type Answer = { createListing: { listing: { id: string } } }

/** Fails unless the three servers answer the same, except for the id. */
async function assertSameAnswers(servers: Servers, { dealers }: Dataset): Promise<void> {
  for (const dealer of dealers.slice(0, 3)) {
    const answers = await Promise.all([
      send(servers.api, publishing([dealer])),
      send(servers.bare, publishingPlain([dealer])),
      send(servers.peer, publishingPlain([dealer])),
    ])
    const [expected = '', ...references] = answers.map(({ createListing: { listing } }) =>
      JSON.stringify({ ...listing, id: undefined }),
    )
    for (const actual of references)
      if (actual !== expected) throw new Error(`${actual} differs from ${expected}`)
  }
  // the response of the bare server for the limit of the generator
  const [dealer] = dealers
  if (dealer === undefined) return
  const answer = { data: await send(servers.api, publishing([dealer])) }
  await ask(servers.bare, '/ceiling/set', dealer.token, JSON.stringify(answer))
}

function send(server: Server, [request]: HttpRequest[]): Promise<Answer> {
  const { path, token = '', body } = request as HttpRequest
  return ask(server, path, token, body.replace('$key', crypto.randomUUID()))
}

type Loads = Record<keyof typeof NAMES, Load[]>

function report(loads: Loads): Result {
  const { api, bare, peer, apiHot, peerHot, function: direct, update } = loads
  const p99s = ratio(api.map(p99Of), peer.map(p99Of))
  const targets: Target[] = [
    { name: 'rate over (a)', measured: rateShare(api, bare), bound: 60, sense: 'at least', unit: '%' },
    { name: 'rate over (b)', measured: rateTimes(api, peer), bound: 2, sense: 'at least', unit: 'x' },
    { name: 'p99 over (b)', measured: p99s, bound: 0.5, sense: 'at most', unit: 'x' },
    {
      name: 'hot dealer over (b)',
      measured: rateTimes(apiHot, peerHot),
      bound: 3,
      sense: 'at least',
      unit: 'x',
    },
    {
      name: 'function over UPDATE',
      measured: rateShare(direct, update),
      bound: 40,
      sense: 'at least',
      unit: '%',
    },
    { name: 'rate', measured: figure(api.map(rateOf)), bound: 1_610, sense: 'at least', unit: '/s' },
    { name: 'p99', measured: figure(api.map(p99Of)), bound: 27, sense: 'at most', unit: 'ms' },
  ]
  return {
    title: 'createListing, 16 connections, 9,000 dealers',
    tables: [
      {
        columns: LOAD_COLUMNS,
        rows: Object.entries(NAMES).map(([key, name]) => loadRow(name, loads[key as keyof Loads])),
      },
    ],
    targets,
    notes: [
      'One third of the dealers has free quota, one third a subscription, and one third pays. All sides use the same rows.',
      'The replaced service reached 161/s at a p99 of 272 ms on such a machine, and 182/s at 602 ms with one dealer.',
    ],
  }
}
