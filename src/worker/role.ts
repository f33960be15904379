/** The worker role of a process: a pool of the owner, who owns the worker's schema, and the runner. */
import { parseIntoClientConfig } from 'pg-connection-string'
import { makeAlertChannels } from '../alerts/channels.ts'
import type { AlertConfiguration } from '../configuration.ts'
import { requireMigrations } from '../database/migrations.ts'
import { CONNECTIONS, makePool } from '../database/pool.ts'
import { requireEncoding } from '../database/requirements.ts'
import type { Logger } from '../log.ts'
import { startWorker } from './runner.ts'
import { type Supervised, supervise } from './supervisor.ts'

export type WorkerRoleOptions = {
  databaseUrl: string
  log: Logger
  /** Undefined: alerts are only logged. */
  alerts?: AlertConfiguration
}

export async function startWorkerRole(options: WorkerRoleOptions): Promise<Supervised> {
  const { databaseUrl, log, alerts = {} } = options
  const pool = makePool({
    config: parseIntoClientConfig(databaseUrl),
    name: 'forecourt worker',
    size: CONNECTIONS.worker,
    onError: error => log.warn({ reason: error.message }, 'lost a database connection'),
  })
  try {
    await requireEncoding(pool)
    await requireMigrations(pool)
    const channels = await makeAlertChannels(alerts)
    const worker = await supervise({
      start: onName => startWorker({ pool, log, channels, onName }),
      async unlock(names) {
        await pool.query('select graphile_worker.force_unlock_workers($1)', [names])
      },
      log,
    })
    return {
      ...worker,
      async stop() {
        await worker.stop()
        await pool.end()
      },
    }
  } catch (error) {
    await pool.end()
    throw error
  }
}
