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

/**
 * Timeout of one statement of the worker. Without one, a job whose server has gone silent would never end. A statement that needs
 * longer sets its own, such as the check of the ledger.
 */
const STATEMENT_TIMEOUT_MS = 15_000

export type WorkerRoleOptions = {
  databaseUrl: string
  statementTimeoutMs?: number
  log: Logger
  /** Undefined: alerts are only logged. */
  alerts?: AlertConfiguration
}

export async function startWorkerRole(options: WorkerRoleOptions): Promise<Supervised> {
  const { databaseUrl, log, alerts = {}, statementTimeoutMs = STATEMENT_TIMEOUT_MS } = options
  const pool = makePool({
    config: parseIntoClientConfig(databaseUrl),
    name: 'forecourt worker',
    size: CONNECTIONS.worker,
    statementTimeoutMs,
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
