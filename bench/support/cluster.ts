/** The one Postgres of a run: embedded, as `npm start` has it, with fsync on; it goes with the process. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { newDirectory } from '../../scripts/support/databases.ts'
import { migrate } from '../../src/database/migrate.ts'
import { startEmbedded } from '../../src/embedded/embedded.ts'

export type Database = {
  name: string
  /** As production's: no superuser. */
  ownerUrl: string
  superuserUrl: string
  /** For setting up and looking on, as superuser; not for what is measured. */
  superuser: pg.Pool
  drop(): Promise<void>
}

export type Cluster = {
  /** For logs and copies. */
  directory: string
  version: string
  /** A database like `template`, or a migrated one without data. */
  create(template?: Database): Promise<Database>
  stop(): Promise<void>
}

export const jwtSecret = randomBytes(32).toString('hex')

/** Files are copied as they are, where the log of changes would hold every page of it. */
const CREATE = (name: string, template: string) =>
  `create database ${name} template ${template} owner forecourt_owner strategy file_copy`

export async function startCluster(log: (message: string) => void): Promise<Cluster> {
  const directory = newDirectory('forecourt-bench-')
  const server = await startEmbedded({ directory, log })
  await migrate({ databaseUrl: server.ownerUrl, includeCurrent: true, log: () => {} })
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
    // no template while somebody is connected to it
    await template?.superuser.end()
    if (template !== undefined) template.superuser = makePool(template.superuserUrl)
    await untilAlone(maintenance, source)
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
    create,
    async stop() {
      for (const { superuser } of databases) await superuser.end()
      await maintenance.end()
      await server.stop()
    },
  }
}

/** Connections end a moment after they were told to; graphile-migrate keeps its own a little longer. */
async function untilAlone(client: pg.Client, database: string): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    const { rowCount } = await client.query(
      "select from pg_stat_activity where datname = $1 and backend_type = 'client backend'",
      [database],
    )
    if (rowCount === 0) return
    await sleep(20)
  }
  throw new Error(`somebody stays connected to ${database}`)
}

/**
 * As after a night of autovacuum, and with nothing left to write. Tables without a row stay as they are: once they are known
 * to be empty, statements are planned for empty tables, and those plans are kept.
 */
export async function settle({ superuser }: Pick<Database, 'superuser'>): Promise<void> {
  const { rows } = await superuser.query<{ tables: string }>(`
    select string_agg(t.relid::regclass::text, ', ') as tables
    from pg_stat_user_tables as t where pg_relation_size(t.relid) > 0`)
  await superuser.query(`vacuum (analyze) ${rows[0]?.tables}`)
  await superuser.query('checkpoint')
}

/** A place for the output of a process. */
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
