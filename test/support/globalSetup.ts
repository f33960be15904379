/** One throw-away Postgres for the whole run, with a migrated database to be cloned by each test file. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { migrate } from '../../src/database/migrate.ts'
import { type EmbeddedServer, startEmbedded } from '../../src/embedded/embedded.ts'
import globalTeardown from './globalTeardown.ts'

declare global {
  var forecourtTestServer: { server: EmbeddedServer; directory: string } | undefined
}

export const TEMPLATE = 'forecourt_template'

export default async function globalSetup(): Promise<void> {
  const external = process.env.TEST_DATABASE_URL
  const superuserUrl = external ?? (await startThrowAway())
  process.env.TEST_SUPERUSER_URL = superuserUrl
  try {
    await makeTemplate(superuserUrl)
  } catch (error) {
    // jest does not tear down after a setup that failed
    await globalTeardown()
    throw error
  }
}

async function makeTemplate(superuserUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: superuserUrl })
  await client.connect()
  await client.query(
    "do $$ begin create role forecourt_test_owner login createrole password 'owner'; exception when duplicate_object then null; end $$",
  )
  await client.query(`drop database if exists ${TEMPLATE} with (force)`)
  await client.query(`create database ${TEMPLATE} owner forecourt_test_owner`)
  await client.end()
  await migrate({ databaseUrl: ownerUrl(superuserUrl, TEMPLATE), includeCurrent: true, log: () => {} })
  await switchOffLimits(superuserUrl)
  // graphile-migrate keeps its connection for a moment, and a template must have none
  await sleep(300)
}

/** Tests of anything else send more than a client may; tests of limits switch on what they test. */
async function switchOffLimits(superuserUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: ownerUrl(superuserUrl, TEMPLATE) })
  await client.connect()
  await client.query("update app_public.rate_limit_policies set mode = 'off' where scope <> 'auth_account'")
  await client.end()
}

async function startThrowAway(): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), 'forecourt-test-'))
  const server = await startEmbedded({
    directory,
    settings: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: '300' },
    log: () => {},
  })
  globalThis.forecourtTestServer = { server, directory }
  return server.superuserUrl
}

/** The URL of the role that owns every test database: no superuser, as in production. */
export function ownerUrl(superuserUrl: string, database: string): string {
  const url = new URL(superuserUrl)
  url.username = 'forecourt_test_owner'
  url.password = 'owner'
  url.pathname = `/${database}`
  return url.href
}
