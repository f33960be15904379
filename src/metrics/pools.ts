/** Metrics of the connection pools: open connections, and the time that a request waits for one. */
import type pg from 'pg'
import { Gauge, Histogram, type Registry } from 'prom-client'

export type WatchPool = (name: string, pool: pg.Pool) => void

/** Returns a function that adds a pool to the metrics. */
export function makePoolMetrics(registry: Registry): WatchPool {
  const registers = [registry]
  const pools = new Map<string, pg.Pool>()
  new Gauge({
    name: 'database_pool_connections',
    help: 'Open connections by state: active, idle.',
    labelNames: ['pool', 'state'],
    registers,
    collect() {
      for (const [name, { totalCount, idleCount }] of pools) {
        this.set({ pool: name, state: 'active' }, totalCount - idleCount)
        this.set({ pool: name, state: 'idle' }, idleCount)
      }
    },
  })
  new Gauge({
    name: 'database_pool_size',
    help: 'Connections that the pool may open.',
    labelNames: ['pool'],
    registers,
    collect() {
      for (const [name, { options }] of pools) this.set({ pool: name }, options.max)
    },
  })
  new Gauge({
    name: 'database_pool_waiting',
    help: 'Requests that wait for a connection.',
    labelNames: ['pool'],
    registers,
    collect() {
      for (const [name, { waitingCount }] of pools) this.set({ pool: name }, waitingCount)
    },
  })
  const acquire = new Histogram({
    name: 'database_pool_acquire_duration_seconds',
    help: 'Time until a request gets a connection or fails to get one.',
    labelNames: ['pool'],
    buckets: [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5],
    registers,
  })
  return (name, pool) => {
    pools.set(name, pool)
    timeConnect(pool, acquire.labels({ pool: name }).observe)
  }
}

/** Wraps `connect`, because the pool's events do not say how long a request waited. */
function timeConnect(pool: pg.Pool, observe: (seconds: number) => void): void {
  const connect = pool.connect.bind(pool)
  function timed(): Promise<pg.PoolClient>
  function timed(callback: Parameters<typeof connect>[0]): void
  function timed(callback?: Parameters<typeof connect>[0]): Promise<pg.PoolClient> | undefined {
    const startedAt = performance.now()
    const done = () => observe((performance.now() - startedAt) / 1000)
    if (callback === undefined) return connect().finally(done)
    connect((error, client, release) => {
      done()
      callback(error, client, release)
    })
    return undefined
  }
  pool.connect = timed
}
