/** Transactions that a test steers by name, and waits that ask the server instead of the clock. */
import type pg from 'pg'
import { type As, become, type TestDatabase } from './database.ts'
import { until } from './waits.ts'

export type OpenTransaction = {
  pid: number
  query<Row extends pg.QueryResultRow = pg.QueryResultRow>(
    sql: string,
    values?: unknown[],
  ): Promise<pg.QueryResult<Row>>
  /** Sends a statement that must wait for a lock, and returns once the server reports that it waits. */
  startBlocked(sql: string, values?: unknown[]): Promise<{ result: Promise<pg.QueryResult> }>
  commit(): Promise<void>
  rollback(): Promise<void>
}

/** Opens a transaction for each name, and rolls back those that `work` has left open. */
export async function interleave<Name extends string>(
  database: TestDatabase,
  roles: Record<Name, As>,
  work: (transactions: Record<Name, OpenTransaction>) => Promise<void>,
): Promise<void> {
  const clients: pg.PoolClient[] = []
  const transactions: Partial<Record<Name, OpenTransaction>> = {}
  let failed = true
  try {
    for (const name of Object.keys(roles) as Name[]) {
      const client = await database.superuser.connect()
      clients.push(client)
      transactions[name] = await open(database, client, roles[name])
    }
    await work(transactions as Record<Name, OpenTransaction>)
    failed = false
  } finally {
    // after a failure a transaction may still wait for a lock: close its connection instead of rolling back
    if (!failed) for (const client of clients) await client.query('rollback')
    for (const client of clients) client.release(failed)
  }
}

/** Runs `work` in a transaction and commits it. */
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

/** Runs `work` in `count` concurrent transactions. No `work` starts before all transactions are open and prepared. */
export async function concurrently<Value>(
  database: TestDatabase,
  as: As,
  count: number,
  work: (client: pg.PoolClient, index: number) => Promise<Value>,
  prepare?: (client: pg.PoolClient, index: number) => Promise<unknown>,
): Promise<PromiseSettledResult<Value>[]> {
  let open = 0
  const gate = Promise.withResolvers<void>()
  return Promise.allSettled(
    Array.from({ length: count }, (_, index) =>
      committed(database, as, async client => {
        await prepare?.(client, index)
        open += 1
        if (open === count) gate.resolve()
        await gate.promise
        return work(client, index)
      }),
    ),
  )
}

/** How often each outcome occurred: `ok` or an SQLSTATE. */
export function countOutcomes(outcomes: PromiseSettledResult<unknown>[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const outcome of outcomes) {
    const key = outcome.status === 'fulfilled' ? 'ok' : String(outcome.reason.code ?? outcome.reason)
    counts[key] = (counts[key] ?? 0) + 1
  }
  return counts
}

/** The SQLSTATE with which `attempt` fails. Throws when it succeeds. */
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
  // a statement that waits forever by mistake fails the test instead of blocking it
  await client.query("set local statement_timeout to '15s'")
  await become(client, as)
}

async function open(database: TestDatabase, client: pg.PoolClient, as: As): Promise<OpenTransaction> {
  await begin(client, as)
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  const pid = rows[0]?.pid ?? 0
  return {
    pid,
    query: (sql, values) => client.query(sql, values),
    async startBlocked(sql, values) {
      const result = client.query(sql, values)
      let ended = false
      // the caller awaits `result` later and gets the error there; without this it counts as unhandled
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
