/** The migrations as they run, fixtures included, through squawk: locks, timeouts, and changes that break a running API. */
import { compile } from 'graphile-migrate'
import { runTool } from '../support/check.ts'
import { committedMigrations, currentMigration } from '../support/sources.ts'

export async function lintMigrations(): Promise<string[]> {
  const files = await committedMigrations()
  // only the name of the database is taken from the URL; nobody connects
  const settings = { connectionString: 'postgres://nobody@localhost/forecourt' }
  for (const { path, text } of await currentMigration()) {
    files.push({ path, text: await compile(settings, text, { filename: path }) })
  }
  const faults = await Promise.all(
    files.map(({ path, text }) => runTool('squawk', ['--reporter', 'gcc', '--stdin-filepath', path], text)),
  )
  return faults.flat()
}
