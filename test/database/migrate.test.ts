/** Migrating: twice, twice at once, and how a database with other migrations is recognised. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from '@jest/globals'
import { migrate } from '../../src/database/migrate.ts'
import { expectedMigrations, isOlder, migrationFault, readMigrations } from '../../src/database/migrations.ts'
import { startWorkerRole } from '../../src/worker/role.ts'
import { cloneDatabase, emptyDatabase, type TestDatabase } from '../support/database.ts'
import { recordLog } from '../support/recordedLog.ts'
import { makeCountry } from '../support/testData.ts'
import { until } from '../support/waits.ts'

const databases: TestDatabase[] = []

// at the end: graphile-migrate keeps its connections for 10 s, and ends the process when it loses one
afterAll(async () => {
  for (const database of databases) {
    await until('nobody is connected', async () => {
      const { rows } = await database.superuser.query<{ count: number }>(
        `select count(*)::int from pg_stat_activity
         where datname = current_database() and usename = 'forecourt_test_owner'`,
      )
      return rows[0]?.count === 0
    })
    await database.drop()
  }
})

async function keep(made: Promise<TestDatabase>): Promise<TestDatabase> {
  const database = await made
  databases.push(database)
  return database
}

function run(database: TestDatabase, log: (message: string) => void = () => {}): Promise<void> {
  return migrate({ databaseUrl: database.ownerUrl, includeCurrent: true, log })
}

/** Records a migration that this build does not know, after which `oldest` is the oldest release that works. */
async function deployNewer(database: TestDatabase, oldest: string): Promise<void> {
  await database.owner.query(
    "insert into graphile_migrate.migrations (hash, filename) values ('sha1:x', '999999-x.sql') on conflict do nothing",
  )
  await setOldestRelease(database, oldest)
}

async function setOldestRelease(database: TestDatabase, oldest: string): Promise<void> {
  await database.owner.query(
    `create or replace function app_public.oldest_release() returns text language sql return '${oldest}'`,
  )
}

/** The objects that a migration makes, by name. */
async function objects(database: TestDatabase): Promise<unknown> {
  const { rows } = await database.superuser.query(`
    select json_build_array(
      (select json_agg(c.oid::regclass::text order by c.oid::regclass::text) from pg_class as c
       where c.relnamespace::regnamespace::text in ('app_public', 'app_private', 'graphile_worker')),
      (select json_agg(p.oid::regprocedure::text || md5(p.prosrc) order by p.oid::regprocedure::text) from pg_proc as p
       where p.pronamespace::regnamespace::text in ('app_public', 'app_private')),
      (select json_agg(c.conrelid::regclass || ' ' || c.conname order by c.conrelid::regclass::text, c.conname)
       from pg_constraint as c where c.connamespace::regnamespace::text in ('app_public', 'app_private')),
      (select json_agg(p.polrelid::regclass || ' ' || p.polname order by p.polrelid::regclass::text, p.polname) from pg_policy as p),
      (select json_agg(m.filename order by m.filename) from graphile_migrate.migrations as m)
    ) as objects`)
  return rows[0]?.objects
}

test('a migration whose connection is ended by an administrator rejects and does not end the process', async () => {
  const database = await keep(emptyDatabase())
  const holder = await database.superuser.connect()
  try {
    await holder.query('select pg_advisory_lock(5080001)')
    const migrating = run(database).then(() => 'migrated', String)
    const end = `select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and application_name = 'forecourt migrate' and query like '%advisory%'`
    await until('it waits for the lock', async () => (await holder.query(end)).rows.length > 0)
    expect(await migrating).toMatch(/connection/)
  } finally {
    await holder.query('select pg_advisory_unlock_all()')
    holder.release()
  }
})

test('two concurrent migrations of an empty database make the same objects as one', async () => {
  const database = await keep(emptyDatabase())
  await Promise.all([run(database), run(database)])
  const once = await keep(cloneDatabase())
  expect(await objects(database)).toEqual(await objects(once))
  expect(await migrationFault(database.superuser)).toBeUndefined()
})

