/**
 * `npm run db:watch`: applies migrations/current.sql and the fixtures that it includes to a throw-away database, at each
 * save, and keeps schema.sql and schema.graphql up to date.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { current } from 'graphile-migrate'
import { migrationsFolder } from '../../src/database/migrations.ts'
import { endServersWithProcess } from '../support/databases.ts'
import { refreshSnapshots } from '../support/refreshSnapshots.ts'
import { currentMigration, fixtures, includesOf } from '../support/sources.ts'
import { compileCurrent } from './currentMigration.ts'
import { explainError } from './explainError.ts'
import { renewShadow, silent, startWorkDatabases, type WorkDatabases } from './workDatabases.ts'

/** Polling also notices files that `git stash` or an editor replaces, which file system events miss. */
const POLL_MS = 300

process.once('SIGINT', () => {
  say('Stopped. The databases are removed.')
  process.exit(0)
})
endServersWithProcess()
say('Starting a throw-away Postgres with the committed migrations …')
const databases = await startWorkDatabases()
say(`The database, until you stop with Ctrl-C:\n\n  psql ${databases.ownerUrl}\n`)
await watch(databases)

async function watch(databases: WorkDatabases): Promise<never> {
  let applied: string | undefined
  let last: string | undefined
  const changed = await watchFixtures()
  const committed = await committedFiles()
  for (;;) {
    const text = await compileCurrent().catch((error: Error) => error)
    const key = String(text)
    // after the text: db:commit writes the committed file before it empties current.sql
    const notice = noticeOf(committed, await committedFiles())
    if (notice !== undefined) return stop(notice)
    // an editor may still be writing: two readings must agree
    if (key !== applied && key === last) {
      applied = key
      if (text instanceof Error) say(`FAILED  ${text.message}`)
      else await apply(databases, text)
    }
    last = key
    for (const path of await changed())
      say(`note    ${path} has changed, but migrations/current.sql does not include it.`)
    await sleep(POLL_MS)
  }
}

async function committedFiles(): Promise<string[]> {
  return (await readdir(join(migrationsFolder, 'committed'))).sort()
}

/** The databases have the committed migrations of the start, so they are of no use after a change of these. */
function noticeOf(before: string[], now: string[]): string | undefined {
  if (String(now) === String(before)) return undefined
  return before.every(file => now.includes(file))
    ? 'The migration is committed. Press Ctrl-C, and start db:watch again for the next one.'
    : 'The committed migrations have changed. Press Ctrl-C, and start db:watch again.'
}

/** Waits for Ctrl-C, so that the database stays for psql. */
async function stop(notice: string): Promise<never> {
  say(`note    ${notice}`)
  for (;;) await sleep(60_000)
}

async function apply(databases: WorkDatabases, text: string): Promise<void> {
  const began = performance.now()
  try {
    await run(databases.ownerUrl)
    const seconds = ((performance.now() - began) / 1000).toFixed(1)
    say(`ok      migrations/current.sql is applied (${seconds} s)`)
    // The database may still have objects of an earlier text; the snapshots come from a fresh one.
    await renewShadow(databases)
    await run(databases.shadowUrl)
    const changed = await refreshSnapshots(databases.shadowUrl)
    say(
      changed.length > 0 ? `ok      wrote ${changed.join(' and ')}` : 'ok      the snapshots are up to date',
    )
  } catch (error) {
    say(`FAILED  ${explainError(error, text)}`)
  }
}

function run(connectionString: string): Promise<void> {
  return current({ connectionString, migrationsFolder, logger: silent })
}

/** Returns a function that names the fixtures that changed since its last call and are not part of the migration. */
async function watchFixtures(): Promise<() => Promise<string[]>> {
  const read = async () => new Map((await fixtures()).map(({ path, text }) => [path, text]))
  let before = await read()
  return async () => {
    const now = await read()
    const included = new Set(includesOf(await currentMigration()))
    const changed = [...now].filter(([path, text]) => before.get(path) !== text).map(([path]) => path)
    before = now
    return changed.filter(path => !included.has(path.slice('migrations/fixtures/'.length)))
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
