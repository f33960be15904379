/** Requirements on a database, its owner and its cluster. Migrate, worker, API and doctor refuse others with a sentence. */
import { randomBytes } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import pg from 'pg'
import { startApi } from '../../src/api.ts'
import { readConfiguration } from '../../src/configuration.ts'
import { migrate } from '../../src/database/migrate.ts'
import { examine, isHealthy } from '../../src/doctor/examine.ts'
import { startWorkerRole } from '../../src/worker/role.ts'
import { jwtSecret } from '../support/apiServer.ts'
import { ownerUrl } from '../support/globalSetup.ts'
import { recordLog } from '../support/recordedLog.ts'
import { until } from '../support/waits.ts'

const { log } = recordLog('silent')
const superuserUrl = process.env.TEST_SUPERUSER_URL ?? ''
let superuser: pg.Client
/** A database and a role of this name. */
let name: string

beforeEach(async () => {
  name = `forecourt_${randomBytes(6).toString('hex')}`
  superuser = new pg.Client({ connectionString: superuserUrl })
  await superuser.connect()
  await superuser.query(`create role ${name} login createrole password 'another'`)
})

afterEach(async () => {
  await until('nobody is connected', async () => {
    const { rows } = await superuser.query('select from pg_stat_activity where datname = $1', [name])
    return rows.length === 0
  })
  await superuser.query(`drop database if exists ${name}`)
  await superuser.query(`drop role ${name}`)
  await superuser.end()
})

async function createDatabase(options = '', owner = 'forecourt_test_owner'): Promise<string> {
  await superuser.query(`create database ${name} template template0 owner ${owner} ${options}`)
  if (owner === 'forecourt_test_owner') return ownerUrl(superuserUrl, name)
  const url = new URL(ownerUrl(superuserUrl, name))
  url.username = owner
  url.password = 'another'
  return url.href
}

async function schemas(): Promise<string[]> {
  const url = new URL(superuserUrl)
  url.pathname = `/${name}`
  const client = new pg.Client({ connectionString: url.href })
  await client.connect()
  const { rows } = await client.query("select nspname from pg_namespace where nspname ~ '^(app_|graphile_)'")
  await client.end()
  return rows.map(({ nspname }) => nspname)
}

const libc = (encoding: string) => `encoding '${encoding}' lc_collate 'C' lc_ctype 'C' locale_provider libc`

test.each([
  ['SQL_ASCII', libc('SQL_ASCII'), /SQL_ASCII/],
  ['LATIN1', libc('LATIN1'), /LATIN1/],
  ['UTF8 with lc_ctype C', libc('UTF8'), /lc_ctype/],
])(
  'a database with the encoding %s is refused by every command, and nothing is made in it',
  async (_kind, options, reason) => {
    const databaseUrl = await createDatabase(options)
    await expect(migrate({ databaseUrl, log: () => {} })).rejects.toThrow(reason)
    await expect(startWorkerRole({ databaseUrl, log })).rejects.toThrow(reason)
    const configuration = readConfiguration({ PORT: '0', DATABASE_URL: databaseUrl })
    await expect(startApi(configuration, { databaseUrl, jwtSecret, log })).rejects.toThrow(reason)
    const client = new pg.Client({ connectionString: databaseUrl })
    await client.connect()
    const examined = await examine({ client, now: Date.now, poolSize: 1, instances: 1 })
    await client.end()
    expect(isHealthy(examined)).toBe(false)
    expect(examined.flatMap(({ findings }) => findings)).toContainEqual(
      expect.objectContaining({ verdict: 'FAIL', finding: expect.stringMatching(reason) }),
    )
    expect(await schemas()).toEqual([])
  },
)

test('a role that may not create schemas is refused with the statement that gives it the right', async () => {
  await createDatabase()
  const databaseUrl = ownerUrl(superuserUrl, name).replace('forecourt_test_owner:owner', `${name}:another`)
  await expect(migrate({ databaseUrl, log: () => {} })).rejects.toThrow(`owner to "${name}"`)
})

test('a read-only database is refused by migrate with the reason', async () => {
  const databaseUrl = await createDatabase()
  await superuser.query(`alter database ${name} set default_transaction_read_only to on`)
  await expect(migrate({ databaseUrl, log: () => {} })).rejects.toThrow(/DATABASE_URL at the primary/)
})

test('the migration of another Forecourt keeps the password of the shared role and names AUTH_DATABASE_URL', async () => {
  const hash = async () => {
    const { rows } = await superuser.query(
      "select rolpassword from pg_authid where rolname = 'forecourt_authenticator'",
    )
    return rows[0]?.rolpassword
  }
  const before = await hash()
  expect(before).toMatch(/^SCRAM-SHA-256/)
  const databaseUrl = await createDatabase('', name)
  await expect(migrate({ databaseUrl, log: () => {} })).rejects.toThrow(/AUTH_DATABASE_URL/)
  expect([await hash(), await schemas()]).toEqual([before, []])
  const configuration = readConfiguration({ PORT: '0', DATABASE_URL: databaseUrl })
  await expect(startApi(configuration, { databaseUrl, jwtSecret, log })).rejects.toThrow(/AUTH_DATABASE_URL/)
})

test('an API that cannot connect names the variable that has its URL', async () => {
  const databaseUrl = await createDatabase()
  const nowhere = 'postgres://forecourt_authenticator@127.0.0.1:1/nowhere'
  const start = (env: Record<string, string>, url: string) =>
    startApi(readConfiguration({ PORT: '0', DATABASE_URL: url, ...env }), {
      databaseUrl: url,
      jwtSecret,
      log,
    })
  await expect(start({ AUTH_DATABASE_URL: nowhere }, databaseUrl)).rejects.toThrow(/check AUTH_DATABASE_URL/)
  await expect(start({}, nowhere)).rejects.toThrow(/check DATABASE_URL/)
})
