/** `npm run db:doctor` as a process on servers of its own, and the faults that only show after a commit. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { argumentsOf, projectDirectory } from '../../scripts/support/commands.ts'
import { migrate } from '../../src/database/migrate.ts'
import { examine } from '../../src/doctor/examine.ts'
import { type EmbeddedServer, findEmbedded, startEmbedded } from '../../src/embedded/embedded.ts'
import { cloneDatabase, emptyDatabase, type TestDatabase } from '../support/database.ts'
import { until } from '../support/waits.ts'

const directory = mkdtempSync(join(tmpdir(), 'forecourt-doctor-'))

let database: TestDatabase
/** With the settings of production: the suite's own server does not wait for the disk, which the doctor reports. */
let server: EmbeddedServer

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startEmbedded({ directory, log: () => {} })
  await migrate({ databaseUrl: server.ownerUrl, includeCurrent: true, log: () => {} })
})

afterAll(async () => {
  await server.stop()
  rmSync(directory, { recursive: true })
  await database.drop()
})

type Ended = { code: number; stdout: string; stderr: string }

function run(databaseUrl: string): Promise<Ended> {
  const { PATH = '' } = process.env
  return new Promise(resolve => {
    execFile(
      process.execPath,
      argumentsOf('db:doctor'),
      { cwd: projectDirectory, env: { PATH, DATABASE_URL: databaseUrl } },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    )
  })
}

async function onServer(url: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  await client.query(sql).finally(() => client.end())
}

async function examined(): Promise<string[]> {
  const client = await database.owner.connect()
  try {
    const all = await examine({ client, now: Date.now, poolSize: 10, instances: 1 })
    return all.flatMap(({ findings }) => findings.map(({ verdict, finding }) => `${verdict} ${finding}`))
  } finally {
    client.release()
  }
}

test('a healthy database ends with 0, a line for each check and no failure', async () => {
  const { code, stdout, stderr } = await run(server.ownerUrl)
  expect(stdout).not.toMatch(/^FAIL/m)
  expect([code, stderr]).toEqual([0, ''])
  const lines = stdout.trimEnd().split('\n')
  expect(lines.filter(line => line.startsWith('ok'))).toHaveLength(21)
  expect(lines.filter(line => line.startsWith('WARN'))).toEqual([
    expect.stringContaining('no worker has ever run'),
  ])
})

test('a failure ends with 1, and its remedy corrects it', async () => {
  await onServer(server.ownerUrl, 'alter table app_public.vat_rates no force row level security')
  const { code, stdout } = await run(server.ownerUrl)
  const [, remedy = ''] =
    /^FAIL {2}row security: app_public\.vat_rates: not forced → (.+)$/m.exec(stdout) ?? []
  expect(code).toBe(1)
  await onServer(server.ownerUrl, remedy)
  expect((await run(server.ownerUrl)).code).toBe(0)
})

test('a database that was not migrated ends with 1 and the command to run', async () => {
  const unmigrated = await emptyDatabase()
  try {
    const { code, stdout } = await run(unmigrated.ownerUrl)
    expect(code).toBe(1)
    expect(stdout).toMatch(/^FAIL {2}migrations: .*npm run migrate/m)
  } finally {
    await unmigrated.drop()
  }
})

test('a server that does not respond ends with 1 and a sentence without a password', async () => {
  const { code, stdout, stderr } = await run('postgres://nobody:secret@127.0.0.1:1/none')
  expect([code, stdout]).toEqual([1, ''])
  expect(stderr).toMatch(/127\.0\.0\.1:1/)
  expect(stderr).not.toMatch(/secret|^\s+at /m)
})

test('a reader that closes the pipe gets no error message', async () => {
  const env = { PATH: process.env.PATH, DATABASE_URL: server.ownerUrl }
  const child = spawn(process.execPath, argumentsOf('db:doctor'), { cwd: projectDirectory, env })
  child.stdout.destroy()
  const [stderr] = await Promise.all([text(child.stderr), once(child, 'close')])
  expect([child.exitCode, stderr]).toEqual([0, ''])
})

test('the embedded database is found while it runs, by the directory that it is in', () => {
  expect(findEmbedded(directory)).toBe(server.ownerUrl)
  expect(findEmbedded(join(directory, 'elsewhere'))).toBeUndefined()
})

test('the doctor finds dead rows, and tables that vacuum skips', async () => {
  await database.owner.query(`
    create table app_private.t with (autovacuum_enabled = off) as select generate_series(1, 150000) as n;
    delete from app_private.t where n > 110000`)
  await until(
    'the rows have been counted',
    async () => (await examined()).some(line => /app_private\.t: \d+ dead/.test(line)),
    30,
  )
  expect(await examined()).toEqual(
    expect.arrayContaining([
      expect.stringMatching(/^WARN app_private\.t: 40000 dead rows beside 110000/),
      expect.stringMatching(/^WARN app_private\.t has 110000 rows and was never vacuumed/),
    ]),
  )
})

test('the doctor finds sessions that are idle in a transaction, and says how many sessions it cannot see', async () => {
  const idle = await database.owner.connect()
  const stranger = await database.superuser.connect()
  try {
    await idle.query('begin')
    await stranger.query('begin')
    expect(await examined()).toContainEqual(
      expect.stringMatching(/^note \d+ sessions of other logins are hidden/),
    )
    // this connection sees each session as two hours older than it is
    const client = await database.owner.connect()
    try {
      await client.query(`create temp view pg_stat_activity as
        select datname, pid, usename, application_name, backend_type, state, query,
          xact_start - interval '2 hours' as xact_start, state_change - interval '2 hours' as state_change
        from pg_catalog.pg_stat_activity`)
      const all = await examine({ client, now: Date.now, poolSize: 10, instances: 1 })
      const found = all.flatMap(({ findings }) =>
        findings.map(({ verdict, finding }) => `${verdict} ${finding}`),
      )
      expect(found).toContainEqual(
        expect.stringMatching(
          /^FAIL process \d+ .* in a transaction for .*, idle in transaction since 02:00:0/,
        ),
      )
    } finally {
      client.release(true)
    }
  } finally {
    idle.release(true)
    stranger.release(true)
  }
})
