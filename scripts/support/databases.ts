/** Throw-away servers: they end with this process, however it ends, and leave no file behind. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { migrate } from '../../src/database/migrate.ts'
import { startEmbedded } from '../../src/embedded/embedded.ts'
import { explainHash } from '../migrations/editedMigration.ts'
import { startPostgres15 } from './postgres15.ts'

/** Fast settings, because the data may be lost; and enough connections for a benchmark. */
const SETTINGS = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: '300' }
const STOP_MS = 10_000

const directories: string[] = []

/** A migrated database. As in production, its owner is not a superuser. */
export type Database = { ownerUrl: string; superuserUrl: string }

/** Registers the clean-up for the end of this process. Call it before a server starts. */
export function endServersWithProcess(): void {
  // Without these listeners a signal, or a closed pipe such as `| head`, ends the process without the event `exit`.
  const signals = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 }
  // `once` would remove the listener first, and the second signal of a Ctrl-C, which npm forwards, would end the clean-up.
  for (const [signal, status] of Object.entries(signals)) process.on(signal, () => process.exit(status))
  process.stdout.on('error', () => {})
  process.once('exit', () => {
    for (const directory of directories) remove(directory)
  })
}

/** An embedded Postgres 18 with an empty database; the same one each time. */
export const bare18 = once(() =>
  startEmbedded({ directory: newDirectory(), settings: SETTINGS, log: () => {} }),
)

/** The migrated database of that server. */
export const migrated18 = once(async () => {
  const { ownerUrl, superuserUrl } = await bare18()
  return migrated({ ownerUrl, superuserUrl })
})

/** The superuser's URL of a Postgres 15 that has no database of ours; the same one each time. */
export const bare15 = once(() => startPostgres15(newDirectory(), SETTINGS))

/** A migrated database on that server. */
export const migrated15 = once(async () => migrated(await makeDatabase(await bare15())))

/** Makes a directory. It is removed with this process, and a server in it is stopped first. */
export function newDirectory(prefix = 'forecourt-check-'): string {
  const directory = mkdtempSync(join(tmpdir(), prefix))
  removeWithProcess(directory)
  return directory
}

/** Removes this directory with this process as well. The last one registered is removed first. */
export function removeWithProcess(directory: string): void {
  directories.unshift(directory)
}

/** Stops the server, if there is one, and waits. Synchronous, because no promise settles during the event `exit`. */
function remove(directory: string): void {
  const pidFile = join(directory, 'postgres', 'postmaster.pid')
  const end = Date.now() + STOP_MS
  try {
    process.kill(Number.parseInt(readFileSync(pidFile, 'utf8'), 10), 'SIGQUIT')
    while (existsSync(pidFile) && Date.now() < end) sleep(10)
  } catch {
    // the server has not started yet, or has stopped already
  }
  while (!isRemoved(directory) && Date.now() < end) sleep(10)
}

/** False while something still writes there, such as the initdb of a start that was interrupted. */
function isRemoved(directory: string): boolean {
  try {
    rmSync(directory, { recursive: true, force: true })
    return true
  } catch {
    return false
  }
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
    throw new Error([...messages, explainHash(error)].join('\n'))
  }
  return database
}

/** Makes the owner and the database that an embedded server has from the start. */
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
