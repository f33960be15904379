/** A throw-away Postgres 15, the oldest supported version, from Debian's packages. */
import { randomBytes } from 'node:crypto'
import { chownSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { run } from '../../src/embedded/binaries.ts'
import { runServer } from '../../src/embedded/postgresServer.ts'
import { findServerUser } from '../../src/embedded/serverUser.ts'
import { Skipped } from './runChecks.ts'

export const BINARIES = '/usr/lib/postgresql/15/bin'
const EXTENSION = '/usr/share/postgresql/15/extension/plpgsql_check.control'
/** What to do on a machine without it. */
export const INSTALL_HINT = 'install postgresql-15 and postgresql-15-plpgsql-check'

export function hasPostgres15(): boolean {
  return existsSync(`${BINARIES}/initdb`) && existsSync(EXTENSION)
}

export function requirePostgres15(): void {
  if (!hasPostgres15()) {
    throw new Skipped(`Postgres 15 with plpgsql_check is missing: ${INSTALL_HINT}`)
  }
}

/** Starts a server in `home`, an empty directory, and returns its superuser's URL. */
export async function startPostgres15(home: string, settings: Record<string, string>): Promise<string> {
  requirePostgres15()
  const cluster = join(home, 'postgres')
  const binary = `${BINARIES}/postgres`
  const password = randomBytes(16).toString('hex')
  const passwordFile = join(home, 'password')
  mkdirSync(cluster)
  writeFileSync(passwordFile, password, { mode: 0o600 })
  const user = findServerUser({ binary, home, cluster })
  if (user) for (const path of [cluster, passwordFile]) chownSync(path, user.uid, user.gid)
  const access = ['--username=postgres', '--auth=scram-sha-256', `--pwfile=${passwordFile}`]
  const locale = ['--encoding=UTF8', '--locale=C.UTF-8']
  await run(user, `${BINARIES}/initdb`, [`--pgdata=${cluster}`, '--no-sync', ...access, ...locale])

  const url = (port: number) => `postgres://postgres:${password}@127.0.0.1:${port}/postgres`
  const { port } = await runServer({
    binary,
    user,
    cluster,
    logFile: join(home, 'postgres.log'),
    settings: { ...settings, listen_addresses: '127.0.0.1', unix_socket_directories: '' },
    acceptsPassword: port => canConnect(url(port)),
    log: () => {},
  })
  return url(port)
}

async function canConnect(connectionString: string): Promise<boolean> {
  const client = new pg.Client({ connectionString })
  try {
    await client.connect()
    return true
  } catch {
    return false
  } finally {
    await client.end()
  }
}
