/** The first migration of a cluster creates the roles, and never replaces a password that an operator has set. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { authenticator } from '../../src/database/authenticator.ts'
import { type MigrateOptions, migrate } from '../../src/database/migrate.ts'
import { type EmbeddedServer, startEmbedded } from '../../src/embedded/embedded.ts'
import { until } from '../support/waits.ts'

const directory = mkdtempSync(join(tmpdir(), 'forecourt-fresh-'))
let server: EmbeddedServer

beforeAll(async () => {
  server = await startEmbedded({ directory, settings: { fsync: 'off' }, log: () => {} })
})

afterAll(async () => {
  // graphile-migrate keeps its connections for a moment, and ends the process when it loses one
  await until('nobody is connected', async () => {
    const others = "from pg_stat_activity where usename = 'forecourt_owner'"
    return (await runAs({ connectionString: server.superuserUrl }, `select ${others}`)).length === 0
  })
  await server.stop()
  rmSync(directory, { recursive: true })
})

async function asSuperuser(sql: string): Promise<void> {
  await runAs({ connectionString: server.superuserUrl }, sql)
}

async function runAs(config: pg.ClientConfig, sql: string): Promise<unknown[]> {
  const client = new pg.Client(config)
  client.on('error', () => {})
  try {
    await client.connect()
    return (await client.query(sql)).rows
  } finally {
    await client.end()
  }
}

const run = (options: Partial<MigrateOptions> = {}) =>
  migrate({ databaseUrl: server.ownerUrl, log: () => {}, ...options })
const apiLogin = () => runAs(authenticator({ databaseUrl: server.ownerUrl }).config, 'select 1 as one')

test('an owner without CREATEROLE is refused with the statement that gives it the right, and nothing is made', async () => {
  await asSuperuser('alter role forecourt_owner nocreaterole')
  await expect(run()).rejects.toThrow('alter role "forecourt_owner" createrole')
  const roles = await runAs(
    { connectionString: server.ownerUrl },
    "select to_regrole('forecourt_visitor') as role",
  )
  expect(roles).toEqual([{ role: null }])
  await asSuperuser('alter role forecourt_owner createrole')
})

test('the first migration makes the login of the API with a password that every process derives', async () => {
  await run()
  expect(await apiLogin()).toEqual([{ one: 1 }])
})

test('a password that an operator has set is kept, and a migration without AUTH_DATABASE_URL is refused', async () => {
  await asSuperuser("alter role forecourt_authenticator password 'by hand'")
  await expect(run()).rejects.toThrow(/AUTH_DATABASE_URL/)
  const authDatabaseUrl = server.ownerUrl.replace(/\/\/[^@]*@/, '//forecourt_authenticator:by%20hand@')
  await run({ authDatabaseUrl })
  expect(await runAs({ connectionString: authDatabaseUrl }, 'select 1 as one')).toEqual([{ one: 1 }])
})

test('in a cluster of its own, a migration sets the derived password again', async () => {
  await run({ ownsCluster: true })
  expect(await apiLogin()).toEqual([{ one: 1 }])
})
