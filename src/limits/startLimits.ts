/** Starts and stops the rate limits of a process. */
import type pg from 'pg'
import { CONNECTIONS, makePool } from '../database/pool.ts'
import { startWatch, type Watch } from '../database/watch.ts'
import type { Logger } from '../log.ts'
import type { Metrics } from '../metrics/startMetrics.ts'
import { type Counters, makeCounters } from './counters.ts'
import { type LimitMetrics, makeLimitMetrics } from './limitMetrics.ts'
import { type PolicySource, watchPolicies } from './policies.ts'

export type Limits = {
  policies: PolicySource
  counters: Counters
  metrics: LimitMetrics
  /** For others that keep rows in memory, and for their reads, which must not wait for requests. */
  watch: Watch
  pool: pg.Pool
  stop(): Promise<void>
}

type Options = {
  config: pg.ClientConfig
  instances: number
  /** Longest silence of the database. */
  deadlineMs: number
  prepareStatements: boolean
  metrics: Pick<Metrics, 'registry' | 'watchPool'>
  log: Logger
}

const MIN_STATEMENT_TIMEOUT_MS = 1_000

export async function startLimits(options: Options): Promise<Limits> {
  const { config, deadlineMs, metrics: processMetrics, log } = options
  const metrics = makeLimitMetrics(processMetrics.registry)
  const onError = (error: Error) =>
    log.warn({ reason: error.message }, 'the limiter lost a database connection')
  // its own pool, so that charges and requests do not wait for each other's connections
  const pool = makePool({
    config,
    name: 'forecourt limits',
    size: CONNECTIONS.limiter,
    statementTimeoutMs: Math.max(MIN_STATEMENT_TIMEOUT_MS, deadlineMs),
    // A charge meets a locked row twice, in its batch and alone. Together that is shorter than the deadline. A batch that meets
    // several locked rows may still take longer. Then this process and the database both count its charges: the limit is stricter.
    lockTimeoutMs: Math.floor(deadlineMs / 3),
    onError,
  })
  processMetrics.watchPool('limits', pool)
  const counters = makeCounters({ ...options, pool, metrics })
  const watch = startWatch(config)
  async function stop(): Promise<void> {
    await watch.stop()
    counters.stop()
    await pool.end()
  }
  try {
    const policies = await watchPolicies({
      pool,
      watch,
      log,
      onLoad({ loadedAt }) {
        counters.forget()
        metrics.configVersion.set(loadedAt / 1000)
      },
      onFault: () => metrics.configErrors.inc(),
    })
    return {
      policies,
      counters,
      metrics,
      watch,
      pool,
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}
