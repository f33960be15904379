/** Connections that a test steers by name, and waits that look at the server instead of the clock. */
import type pg from 'pg'
import { type As, become, type TestDatabase } from './database.ts'
import { until } from './waits.ts'

export type Session = {
  pid: number
  query<Row extends pg.QueryResultRow = pg.QueryResultRow>(
    sql: string,
    values?: unknown[],
  ): Promise<pg.QueryResult<Row>>
  /** Sends a statement that must queue behind a lock, and comes back once the server says that it does. */
  waits(sql: string, values?: unknown[]): Promise<{ result: Promise<pg.QueryResult> }>
  commit(): Promise<void>
  rollback(): Promise<void>
}

/** Opens a transaction for each name, and rolls back what `work` has left open. */
export async function interleave<Name extends string>(
  database: TestDatabase,
  roles: Record<Name, As>,
  work: (sessions: Record<Name, Session>) => Promise<void>,
): Promise<void> {
  const clients: pg.PoolClient[] = []
  const sessions: Partial<Record<Name, Session>> = {}
  let failed = true
  try {
    for (const name of Object.keys(roles) as Name[]) {
      const client = await database.superuser.connect()
      clients.push(client)
      sessions[name] = await open(database, client, roles[name])
    }
    await work(sessions as Record<Name, Session>)
    failed = false
  } finally {
    // after a failure one of them may still wait for a lock: the connection goes
    if (!failed) for (const client of clients) await client.query('rollback')
    for (const client of clients) client.release(failed)
  }
}

/** Runs `work` in a transaction that is committed. */
export async function committed<Value>(
  database: TestDatabase,
  as: As,
  work: (client: pg.PoolClient) => Promise<Value>,
): Promise<Value> {
  const client = await database.superuser.connect()
  try {
    await begin(client, as)
    const value = await work(client)
    await client.query('commit')
    return value
  } catch (error) {
    await client.query('rollback')
    throw error
  } finally {
    client.release()
  }
}

/** Runs `work` on `count` connections at once, each a transaction, none begun before all are open. */
export async function atOnce<Value>(
  database: TestDatabase,
  as: As,
  count: number,
  work: (client: pg.PoolClient, index: number) => Promise<Value>,
): Promise<PromiseSettledResult<Value>[]> {
  let open = 0
  const gate = Promise.withResolvers<void>()
  return Promise.allSettled(
    Array.from({ length: count }, (_, index) =>
      committed(database, as, async client => {
        open += 1
        if (open === count) gate.resolve()
        await gate.promise
        return work(client, index)
      }),
    ),
  )
}

/** How often each outcome came about: `ok`, or an SQLSTATE. */
export function tally(outcomes: PromiseSettledResult<unknown>[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const outcome of outcomes) {
    const key = outcome.status === 'fulfilled' ? 'ok' : String(outcome.reason.code ?? outcome.reason)
    counts[key] = (counts[key] ?? 0) + 1
  }
  return counts
}

/** The SQLSTATE with which something fails; an error when it does not fail. */
export async function sqlstate(attempt: Promise<unknown>): Promise<string> {
  try {
    await attempt
  } catch (error) {
    return String((error as { code?: unknown }).code ?? error)
  }
  throw new Error('was not refused')
}

async function begin(client: pg.PoolClient, as: As): Promise<void> {
  await client.query('begin')
  // what waits for ever by mistake fails its test, and does not hang it
  await client.query("set local statement_timeout to '15s'")
  await become(client, as)
}

async function open(database: TestDatabase, client: pg.PoolClient, as: As): Promise<Session> {
  await begin(client, as)
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  const pid = rows[0]?.pid ?? 0
  return {
    pid,
    query: (sql, values) => client.query(sql, values),
    async waits(sql, values) {
      const result = client.query(sql, values)
      let ended = false
      // whoever asks for the result gets the error as well
      result
        .catch(() => {})
        .finally(() => {
          ended = true
        })
      await untilBlocked(database, pid, () => ended)
      return { result }
    },
    commit: async () => void (await client.query('commit')),
    rollback: async () => void (await client.query('rollback')),
  }
}

async function untilBlocked(database: TestDatabase, pid: number, ended: () => boolean): Promise<void> {
  await until('the statement waits for a lock', async () => {
    const blocked = 'select cardinality(pg_blocking_pids($1)) > 0 as blocked'
    const { rows } = await database.superuser.query<{ blocked: boolean }>(blocked, [pid])
    if (!rows[0]?.blocked && ended()) throw new Error('the statement ended without waiting for a lock')
    return rows[0]?.blocked
  })
}
