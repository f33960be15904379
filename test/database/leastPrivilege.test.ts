/** What the logins and roles of the API cannot do outside of our schemas: fill a disk, or enter another database. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { authenticator } from '../../src/database/authenticator.ts'
import { migrate } from '../../src/database/migrate.ts'
import { queryCheck } from '../../src/doctor/examine.ts'
import { type EmbeddedServer, startEmbedded } from '../../src/embedded/embedded.ts'
import { refusal } from '../support/database.ts'

const directory = mkdtempSync(join(tmpdir(), 'forecourt-rights-'))
const REQUEST_ROLES = ['forecourt_visitor', 'forecourt_dealer', 'forecourt_admin']
let server: EmbeddedServer
let api: pg.ClientConfig

beforeAll(async () => {
  server = await startEmbedded({ directory, settings: { fsync: 'off' }, log: () => {} })
  await migrate({ databaseUrl: server.ownerUrl, includeCurrent: true, log: () => {} })
  api = authenticator({ databaseUrl: server.ownerUrl }).config
})

afterAll(async () => {
  await server.stop()
  rmSync(directory, { recursive: true })
})

async function connected<Value>(config: pg.ClientConfig, work: (client: pg.Client) => Promise<Value>) {
  const client = new pg.Client(config)
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

const asSuperuser = (sql: string) =>
  connected({ connectionString: server.superuserUrl }, async client => (await client.query(sql)).rows)

/** Runs `work` as the API's login, and once more as each role that it may become. */
function asEachRole(work: (client: pg.Client) => Promise<void>): Promise<void> {
  return connected(api, async client => {
    for (const role of ['none', ...REQUEST_ROLES]) {
      await client.query('begin')
      await client.query(`set local role ${role}`)
      await work(client)
      await client.query('rollback')
    }
  })
}

async function findings(): Promise<string[]> {
  const check = await queryCheck('database')
  return connected({ connectionString: server.ownerUrl }, async client => {
    await client.query('set search_path to pg_catalog')
    const found = await check.run({ client, now: Date.now, poolSize: 1, instances: 1 })
    return found.map(({ verdict, finding, remedy }) => `${verdict} ${finding}: ${remedy}`)
  })
}

test('no role of the API can make a temporary table', () =>
  asEachRole(async client => {
    expect(await refusal(client, 'create temporary table t (n integer)')).toBe('42501')
  }))

test.each(['lo_creat(-1)', 'lo_create(0)', "lo_from_bytea(0, 'x')"])(
  'no role of the API can make a large object: %s',
  call =>
    asEachRole(async client => {
      expect(await refusal(client, `select ${call}`)).toBe('42501')
    }),
)

test('no role of the API can make a table or a schema', () =>
  asEachRole(async client => {
    for (const sql of [
      'create table public.t (n integer)',
      'create table app_public.t (n integer)',
      'create schema s',
    ])
      expect(await refusal(client, sql)).toBe('42501')
  }))

test('the API connects to its own database and to no other', async () => {
  expect(await connected(api, async client => (await client.query('select 1 as one')).rows)).toEqual([
    { one: 1 },
  ])
  for (const database of ['postgres', 'template1']) {
    await expect(connected({ ...api, database }, async () => {})).rejects.toMatchObject({ code: '42501' })
  }
})

test('another login of the cluster does not connect to the database', async () => {
  await asSuperuser("create role stranger login password 'stranger'")
  const stranger = { ...api, user: 'stranger', password: 'stranger' }
  await expect(connected(stranger, async () => {})).rejects.toMatchObject({ code: '42501' })
})

test('no role of the API can read the hash of a password, in bulk or alone', () =>
  asEachRole(async client => {
    for (const table of ['app_private.user_passwords', 'app_private.account_keys'])
      expect(await refusal(client, `select * from ${table}`)).toBe('42501')
  }))

test('the doctor finds nothing here, and names each right that is given back with its remedy', async () => {
  expect(await findings()).toEqual([])
  await asSuperuser('grant connect, temporary on database forecourt to public')
  expect(await findings()).toEqual([
    expect.stringMatching(/^WARN .*make temporary tables: .*restrict_database/),
    expect.stringMatching(/^WARN every login .*: .*restrict_database/),
  ])
  await connected({ connectionString: server.ownerUrl }, client =>
    client.query('select app_private.restrict_database()'),
  )
  expect(await findings()).toEqual([])
  await asSuperuser('grant connect on database postgres to public')
  await asSuperuser('grant execute on function lo_create(oid) to public')
  expect(await findings()).toEqual([
    expect.stringMatching(/^note forecourt_authenticator may connect to postgres too/),
    expect.stringMatching(/^note .*large objects: .*lo_create\(oid\) from public/),
  ])
})
