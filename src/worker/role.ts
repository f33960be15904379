/** The worker role of a process: a pool of the owner, who owns the worker's schema, and the runner. */
import { parseIntoClientConfig } from 'pg-connection-string'
import { makeAlertChannels } from '../alerts/channels.ts'
import type { AlertConfiguration } from '../configuration.ts'
import { requireMigrations } from '../database/migrations.ts'
import { CONNECTIONS, makePool } from '../database/pool.ts'
import type { Logger } from '../log.ts'
import { startWorker } from './runner.ts'

export type WorkerRoleOptions = {
  databaseUrl: string
  log: Logger
  /** Undefined: alerts are only logged. */
  alerts?: AlertConfiguration
}

export async function startWorkerRole({ databaseUrl, log, alerts = {} }: WorkerRoleOptions) {
  const pool = makePool({
    config: parseIntoClientConfig(databaseUrl),
    name: 'forecourt worker',
    size: CONNECTIONS.worker,
    onError: error => log.warn({ reason: error.message }, 'lost a database connection'),
  })
  try {
    await requireMigrations(pool)
    const runner = await startWorker({ pool, log, channels: await makeAlertChannels(alerts) })
    return {
      async stop() {
        await runner.stop()
        await pool.end()
      },
    }
  } catch (error) {
    await pool.end()
    throw error
  }
}
