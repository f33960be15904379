/** The jobs of the scenarios: the same pace for all, with the processes whose CPU time is measured. */
import type { Database } from './cluster.ts'
import type { HttpJob, HttpRequest, Load, SqlJob } from './jobs.ts'
import { type Bench, CONNECTIONS } from './scenario.ts'
import type { Server } from './servers.ts'

export type Side = (seed: number) => Promise<Load>

/** A fresh server compiles its code during these requests, and checks every token once. They are not measured. */
const QUICK_FIRST_REQUESTS = 300

export function httpJob(
  { cluster, warmup, seconds }: Bench,
  servers: Server | Server[],
  requests: HttpRequest[],
): Omit<HttpJob, 'seed'> {
  const all = [servers].flat()
  return {
    kind: 'http',
    urls: all.map(({ url }) => url),
    requests,
    connections: CONNECTIONS,
    warmup,
    seconds,
    watched: { api: all.map(({ pid }) => pid), postmaster: cluster.postmaster },
  }
}

/** Sends the requests to the servers, over 16 connections unless told otherwise. */
export function httpSide(
  bench: Bench,
  servers: Server | Server[],
  requests: HttpRequest[],
  changes: Partial<HttpJob> = {},
): Side {
  const job = httpJob(bench, servers, requests)
  return seed => bench.generator.run({ ...job, seed, ...changes })
}

export type Sql = Pick<SqlJob, 'url' | 'text' | 'values'> & { setup?: string[] }

export function sqlSide({ cluster, generator, warmup, seconds }: Bench, { setup = [], ...sql }: Sql): Side {
  const watched = { api: [], postmaster: cluster.postmaster }
  const job = { kind: 'sql', setup, ...sql, connections: CONNECTIONS, warmup, seconds, watched } as const
  return seed => generator.run({ ...job, seed })
}

/** Sends each request once. */
export async function sendFirstRequests(
  bench: Bench,
  servers: Server | Server[],
  requests: HttpRequest[],
): Promise<void> {
  bench.progress.expect(1)
  bench.progress.step('first requests')
  const first = bench.quick ? requests.slice(0, QUICK_FIRST_REQUESTS) : requests
  for (const server of [servers].flat())
    await bench.generator.run({ ...httpJob(bench, server, first), once: true, seed: 1 })
}

/** Postgres plans with the statistics of this moment until the database is dropped. */
export async function stopAnalysing({ superuser }: Pick<Database, 'superuser'>): Promise<void> {
  const { rows } = await superuser.query<{ name: string }>(
    "select c.oid::regclass::text as name from pg_class as c where c.relkind = 'r' and c.relnamespace = 'app_public'::regnamespace",
  )
  for (const { name } of rows) await superuser.query(`alter table ${name} set (autovacuum_enabled = off)`)
}
