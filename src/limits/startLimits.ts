/** Everything of the limits that a process starts and stops. */
import type pg from 'pg'
import { CONNECTIONS, makePool } from '../database/pool.ts'
import type { Logger } from '../log.ts'
import type { Metrics } from '../metrics/startMetrics.ts'
import { type Counters, makeCounters } from './counters.ts'
import { type LimitMetrics, makeLimitMetrics } from './limitMetrics.ts'
import { type PolicySource, watchPolicies } from './policies.ts'

export type Limits = {
  policies: PolicySource
  counters: Counters
  metrics: LimitMetrics
  stop(): Promise<void>
}

type Options = {
  config: pg.ClientConfig
  instances: number
  /** Longest silence of the database, in milliseconds. */
  deadline: number
  prepareStatements: boolean
  metrics: Pick<Metrics, 'registry' | 'watchPool'>
  log: Logger
}

export async function startLimits(options: Options): Promise<Limits> {
  const { config, deadline, metrics: all, log } = options
  const metrics = makeLimitMetrics(all.registry)
  const onError = (error: Error) =>
    log.warn({ reason: error.message }, 'the limiter lost a database connection')
  // apart from the requests' own, so that neither waits for the other
  const pool = makePool({
    config,
    name: 'forecourt limits',
    size: CONNECTIONS.limiter,
    statementTimeout: Math.max(1_000, deadline),
    // the server gives up before its client does: nothing is counted late
    lockTimeout: Math.floor((deadline * 2) / 3),
    onError,
  })
  all.watchPool('limits', pool)
  const counters = makeCounters({ ...options, pool, metrics })
  try {
    const policies = await watchPolicies({
      pool,
      config,
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
      async stop() {
        await policies.stop()
        counters.stop()
        await pool.end()
      },
    }
  } catch (error) {
    counters.stop()
    await pool.end()
    throw error
  }
}
