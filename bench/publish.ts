/** Publication over HTTP, beside a bare server, the application tier, and the SQL function alone. */

import type { Database } from './support/cluster.ts'
import type { HttpRequest, Load, Pace } from './support/jobs.ts'
import { publication, publishing, publishingBeside } from './support/operations.ts'
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
import { ask, type Server, startApi, startBeside } from './support/servers.ts'
import { figure, ratio } from './support/statistics.ts'
import { copyWorld, type World } from './support/world.ts'

const FUNCTION = 'select l.id from app_public.create_listing($1, $2, $3, $4, $5, $6) as l'
/** Of the row that a publication locks first; of some dealers' several subscriptions two updates could wait for each other. */
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
  const world = await copyWorld(cluster, bench.world)
  const servers = {
    api: await startApi(cluster, world.database),
    bare: await startBeside(cluster, world.database, 'bare'),
    peer: await startBeside(cluster, world.database, 'peer'),
  }
  try {
    await sameAnswers(servers, world)
    return report(await interleave(bench, sidesOf(bench, world, servers)))
  } finally {
    for (const server of Object.values(servers)) await server.stop()
    await world.database.drop()
  }
}

type Servers = { api: Server; bare: Server; peer: Server }

function sidesOf({ generator, warmup, seconds }: Bench, world: World, { api, bare, peer }: Servers) {
  const { database, dealers, hot } = world
  const pace = (seed: number): Pace => ({ connections: CONNECTIONS, warmup, seconds, seed })
  const over =
    ({ url }: Server, requests: HttpRequest[]) =>
    (seed: number) =>
      generator.run({ kind: 'http', url, requests, ...pace(seed) })
  const direct = (url: string, setup: string[], text: string, values: string[][]) => (seed: number) =>
    generator.run({ kind: 'sql', url, setup, text, values, ...pace(seed) })
  const publishAll = over(api, publishing(dealers))
  const become = [`set role forecourt_dealer`, `set forecourt.user_id = '${world.fleetUserId}'`]
  return {
    api: publishAll,
    bare: over(bare, publishingBeside(dealers)),
    peer: over(peer, publishingBeside(dealers)),
    apiLimited: (seed: number) => limited(database, () => publishAll(seed)),
    apiHot: over(api, publishing([hot])),
    peerHot: over(peer, publishingBeside([hot])),
    function: direct(
      database.superuserUrl,
      become,
      FUNCTION,
      dealers.map(dealer => Object.values(publication(dealer))),
    ),
    update: direct(
      database.ownerUrl,
      [],
      ONE_ROW,
      dealers.map(({ dealerId }) => [dealerId]),
    ),
    ceiling: over(
      bare,
      publishing(dealers).map(request => ({ ...request, path: '/ceiling' })),
    ),
  }
}

async function limited(database: Database, work: () => Promise<Load>): Promise<Load> {
  await switchLimits(database, 'enforce')
  const load = await work()
  await switchLimits(database, 'off')
  return load
}

type Answer = { createListing: { listing: { id: string } } }

/** All three do the same: for the same dealer the answers differ in the id alone. Fails where they do not. */
async function sameAnswers(servers: Servers, { dealers }: World): Promise<void> {
  for (const dealer of dealers.slice(0, 3)) {
    const answers = await Promise.all([
      send(servers.api, publishing([dealer])),
      send(servers.bare, publishingBeside([dealer])),
      send(servers.peer, publishingBeside([dealer])),
    ])
    const [one = '', ...others] = answers.map(({ createListing: { listing } }) =>
      JSON.stringify({ ...listing, id: undefined }),
    )
    for (const other of others) if (other !== one) throw new Error(`${other} is another answer than ${one}`)
  }
  // what the generator's ceiling answers
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
      'A third of the dealers each has free quota, a subscription, and a price to pay; all sides work on the same rows.',
      'The service that was replaced made 161/s at a p99 of 272 ms, with one dealer 182/s at 602 ms, on such a machine.',
    ],
  }
}
