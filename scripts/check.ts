/** `npm run check`: whatever can be said about the project without running its tests. */
import { readFile } from 'node:fs/promises'
import { describeSchema } from './catalog/snapshot.ts'
import { checkAlerts } from './checks/alerts.ts'
import { errorRegistry } from './checks/errorRegistry.ts'
import { fixturesEqualDatabase } from './checks/fixtures.ts'
import { importsPointDown } from './checks/imports.ts'
import { committedOnce, lintMigrations } from './checks/migrations.ts'
import { checkPlpgsql } from './checks/plpgsql.ts'
import { makeSnapshots } from './checks/snapshots.ts'
import { tidy } from './checks/tidy.ts'
import { type Check, report, runTool, Skipped } from './support/check.ts'
import {
  asClient,
  type Database,
  endServersWithProcess,
  migrated15,
  migrated18,
} from './support/databases.ts'
import { difference } from './support/difference.ts'
import { requirePostgres15 } from './support/postgres15.ts'

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
  { name: 'migrations: squawk', run: lintMigrations },
  { name: 'migrations: each text of a fixture is committed once', run: committedOnce },
  { name: 'migrations apply on Postgres 18', run: () => succeeds(migrated18()) },
  {
    name: 'schema.graphql and schema.sql are up to date',
    run: async () => snapshotsUpToDate(await on18()),
  },
  {
    name: 'fixtures are what the database has',
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

process.exitCode = (await report(checks)) ? 0 : 1

async function snapshotsUpToDate({ ownerUrl }: Database): Promise<string[]> {
  const faults: string[] = []
  for (const [file, made] of Object.entries(await makeSnapshots(ownerUrl))) {
    const diff = await difference(await readFile(file, 'utf8').catch(() => ''), made)
    if (diff.length > 0) faults.push(`${file} is out of date: npm run fix, and look at what changed`, ...diff)
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

/** A check of its own says why there is no database; those that need one only say that they did not run. */
function ready(database: () => Promise<Database>): () => Promise<Database> {
  return () =>
    database().catch(() => {
      throw new Skipped('there is no migrated database, see above')
    })
}