test('migrating again changes neither the schema nor the data', async () => {
  const database = await keep(cloneDatabase())
  await makeCountry(database.superuser)
  const contents = async () => {
    const { rows } = await database.superuser.query('select * from app_public.vat_rates')
    return [rows, await objects(database)]
  }
  const before = await contents()
  await migrate({ databaseUrl: database.ownerUrl, log: () => {} })
  expect(await contents()).toEqual(before)
})

test('the owner of the schema is no superuser, and the login of the API inherits no rights of other roles', async () => {
  const database = await keep(cloneDatabase())
  const { rows } = await database.superuser.query(
    `select rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolbypassrls from pg_roles
     where rolname in ('forecourt_authenticator', 'forecourt_test_owner') order by rolname`,
  )
  const nothing = { rolsuper: false, rolcreatedb: false, rolbypassrls: false }
  expect(rows).toEqual([
    { rolname: 'forecourt_authenticator', rolinherit: false, rolcreaterole: false, ...nothing },
    { rolname: 'forecourt_test_owner', rolinherit: true, rolcreaterole: true, ...nothing },
  ])
})

test('a database that was never migrated lacks every migration of this build', async () => {
  const database = await keep(emptyDatabase())
  const fault = await migrationFault(database.superuser)
  for (const { file } of await expectedMigrations()) expect(fault).toContain(file)
  expect(fault).toContain('npm run migrate')
})

test('the fault of a database that lacks a migration names it, also if it has a newer one', async () => {
  const database = await keep(cloneDatabase())
  expect(await migrationFault(database.superuser)).toBeUndefined()
  await deployNewer(database, '0.0.1')
  const newest = (await expectedMigrations()).at(-1)
  await database.superuser.query('delete from graphile_migrate.migrations where hash = $1', [newest?.hash])
  expect(await migrationFault(database.superuser)).toContain(newest?.file ?? 'migrations/committed is empty')
})

test('a build works with newer migrations unless they need a newer release, and so do its worker and migrate', async () => {
  const database = await keep(cloneDatabase())
  const start = async () => {
    const worker = await startWorkerRole({ databaseUrl: database.ownerUrl, log: recordLog('silent').log })
    await worker.stop()
  }
  await deployNewer(database, '0.0.1')
  expect(await migrationFault(database.superuser)).toBeUndefined()
  await start()
  await run(database)
  await deployNewer(database, '999.0.0')
  const needsNewer = /^The database needs Forecourt 999\.0\.0 or newer, and this is \S+\. Please start/
  expect(await migrationFault(database.superuser)).toMatch(needsNewer)
  await expect(start()).rejects.toThrow(needsNewer)
  await expect(run(database)).rejects.toThrow(needsNewer)
})

test('a build that knows every migration works with them, although its version is not raised yet', async () => {
  const database = await keep(cloneDatabase())
  await setOldestRelease(database, '999.0.0')
  expect(await migrationFault(database.superuser)).toBeUndefined()
})

test.each([
  ['0.2.0', '0.2.0', false],
  ['0.2.0', '0.2.1', true],
  ['0.10.0', '0.9.3', false],
  ['0.9.3', '0.10.0', true],
  ['1.0.0', '0.10.0', false],
])('%s is older than %s: %s', (version, other, expected) => {
  expect(isOlder(version, other)).toBe(expected)
})

/** The record of the first migration as it was before the migrations were rewritten for 0.2. */
const FIRST_UNRELEASED = `
  set role forecourt_test_owner;
  create schema graphile_migrate;
  create table graphile_migrate.migrations (
    hash text primary key, previous_hash text references graphile_migrate.migrations, filename text not null,
    date timestamptz not null default now());
  insert into graphile_migrate.migrations (hash, filename)
  values ('sha1:d201d904857cd0d7e0ce6fe70eb345f6aa50c80f', '000001-foundation.sql');
  reset role`

