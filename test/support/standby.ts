/** A hot standby of an embedded server, by streaming replication. */
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import pg from 'pg'
import { findBinaries } from '../../src/embedded/binaries.ts'
import type { EmbeddedServer } from '../../src/embedded/embedded.ts'
import { serves } from '../../src/embedded/postgresServer.ts'
import { commandFor, findServerUser } from '../../src/embedded/serverUser.ts'
import { until } from './waits.ts'

export type Standby = {
  /** The URLs of the primary, with the port of the standby. */
  ownerUrl: string
  superuserUrl: string
  /** Makes it a primary. */
  promote(): Promise<void>
  /** Kills the server. */
  kill(): Promise<void>
}

/** `home` is the directory of the primary, and the standby is made in `directory`. */
export async function startStandby(
  primary: EmbeddedServer,
  home: string,
  directory: string,
  settings: Record<string, string>,
): Promise<Standby> {
  const cluster = join(directory, 'postgres')
  mkdirSync(cluster, { recursive: true })
  // the server may run as another user than this process
  chmodSync(directory, 0o755)
  await asSuperuser(primary.superuserUrl, client => copyCluster(client, join(home, 'postgres'), cluster))
  const port = await freePort()
  const pid = await runPostgres(directory, cluster, {
    ...settings,
    port: String(port),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    primary_conninfo: conninfo(primary),
  })
  const withPort = (url: string) => Object.assign(new URL(url), { port: String(port) }).href
  const superuserUrl = withPort(primary.superuserUrl)
  const isReady = () =>
    asSuperuser(superuserUrl, async () => true).catch(() => {
      if (!serves(pid, cluster)) throw new Error(`the standby has ended: ${directory}/log says why`)
      return false
    })
  await until('the standby accepts connections', isReady)
  return {
    ownerUrl: withPort(primary.ownerUrl),
    superuserUrl,
    promote: () =>
      asSuperuser(superuserUrl, async client => void (await client.query('select pg_promote()'))),
    async kill() {
      if (serves(pid, cluster)) process.kill(pid, 'SIGQUIT')
      await until('the standby has ended', () => !serves(pid, cluster))
    },
  }
}

/** As pg_basebackup does. The WAL comes by streaming. */
async function copyCluster(client: pg.Client, from: string, to: string): Promise<void> {
  await client.query("select pg_backup_start('standby', fast => true)")
  const archive = `${to}.tar`
  const leaveOut = ['--exclude=./pg_wal/*', '--exclude=./postmaster.*']
  // 1: files changed while tar read them, and the WAL repairs that
  const { status } = spawnSync('tar', ['-C', from, ...leaveOut, '-cf', archive, '.'])
  const { rows } = await client.query('select labelfile from pg_backup_stop(wait_for_archive => false)')
  if (status !== 0 && status !== 1) throw new Error(`tar ended with ${status}`)
  spawnSync('tar', ['-C', to, '-xpf', archive])
  rmSync(archive)
  const { uid, gid } = statSync(from)
  for (const [name, text] of [
    ['backup_label', rows[0].labelfile],
    ['standby.signal', ''],
  ]) {
    writeFileSync(join(to, name), text)
    chownSync(join(to, name), uid, gid)
  }
}

async function runPostgres(
  directory: string,
  cluster: string,
  settings: Record<string, string>,
): Promise<number> {
  const { postgres } = await findBinaries()
  const user = findServerUser({ binary: postgres, home: directory, cluster })
  const assignments = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  const { file, args, options } = commandFor(user, postgres, ['-D', cluster, ...assignments])
  const output = openSync(join(directory, 'log'), 'w')
  const child = spawn(file, args, { ...options, detached: true, stdio: ['ignore', output, output] })
  child.unref()
  return child.pid as number
}

function conninfo({ superuserUrl }: EmbeddedServer): string {
  const { username, password, hostname, port } = new URL(superuserUrl)
  return `host=${hostname} port=${port} user=${username} password=${password}`
}

async function asSuperuser<Value>(url: string, work: (client: pg.Client) => Promise<Value>): Promise<Value> {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  try {
    await client.connect()
    return await work(client)
  } finally {
    await client.end()
  }
}

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>(resolve => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as { port: number }
  await new Promise(resolve => probe.close(resolve))
  return port
}
