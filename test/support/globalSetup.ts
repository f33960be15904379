/** Starts one temporary Postgres for the whole run, with a migrated template that each test file clones. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { migrate } from '../../src/database/migrate.ts'
import { type EmbeddedServer, startEmbedded } from '../../src/embedded/embedded.ts'
import globalTeardown from './globalTeardown.ts'

export type TemporaryServer = { server: EmbeddedServer; directory: string }

declare global {
  var forecourtTestServer: TemporaryServer | undefined
}

export const TEMPLATE = 'forecourt_template'

export default async function globalSetup(): Promise<void> {
  const superuserUrl = process.env.TEST_DATABASE_URL ?? (await startSharedServer())
  process.env.TEST_SUPERUSER_URL = superuserUrl
  try {
    await makeTemplate(superuserUrl)
  } catch (error) {
    // jest runs no teardown after a setup that failed
    await globalTeardown()
    throw error
  }
}

/** Makes the migrated database that tests clone, and the role that owns the clones. */
export async function makeTemplate(superuserUrl: string): Promise<void> {
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
  // graphile-migrate keeps its connection for a moment, and Postgres cannot clone a template that is in use
  await sleep(300)
}

/** Most tests send more requests than a limit allows. Tests of limits switch on the limits that they need. */
async function switchOffLimits(superuserUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: ownerUrl(superuserUrl, TEMPLATE) })
  await client.connect()
  await client.query("update app_public.rate_limit_policies set mode = 'off' where scope <> 'auth_account'")
  await client.end()
}

async function startSharedServer(): Promise<string> {
  const running = await startTemporaryServer()
  globalThis.forecourtTestServer = running
  return running.server.superuserUrl
}

export async function startTemporaryServer(): Promise<TemporaryServer> {
  const directory = mkdtempSync(join(tmpdir(), 'forecourt-test-'))
  const server = await startEmbedded({
    directory,
    settings: {
      fsync: 'off',
      synchronous_commit: 'off',
      full_page_writes: 'off',
      max_connections: '300',
      // never during a run: an unexpected ANALYZE changes plans, and its snapshot keeps dead rows that tests would read
      autovacuum_naptime: '1d',
    },
    log: () => {},
  })
  return { server, directory }
}

/** The URL for the owner of the test databases. Like in production, the owner is not a superuser. */
export function ownerUrl(superuserUrl: string, database: string): string {
  const url = new URL(superuserUrl)
  url.username = 'forecourt_test_owner'
  url.password = 'owner'
  url.pathname = `/${database}`
  return url.href
}
