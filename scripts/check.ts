/** `npm run check`: everything that can be checked without running the tests. Arguments choose checks by words of their names. */
import { readFile } from 'node:fs/promises'
import { describeSchema } from './catalog/snapshot.ts'
import { checkAlerts } from './checks/alerts.ts'
import { enginesAllowNode20 } from './checks/engines.ts'
import { errorRegistry } from './checks/errorRegistry.ts'
import { functionsAreExposed } from './checks/exposedFunctions.ts'
import { fixturesEqualDatabase } from './checks/fixtures.ts'
import { importsPointDown } from './checks/imports.ts'
import {
  committedOnce,
  currentIsCommitted,
  lintMigrations,
  migrationsAreUnchanged,
} from './checks/migrations.ts'
import { checkPlpgsql } from './checks/plpgsql.ts'
import { makeSnapshots } from './checks/snapshots.ts'
import { tidy } from './checks/tidy.ts'
import {
  asClient,
  type Database,
  endServersWithProcess,
  migrated15,
  migrated18,
} from './support/databases.ts'
import { difference } from './support/difference.ts'
import { requirePostgres15 } from './support/postgres15.ts'
import { type Check, runChecks, Skipped } from './support/runChecks.ts'
import { runTool } from './support/tools.ts'

endServersWithProcess()
const on18 = ready(migrated18)
const on15 = ready(migrated15)

const checks: Check[] = [
  { name: 'types: tsc', run: () => runTool('tsc', ['-p', '.']) },
  { name: 'lint and format: biome', run: () => runTool('biome', ['check', '.']) },
  { name: 'house rules: lengths, heads of functions', run: tidy },
  { name: 'imports point one way', run: importsPointDown },
  { name: 'errors: SQL, TypeScript and docs/errors.md agree', run: errorRegistry },
  { name: 'alerts: promtool', run: checkAlerts },
  { name: 'engines: npm ci on Node 20 gives no warning', run: enginesAllowNode20 },
  { name: 'migrations: no committed file was edited', run: migrationsAreUnchanged },
  { name: 'migrations: current.sql is committed', run: currentIsCommitted },
  { name: 'migrations: squawk', run: lintMigrations },
  { name: 'migrations: each text of a fixture is committed once', run: committedOnce },
  { name: 'migrations apply on Postgres 18', run: () => succeeds(migrated18()) },
  {
    name: 'schema.graphql and schema.sql are up to date',
    run: async () => snapshotsUpToDate(await on18()),
  },
  {
    name: 'functions for clients are fields of GraphQL',
    run: async () => asClient((await on18()).ownerUrl, functionsAreExposed),
  },
  {
    name: 'fixtures equal the functions and views of the database',
    run: async () => asClient((await on18()).ownerUrl, fixturesEqualDatabase),
  },
  { name: 'migrations apply on Postgres 15', run: () => only15(() => succeeds(migrated15())) },
  {
    name: 'the schema is the same on 15 and 18',
    run: () => only15(async () => sameOnBoth(await on15(), await on18())),
  },
  {
    name: 'functions: plpgsql_check',
    run: () => only15(async () => asClient((await on15()).superuserUrl, checkPlpgsql)),
  },
]

process.exitCode = (await runChecks(chosen(process.argv.slice(2)))) ? 0 : 1

function chosen(words: string[]): Check[] {
  const unknown = words.filter(word => !checks.some(({ name }) => name.includes(word)))
  if (unknown.length > 0) {
    const names = checks.map(({ name }) => `  ${name}\n`).join('')
    process.stderr.write(`No check has ${unknown.join(' or ')} in its name. The checks are:\n\n${names}`)
    process.exit(1)
  }
  return words.length === 0 ? checks : checks.filter(({ name }) => words.some(word => name.includes(word)))
}

async function snapshotsUpToDate({ ownerUrl }: Database): Promise<string[]> {
  const faults: string[] = []
  for (const [file, made] of Object.entries(await makeSnapshots(ownerUrl))) {
    const diff = await difference(await readFile(file, 'utf8').catch(() => ''), made)
    if (diff.length > 0)
      faults.push(`${file} is out of date: run npm run fix and review the difference`, ...diff)
  }
  return faults
}

async function sameOnBoth(older: Database, newer: Database): Promise<string[]> {
  return difference(
    await asClient(older.ownerUrl, describeSchema),
    await asClient(newer.ownerUrl, describeSchema),
  )
}

async function only15(run: Check['run']): Promise<string[]> {
  requirePostgres15()
  return run()
}

async function succeeds(work: Promise<unknown>): Promise<string[]> {
  await work
  return []
}

/** A check of its own reports a failed migration. The checks that need its database are skipped then. */
function ready(database: () => Promise<Database>): () => Promise<Database> {
  return () =>
    database().catch(() => {
      throw new Skipped('there is no migrated database, see above')
    })
}
