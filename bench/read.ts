/** Reads, compared with hand-written SQL behind a bare server. */
import { isDeepStrictEqual } from 'node:util'
import { settle } from './support/cluster.ts'
import { copyDataset, type Dataset } from './support/dataset.ts'
import type { HttpRequest, Load } from './support/jobs.ts'
import { operation, READS } from './support/operations.ts'
import {
  type Bench,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  type Result,
  rateShare,
  type Target,
  withFewerRounds,
} from './support/scenario.ts'
import { ask, type Server, startApi, startReference } from './support/servers.ts'
import { httpSide, sendFirstRequests } from './support/sides.ts'

const READERS = 300
const LISTINGS_EACH = 25

const NAMES: Record<keyof typeof READS, string> = {
  listing: 'a listing by its id',
  page: '20 listings with dealer and consumption',
  quote: 'quoteListing',
}

/** The same reads for Forecourt and for the bare server, in four round trips and in one. */
type Trio = { ours: HttpRequest[]; four: HttpRequest[]; one: HttpRequest[] }
type Loads = Record<keyof typeof READS, Record<keyof Trio, Load[]>>

export async function read(bench: Bench): Promise<Result> {
  const { cluster, progress } = bench
  progress.step('listings')
  const dataset = await copyDataset(cluster, bench.dataset)
  const trios = await makeReads(dataset)
  const api = await startApi(cluster, dataset.database)
  const bare = await startReference(cluster, dataset.database, 'bare')
  try {
    const loads: Partial<Loads> = {}
    for (const [name, { ours, four, one }] of Object.entries(trios) as [keyof typeof READS, Trio][]) {
      for (const reference of [four, one]) {
        await assertSameAnswer(name, [api, ours[0]], [bare, reference[0]])
        await sendFirstRequests(bench, bare, reference)
      }
      await sendFirstRequests(bench, api, ours)
      loads[name] = await interleave(withFewerRounds(bench), {
        ours: httpSide(bench, api, ours),
        four: httpSide(bench, bare, four),
        one: httpSide(bench, bare, one),
      })
    }
    return report(loads as Loads)
  } finally {
    await api.stop()
    await bare.stop()
    await dataset.database.drop()
  }
}

/** Publishes listings of some dealers with the usual function. A member of the dealer reads each. */
export async function makeReads({
  database,
  dealers,
  fleetUserId,
}: Dataset): Promise<Record<keyof typeof READS, Trio>> {
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
  return { listing: trio('listing', ids), page: trio('page', own), quote: trio('quote', own) }
}

function trio(name: keyof typeof READS, reads: { variables: object; token: string }[]): Trio {
  const plain = (path: string) =>
    reads.map(({ variables, token }) => ({ path, token, body: JSON.stringify(variables) }))
  return {
    ours: reads.map(({ variables, token }) => operation(READS[name], variables, token)),
    four: plain(`/${name}/four`),
    one: plain(`/${name}/one`),
  }
}

type Sent = [server: Server, request: HttpRequest | undefined]

/** Fails unless both servers return the same data. */
async function assertSameAnswer(name: string, ...sent: [Sent, Sent]): Promise<void> {
  const [expected, actual] = await Promise.all(
    sent.map(([server, request]) =>
      ask(server, request?.path ?? '', request?.token ?? '', request?.body ?? ''),
    ),
  )
  if (!isDeepStrictEqual(expected, actual))
    throw new Error(`${name}: ${JSON.stringify(actual)} differs from ${JSON.stringify(expected)}`)
}

function report(loads: Loads): Result {
  const names = Object.entries(NAMES) as [keyof typeof READS, string][]
  const targets = names.map(
    ([key, name]): Target => ({
      name,
      measured: rateShare(loads[key].ours, loads[key].one),
      bound: 65,
      sense: 'at least',
      unit: '%',
    }),
  )
  const rows = names.flatMap(([key, name]) => [
    loadRow(name, loads[key].ours),
    loadRow(`${name}, by hand`, loads[key].four),
    loadRow(`${name}, by hand in one round trip`, loads[key].one),
  ])
  return {
    title: 'queries of a dealer, 16 connections, compared with hand-written SQL behind express + pg',
    tables: [{ columns: LOAD_COLUMNS, rows }],
    targets,
    notes: [
      'All return the same data under the same role, claims and row-level security. SQL by hand usually takes four round trips:',
      'begin, claims, query and commit. Targets compare with one round trip, which is faster.',
    ],
  }
}
