/**
 * Whether a database and this build fit: the migrations of both, and the oldest release that the database names. Another file runs
 * the migrations, because the API does not need the packages for that.
 */
import { readFileSync } from 'node:fs'
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

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}

type Queryable = Pick<pg.Pool, 'query'>
type Migration = { hash: string; file: string }
/** `isNewer`: the database has migrations that this build does not know. */
type Comparison = { fault?: string; isNewer: boolean }

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

/** Why this build does not work with the database, as a sentence; undefined if it does. */
export async function migrationFault(pool: Queryable): Promise<string | undefined> {
  return (await compare(pool, AS_API)).fault
}

/** The same, and whether the database has migrations that this build does not know. */
export function migrationDifference(pool: Queryable): Promise<Comparison> {
  return compare(pool, AS_API)
}

/** Throws if this build does not work with the database. `owner` is connected as the owner. */
export async function requireMigrations(owner: Queryable): Promise<void> {
  const { fault } = await compare(owner, AS_OWNER)
  if (fault !== undefined) throw new Error(fault)
}

/** Throws if this build must not migrate the database. `owner` is connected as the owner. */
export async function requireMigratable(owner: Queryable): Promise<void> {
  const [expected, applied] = await Promise.all([expectedMigrations(), appliedMigrations(owner, AS_OWNER)])
  const fault = isOtherHistory(expected, applied)
    ? await historyFault(owner, expected)
    : await ageFault(owner, expected, applied)
  if (fault !== undefined) throw new Error(fault)
  if (applied.length === 0 && (await hasObjects(owner))) throw new Error(FOREIGN)
}

/** Whether our schemas hold objects. */
async function hasObjects(owner: Queryable): Promise<boolean> {
  const { rows } = await owner.query(
    `select from pg_depend as d where d.refclassid = 'pg_namespace'::regclass
     and d.refobjid in (to_regnamespace('app_public'), to_regnamespace('app_private')) limit 1`,
  )
  return rows.length > 0
}

async function compare(pool: Queryable, sql: string): Promise<Comparison> {
  const expected = await expectedMigrations()
  const applied = await appliedMigrations(pool, sql)
  const isNewer = hasUnknown(expected, applied)
  if (isOtherHistory(expected, applied)) return { fault: await historyFault(pool, expected), isNewer }
  const missing = expected.filter(({ hash }) => !applied.includes(hash)).map(({ file }) => file)
  if (missing.length > 0)
    return { fault: `The database lacks ${missing.join(', ')}. Please run npm run migrate.`, isNewer }
  const fault = await ageFault(pool, expected, applied)
  return fault === undefined ? { isNewer } : { fault, isNewer }
}

function hasUnknown(expected: Migration[], applied: string[]): boolean {
  return applied.some(hash => expected.every(known => known.hash !== hash))
}

/** The version counts only if there are unknown migrations: until its release, a build has the version of the release before. */
async function ageFault(
  pool: Queryable,
  expected: Migration[],
  applied: string[],
): Promise<string | undefined> {
  if (!hasUnknown(expected, applied)) return undefined
  const { rows } = await pool.query<{ oldest: string }>('select app_public.oldest_release() as oldest')
  const oldest = rows[0]?.oldest ?? ''
  if (!isOlder(version, oldest)) return undefined
  return `The database needs Forecourt ${oldest} or newer, and this is ${version}. Please start the newer release.`
}

/** Compares versions such as 0.9.2 and 0.10.0. */
export function isOlder(version: string, other: string): boolean {
  return version.localeCompare(other, 'en', { numeric: true }) < 0
}

/**
 * Why the database accepts no writes, as a sentence; undefined if it does. A connection to such a server is closed. Otherwise
 * the pool would keep it after a failover.
 */
export async function writeFault(pool: pg.Pool): Promise<string | undefined> {
  const client = await pool.connect()
  let isUseless = true
  try {
    const fault = writeFaultOf(await readState(client))
    isUseless = fault !== undefined
    return fault
  } finally {
    client.release(isUseless)
  }
}

type State = { is_standby: boolean; is_read_only: boolean }

async function readState(client: pg.ClientBase): Promise<State | undefined> {
  const { rows } = await client.query<State>(
    "select pg_is_in_recovery() as is_standby, current_setting('transaction_read_only')::boolean as is_read_only",
  )
  return rows[0]
}

function writeFaultOf(state: State | undefined): string | undefined {
  if (state?.is_standby) return 'The database is a standby: it accepts no writes.'
  if (state?.is_read_only)
    return 'The database is read-only (default_transaction_read_only): it accepts no writes.'
  return undefined
}

/** Every hash covers the migrations before it, so another first hash means another history. */
function isOtherHistory(expected: Migration[], applied: string[]): boolean {
  return applied.length > 0 && applied[0] !== expected[0]?.hash
}

/**
 * What to do about another history. The first file name tells another application from Forecourt before 0.2. Only the owner may
 * read it.
 */
async function historyFault(pool: Queryable, expected: Migration[]): Promise<string> {
  try {
    const sql = 'select m.filename from graphile_migrate.migrations as m order by m.filename limit 1'
    const { rows } = await pool.query<{ filename: string }>(sql)
    return [FIRST_UNRELEASED, expected[0]?.file].includes(rows[0]?.filename) ? UNRELEASED : FOREIGN
  } catch (error) {
    if (codeOf(error) === INSUFFICIENT_PRIVILEGE) return UNRELEASED
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
