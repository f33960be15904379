/** Reads, compared with hand-written SQL behind a bare server. */
import { isDeepStrictEqual } from 'node:util'
import { settle } from './support/cluster.ts'
import { copyDataset, type Dataset } from './support/dataset.ts'
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
import { ask, type Server, startApi, startReference } from './support/servers.ts'

const READERS = 300
const LISTINGS_EACH = 25

const NAMES: Record<keyof typeof READS, string> = {
  listing: 'a listing by its id',
  page: '20 listings with dealer and consumption',
  quote: 'quoteListing',
}

/** The same reads for Forecourt and for the bare server. */
type Pair = { ours: HttpRequest[]; reference: HttpRequest[] }

export async function read(bench: Bench): Promise<Result> {
  const { cluster, progress } = bench
  progress.step('listings')
  const dataset = await copyDataset(cluster, bench.dataset)
  const pairs = await makeReads(dataset)
  const api = await startApi(cluster, dataset.database)
  const bare = await startReference(cluster, dataset.database, 'bare')
  try {
    for (const [name, pair] of Object.entries(pairs)) await assertSameAnswer(name, pair, api, bare)
    const sides = Object.entries(pairs).flatMap(([name, { ours, reference }]) => [
      [name, load(bench, api, ours)] as const,
      [`${name} bare`, load(bench, bare, reference)] as const,
    ])
    return report(await interleave(bench, Object.fromEntries(sides)))
  } finally {
    await api.stop()
    await bare.stop()
    await dataset.database.drop()
  }
}

function load({ generator, warmup, seconds }: Bench, { url }: Server, requests: HttpRequest[]) {
  return (seed: number) =>
    generator.run({ kind: 'http', url, requests, connections: CONNECTIONS, warmup, seconds, seed })
}

/** Publishes listings of some dealers with the usual function. A member of the dealer reads each. */
async function makeReads({
  database,
  dealers,
  fleetUserId,
}: Dataset): Promise<Record<keyof typeof READS, Pair>> {
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
    reference: reads.map(({ variables, token }) => ({
      path: `/${name}`,
      token,
      body: JSON.stringify(variables),
    })),
  }
}

/** Fails unless both servers answer the same. */
async function assertSameAnswer(
  name: string,
  { ours, reference }: Pair,
  api: Server,
  bare: Server,
): Promise<void> {
  const [expected, actual] = await Promise.all(
    (
      [
        [api, ours[0]],
        [bare, reference[0]],
      ] as const
    ).map(([server, request]) => ask(server, request?.path ?? '', request?.token ?? '', request?.body ?? '')),
  )
  if (!isDeepStrictEqual(expected, actual))
    throw new Error(`${name}: ${JSON.stringify(actual)} differs from ${JSON.stringify(expected)}`)
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
    loadRow(`${name}, hand-written SQL`, loads[`${key} bare`] ?? []),
  ])
  return {
    title: 'queries of a dealer, 16 connections, compared with hand-written SQL behind express + pg',
    tables: [{ columns: LOAD_COLUMNS, rows }],
    targets,
    notes: ['Both return the same data under the same role, claims and row-level security.'],
  }
}
