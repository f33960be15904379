/** Connection pools that survive the loss of any connection. */
import type { EventEmitter } from 'node:events'
import pg from 'pg'
import { type Discard, discardOnRelease } from './discard.ts'
import { cancelOverdue, failUnconfirmed } from './overdue.ts'

/** A cancel request follows the server's statement timeout by this much, because that timeout does not cover a commit. */
const CANCEL_MARGIN_MS = 1_000
/** The client waits this much longer than the server's statement timeout. After that the connection is dead. */
const CLIENT_MARGIN_MS = 2_000
export const CONNECT_TIMEOUT_MS = 5_000
const IDLE_TIMEOUT_MS = 30_000
/** TCP probes an idle connection after this time, so that a connection to a machine that is gone is closed. */
const KEEP_ALIVE_MS = 10_000
/** SQLSTATE of a write on a standby or a read-only server. */
const READ_ONLY = '25006'
/** SQLSTATE of a prepared statement whose columns a migration has changed. */
export const CHANGED_RESULT = '0A000'

/**
 * The most connections that a process opens, in addition to the pool of the API (`POOL_SIZE`). Two expiry runs
 * at once take four connections of a worker, and its listener one. The others fetch and complete jobs.
 */
export const CONNECTIONS = { flush: 1, limiter: 4, listener: 1, metrics: 1, worker: 7 } as const

export type PoolOptions = {
  config: pg.PoolConfig
  /** `application_name` in pg_stat_activity. */
  name: string
  size: number
  statementTimeoutMs?: number
  /** Longest wait of a statement for a lock. Undefined: the server's default. */
  lockTimeoutMs?: number
  onError: (error: Error) => void
}

export function makePool(options: PoolOptions): pg.Pool {
  const { statementTimeoutMs, lockTimeoutMs } = options
  const pool = new pg.Pool({
    ...options.config,
    application_name: options.name,
    max: options.size,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    idleTimeoutMillis: IDLE_TIMEOUT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    ...(lockTimeoutMs === undefined ? {} : { lock_timeout: lockTimeoutMs }),
    ...(statementTimeoutMs === undefined
      ? {}
      : { statement_timeout: statementTimeoutMs, query_timeout: statementTimeoutMs + CLIENT_MARGIN_MS }),
  })
  // without both handlers, an administrator who ends a backend would end this process
  pool.on('error', options.onError)
  pool.on('connect', client => client.on('error', options.onError))
  const discard = discardOnRelease(pool)
  discardUseless(pool, discard)
  failUnconfirmed(pool)
  if (statementTimeoutMs !== undefined)
    cancelOverdue(pool, { discard, config: options.config, afterMs: statementTimeoutMs + CANCEL_MARGIN_MS })
  return pool
}

/**
 * Closes useless connections on release, before the pool looks at them. The pool then opens another one.
 *
 * - After a failover it may still lead to the former primary, which refuses writes for ever.
 * - A prepared statement whose columns have changed fails each time.
 */
function discardUseless(pool: pg.Pool, discard: Discard): void {
  pool.on('connect', client => {
    const { connection } = client as unknown as { connection: EventEmitter }
    connection.on('errorMessage', ({ code }: { code?: string }) => {
      if (code === READ_ONLY || code === CHANGED_RESULT) discard(client)
    })
  })
}
