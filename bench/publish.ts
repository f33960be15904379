/** Publication over HTTP, compared with a bare server, the rules in an application tier, and the SQL function alone. */

import { DEDUCT, makeBalances } from './peer/balance.ts'
import { copyDataset, type Dataset } from './support/dataset.ts'
import type { HttpRequest, Load } from './support/jobs.ts'
import { publication, publishing, publishingPlain } from './support/operations.ts'
import { withLimits } from './support/policies.ts'
import {
  type Bench,
  interleave,
  LOAD_COLUMNS,
  loadRow,
  p99Of,
  type Result,
  rateShare,
  rateTimes,
  type Target,
} from './support/scenario.ts'
import { ask, type Server, startApi, startReference } from './support/servers.ts'
import { httpSide, type Side, sendFirstRequests, sqlSide } from './support/sides.ts'
import { ratio } from './support/statistics.ts'

const FUNCTION = 'select l.id from app_public.create_listing($1, $2, $3, $4, $5, $6) as l'
/** A table of its own: nothing but the row, its key and the commit. */
const BARE = `
  create table bench_rows (id uuid primary key, updated_at timestamptz not null) with (fillfactor = 50);
  insert into bench_rows select d.id, now() from app_public.dealers as d`
const BARE_UPDATE = 'update bench_rows set updated_at = clock_timestamp() where id = $1'
const CREDITS = 1_000_000_000

const HTTP_NAMES = {
  on: 'Forecourt, limits on',
  off: 'Forecourt, limits off',
  bare: '(a) express + pg, same function, one round trip',
  peer: '(b) application tier',
}
const SQL_NAMES = {
  function: '(c) the function alone',
  deduction: '(d) deduction from one balance',
  update: '(e) UPDATE of one row in a bare table',
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
    const { dealers } = dataset
    await sendFirstRequests(bench, servers.api, publishing(dealers))
    await sendFirstRequests(bench, [servers.bare, servers.peer], publishingPlain(dealers))
    const http = await interleave(bench, httpSides(bench, dataset, servers))
    const ceiling = publishing(dealers).map(request => ({ ...request, path: '/ceiling' }))
    const sql = await interleave(bench, await sqlSides(bench, dataset))
    return report(http, sql, await httpSide(bench, servers.bare, ceiling)(1_000))
  } finally {
    for (const server of Object.values(servers)) await server.stop()
    await dataset.database.drop()
  }
}

type Servers = { api: Server; bare: Server; peer: Server }

function httpSides(bench: Bench, { dealers, database }: Dataset, { api, bare, peer }: Servers) {
  const publishAll = httpSide(bench, api, publishing(dealers))
  return {
    on: withLimits(database, publishAll),
    off: publishAll,
    bare: httpSide(bench, bare, publishingPlain(dealers)),
    peer: httpSide(bench, peer, publishingPlain(dealers)),
  }
}

/** Statements on the same 9,000 dealers, without a server between the generator and Postgres. */
export async function sqlSides(bench: Bench, { database, dealers, fleetUserId }: Dataset) {
  const ids = dealers.map(({ dealerId }) => dealerId)
  await database.superuser.query(BARE)
  await makeBalances(database.superuser, ids, CREDITS)
  const direct = (text: string, values: string[][], setup: string[] = []): Side =>
    sqlSide(bench, { url: database.superuserUrl, setup, text, values })
  return {
    function: direct(
      FUNCTION,
      dealers.map(dealer => Object.values(publication(dealer))),
      ['set role forecourt_dealer', `set forecourt.user_id = '${fleetUserId}'`],
    ),
    deduction: direct(
      DEDUCT,
      ids.map(id => [id, '$key', '1']),
    ),
    update: direct(
      BARE_UPDATE,
      ids.map(id => [id]),
    ),
  }
}

type Answer = { createListing: { listing: { id: string } } }

/** Fails unless the responses of the three servers are the same, except for the id. */
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

type HttpLoads = Record<keyof typeof HTTP_NAMES, Load[]>
type SqlLoads = Record<keyof typeof SQL_NAMES, Load[]>

function report(http: HttpLoads, sql: SqlLoads, ceiling: Load): Result {
  const { on, off, bare, peer } = http
  const p99s = ratio(off.map(p99Of), peer.map(p99Of))
  const targets: Target[] = [
    { name: 'limits on over off', measured: rateShare(on, off), bound: 85, sense: 'at least', unit: '%' },
    { name: 'off over (a)', measured: rateShare(off, bare), bound: 80, sense: 'at least', unit: '%' },
    { name: 'off over (b)', measured: rateTimes(off, peer), bound: 1.8, sense: 'at least', unit: 'x' },
    { name: 'p99, off over (b)', measured: p99s, bound: 0.6, sense: 'at most', unit: 'x' },
    {
      name: '(c) over (e)',
      measured: rateShare(sql.function, sql.update),
      bound: 25,
      sense: 'at least',
      unit: '%',
    },
  ]
  const rows = <Name extends string>(names: Record<Name, string>, loads: Record<Name, Load[]>) =>
    (Object.keys(names) as Name[]).map(key => loadRow(names[key], loads[key]))
  const limit = loadRow('limit of the generator: express, same bytes', [ceiling])
  return {
    title: 'createListing, 16 connections, 9,000 dealers',
    tables: [
      { columns: LOAD_COLUMNS, rows: [...rows(HTTP_NAMES, http), limit] },
      { columns: LOAD_COLUMNS, rows: rows(SQL_NAMES, sql) },
    ],
    targets,
    notes: [
      'One third of the dealers has free quota, one third a subscription, and one third pays. All sides use the same rows.',
      '(a) and (b) have no limits. (d) does less than (c): bench/peer/balance.ts says what.',
    ],
  }
}
