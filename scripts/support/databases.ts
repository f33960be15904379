/** Servers that last as long as the process. Whatever way it ends, they end with it and leave nothing behind. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { migrate } from '../../src/database/migrate.ts'
import { startEmbedded } from '../../src/embedded/embedded.ts'
import { startPostgres15 } from './postgres15.ts'

/** Speed for data that may be lost, and room for many connections. */
const SETTINGS = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: '300' }
const STOP_MS = 10_000

const directories: string[] = []

/** A migrated database. Its owner is no superuser, here as in production. */
export type Database = { ownerUrl: string; superuserUrl: string }

/** Makes the clean-up part of the end of this process. To be called before a server is started. */
export function endServersWithProcess(): void {
  // A signal would end the process without the event `exit`, and so would a reader that goes away, such as `head`.
  const signals = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 }
  for (const [signal, status] of Object.entries(signals)) process.once(signal, () => process.exit(status))
  process.stdout.on('error', () => {})
  process.once('exit', () => {
    for (const directory of directories) remove(directory)
  })
}

/** On the embedded Postgres 18; the same one each time. */
export const migrated18 = once(async () => {
  const { ownerUrl, superuserUrl } = await startEmbedded({
    directory: newDirectory(),
    settings: SETTINGS,
    log: () => {},
  })
  return migrated({ ownerUrl, superuserUrl })
})

/** The URL of the superuser of a Postgres 15 without a database of ours; the same one each time. */
export const bare15 = once(() => startPostgres15(newDirectory(), SETTINGS))

/** On that Postgres 15. */
export const migrated15 = once(async () => migrated(await makeDatabase(await bare15())))

/** A directory that goes with this process, and the server in it, if there is one. */
export function newDirectory(prefix = 'forecourt-check-'): string {
  const directory = mkdtempSync(join(tmpdir(), prefix))
  removeWithProcess(directory)
  return directory
}

/** The same for a directory that others make. What was named last goes first. */
export function removeWithProcess(directory: string): void {
  directories.unshift(directory)
}

/** Ends the server, if there is one, and waits for it: without promises, for nothing asynchronous runs any more. */
function remove(directory: string): void {
  const pidFile = join(directory, 'postgres', 'postmaster.pid')
  const end = Date.now() + STOP_MS
  try {
    process.kill(Number.parseInt(readFileSync(pidFile, 'utf8'), 10), 'SIGQUIT')
    while (existsSync(pidFile) && Date.now() < end) sleep(10)
  } catch {
    // it was not up yet, or is gone already
  }
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
}

function sleep(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds)
}

async function migrated(database: Database): Promise<Database> {
  const messages: string[] = []
  const log = (message: string) => messages.push(message)
  try {
    await migrate({ databaseUrl: database.ownerUrl, includeCurrent: true, log })
  } catch (error) {
    throw new Error([...messages, String(error)].join('\n'))
  }
  return database
}

/** As the embedded server has them from the start. */
async function makeDatabase(superuserUrl: string): Promise<Database> {
  await asClient(superuserUrl, async client => {
    await client.query("create role forecourt_owner login createrole password 'owner'")
    await client.query('create database forecourt owner forecourt_owner')
  })
  const url = new URL(superuserUrl)
  url.pathname = '/forecourt'
  const ownerUrl = new URL(url)
  ownerUrl.username = 'forecourt_owner'
  ownerUrl.password = 'owner'
  return { ownerUrl: ownerUrl.href, superuserUrl: url.href }
}

/** Connects, works, disconnects. */
export async function asClient<Value>(
  url: string,
  work: (client: pg.Client) => Promise<Value>,
): Promise<Value> {
  const client = new pg.Client({ connectionString: url, application_name: 'forecourt check' })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

function once<Value>(make: () => Promise<Value>): () => Promise<Value> {
  let made: Promise<Value> | undefined
  return () => {
    made ??= make()
    return made
  }
}
