/** The checks in the order in which one would ask. Most are a query, which may also be run by itself with psql. */
import { readFile } from 'node:fs/promises'
import type { Check, Finding, Surroundings } from './check.ts'
import { clock } from './clock.ts'
import { connections } from './connections.ts'
import { crontab } from './crontab.ts'
import { migrations } from './migrations.ts'

export type Examined = { name: string; findings: Finding[] }

const folder = new URL('checks/', import.meta.url)
/** What can be said about a database that was never migrated. */
const FIRST = ['server', migrations]
const REST = [
  ...['owner', 'extensions', 'roles', 'grants', 'row_security', 'functions', 'constraints', 'indexes'],
  ...['vacuum', 'bloat', 'sessions', 'wal', 'settings', connections, clock, 'jobs', crontab],
]

/** Runs every check, also past one that cannot be run. Changes nothing. */
export async function examine(surroundings: Surroundings): Promise<Examined[]> {
  const { client } = surroundings
  // as in a search path of our functions, but that names come out with their schema
  await client.query('set search_path to pg_catalog')
  const { rows } = await client.query("select to_regnamespace('app_private') is not null as is_migrated")
  const examined: Examined[] = []
  for (const entry of rows[0]?.is_migrated ? [...FIRST, ...REST] : FIRST) {
    const check = typeof entry === 'string' ? await queryCheck(entry) : entry
    examined.push({ name: check.name, findings: await findings(check, surroundings) })
  }
  return examined
}

export function isHealthy(examined: Examined[]): boolean {
  return examined.every(({ findings }) => findings.every(({ verdict }) => verdict !== 'FAIL'))
}

/** One line a check that finds nothing, one a finding otherwise, with what is to be done. */
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

async function queryCheck(file: string): Promise<Check> {
  const query = await readFile(new URL(`${file}.sql`, folder), 'utf8')
  const name = /^-- (.+)/.exec(query)?.[1] ?? file
  return { name, run: async ({ client }) => (await client.query<Finding>(query)).rows }
}

async function findings(check: Check, surroundings: Surroundings): Promise<Finding[]> {
  try {
    return await check.run(surroundings)
  } catch (error) {
    const { code, message } = error as { code?: string; message?: string }
    const finding = `cannot be checked: ${message ?? error}${code ? ` (${code})` : ''}`
    return [{ verdict: 'FAIL', finding, remedy: 'run it as the owner of the database' }]
  }
}
