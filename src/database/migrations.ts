/** The migrations that this build expects of a database, and those that it has. Another file runs them: the API does not need what runs them. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type pg from 'pg'

export const migrationsFolder = fileURLToPath(new URL('../../migrations', import.meta.url))
/** SQLSTATEs of a function, a table or a schema that does not exist: the database was never migrated. */
const UNDEFINED = new Set(['42883', '42P01', '3F000'])
const INSUFFICIENT_PRIVILEGE = '42501'
/** The API's login may only call the function; it does not exist before the first migration has run. */
const AS_API = 'select app_public.applied_migrations() as applied'
const AS_OWNER =
  'select array(select m.hash from graphile_migrate.migrations as m order by m.filename) as applied'

const UNRELEASED =
  'This database was made before Forecourt 0.2 and cannot be migrated. ' +
  'Please move .data/ away, or set DATABASE_URL to a new database.'
const FOREIGN =
  'This database belongs to another application: it has objects or migrations that Forecourt did not make. ' +
  'Please set DATABASE_URL to a database of its own.'
/** The first migration of 0.1. */
const FIRST_UNRELEASED = '000001-foundation.sql'

type Queryable = Pick<pg.Pool, 'query'>
type Migration = { hash: string; file: string }

let expected: Promise<Migration[]> | undefined

/** The committed migrations that this build expects: hash, which covers all before it as well, and file name. */
export function expectedMigrations(): Promise<Migration[]> {
  // Read once: the files belong to the build, and each probe of readiness needs them.
  expected ??= readMigrations(join(migrationsFolder, 'committed'))
  return expected
}

/** At least one: without migrations every database would seem up to date. */
export async function readMigrations(folder: string): Promise<Migration[]> {
  const files = (await filesIn(folder)).filter(file => /^\d{6}.*\.sql$/.test(file)).sort()
  if (files.length === 0)
    throw new Error(`There are no migrations in ${folder}. Please install Forecourt again.`)
  return Promise.all(
    files.map(async file => {
      const hash = /^--! Hash: (\S+)$/m.exec(await readFile(join(folder, file), 'utf8'))?.[1]
      if (hash === undefined) throw new Error(`migrations/committed/${file} has no hash.`)
      return { hash, file }
    }),
  )
}

async function filesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') return []
    throw error
  }
}

/** The difference between the database and this build, as a sentence; undefined if there is none. */
export function migrationFault(pool: Queryable): Promise<string | undefined> {
  return faultOf(pool, AS_API)
}

/** Throws if this build does not fit the database. `owner` is connected as the owner. */
export async function requireMigrations(owner: Queryable): Promise<void> {
  const fault = await faultOf(owner, AS_OWNER)
  if (fault !== undefined) throw new Error(fault)
}

async function faultOf(pool: Queryable, sql: string): Promise<string | undefined> {
  const expected = await expectedMigrations()
  const applied = await appliedMigrations(pool, sql)
  if (isOtherHistory(expected, applied)) return (await isForeign(pool, expected)) ? FOREIGN : UNRELEASED
  const missing = expected.filter(({ hash }) => !applied.includes(hash)).map(({ file }) => file)
  if (missing.length > 0) return `The database lacks ${missing.join(', ')}. Please run npm run migrate.`
  if (applied.length > expected.length) return 'The database has newer migrations than this build.'
  return undefined
}

/** Why the database accepts no writes, as a sentence; undefined if it does. */
export async function writeFault(pool: Queryable): Promise<string | undefined> {
  const { rows } = await pool.query<{ is_standby: boolean; is_read_only: boolean }>(
    "select pg_is_in_recovery() as is_standby, current_setting('transaction_read_only')::boolean as is_read_only",
  )
  if (rows[0]?.is_standby) return 'The database is a standby: it accepts no writes.'
  if (rows[0]?.is_read_only)
    return 'The database is read-only (default_transaction_read_only): it accepts no writes.'
  return undefined
}

/** Throws if migrations of 0.1 or of another application have run, or if it has objects in our schemas and no migration. */
export async function refuseOtherHistory(owner: Queryable): Promise<void> {
  const [expected, applied] = await Promise.all([expectedMigrations(), appliedMigrations(owner, AS_OWNER)])
  if (isOtherHistory(expected, applied))
    throw new Error((await isForeign(owner, expected)) ? FOREIGN : UNRELEASED)
  if (applied.length > 0) return
  const { rows } = await owner.query(
    `select from pg_depend as d where d.refclassid = 'pg_namespace'::regclass
     and d.refobjid in (to_regnamespace('app_public'), to_regnamespace('app_private')) limit 1`,
  )
  if (rows.length > 0) throw new Error(FOREIGN)
}

/** Every hash covers the migrations before it, so another first hash means another history. */
function isOtherHistory(expected: Migration[], applied: string[]): boolean {
  return applied.length > 0 && applied[0] !== expected[0]?.hash
}

/** Whether a history with another first hash is no former one of ours. Only the owner may read the names of the files. */
async function isForeign(pool: Queryable, expected: Migration[]): Promise<boolean> {
  try {
    const sql = 'select m.filename from graphile_migrate.migrations as m order by m.filename limit 1'
    const { rows } = await pool.query<{ filename: string }>(sql)
    return ![FIRST_UNRELEASED, expected[0]?.file].includes(rows[0]?.filename)
  } catch (error) {
    if (codeOf(error) === INSUFFICIENT_PRIVILEGE) return false
    throw error
  }
}

async function appliedMigrations(pool: Queryable, sql: string): Promise<string[]> {
  try {
    const { rows } = await pool.query<{ applied: string[] }>(sql)
    return rows[0]?.applied ?? []
  } catch (error) {
    if (UNDEFINED.has(codeOf(error))) return []
    throw error
  }
}

function codeOf(error: unknown): string {
  return String((error as { code?: unknown }).code)
}
