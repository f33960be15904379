/** Brings a database to the newest migration: graphile-worker's schema first, then ours. */
import { readdir, readFile } from 'node:fs/promises'
import { Logger } from '@graphile/logger'
import { current, migrate as runCommitted } from 'graphile-migrate'
import { runMigrations } from 'graphile-worker'
import pg from 'pg'
import { authenticator, ensureAuthenticatorPassword } from './authenticator.ts'

const migrationsFolder = new URL('../../migrations', import.meta.url).pathname
/** Any constant: whoever migrates holds this session lock, and the next one waits for it. */
const MIGRATION_LOCK = 5_080_001
/** SQLSTATEs of a function or a schema that does not exist: the database was never migrated. */
const UNDEFINED = new Set(['42883', '3F000'])

export type MigrateOptions = {
  /** The owner's URL. */
  databaseUrl: string
  /** The API's own login, where the operator gave one; without it the migration sets a derived password. */
  authDatabaseUrl?: string | undefined
  /** Also runs `migrations/current*`, the migration that is being written: for tests and checks. */
  includeCurrent?: boolean
  log: (message: string) => void
}

/** Runs what is missing; a second run, or one from another machine at the same time, finds nothing to do. */
export async function migrate(options: MigrateOptions): Promise<void> {
  const { databaseUrl, log } = options
  const client = new pg.Client({ connectionString: databaseUrl, application_name: 'forecourt migrate' })
  await client.connect()
  try {
    await requireSupportedServer(client)
    await client.query('select pg_advisory_lock($1)', [MIGRATION_LOCK])
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
    await ensureAuthenticatorPassword(client, authenticator(options))
  } finally {
    await client.end()
  }
}

async function requireSupportedServer(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ version: number }>(
    "select current_setting('server_version_num')::int as version",
  )
  const version = rows[0]?.version ?? 0
  if (version < 150_000) {
    throw new Error(`Forecourt needs Postgres 15 to 18; this server is ${Math.trunc(version / 10_000)}.`)
  }
}

type Migration = { hash: string; file: string }

let expected: Promise<Migration[]> | undefined

/** The committed migrations that this build expects: hash, which covers all before it as well, and file name. */
export function expectedMigrations(): Promise<Migration[]> {
  // a build's own files: each probe of readiness asks for them
  expected ??= readMigrations()
  return expected
}

async function readMigrations(): Promise<Migration[]> {
  const folder = `${migrationsFolder}/committed`
  const files = (await readdir(folder)).filter(file => /^\d{6}.*\.sql$/.test(file)).sort()
  return Promise.all(
    files.map(async file => {
      const hash = /^--! Hash: (\S+)$/m.exec(await readFile(`${folder}/${file}`, 'utf8'))?.[1]
      if (hash === undefined) throw new Error(`migrations/committed/${file} has no hash.`)
      return { hash, file }
    }),
  )
}

/** What stands between the database and this build, as a sentence; undefined when they agree. */
export async function migrationFault(pool: Pick<pg.Pool, 'query'>): Promise<string | undefined> {
  const expected = await expectedMigrations()
  const applied = new Set(await appliedMigrations(pool))
  const missing = expected.filter(({ hash }) => !applied.has(hash)).map(({ file }) => file)
  if (missing.length > 0) return `The database lacks ${missing.join(', ')}. Please run npm run migrate.`
  if (applied.size > expected.length) return 'The database has newer migrations than this build.'
  return undefined
}

async function appliedMigrations(pool: Pick<pg.Pool, 'query'>): Promise<string[]> {
  try {
    const { rows } = await pool.query<{ applied: string[] }>(
      'select app_public.applied_migrations() as applied',
    )
    return rows[0]?.applied ?? []
  } catch (error) {
    if (UNDEFINED.has(String((error as { code?: unknown }).code))) return []
    throw error
  }
}
