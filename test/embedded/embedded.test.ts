/** The embedded Postgres: first start, restart, recovery after a kill, and its protection against a second process. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { Client } from 'pg'
import { type EmbeddedServer, startEmbedded } from '../../src/embedded/embedded.ts'

const FAST = { fsync: 'off' }
const MODULE = new URL('../../src/embedded/embedded.ts', import.meta.url).href

const directories: string[] = []
const servers: EmbeddedServer[] = []
const children: { child: ChildProcess; directory: string }[] = []

let initialised: string

beforeAll(async () => {
  initialised = newDirectory()
  await (await start(initialised)).stop()
  directories.length = 0
})

afterAll(() => rmSync(initialised, { recursive: true }))

afterEach(async () => {
  const started = children.splice(0)
  for (const { child } of started) await kill(child, 'SIGKILL')
  for (const server of servers.splice(0)) await server.stop()
  // a server outlives the child that started it: start() takes it over, so that stop() can end it
  for (const { directory } of started) await (await start(directory)).stop()
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true })
})

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'forecourt embedded-'))
  directories.push(directory)
  return directory
}

/** A directory with an initialised database. A copy is faster than a first start. */
function initialisedDirectory(): string {
  const directory = newDirectory()
  execFileSync('cp', ['-a', `${initialised}/.`, directory])
  return directory
}

async function start(directory: string, settings: Record<string, string> = FAST): Promise<EmbeddedServer> {
  const server = await startEmbedded({ directory, settings, log: () => {} })
  servers.push(server)
  return server
}

/** Starts the server from a separate process, which then waits. It has its own process group, like a shell job. */
async function startInChild(directory: string): Promise<{ child: ChildProcess; port: number }> {
  const script = `
    const { startEmbedded } = await import(${JSON.stringify(MODULE)})
    const options = { directory: ${JSON.stringify(directory)}, settings: ${JSON.stringify(FAST)}, log() {} }
    globalThis.server = await startEmbedded(options)
    console.log(server.port)
    setInterval(() => {}, 1000)`
  const args = ['--input-type=module', '--eval', script]
  const child = spawn(process.execPath, args, { detached: true, stdio: ['ignore', 'pipe', 'inherit'] })
  children.push({ child, directory })
  const [output] = (await Promise.race([once(child.stdout, 'data'), once(child, 'exit')])) as [unknown]
  return { child, port: Number(output) }
}

async function kill(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  process.kill(-(child.pid as number), signal)
  await exit
}

