/** `npm run db:doctor`: examines the database as its owner. The exit code is 1 when something must be done at once. */
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { readConfiguration } from './configuration.ts'
import { describe, examine, isHealthy } from './doctor/examine.ts'
import { findEmbedded } from './embedded/embedded.ts'

const dataDirectory = fileURLToPath(new URL('../.data', import.meta.url))

// a reader such as `head` closes the pipe when it has read enough
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})

async function main(): Promise<boolean> {
  // the variables that only the API requires may be missing here
  const { databaseUrl, poolSize, instances } = readConfiguration({ ...process.env, NODE_ENV: '' })
  const connectionString = databaseUrl ?? findEmbedded(dataDirectory)
  if (connectionString === undefined) {
    throw new Error(
      'Set DATABASE_URL to the login of the owner, or start the embedded database with npm start.',
    )
  }
  const client = new pg.Client({
    connectionString,
    application_name: 'forecourt doctor',
    connectionTimeoutMillis: 10_000,
    statement_timeout: 60_000,
    lock_timeout: 2_000,
  })
  client.on('error', () => {})
  await client.connect()
  try {
    const examined = await examine({ client, now: Date.now, poolSize, instances })
    process.stdout.write(describe(examined))
    return isHealthy(examined)
  } finally {
    await client.end()
  }
}

try {
  process.exitCode = (await main()) ? 0 : 1
} catch (error) {
  const { code, message } = error as { code?: string; message?: string }
  process.stderr.write(`${message || `Cannot connect (${code}). Please check DATABASE_URL.`}\n`)
  process.exitCode = 1
}
