/** The Postgres server of a run: embedded, as with `npm start`, with fsync on. It ends with the process. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { newDirectory } from '../../scripts/support/databases.ts'
import { migrate } from '../../src/database/migrate.ts'
import { startEmbedded } from '../../src/embedded/embedded.ts'

export type Database = {
  name: string
  /** Not a superuser, as in production. */
  ownerUrl: string
  superuserUrl: string
  /** For setup and observation only, not for measured statements. */
  superuser: pg.Pool
  drop(): Promise<void>
}

export type Cluster = {
  /** Contains the logs of the processes. */
  directory: string
  version: string
  /** The process whose children are the backends of Postgres. */
  postmaster: number
  /** A copy of `template`, or a migrated database without data. */
  create(template?: Database): Promise<Database>
  stop(): Promise<void>
}

export const jwtSecret = randomBytes(32).toString('hex')

/** Copies the files: the default strategy would write every page to the write-ahead log. */
const CREATE = (name: string, template: string) =>
  `create database ${name} template ${template} owner forecourt_owner strategy file_copy`

/** `applyMigrations` gets the owner's URL of the empty database. */
export async function startCluster(
  log: (message: string) => void,
  applyMigrations: (databaseUrl: string) => Promise<unknown> = applyOwnMigrations,
): Promise<Cluster> {
  const directory = newDirectory('forecourt-bench-')
  const server = await startEmbedded({ directory, log })
  await applyMigrations(server.ownerUrl)
  const databases = new Set<Database>()
  const maintenanceUrl = withDatabase(server.superuserUrl, 'postgres')
  const maintenance = new pg.Client({ connectionString: maintenanceUrl, application_name: 'forecourt bench' })
  await maintenance.connect()
  const { rows } = await maintenance.query<{ version: string }>(
    "select current_setting('server_version') as version",
  )
  let made = 0

  async function create(template?: Database): Promise<Database> {
    const source = template?.name ?? 'forecourt'
    const name = `bench_${++made}`
    // Postgres copies a template only while nobody is connected to it
    await template?.superuser.end()
    if (template !== undefined) template.superuser = makePool(template.superuserUrl)
    await waitUntilUnused(maintenance, source)
    await maintenance.query(CREATE(name, source))
    const superuserUrl = withDatabase(server.superuserUrl, name)
    const database: Database = {
      name,
      ownerUrl: withDatabase(server.ownerUrl, name),
      superuserUrl,
      superuser: makePool(superuserUrl),
      async drop() {
        databases.delete(database)
        await database.superuser.end()
        await maintenance.query(`drop database ${name} with (force)`)
      },
    }
    databases.add(database)
    return database
  }

  return {
    directory,
    version: rows[0]?.version ?? 'unknown',
    postmaster: Number.parseInt(readFileSync(join(directory, 'postgres', 'postmaster.pid'), 'utf8'), 10),
    create,
    async stop() {
      for (const { superuser } of databases) await superuser.end()
      await maintenance.end()
      await server.stop()
    },
  }
}

function applyOwnMigrations(databaseUrl: string): Promise<unknown> {
  return migrate({ databaseUrl, includeCurrent: true, log: () => {} })
}

/** Connections end a moment after they are closed; graphile-migrate keeps its own a little longer. */
async function waitUntilUnused(client: pg.Client, database: string): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    const { rowCount } = await client.query(
      "select from pg_stat_activity where datname = $1 and backend_type = 'client backend'",
      [database],
    )
    if (rowCount === 0) return
    await sleep(20)
  }
  throw new Error(`a client is still connected to ${database}`)
}

/**
 * Vacuums and analyses the tables, and writes a checkpoint. Empty tables are left out: once Postgres knows that they are
 * empty, it plans statements for empty tables and keeps those plans.
 */
export async function settle({ superuser }: Pick<Database, 'superuser'>): Promise<void> {
  const { rows } = await superuser.query<{ tables: string }>(`
    select string_agg(t.relid::regclass::text, ', ') as tables
    from pg_stat_user_tables as t where pg_relation_size(t.relid) > 0`)
  await superuser.query(`vacuum (analyze) ${rows[0]?.tables}`)
  await superuser.query('checkpoint')
}

/** The file for the output of a process. */
export function outputFile({ directory }: Pick<Cluster, 'directory'>, name: string): string {
  return join(directory, `${name}-${randomBytes(4).toString('hex')}.log`)
}

function makePool(connectionString: string): pg.Pool {
  const pool = new pg.Pool({ connectionString, max: 4, application_name: 'forecourt bench' })
  const ignore = () => {}
  pool.on('error', ignore)
  pool.on('connect', client => client.on('error', ignore))
  return pool
}

function withDatabase(url: string, name: string): string {
  const changed = new URL(url)
  changed.pathname = `/${name}`
  return changed.href
}
