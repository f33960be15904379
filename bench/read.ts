/** Reads, beside hand-written SQL behind a bare server. */
import { isDeepStrictEqual } from 'node:util'
import { settle } from './support/cluster.ts'
import type { HttpRequest, Load } from './support/jobs.ts'
import { operation, READS } from './support/operations.ts'
import {
  type Bench,
  CONNECTIONS,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  type Result,
  rateShare,
  type Target,
} from './support/scenario.ts'
import { ask, type Server, startApi, startBeside } from './support/servers.ts'
import { copyWorld, type World } from './support/world.ts'

const READERS = 300
const LISTINGS_EACH = 25

const NAMES: Record<keyof typeof READS, string> = {
  listing: 'a listing by its id',
  page: '20 listings with dealer and consumption',
  quote: 'quoteListing',
}

/** The operation and, beside it, the path of the bare server: the same variables for both. */
type Pair = { ours: HttpRequest[]; beside: HttpRequest[] }

export async function read(bench: Bench): Promise<Result> {
  const { cluster, progress } = bench
  progress.step('listings')
  const world = await copyWorld(cluster, bench.world)
  const pairs = await makeReads(world)
  const api = await startApi(cluster, world.database)
  const bare = await startBeside(cluster, world.database, 'bare')
  try {
    for (const [name, pair] of Object.entries(pairs)) await sameAnswer(name, pair, api, bare)
    const sides = Object.entries(pairs).flatMap(([name, { ours, beside }]) => [
      [name, load(bench, api, ours)] as const,
      [`${name} bare`, load(bench, bare, beside)] as const,
    ])
    return report(await interleave(bench, Object.fromEntries(sides)))
  } finally {
    await api.stop()
    await bare.stop()
    await world.database.drop()
  }
}

function load({ generator, warmup, seconds }: Bench, { url }: Server, requests: HttpRequest[]) {
  return (seed: number) =>
    generator.run({ kind: 'http', url, requests, connections: CONNECTIONS, warmup, seconds, seed })
}

/** Listings of some dealers, published by the function as always; each is read by a member of its dealer. */
async function makeReads({
  database,
  dealers,
  fleetUserId,
}: World): Promise<Record<keyof typeof READS, Pair>> {
  const readers = dealers.slice(0, READERS)
  const client = await database.superuser.connect()
  await client.query('begin')
  await client.query("select set_config('forecourt.user_id', $1, true)", [fleetUserId])
  const { rows } = await client.query<{ id: string; dealer_id: string }>(
    `select l.dealer_id, l.id
     from unnest($1::uuid[]) as d (id)
     cross join generate_series(1, $2::integer) as n
     cross join lateral app_public.create_listing(d.id, gen_random_uuid(), 'Golf VIII ' || n, 'auto', 21900, 'EUR') as l`,
    [readers.map(({ dealerId }) => dealerId), LISTINGS_EACH],
  )
  await client.query('commit')
  client.release()
  await settle(database)
  const tokens = new Map(readers.map(({ dealerId, token }) => [dealerId, token]))
  const ids = rows.map(({ id, dealer_id }) => ({ variables: { id }, token: tokens.get(dealer_id) ?? '' }))
  const own = readers.map(({ dealerId, token }) => ({ variables: { dealerId }, token }))
  return { listing: pair('listing', ids), page: pair('page', own), quote: pair('quote', own) }
}

function pair(name: keyof typeof READS, reads: { variables: object; token: string }[]): Pair {
  return {
    ours: reads.map(({ variables, token }) => operation(READS[name], variables, token)),
    beside: reads.map(({ variables, token }) => ({
      path: `/${name}`,
      token,
      body: JSON.stringify(variables),
    })),
  }
}

/** Fails where the bare server answers anything else. */
async function sameAnswer(name: string, { ours, beside }: Pair, api: Server, bare: Server): Promise<void> {
  const [one, other] = await Promise.all(
    (
      [
        [api, ours[0]],
        [bare, beside[0]],
      ] as const
    ).map(([server, request]) => ask(server, request?.path ?? '', request?.token ?? '', request?.body ?? '')),
  )
  if (!isDeepStrictEqual(one, other))
    throw new Error(`${name}: ${JSON.stringify(other)} is another answer than ${JSON.stringify(one)}`)
}

function report(loads: Record<string, Load[]>): Result {
  const names = Object.entries(NAMES)
  const targets = names.map(
    ([key, name]): Target => ({
      name,
      measured: rateShare(loads[key] ?? [], loads[`${key} bare`] ?? []),
      bound: 50,
      sense: 'at least',
      unit: '%',
    }),
  )
  const rows = names.flatMap(([key, name]) => [
    loadRow(name, loads[key] ?? []),
    loadRow(`${name}, by hand`, loads[`${key} bare`] ?? []),
  ])
  return {
    title: 'queries of a dealer, 16 connections, beside hand-written SQL over bare express + pg',
    tables: [{ columns: LOAD_COLUMNS, rows }],
    targets,
    notes: ['Both answer the same bytes of data under the same role, claims and row security.'],
  }
}
