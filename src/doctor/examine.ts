/** Runs the checks in the order in which an operator would ask. Most are a query, which psql runs as well. */
import { readFile } from 'node:fs/promises'
import { appliedMigrations } from './appliedMigrations.ts'
import { clock } from './clock.ts'
import { connections } from './connections.ts'
import { crontab } from './crontab.ts'
import { encoding } from './encoding.ts'
import type { Check, Context, Finding } from './finding.ts'
import { schemaSnapshot } from './schemaSnapshot.ts'

export type Examined = { name: string; findings: Finding[] }

const folder = new URL('checks/', import.meta.url)
/** Checks that also run before the first migration. */
const FIRST = ['server', encoding, appliedMigrations]
/** Rules that hold for every schema that the migrations make; test/catalogs runs them too. */
export const RULES = ['owner', 'roles', 'grants', 'row_security', 'functions', 'constraints', 'indexes']
const REST = [
  schemaSnapshot,
  ...['extensions', 'database', ...RULES],
  ...['vacuum', 'bloat', 'sessions', 'wal', 'settings', connections, clock, 'jobs', crontab],
]

/** Runs every check, also after one that cannot run. Changes nothing. */
export async function examine(context: Context): Promise<Examined[]> {
  const { client } = context
  // as in our functions, but without our schemas, so that regclass prints schema-qualified names
  await client.query('set search_path to pg_catalog')
  const { rows } = await client.query("select to_regnamespace('app_private') is not null as is_migrated")
  const examined: Examined[] = []
  for (const entry of rows[0]?.is_migrated ? [...FIRST, ...REST] : FIRST) {
    const check = typeof entry === 'string' ? await queryCheck(entry) : entry
    examined.push({ name: check.name, findings: await findings(check, context) })
  }
  return examined
}

export function isHealthy(examined: Examined[]): boolean {
  return examined.every(({ findings }) => findings.every(({ verdict }) => verdict !== 'FAIL'))
}

/** A line for each check that finds nothing, otherwise a line for each finding with its remedy. */
export function describe(examined: Examined[]): string {
  return examined
    .flatMap(({ name, findings }) => {
      const lines = findings.map(({ verdict, finding, remedy }) => {
        return `${verdict.padEnd(4)}  ${subject(name)}: ${finding} → ${remedy}\n`
      })
      return findings.some(({ verdict }) => verdict !== 'note') ? lines : [`ok    ${name}\n`, ...lines]
    })
    .join('')
}

function subject(name: string): string {
  return name.slice(0, name.indexOf(':'))
}

/** The check of `checks/<file>.sql`, whose first line is its name. */
export async function queryCheck(file: string): Promise<Check> {
  const query = await readFile(new URL(`${file}.sql`, folder), 'utf8')
  const name = /^-- (.+)/.exec(query)?.[1] ?? file
  return { name, run: async ({ client }) => (await client.query<Finding>(query)).rows }
}

async function findings(check: Check, context: Context): Promise<Finding[]> {
  try {
    return await check.run(context)
  } catch (error) {
    const { code, message } = error as { code?: string; message?: string }
    const finding = `cannot be checked: ${message ?? error}${code ? ` (${code})` : ''}`
    return [{ verdict: 'FAIL', finding, remedy: 'run it as the owner of the database' }]
  }
}
