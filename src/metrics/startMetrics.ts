/** The metrics registry of an API process, and its metrics. The limits add their own to it. */
import type pg from 'pg'
import { Registry } from 'prom-client'
import { CONNECTIONS, makePool } from '../database/pool.ts'
import type { Logger } from '../log.ts'
import { reportDatabase } from './databaseMetrics.ts'
import { makePoolMetrics, type WatchPool } from './pools.ts'
import { reportProcess } from './process.ts'

/** A response to Prometheus. */
export type Reading = { contentType: string; text: string }

export type Metrics = {
  registry: Registry
  watchPool: WatchPool
  read(): Promise<Reading>
  stop(): Promise<void>
}

const STATEMENT_TIMEOUT_MS = 1_000

export function startMetrics({ config, log }: { config: pg.PoolConfig; log: Logger }): Metrics {
  const registry = new Registry()
  reportProcess(registry)
  // its own pool, so that a scrape neither waits for requests nor takes a connection from them
  const pool = makePool({
    config,
    name: 'forecourt metrics',
    size: CONNECTIONS.metrics,
    statementTimeoutMs: STATEMENT_TIMEOUT_MS,
    onError: error => log.warn({ reason: error.message }, 'the metrics lost a database connection'),
  })
  const refresh = reportDatabase(pool, registry)
  return {
    registry,
    watchPool: makePoolMetrics(registry),
    async read() {
      await refresh()
      return { contentType: registry.contentType, text: await registry.metrics() }
    },
    stop: () => pool.end(),
  }
}
