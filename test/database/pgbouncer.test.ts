/** The API behind PgBouncer, set up in the order of docs/operations.md. Skipped on a machine without PgBouncer. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { authenticator } from '../../src/database/authenticator.ts'
import { migrate } from '../../src/database/migrate.ts'
import { type EmbeddedServer, startEmbedded } from '../../src/embedded/embedded.ts'
import { blocksOf } from '../scripts/guide.ts'
import { clientOf, jwtSecret } from '../support/apiServer.ts'
import { killLeftOvers, start, untilReady } from '../support/commandProcess.ts'
import { register } from '../support/graphqlOperations.ts'
import { runSql } from '../support/shell.ts'
import { until } from '../support/waits.ts'

const PROGRAM = '/usr/sbin/pgbouncer'
const testWithBouncer = existsSync(PROGRAM) ? test : test.skip
const home = mkdtempSync(join(tmpdir(), 'forecourt-bouncer-'))
const blocks = blocksOf(readFileSync('docs/operations.md', 'utf8'), 'PgBouncer')
const textOf = (tag: string) => blocks.find(block => block.tag === tag)?.text ?? ''

let server: EmbeddedServer
let bouncer: ChildProcess | undefined

beforeAll(async () => {
  if (testWithBouncer !== test) return
  chmodSync(home, 0o755)
  server = await startEmbedded({ directory: join(home, 'data'), settings: { fsync: 'off' }, log: () => {} })
  await migrate({ databaseUrl: server.ownerUrl, includeCurrent: true, log: () => {} })
})

afterEach(killLeftOvers)

afterAll(async () => {
  bouncer?.kill('SIGKILL')
  await server?.stop()
  rmSync(home, { recursive: true })
})

async function freePort(): Promise<number> {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as { port: number }
  await new Promise(resolve => taken.close(resolve))
  return port
}

/** Starts PgBouncer with the files of the guide, on other ports and paths, and returns the API's URL through it. */
async function startBouncer(): Promise<string> {
  const port = await freePort()
  const users = join(home, 'userlist.txt')
  const configuration = join(home, 'pgbouncer.ini')
  writeFileSync(users, textOf('userlist.txt'), { mode: 0o644 })
  writeFileSync(
    configuration,
    textOf('pgbouncer.ini')
      .replace('port=5432', `port=${server.port}`)
      .replace('listen_port = 6432', `listen_port = ${port}\nunix_socket_dir =`)
      .replace('/etc/pgbouncer/userlist.txt', users),
  )
  // it refuses to run as root
  const user = process.getuid?.() === 0 ? ['-u', 'nobody'] : []
  bouncer = spawn(PROGRAM, ['-q', ...user, configuration], { stdio: 'ignore' })
  const [, password = ''] = /^".*?" "(.*)"$/m.exec(textOf('userlist.txt')) ?? []
  const url = `postgres://forecourt_authenticator:${encodeURIComponent(password)}@127.0.0.1:${port}/forecourt`
  await until('PgBouncer listens', () =>
    settingOf(url, 'server_version').then(
      () => true,
      () => false,
    ),
  )
  return url
}

async function settingOf(connectionString: string, name: string): Promise<string> {
  const client = new pg.Client({ connectionString })
  client.on('error', () => {})
  try {
    await client.connect()
    return (await client.query(`show ${name}`)).rows[0][name]
  } finally {
    await client.end()
  }
}

testWithBouncer(
  'in the order of the guide the API serves requests through PgBouncer, with its timeouts',
  async () => {
    expect(
      await settingOf(urlOf(authenticator({ databaseUrl: server.ownerUrl }).config), 'lock_timeout'),
    ).toBe('0')
    await runSql(server.superuserUrl, textOf('as-superuser'))
    const url = await startBouncer()
    expect(await settingOf(url, 'lock_timeout')).toBe('3s')
    expect(await settingOf(url, 'statement_timeout')).toBe('10s')
    const isOld = /PgBouncer 1\.(\d|1\d|20)\./.test(
      execFileSync(PROGRAM, ['--version'], { encoding: 'utf8' }),
    )
    const env = {
      AUTH_DATABASE_URL: url,
      JWT_SECRET: jwtSecret,
      ...(isOld ? { PREPARED_STATEMENTS: '0' } : {}),
    }
    const api = start('api', env)
    const address = await untilReady(api)
    expect((await fetch(`${address}/readyz`)).status).toBe(200)
    const client = { ...clientOf(address), stop: async () => {} }
    const account = { email: 'pooled@example.com', password: 'correct horse battery' }
    expect(await register(client, account)).toMatchObject({ status: 200 })
    api.child.kill('SIGTERM')
    expect(await api.ended).toBe(0)
  },
)

function urlOf({ user, password, host, port, database }: pg.ClientConfig): string {
  return `postgres://${user}:${password}@${host}:${port}/${database}`
}
