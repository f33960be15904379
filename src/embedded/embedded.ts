// A Postgres of the project's own, for a machine that has only Node and npm: programs from npm, data in one
// directory, reachable from this machine with a password. It outlives a crash of its starter and is found again.

import { existsSync, mkdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { serverAccount } from './account.ts'
import { findBinaries, probeBinaries } from './binaries.ts'
import { ensureCluster } from './cluster.ts'
import { EmbeddedError } from './error.ts'
import { acquireLock } from './lock.ts'
import { type RunningServer, runServer, servingPort, stopServer } from './postgresServer.ts'
import { readOrCreateSecret } from './secret.ts'

export { EmbeddedError } from './error.ts'
export { readOrCreateSecret } from './secret.ts'

export type EmbeddedServer = {
  /** Login `forecourt_owner` (may create roles, is no superuser), owner of the database `forecourt`. */
  ownerUrl: string
  /** Superuser `postgres`, same database; used by tests and by nobody else. */
  superuserUrl: string
  port: number
  /** Ends the server within half a minute and gives the directory free. May be called again. */
  stop(): Promise<void>
}

export type EmbeddedOptions = {
  /** Where everything is kept: the cluster in `postgres`, its log, the secrets. */
  directory: string
  /** Further settings of Postgres, such as `fsync: 'off'`. */
  settings?: Record<string, string>
  log: (message: string) => void
}

const OWNER = 'forecourt_owner'
const DATABASE = 'forecourt'
const WRONG_PASSWORD = '28P01'

const DEFAULTS = { max_connections: '100', shared_buffers: '128MB', timezone: 'UTC', log_timezone: 'UTC' }
const LOOPBACK_ONLY = { listen_addresses: '127.0.0.1', unix_socket_directories: '' }

export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedServer> {
  mkdirSync(options.directory, { recursive: true })
  const home = realpathSync(options.directory)
  const unlock = await acquireLock(home)
  try {
    return await startLocked({ ...options, directory: home }, unlock)
  } catch (error) {
    unlock()
    throw error
  }
}

/** The owner's URL of the server that runs in this directory; undefined when none does. */
export function findEmbedded(directory: string): string | undefined {
  if (!existsSync(directory)) return undefined
  const home = realpathSync(directory)
  const port = servingPort(join(home, 'postgres'))
  return port === undefined
    ? undefined
    : urlOf(OWNER, readOrCreateSecret(home, 'owner-password'), port, DATABASE)
}

async function startLocked(options: EmbeddedOptions, unlock: () => void): Promise<EmbeddedServer> {
  const { directory: home, log } = options
  const cluster = join(home, 'postgres')
  const settings: Record<string, string> = { ...DEFAULTS, ...options.settings, ...LOOPBACK_ONLY }
  const superuserPassword = readOrCreateSecret(home, 'postgres-password')
  const ownerPassword = readOrCreateSecret(home, 'owner-password')

  const binaries = await findBinaries()
  const account = serverAccount({ binary: binaries.postgres, home, cluster })
  const version = await probeBinaries(binaries, account)
  if (account?.barrier) {
    const { path, capability } = account.barrier
    log(`Postgres runs as uid ${account.uid} with ${capability}, because that user may not enter ${path}`)
  }
  const durable = settings.fsync !== 'off'
  await ensureCluster({ home, cluster, binaries, account, version, superuserPassword, durable, log })

  const server = await runServer({
    binary: binaries.postgres,
    account,
    cluster,
    logFile: join(home, 'postgres.log'),
    settings,
    answers: port => answers(urlOf('postgres', superuserPassword, port, 'postgres')),
    log,
  })
  await ensureOwner(server, cluster, superuserPassword, ownerPassword, log)

  let stopped: Promise<void> | undefined
  return {
    ownerUrl: urlOf(OWNER, ownerPassword, server.port, DATABASE),
    superuserUrl: urlOf('postgres', superuserPassword, server.port, DATABASE),
    port: server.port,
    stop: () => {
      stopped ??= stopServer(server.pid, cluster).finally(unlock)
      return stopped
    },
  }
}

/** The owner's role and database, made unless they are there; the role has the password that we hand out. */
async function ensureOwner(
  server: RunningServer,
  cluster: string,
  superuserPassword: string,
  ownerPassword: string,
  log: EmbeddedOptions['log'],
): Promise<void> {
  const client = connection(urlOf('postgres', superuserPassword, server.port, 'postgres'))
  try {
    await client.connect()
    await restored(client, log)
    // A starter that was killed here leaves its statement running: its session holds this until that is done.
    await client.query('select pg_catalog.pg_advisory_lock(1)')
    const { rows } = await client.query(
      `select exists (select from pg_catalog.pg_roles where rolname = $1) as has_role,
              exists (select from pg_catalog.pg_database where datname = $2) as has_database`,
      [OWNER, DATABASE],
    )
    if (!rows[0].has_role) await client.query(`create role ${OWNER}`)
    const password = client.escapeLiteral(ownerPassword)
    await client.query(`alter role ${OWNER} with login createrole nosuperuser password ${password}`)
    if (!rows[0].has_database) await client.query(`create database ${DATABASE} owner ${OWNER}`)
  } catch (error) {
    await stopServer(server.pid, cluster)
    if ((error as { code?: unknown }).code !== WRONG_PASSWORD) throw error
    throw new EmbeddedError(
      'WRONG_PASSWORD',
      `The file postgres-password is not the one that ${cluster} was made with. Restore it, or move both away.`,
      error,
    )
  } finally {
    await client.end()
  }
}

/** A server that is being restored answers before it has reached its moment, and takes no writes until then. */
async function restored(client: Client, log: EmbeddedOptions['log']): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const { rows } = await client.query('select pg_catalog.pg_is_in_recovery() as goes_on')
    if (!rows[0].goes_on) return
    if (attempt % 50 === 0) log('waiting for the restore to reach its moment')
    await sleep(100)
  }
}

async function answers(url: string): Promise<boolean> {
  const client = connection(url)
  try {
    await client.connect()
    return true
  } catch {
    return false
  } finally {
    await client.end()
  }
}

function connection(connectionString: string): Client {
  // What is said here holds a password: no setting of the server may have it logged.
  const options = '-c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic'
  const client = new Client({ connectionString, options, connectionTimeoutMillis: 10_000 })
  client.on('error', () => {}) // a lost connection fails the query that is waiting for it
  return client
}

function urlOf(user: string, password: string, port: number, database: string): string {
  return `postgres://${user}:${password}@127.0.0.1:${port}/${database}`
}