async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5000 })
  try {
    await client.connect()
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

function serverPid(directory: string): number {
  return Number(readFileSync(join(directory, 'postgres', 'postmaster.pid'), 'utf8').split('\n')[0])
}

/** Connects to find out: the id of an ended process stays taken until its parent reaps it. */
async function isServing(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

test('a second start keeps the data of the first start', async () => {
  const directory = newDirectory()
  const first = await start(directory)
  await query(first.ownerUrl, 'create table kept as select 42 as answer')
  await first.stop()
  const second = await start(directory)
  expect(await query(second.ownerUrl, 'select answer from kept')).toEqual([{ answer: 42 }])
})

test('the owner owns the database and can create roles, but is not a superuser', async () => {
  const { ownerUrl } = await start(initialisedDirectory())
  const rows = await query(
    ownerUrl,
    `select rolname, rolcreaterole, rolsuper, rolcreatedb, datname
       from pg_roles join pg_database on datdba = pg_roles.oid
      where rolname = current_user and datname = current_database()`,
  )
  expect(rows).toEqual([
    {
      rolname: 'forecourt_owner',
      rolcreaterole: true,
      rolsuper: false,
      rolcreatedb: false,
      datname: 'forecourt',
    },
  ])
})

test('case folding and time zone do not depend on the locale of the machine', async () => {
  const { ownerUrl } = await start(initialisedDirectory())
  expect(await query(ownerUrl, `select lower('ÄÉ') as folded, current_setting('timezone') as zone`)).toEqual([
    { folded: 'äé', zone: 'UTC' },
  ])
})

test('the server accepts only local connections with the right password', async () => {
  const { ownerUrl, superuserUrl, port } = await start(initialisedDirectory())
  for (const url of [ownerUrl, superuserUrl]) {
    const wrong = new URL(url)
    wrong.password = '0'.repeat(64)
    await expect(query(wrong.href, 'select')).rejects.toMatchObject({ code: '28P01' })
  }
  expect(await query(superuserUrl, 'show unix_socket_directories')).toEqual([{ unix_socket_directories: '' }])
  const outside = Object.values(networkInterfaces()).flatMap(addresses => addresses ?? [])
  for (const { address } of outside.filter(({ family, internal }) => family === 'IPv4' && !internal)) {
    const url = superuserUrl.replace(`127.0.0.1:${port}`, `${address}:${port}`)
    await expect(query(url, 'select')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  }
})

test('no password appears in the log or on a command line', async () => {
  const directory = newDirectory()
  const { ownerUrl, superuserUrl } = await start(directory, { ...FAST, log_statement: 'all' })
  const log = readFileSync(join(directory, 'postgres.log'), 'utf8')
  const opts = readFileSync(join(directory, 'postgres', 'postmaster.opts'), 'utf8')
  for (const url of [ownerUrl, superuserUrl]) expect(log + opts).not.toContain(new URL(url).password)
})

test('a killed server recovers at the next start', async () => {
  const directory = initialisedDirectory()
  const first = await start(directory)
  await query(first.ownerUrl, 'create table kept as select 42 as answer')
  process.kill(serverPid(directory), 'SIGKILL')
  await first.stop()
  const second = await start(directory)
  expect(await query(second.ownerUrl, 'select answer from kept')).toEqual([{ answer: 42 }])
})

test('a start leaves a foreign process alone that has the process id of a former server', async () => {
  const directory = initialisedDirectory()
  await (await start(directory)).stop()
  const content = `${process.pid}\n${directory}/postgres\n1\n5432\n\n127.0.0.1\n0 0\nready   \n`
  writeFileSync(join(directory, 'postgres', 'postmaster.pid'), content)
  const server = await start(directory)
  expect(await query(server.ownerUrl, 'select 1 as one')).toEqual([{ one: 1 }])
  expect(serverPid(directory)).not.toBe(process.pid)
})

test('the next start uses a server that outlived the process that started it', async () => {
  const directory = initialisedDirectory()
  const { child, port } = await startInChild(directory)
  const pid = serverPid(directory)
  await kill(child, 'SIGKILL')
  const server = await start(directory)
  expect({ port: server.port, pid: serverPid(directory) }).toEqual({ port, pid })
  await server.stop()
  expect(await isServing(port)).toBe(false)
})

test('a start with other settings restarts a server that outlived its starting process', async () => {
  const directory = initialisedDirectory()
  const { child, port } = await startInChild(directory)
  await kill(child, 'SIGKILL')
  const server = await start(directory, { ...FAST, max_connections: '50' })
  expect(await query(server.ownerUrl, 'show max_connections')).toEqual([{ max_connections: '50' }])
  expect(server.port === port || !(await isServing(port))).toBe(true)
})

test('Ctrl-C in the terminal ends the starting process but not the server', async () => {
  const directory = initialisedDirectory()
  const { child, port } = await startInChild(directory)
  const pid = serverPid(directory)
  await kill(child, 'SIGINT')
  expect(await isServing(port)).toBe(true)
  await start(directory)
  expect(serverPid(directory)).toBe(pid)
})

test('a second process is refused while the first one runs, and the error has the process id of the first', async () => {
  const directory = initialisedDirectory()
  const { child } = await startInChild(directory)
  await expect(start(directory)).rejects.toMatchObject({
    code: 'ALREADY_RUNNING',
    message: expect.stringContaining(`process ${child.pid}.`),
  })
})

test('only one of several concurrent first starts succeeds', async () => {
  const directory = newDirectory()
  const attempts = await Promise.allSettled([start(directory), start(directory), start(directory)])
  const refused = attempts.filter(attempt => attempt.status === 'rejected')
  expect(refused.map(({ reason }) => reason.code)).toEqual(['ALREADY_RUNNING', 'ALREADY_RUNNING'])
})

test('a start repeats a first start that was killed half-way', async () => {
  const directory = newDirectory()
  const draft = join(directory, 'postgres.draft-abc123')
  mkdirSync(join(draft, 'base'), { recursive: true })
  writeFileSync(join(draft, 'PG_VERSION'), '18\n')
  writeFileSync(`${draft}.password`, 'secret\n')
  mkdirSync(join(directory, 'postgres'))
  const server = await start(directory)
  expect(await query(server.ownerUrl, 'select 1 as one')).toEqual([{ one: 1 }])
  expect(readdirSync(directory).filter(name => name.includes('draft'))).toEqual([])
})

test('a start completes a first start that was killed while it created the owner', async () => {
  const directory = newDirectory()
  const starting = startInChild(directory)
  const pidFile = join(directory, 'postgres', 'postmaster.pid')
  const isReady = () => existsSync(pidFile) && readFileSync(pidFile, 'utf8').includes('\nready')
  for (const end = Date.now() + 30_000; !isReady() && Date.now() < end; ) await sleep(1)
  await sleep(20)
  await kill((children[0] as (typeof children)[0]).child, 'SIGKILL')
  await starting
  const server = await start(directory)
  expect(await query(server.ownerUrl, 'select 1 as one')).toEqual([{ one: 1 }])
})

test('a start does not touch a directory that is not a cluster of this major version', async () => {
  const directory = newDirectory()
  const cluster = join(directory, 'postgres')
  mkdirSync(cluster)
  writeFileSync(join(cluster, 'notes.txt'), 'mine\n')
  await expect(start(directory)).rejects.toMatchObject({ code: 'FOREIGN_CLUSTER' })
  writeFileSync(join(cluster, 'PG_VERSION'), '15\n')
  await expect(start(directory)).rejects.toMatchObject({
    code: 'FOREIGN_CLUSTER',
    message: expect.stringContaining('made by Postgres 15'),
  })
  expect(readdirSync(cluster)).toEqual(['PG_VERSION', 'notes.txt'])
})

test('a start without the superuser password fails and leaves no server running', async () => {
  const directory = initialisedDirectory()
  await (await start(directory)).stop()
  rmSync(join(directory, 'postgres-password'))
  await expect(start(directory)).rejects.toMatchObject({ code: 'WRONG_PASSWORD' })
  expect(readdirSync(join(directory, 'postgres'))).not.toContain('postmaster.pid')
})

test('the error for an unknown setting contains the message of Postgres', async () => {
  await expect(start(initialisedDirectory(), { ...FAST, no_such_setting: 'on' })).rejects.toMatchObject({
    code: 'START_FAILED',
    message: expect.stringContaining('unrecognized configuration parameter "no_such_setting"'),
  })
})

test('a second stop has no effect, and no process or lock remains', async () => {
  const directory = initialisedDirectory()
  const server = await start(directory)
  await Promise.all([server.stop(), server.stop()])
  await server.stop()
  expect(await isServing(server.port)).toBe(false)
  const { port } = await startInChild(directory)
  expect(await isServing(port)).toBe(true)
})