const SAYS_WHAT_TO_DO =
  /^This database was made before Forecourt 0\.2 .*\. Please move \.data\/ away, or .* new database\.$/

async function ourSchemas(database: TestDatabase): Promise<string[]> {
  const { rows } = await database.superuser.query<{ name: string }>(
    "select nspname as name from pg_namespace where nspname ~ '^(app_|graphile_)' order by nspname",
  )
  return rows.map(({ name }) => name)
}

test('migrate and the worker refuse a database from before 0.2, and do not change it', async () => {
  const database = await keep(emptyDatabase())
  await database.superuser.query(FIRST_UNRELEASED)
  await expect(run(database)).rejects.toThrow(SAYS_WHAT_TO_DO)
  const worker = startWorkerRole({ databaseUrl: database.ownerUrl, log: recordLog('silent').log })
  await expect(worker).rejects.toThrow(SAYS_WHAT_TO_DO)
  expect(await ourSchemas(database)).toEqual(['graphile_migrate'])
})

const IS_ANOTHERS = /^This database belongs to another application\b.*\. Please set DATABASE_URL .*\.$/

test.each([
  ['its own table in app_public', 'create schema app_public; create table app_public.users (id integer)'],
  [
    'its own function in app_private',
    'create schema app_private; create function app_private.f() returns int return 1',
  ],
  ['a history of graphile-migrate', FIRST_UNRELEASED.replace('000001-foundation.sql', '000001-shop.sql')],
])(
  'migrate refuses the database of another application with %s, and makes nothing in it',
  async (_what, sql) => {
    const database = await keep(emptyDatabase())
    await database.owner.query(sql)
    const before = await ourSchemas(database)
    await expect(run(database)).rejects.toThrow(IS_ANOTHERS)
    expect(await ourSchemas(database)).toEqual(before)
  },
)

test('the worker names a history of another application as such', async () => {
  const database = await keep(emptyDatabase())
  await database.superuser.query(FIRST_UNRELEASED.replace('000001-foundation.sql', '000001-shop.sql'))
  const worker = startWorkerRole({ databaseUrl: database.ownerUrl, log: recordLog('silent').log })
  await expect(worker).rejects.toThrow(IS_ANOTHERS)
})

test('an empty schema of ours, as a DBA may make it, is no other application', async () => {
  const database = await keep(emptyDatabase())
  await database.owner.query('create schema app_public')
  await run(database)
  expect(await migrationFault(database.superuser)).toBeUndefined()
})

test('a worker refuses a database that lacks migrations, and leaves it as it is', async () => {
  const database = await keep(emptyDatabase())
  const start = () => startWorkerRole({ databaseUrl: database.ownerUrl, log: recordLog('silent').log })
  await expect(start()).rejects.toThrow(/^The database lacks 000001\S*, .*Please run npm run migrate\.$/)
  expect(await ourSchemas(database)).toEqual([])
  await run(database)
  await database.superuser.query(
    'delete from graphile_migrate.migrations where filename = (select max(filename) from graphile_migrate.migrations)',
  )
  await expect(start()).rejects.toThrow(/^The database lacks \S+\. Please run/)
})

test('the API has another fault for a database from before 0.2 than for one that lacks migrations or is newer', async () => {
  const database = await keep(cloneDatabase())
  await database.superuser.query(`drop schema graphile_migrate cascade; ${FIRST_UNRELEASED}`)
  expect(await migrationFault(database.superuser)).toMatch(SAYS_WHAT_TO_DO)
})

test('a build without migrations is an error, so that no database seems up to date', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'forecourt-migrations-'))
  try {
    await expect(readMigrations(folder)).rejects.toThrow(/There are no migrations in .*\. Please install/)
    await expect(readMigrations(join(folder, 'none'))).rejects.toThrow(/There are no migrations in/)
  } finally {
    rmSync(folder, { recursive: true })
  }
})
