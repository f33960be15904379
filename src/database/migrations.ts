/** Which migrations this build expects of a database, and which it has. They are run elsewhere: an API has no use for what runs them. */
import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type pg from 'pg'

export const migrationsFolder = fileURLToPath(new URL('../../migrations', import.meta.url))
/** SQLSTATEs of a function or a schema that does not exist: the database was never migrated. */
const UNDEFINED = new Set(['42883', '3F000'])

type Migration = { hash: string; file: string }

let expected: Promise<Migration[]> | undefined

/** The committed migrations that this build expects: hash, which covers all before it as well, and file name. */
export function expectedMigrations(): Promise<Migration[]> {
  // a build's own files: each probe of readiness asks for them
  expected ??= readMigrations()
  return expected
}

async function readMigrations(): Promise<Migration[]> {
  const folder = `${migrationsFolder}/committed`
  const files = (await readdir(folder)).filter(file => /^\d{6}.*\.sql$/.test(file)).sort()
  return Promise.all(
    files.map(async file => {
      const hash = /^--! Hash: (\S+)$/m.exec(await readFile(`${folder}/${file}`, 'utf8'))?.[1]
      if (hash === undefined) throw new Error(`migrations/committed/${file} has no hash.`)
      return { hash, file }
    }),
  )
}

/** What stands between the database and this build, as a sentence; undefined when they agree. */
export async function migrationFault(pool: Pick<pg.Pool, 'query'>): Promise<string | undefined> {
  const expected = await expectedMigrations()
  const applied = new Set(await appliedMigrations(pool))
  const missing = expected.filter(({ hash }) => !applied.has(hash)).map(({ file }) => file)
  if (missing.length > 0) return `The database lacks ${missing.join(', ')}. Please run npm run migrate.`
  if (applied.size > expected.length) return 'The database has newer migrations than this build.'
  return undefined
}

async function appliedMigrations(pool: Pick<pg.Pool, 'query'>): Promise<string[]> {
  try {
    const { rows } = await pool.query<{ applied: string[] }>(
      'select app_public.applied_migrations() as applied',
    )
    return rows[0]?.applied ?? []
  } catch (error) {
    if (UNDEFINED.has(String((error as { code?: unknown }).code))) return []
    throw error
  }
}
