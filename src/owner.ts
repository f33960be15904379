/** Connects a command of operators to the database as its owner. */
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { type Configuration, readConfiguration } from './configuration.ts'
import { findEmbedded } from './embedded/embedded.ts'

const dataDirectory = fileURLToPath(new URL('../.data', import.meta.url))

/** `name` is the `application_name` in pg_stat_activity. Uses DATABASE_URL, or else the embedded database if it runs. */
export async function asOwner<Value>(
  { name, lockTimeoutMs }: { name: string; lockTimeoutMs: number },
  work: (client: pg.Client, configuration: Configuration) => Promise<Value>,
): Promise<Value> {
  // the variables that only the API requires may be missing here
  const configuration = readConfiguration({ ...process.env, NODE_ENV: '' })
  const connectionString = configuration.databaseUrl ?? findEmbedded(dataDirectory)
  if (connectionString === undefined) {
    throw new Error(
      'Set DATABASE_URL to the login of the owner, or start the embedded database with npm start.',
    )
  }
  const client = new pg.Client({
    connectionString,
    application_name: name,
    connectionTimeoutMillis: 10_000,
    statement_timeout: 60_000,
    lock_timeout: lockTimeoutMs,
  })
  client.on('error', () => {})
  await client.connect()
  try {
    return await work(client, configuration)
  } finally {
    await client.end()
  }
}
