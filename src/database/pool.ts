/** Connection pools that survive the loss of any connection. */
import pg from 'pg'

/** How much longer than the server we wait for the end of a statement: after that the line is dead, without a word. */
const LINE_MARGIN_MS = 2_000

/** What each process opens at most, beside the API's own pool (`POOL_SIZE`). */
export const CONNECTIONS = { limiter: 4, listener: 1, metrics: 1, worker: 5 } as const

export type PoolOptions = {
  config: pg.PoolConfig
  /** How it calls itself in pg_stat_activity. */
  name: string
  size: number
  /** Longest run of one statement, in milliseconds. */
  statementTimeout?: number
  /** Longest wait of a statement for a lock, in milliseconds; without it the server's own. */
  lockTimeout?: number
  onError: (error: Error) => void
}

export function makePool(options: PoolOptions): pg.Pool {
  const { statementTimeout: limit, lockTimeout } = options
  const pool = new pg.Pool({
    ...options.config,
    application_name: options.name,
    max: options.size,
    connectionTimeoutMillis: 5_000,
    idleTimeoutMillis: 30_000,
    ...(lockTimeout === undefined ? {} : { lock_timeout: lockTimeout }),
    ...(limit === undefined ? {} : { statement_timeout: limit, query_timeout: limit + LINE_MARGIN_MS }),
  })
  // Without both, a backend that an administrator ends would end this process.
  pool.on('error', options.onError)
  pool.on('connect', client => client.on('error', options.onError))
  return pool
}
