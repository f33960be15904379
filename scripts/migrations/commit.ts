/**
 * `npm run db:commit -- "message"`: turns migrations/current.sql into the next committed migration. The work is done on a
 * copy, so the project's files change only after everything has succeeded.
 */
import { copyFileSync, cpSync, readdirSync, rmSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { commit, current } from 'graphile-migrate'
import { migrate } from '../../src/database/migrate.ts'
import { migrationsFolder } from '../../src/database/migrations.ts'
import { endServersWithProcess, newDirectory } from '../support/databases.ts'
import { refreshSnapshots } from '../support/refreshSnapshots.ts'
import { currentMigration } from '../support/sources.ts'
import { compileCurrent, isBlank, messageOf } from './currentMigration.ts'
import { explainError } from './explainError.ts'
import { renewShadow, silent, startWorkDatabases, type WorkDatabases } from './workDatabases.ts'

endServersWithProcess()
const message = await readMessage()
try {
  if (message !== undefined) await commitCurrent(message)
} catch (error) {
  fail(error instanceof Error ? error.message : String(error))
}

async function readMessage(): Promise<string | undefined> {
  const files = await currentMigration()
  if (files.every(isBlank))
    return fail('migrations/current.sql has no statements, so there is nothing to commit.')
  const given = process.argv.slice(2).join(' ').trim()
  const message = given === '' ? files.map(({ text }) => messageOf(text)).find(Boolean) : given
  return message ?? fail('Please say what the migration does: npm run db:commit -- "index listings by title"')
}

async function commitCurrent(message: string): Promise<void> {
  const compiled = await compileCurrent()
  say('Starting a throw-away Postgres with the committed migrations …')
  const databases = await startWorkDatabases()
  say('Applying migrations/current.sql twice, and once on a fresh database …')
  const copy = join(newDirectory(), 'migrations')
  await cp(migrationsFolder, copy, { recursive: true })
  await explained(compiled, () =>
    migrate({ databaseUrl: databases.ownerUrl, includeCurrent: true, log: () => {} }),
  )
  await explained(withoutHeader(compiled), () => commitCopy(databases, copy, message), 'On a second run: ')
  const changed = await refreshFrom(databases)
  for (const file of [...takeOver(copy), ...changed]) say(`Wrote ${file}.`)
}

/**
 * Writes the snapshots from a fresh database that has the migration as the current one. The API refuses a database with a
 * committed migration that this process has not known from its start.
 */
async function refreshFrom(databases: WorkDatabases): Promise<string[]> {
  await renewShadow(databases)
  await current({ connectionString: databases.shadowUrl, migrationsFolder, logger: silent })
  return refreshSnapshots(databases.shadowUrl)
}

/** Runs the migration on the shadow database, and a second time on the other: db:watch runs it at each save, too. */
function commitCopy(databases: WorkDatabases, copy: string, message: string): Promise<void> {
  const { ownerUrl, shadowUrl, rootUrl } = databases
  return commit(
    {
      connectionString: ownerUrl,
      shadowConnectionString: shadowUrl,
      rootConnectionString: rootUrl,
      migrationsFolder: copy,
      logger: silent,
      afterReset: [{ _: 'command', command: `"${process.execPath}" scripts/migrations/installWorker.ts` }],
    },
    message,
  )
}

/**
 * Moves the committed file and the empty current migration from the copy to the project. Returns the committed file.
 * Synchronous, so that Ctrl-C comes before or after it: a migration that stays current would be committed twice.
 */
function takeOver(copy: string): string[] {
  const before = readdirSync(join(migrationsFolder, 'committed'))
  const added = readdirSync(join(copy, 'committed')).filter(file => !before.includes(file))
  for (const file of added) {
    copyFileSync(join(copy, 'committed', file), join(migrationsFolder, 'committed', file))
  }
  for (const current of readdirSync(copy).filter(name => /^current(\.sql)?$/.test(name))) {
    rmSync(join(migrationsFolder, current), { recursive: true })
    cpSync(join(copy, current), join(migrationsFolder, current), { recursive: true })
  }
  return added.map(file => `migrations/committed/${file}`)
}

/** A committed migration runs without the lines of its header. */
function withoutHeader(compiled: string): string {
  return compiled.replace(/^(?:--! [A-Z]\w*(?::.*)?\n)*/, '').trim()
}

async function explained(compiled: string, work: () => Promise<void>, when = ''): Promise<void> {
  try {
    await work()
  } catch (error) {
    throw new Error(`${when}${explainError(error, compiled)}\nNothing was committed.`)
  }
}

function fail(sentence: string): undefined {
  process.stderr.write(`${sentence}\n`)
  process.exitCode = 1
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
