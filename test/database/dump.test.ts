/** A dump by the owner and its restore, with the commands of docs/operations.md. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { BINARIES, hasPostgres15, startPostgres15 } from '../../scripts/support/postgres15.ts'
import { migrate } from '../../src/database/migrate.ts'
import { stopServer } from '../../src/embedded/postgresServer.ts'
import { blocksOf } from '../scripts/guide.ts'
import { runScript, runSql } from '../support/shell.ts'
import { makeCountry, makeDealer, makeUser, publish } from '../support/testData.ts'

/** pg_dump must not be older than its server, and the embedded server brings none. */
const testWithTools = hasPostgres15() ? test : test.skip
const [dump, restore] = blocksOf(readFileSync('docs/operations.md', 'utf8'), 'Dump a database').map(
  ({ text }) => text,
)

const home = mkdtempSync(join(tmpdir(), 'forecourt-dump-'))
const cluster = join(home, 'postgres')
const PATH = `${BINARIES}:${process.env.PATH}`
let superuserUrl: string

beforeAll(async () => {
  if (testWithTools === test) superuserUrl = await startPostgres15(home, { fsync: 'off' })
})

afterAll(async () => {
  const pidFile = join(cluster, 'postmaster.pid')
  if (existsSync(pidFile)) await stopServer(Number.parseInt(readFileSync(pidFile, 'utf8'), 10), cluster)
  rmSync(home, { recursive: true })
})

/** Makes a database as the first steps say, and returns the owner's URL. */
async function makeDatabase(name: string): Promise<string> {
  await runSql(
    superuserUrl,
    `create database ${name} owner forecourt_owner template template0;
     \\connect ${name}
     revoke execute on function lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) from public;\n`,
  )
  return superuserUrl.replace(/\/\/.*@/, '//forecourt_owner:byhand@').replace(/\w+$/, name)
}

/** The rows of every table of ours, row security included, as its owner sees them. */
async function rowCounts(connectionString: string): Promise<Record<string, string>> {
  const client = new pg.Client({ connectionString })
  await client.connect()
  try {
    const { rows: tables } = await client.query<{ name: string }>(
      `select c.oid::regclass::text as name from pg_class as c
       where c.relkind = 'r' and c.relnamespace::regnamespace::text ~ '^(app_|graphile_)' order by 1`,
    )
    const counts = tables.map(({ name }) => `select '${name}' as name, count(*) from ${name}`)
    const { rows } = await client.query<{ name: string; count: string }>(counts.join(' union all '))
    return Object.fromEntries(rows.map(({ name, count }) => [name, count]))
  } finally {
    await client.end()
  }
}

testWithTools(
  'a dump and its restore keep every row, and the doctor finds no failure in the copy',
  async () => {
    await runSql(superuserUrl, "create role forecourt_owner login createrole password 'byhand';\n")
    const databaseUrl = await makeDatabase('forecourt')
    await migrate({ databaseUrl, includeCurrent: true, log: () => {} })
    const owner = new pg.Client({ connectionString: databaseUrl })
    await owner.connect()
    await makeCountry(owner)
    const userId = await makeUser(owner)
    const dealerId = await makeDealer(owner, userId)
    await owner.query("select set_config('forecourt.user_id', $1, false)", [userId])
    await publish(owner, dealerId)
    await owner.end()

    const env = { PATH, DATABASE_URL: databaseUrl, NEW_DATABASE_URL: await makeDatabase('restored') }
    const without = await runScript((dump ?? '').replace('--enable-row-security ', ''), env, home)
    expect(without.status).not.toBe(0)
    expect(without.output).toContain('query would be affected by row-level security policy')

    expect(await runScript(dump ?? '', env, home)).toEqual({ status: 0, output: '' })
    const [restored, lastly] = (restore ?? '').split(/(?=DATABASE_URL="\$NEW)/)
    expect(await runScript(restored ?? '', env, home)).toMatchObject({ status: 0 })
    expect(await rowCounts(env.NEW_DATABASE_URL)).toEqual(await rowCounts(databaseUrl))
    const doctor = await runScript(lastly ?? '', env)
    // the test's server does not wait for its disk
    expect(doctor.output.match(/^FAIL.*$/gm)).toEqual([expect.stringContaining('fsync is off')])
    expect(doctor.output).toMatch(/^ok +database:/m)
  },
)
