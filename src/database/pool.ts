/** Connection pools that survive the loss of any connection. */
import pg from 'pg'

export type PoolOptions = {
  config: pg.PoolConfig
  /** How it calls itself in pg_stat_activity. */
  name: string
  size: number
  /** Longest run of one statement, in milliseconds. */
  statementTimeout?: number
  onError: (error: Error) => void
}

export function makePool(options: PoolOptions): pg.Pool {
  const pool = new pg.Pool({
    ...options.config,
    application_name: options.name,
    max: options.size,
    connectionTimeoutMillis: 5_000,
    idleTimeoutMillis: 30_000,
    ...(options.statementTimeout === undefined ? {} : { statement_timeout: options.statementTimeout }),
  })
  // Without both, a backend that an administrator ends would end this process.
  pool.on('error', options.onError)
  pool.on('connect', client => client.on('error', options.onError))
  return pool
}
