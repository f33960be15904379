// A Postgres server for a machine that has only Node and npm. Its programs come from npm, its data is in one directory, and
// only this machine can connect, with a password. It survives a crash of the process that started it; the next start finds it.

import { existsSync, mkdirSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { findBinaries, probeBinaries } from './binaries.ts'
import { ensureCluster } from './cluster.ts'
import { EmbeddedError } from './embeddedError.ts'
import { acquireLock } from './lock.ts'
import {
  type RunningServer,
  runServer,
  type ServerOptions,
  serves,
  servingPort,
  stopServer,
} from './postgresServer.ts'
import { readOrCreateSecret } from './secret.ts'
import { findServerUser } from './serverUser.ts'
import { watchServer } from './watch.ts'

export { EmbeddedError } from './embeddedError.ts'
export { readOrCreateSecret } from './secret.ts'

export type EmbeddedServer = {
  /** Login `forecourt_owner` (may create roles, is no superuser), owner of the database `forecourt`. */
  ownerUrl: string
  /** Superuser `postgres`, same database. For tests only. */
  superuserUrl: string
  port: number
  /** Stops the server within half a minute and releases the directory. May be called more than once. */
  stop(): Promise<void>
}

export type EmbeddedOptions = {
  /** Contains the cluster in `postgres`, its log and the secrets. */
  directory: string
  /** More settings of Postgres, such as `fsync: 'off'`. */
  settings?: Record<string, string>
  log: (message: string) => void
  /** Called when the server has died and a restart did not help. */
  onLost?: (error: Error) => void
}

const OWNER = 'forecourt_owner'
const DATABASE = 'forecourt'
const WRONG_PASSWORD = '28P01'
const CONNECT_TIMEOUT_MS = 10_000
const RECOVERY_POLL_MS = 100
const RECOVERY_POLLS_PER_LINE = 50

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

/** The owner's URL of the server that runs in this directory. Undefined if none runs. */
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
  const user = findServerUser({ binary: binaries.postgres, home, cluster })
  const version = await probeBinaries(binaries, user)
  if (user?.barrier) {
    const { path, capability } = user.barrier
    log(`Postgres runs as uid ${user.uid} with ${capability}, because that user may not enter ${path}`)
  }
  const durable = settings.fsync !== 'off'
  await ensureCluster({ home, cluster, binaries, user, version, superuserPassword, durable, log })

  const serverOptions: ServerOptions = {
    binary: binaries.postgres,
    user,
    cluster,
    logFile: join(home, 'postgres.log'),
    settings,
    acceptsPassword: port => canConnect(urlOf('postgres', superuserPassword, port, 'postgres')),
    log,
  }
  let server = await runServer(serverOptions)
  await ensureOwner(server, cluster, superuserPassword, ownerPassword, log)
  const endWatch = watchServer({
    logFile: serverOptions.logFile,
    isAlive: () => serves(server.pid, cluster),
    async restart() {
      // on the same port, because the URLs are in use
      server = await runServer({ ...serverOptions, port: server.port })
    },
    onLost: options.onLost ?? (error => log(error.message)),
    log,
  })

  let stopped: Promise<void> | undefined
  return {
    ownerUrl: urlOf(OWNER, ownerPassword, server.port, DATABASE),
    superuserUrl: urlOf('postgres', superuserPassword, server.port, DATABASE),
    port: server.port,
    stop: () => {
      stopped ??= endWatch()
        .then(() => stopServer(server.pid, cluster))
        .finally(unlock)
      return stopped
    },
  }
}

/** Makes the owner's role and database if they do not exist, and sets the role's password. */
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
    await waitForRecovery(client, log)
    // A start that was killed here leaves its statement running. Its session holds this lock until the statement ends.
    await client.query('select pg_catalog.pg_advisory_lock(1)')
    const { rows } = await client.query(
      `select exists (select from pg_catalog.pg_roles where rolname = $1) as has_role,
              exists (select from pg_catalog.pg_database where datname = $2) as has_database`,
      [OWNER, DATABASE],
    )
    if (!rows[0].has_role) await client.query(`create role ${OWNER}`)
    const password = client.escapeLiteral(ownerPassword)
    await client.query(`alter role ${OWNER} with login createrole nosuperuser password ${password}`)
    if (!rows[0].has_database)
      await createDatabase(client, urlOf('postgres', superuserPassword, server.port, DATABASE))
  } catch (error) {
    await stopServer(server.pid, cluster)
    if ((error as { code?: unknown }).code !== WRONG_PASSWORD) throw error
    throw new EmbeddedError(
      'WRONG_PASSWORD',
      `The file postgres-password does not belong to ${cluster}. Restore the file, or move both away.`,
      error,
    )
  } finally {
    await client.end()
  }
}

/** Makes the database, and revokes rights that every login has by default and no role of the API needs. */
async function createDatabase(client: Client, superuserUrl: string): Promise<void> {
  await client.query(`create database ${DATABASE} owner ${OWNER}`)
  await client.query('revoke connect, temporary on database postgres, template1 from public')
  const inside = connection(superuserUrl)
  try {
    await inside.connect()
    await inside.query(
      'revoke execute on function lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) from public',
    )
  } finally {
    await inside.end()
  }
}

/** During a restore the server accepts connections early, but it refuses writes until recovery ends. */
async function waitForRecovery(client: Client, log: EmbeddedOptions['log']): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const { rows } = await client.query('select pg_catalog.pg_is_in_recovery() as in_recovery')
    if (!rows[0].in_recovery) return
    if (attempt % RECOVERY_POLLS_PER_LINE === 0) log('waiting for the restore to end')
    await sleep(RECOVERY_POLL_MS)
  }
}

async function canConnect(url: string): Promise<boolean> {
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
  // Statements here contain a password, so the server must not log them.
  const options = '-c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic'
  const client = new Client({ connectionString, options, connectionTimeoutMillis: CONNECT_TIMEOUT_MS })
  client.on('error', () => {}) // the pending query reports a lost connection
  return client
}

function urlOf(user: string, password: string, port: number, database: string): string {
  return `postgres://${user}:${password}@127.0.0.1:${port}/${database}`
}
