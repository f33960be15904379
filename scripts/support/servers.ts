/** Servers that last as long as a script. Whatever way the script ends, they end with it and leave nothing behind. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { startEmbedded } from '../../src/database/embedded.ts'
import { migrate } from '../../src/database/migrate.ts'
import { type Server, startPostgres15 } from './postgres15.ts'

/** Speed for data that may be lost, and room for many connections. */
const SETTINGS = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: '300' }

/** A migrated database. Its owner is no superuser, here as in production. */
export type Database = { ownerUrl: string; superuserUrl: string }

/** Each gives the same one every time. */
export type Servers = {
  /** On the embedded Postgres 18. */
  migrated18: () => Promise<Database>
  migrated15: () => Promise<Database>
  /** A Postgres 15 without a database of ours. */
  bare15: () => Promise<Server>
}

/** Runs `work`, then stops every server that it asked for. What `work` returns becomes the status of the process. */
export async function withServers(work: (servers: Servers) => Promise<number>): Promise<void> {
  const leftovers: (() => Promise<void>)[] = []
  const cleanUp = async () => {
    for (const end of leftovers.splice(0).reverse()) await end()
  }
  const start = async <Started extends { stop: () => Promise<void> }>(
    how: (directory: string) => Promise<Started>,
  ): Promise<Started> => {
    const directory = mkdtempSync(join(tmpdir(), 'forecourt-check-'))
    const starting = how(directory)
    leftovers.push(async () => {
      await starting.then(server => server.stop()).catch(() => {})
      rmSync(directory, { recursive: true, force: true })
    })
    return starting
  }
  endWith(cleanUp)
  const bare15 = once(() => start(directory => startPostgres15(directory, SETTINGS)))
  const bare18 = () => start(directory => startEmbedded({ directory, settings: SETTINGS, log: () => {} }))
  try {
    process.exitCode = await work({
      migrated18: once(async () => migrated(await bare18())),
      migrated15: once(async () => migrated(await makeDatabase(await bare15()))),
      bare15,
    })
  } finally {
    await cleanUp()
  }
}

/** The servers outlive this process, so whatever could end it early has to wait for them. */
function endWith(cleanUp: () => Promise<void>): void {
  const signals = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 }
  for (const [signal, status] of Object.entries(signals)) {
    process.once(signal, () => cleanUp().finally(() => process.exit(status)))
  }
  // nobody reads on, as when piped into `head`
  process.stdout.on('error', () => {})
}

async function migrated({ ownerUrl, superuserUrl }: Database): Promise<Database> {
  const messages: string[] = []
  try {
    await migrate({ databaseUrl: ownerUrl, includeCurrent: true, log: message => messages.push(message) })
  } catch (error) {
    throw new Error([...messages, String(error)].join('\n'))
  }
  return { ownerUrl, superuserUrl }
}

/** As the embedded server has them from the start. */
async function makeDatabase({ superuserUrl }: Server): Promise<Database> {
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
