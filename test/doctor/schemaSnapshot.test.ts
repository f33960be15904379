/** The doctor compares a database with schema.sql, the snapshot of this build. */
import { readFile } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { describeSchema, SNAPSHOT_MAJOR } from '../../src/doctor/catalog/describeSchema.ts'
import { examine } from '../../src/doctor/examine.ts'
import type { Finding } from '../../src/doctor/finding.ts'
import { schemaSnapshot, snapshotFile } from '../../src/doctor/schemaSnapshot.ts'
import { statementsOf } from '../../src/doctor/snapshot/statements.ts'
import { become, cloneDatabase, type TestDatabase } from '../support/database.ts'
import { mendable } from './mendableFaults.ts'
import { others, printed } from './schemaFaults.ts'

let database: TestDatabase
let sameMajor: boolean

beforeAll(async () => {
  database = await cloneDatabase()
  const { rows } = await database.owner.query(
    "select current_setting('server_version_num')::integer as version",
  )
  sameMajor = Math.trunc(rows[0].version / 10_000) === SNAPSHOT_MAJOR
})

afterAll(() => database.drop())

const settings = { now: Date.now, poolSize: 10, instances: 1 }

function compare(client: pg.ClientBase): Promise<Finding[]> {
  return schemaSnapshot.run({ client, ...settings })
}

/** Runs `work` as the owner after a superuser has run `sql`, and leaves nothing behind. */
async function after<Value>(sql: string, work: (client: pg.PoolClient) => Promise<Value>): Promise<Value> {
  const client = await database.superuser.connect()
  try {
    await client.query('begin')
    await client.query(sql)
    await become(client, 'owner')
    return await work(client)
  } finally {
    await client.query('rollback')
    client.release()
  }
}

/** The SQL of a remedy, in a form that runs within a transaction. */
async function statementOf(remedy: string): Promise<string> {
  const [, first, last] = /^run lines (\d+) to (\d+) of schema\.sql$/.exec(remedy) ?? []
  if (first === undefined) return remedy.replace(/ concurrently\b/i, '')
  const lines = (await readFile(snapshotFile, 'utf8')).split('\n')
  return lines.slice(Number(first) - 1, Number(last)).join('\n')
}

test('a database with the migrations of this build does not differ from the snapshot', async () => {
  expect(await after('select', compare)).toEqual([])
})

test.each(mendable)(
  'the doctor finds %s, and its remedy corrects it',
  async (_fault, sql, verdict, finding) => {
    await after(sql, async client => {
      const found = await compare(client)
      expect(found[0]).toMatchObject({ verdict, finding: expect.stringMatching(finding) })
      for (const { remedy } of found) await client.query(await statementOf(remedy))
      expect(await compare(client)).toEqual([])
    })
  },
)

test.each(others)('the doctor finds %s', async (_fault, sql, verdict, finding) => {
  const found = await after(sql, compare)
  expect(found).toContainEqual(expect.objectContaining({ verdict, finding: expect.stringMatching(finding) }))
})

test.each(printed)('the doctor finds %s', async (_fault, sql, verdict, finding) => {
  expect(await after(sql, compare)).toEqual([
    expect.objectContaining({
      verdict: sameMajor ? verdict : 'WARN',
      finding: expect.stringMatching(finding),
    }),
  ])
})

test.each([
  ['drop table app_private.alert_deliveries', 'the table app_private.alert_deliveries is missing'],
  [
    'alter table app_public.vat_rates add column remark text',
    'the column app_public.vat_rates.remark is in the database alone',
  ],
])('a difference is one line of the report: %s', async (sql, finding) => {
  expect((await after(sql, compare)).map(found => found.finding)).toEqual([finding])
})

test.each([
  'alter table app_public.vat_rates no force row level security',
  'alter table app_public.vat_rates disable trigger user',
  `alter table app_private.alerts drop constraint alerts_key_length;
   alter table app_private.alerts add constraint alerts_key_length check (length(key) between 1 and 200) not valid`,
  'alter role forecourt_admin createdb',
])('the comparison leaves a fault to the rule that finds it: %s', async sql => {
  expect(await after(sql, compare)).toEqual([])
})

test('the parts of an additional table are no differences, but a grant of it to an API role is', async () => {
  const sql =
    'create table app_public.by_hand (id integer primary key); grant select on app_public.by_hand to forecourt_dealer'
  expect((await after(sql, compare)).map(({ verdict, finding }) => `${verdict} ${finding}`)).toEqual([
    'FAIL the grant select on table app_public.by_hand to forecourt_dealer is in the database alone',
    'note the table app_public.by_hand is in the database alone',
  ])
})

test('partitions of the audit trail are no differences', async () => {
  expect(await after("select app_private.make_audit_partition('2041-01-01')", compare)).toEqual([])
})

test('another name of the owner is no difference', async () => {
  const client = await database.superuser.connect()
  try {
    // part of other names in the schema
    await client.query('begin; alter role forecourt_test_owner rename to app; set local role app')
    expect(await compare(client)).toEqual([])
  } finally {
    await client.query('rollback')
    client.release()
  }
})

test('many differences are counted after the first ones', async () => {
  const sql = `do $$ declare v_policy record; begin
    for v_policy in select p.polname, p.polrelid::regclass as relation from pg_policy as p loop
      execute format('drop policy %I on %s', v_policy.polname, v_policy.relation);
    end loop;
  end $$`
  const found = await after(sql, compare)
  expect(found).toHaveLength(25)
  expect(found.at(-1)).toMatchObject({
    verdict: 'FAIL',
    finding: expect.stringMatching(/^\d+ more differences/),
  })
})

test('a database with other migrations is not compared', async () => {
  const sql = `delete from graphile_migrate.migrations where filename = (select max(filename) from graphile_migrate.migrations);
    drop policy all_owner on app_public.vat_rates`
  expect((await after(sql, compare)).map(({ verdict }) => verdict)).toEqual(['note'])
})

test('the comparison is part of the examination', async () => {
  const examined = await after('drop index app_public.ix_dealer_subscriptions_status_end_at', client =>
    examine({ client, ...settings }),
  )
  const { findings } = examined.find(({ name }) => name === schemaSnapshot.name) ?? {}
  expect(findings).toContainEqual(expect.objectContaining({ verdict: 'FAIL' }))
})

test('the text of a schema is split into the statements that it was made from', async () => {
  const text = await after('select', describeSchema)
  const lines = text.split('\n')
  const statements = statementsOf(text)
  expect(statements.length).toBeGreaterThan(500)
  for (const { text: statement, line, lastLine } of statements) {
    expect(lines.slice(line - 1, lastLine).join('\n')).toBe(`${statement};`)
  }
})

test('the image of the containers has the snapshot', async () => {
  expect(await readFile('Dockerfile', 'utf8')).toMatch(/^COPY .*\bschema\.sql\b.* \.\/$/m)
})
