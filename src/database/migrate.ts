/** Brings a database to the newest migration: graphile-worker's schema first, then ours. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Logger } from '@graphile/logger'
import { current, migrate as runCommitted } from 'graphile-migrate'
import { runMigrations } from 'graphile-worker'
import pg from 'pg'
import { authenticator, ensureAuthenticator } from './authenticator.ts'
import { expectedMigrations, migrationsFolder, requireMigratable } from './migrations.ts'
import { requireEncoding, requireOwnerRights, requireSupportedServer } from './requirements.ts'

/** Any constant. A session lock: of several migrations at once, one runs and the others wait. */
const MIGRATION_LOCK = 5_080_001
const RETRY_MS = 200

export type MigrateOptions = {
  /** The owner's URL. */
  databaseUrl: string
  /** The API's own login, if the operator gave one. Without it, the migration creates the role with a derived password. */
  authDatabaseUrl?: string | undefined
  /** No other database is in this cluster, so a wrong password of the API's role may be replaced. */
  ownsCluster?: boolean
  /** Also runs `migrations/current*`, the migration that is being written; for tests and checks. */
  includeCurrent?: boolean
  log: (message: string) => void
}

/** Runs the missing migrations. A second run, or one from another machine at the same time, finds nothing to do. */
export async function migrate(options: MigrateOptions): Promise<void> {
  const { databaseUrl, log } = options
  await expectedMigrations()
  const client = new pg.Client({ connectionString: databaseUrl, application_name: 'forecourt migrate' })
  // without a handler, an administrator who ends this connection would end the process with a stack trace
  client.on('error', ({ message }) =>
    log(`lost the connection that holds the lock of migrations: ${message}`),
  )
  await client.connect()
  try {
    await requireSupportedServer(client)
    await requireEncoding(client)
    await requireOwnerRights(client)
    await requireMigratable(client)
    await takeLock(client)
    // before the first migration, which would create the role without a password
    await ensureAuthenticator(client, authenticator(options), options.ownsCluster ?? false)
    await runMigrations({ connectionString: databaseUrl })
    const settings = {
      connectionString: databaseUrl,
      migrationsFolder,
      logger: new Logger(() => (level, message) => {
        if (level !== 'debug') log(message)
      }),
    }
    await runCommitted(settings)
    if (options.includeCurrent) await current(settings)
  } finally {
    await client.end()
  }
}

/** Polls with try_lock: a blocking lock holds a snapshot that CREATE INDEX CONCURRENTLY would wait for (deadlock). */
async function takeLock(client: pg.Client): Promise<void> {
  for (;;) {
    const { rows } = await client.query<{ taken: boolean }>('select pg_try_advisory_lock($1) as taken', [
      MIGRATION_LOCK,
    ])
    if (rows[0]?.taken) return
    await sleep(RETRY_MS)
  }
}
