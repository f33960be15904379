/**
 * What has been committed, and the migrations as they run, fixtures included, through squawk: locks, timeouts, and changes that
 * break a running API. graphile-migrate itself checks the chain of hashes when the migrations are applied.
 */
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

/** A text that is included again is a copy that nobody needs. graphile-migrate hashes the text with LF line ends. */
export async function committedOnce(): Promise<string[]> {
  const faults: string[] = []
  const places = new Map<string, string>()
  for (const { path, text } of await committedMigrations()) {
    if (text.includes('\r')) faults.push(`${path}: has CR line ends`)
    if (/^--! AllowInvalidHash/m.test(text)) faults.push(`${path}: allows an invalid hash`)
    for (const [, fixture = '', body = ''] of text.matchAll(
      /^--! Included (\S+)\n([\s\S]*?)^--! EndIncluded \1$/gm,
    )) {
      const before = places.get(body)
      if (before !== undefined) faults.push(`${path}: includes ${fixture} as in ${before}`)
      places.set(body, path)
    }
  }
  return faults
}
