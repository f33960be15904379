/** The worker role of a process: a pool of the owner, who owns the worker's schema, and the runner. */
import { parseIntoClientConfig } from 'pg-connection-string'
import { makeAlertChannels } from '../alerts/channels.ts'
import { type AlertConfiguration, type MailConfiguration, temporarySecret } from '../configuration.ts'
import { requireMigrations } from '../database/migrations.ts'
import { CONNECTIONS, makePool } from '../database/pool.ts'
import { requireEncoding } from '../database/requirements.ts'
import type { Logger } from '../log.ts'
import { makeMailer } from '../mail/mailer.ts'
import { derivedKey } from '../request/derivedKey.ts'
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
  mail?: MailConfiguration
  /** Where mails are written if no mail server is configured. Undefined: they wait in the outbox. */
  mailDirectory?: string
  /** The secret of the API. Another one cannot open the tokens of mails. */
  jwtSecret?: string
}

export async function startWorkerRole(options: WorkerRoleOptions): Promise<Supervised> {
  const { databaseUrl, log, alerts = {}, statementTimeoutMs = STATEMENT_TIMEOUT_MS } = options
  const { jwtSecret = temporarySecret() } = options
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
    const mailer = await makeMailer(options.mail ?? {}, options.mailDirectory)
    if (mailer === undefined) log.warn('mails to users wait: set SMTP_URL and MAIL_FROM')
    else log.info(mailer.description)
    const mail = { mailer, key: derivedKey(jwtSecret, 'mail token') }
    const worker = await supervise({
      start: onName => startWorker({ pool, log, channels, mail, onName }),
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
