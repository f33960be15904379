/** Checks the migrations: committed ones are unchanged, none is left uncommitted, and squawk finds no lock or change that breaks a running API. */
import { createHash } from 'node:crypto'
import { compile } from 'graphile-migrate'
import { isBlank } from '../migrations/currentMigration.ts'
import { editedMigration } from '../migrations/editedMigration.ts'
import { committedMigrations, currentMigration, type Source } from '../support/sources.ts'
import { runTool } from '../support/tools.ts'

/** Lints what graphile-migrate runs, fixtures included. */
export async function lintMigrations(): Promise<string[]> {
  const files = await committedMigrations()
  // graphile-migrate takes the database's name from the URL; nothing connects
  const settings = { connectionString: 'postgres://nobody@localhost/forecourt' }
  for (const { path, text } of await currentMigration()) {
    files.push({ path, text: await compile(settings, text, { filename: path }) })
  }
  const faults = await Promise.all(
    files.map(({ path, text }) => runTool('squawk', ['--reporter', 'gcc', '--stdin-filepath', path], text)),
  )
  return faults.flat()
}

export async function migrationsAreUnchanged(): Promise<string[]> {
  return chainFaults(await committedMigrations())
}

/**
 * Each committed migration names the hash of the one before it, and its own, which covers that and the text. graphile-migrate
 * compares them only when it runs the migration, so a database that has run it would not notice a later edit.
 */
export function chainFaults(migrations: Source[]): string[] {
  let previous = '-'
  return migrations.flatMap(({ path, text }, index) => {
    const [, head = '', body = ''] = /^((?:--! .*\n)*)\n([\s\S]*)$/.exec(text) ?? []
    const named = (key: string) => new RegExp(`^--! ${key}: (\\S+)$`, 'm').exec(head)?.[1]
    const hash = named('Hash') ?? ''
    const faults: string[] = []
    if (Number.parseInt(path.replace(/.*\//, ''), 10) !== index + 1)
      faults.push(`${path} is not number ${index + 1}`)
    if (named('Previous') !== previous) faults.push(`${path} does not follow ${previous}, the hash before it`)
    if (hash !== hashOf(body, previous)) faults.push(editedMigration(path))
    previous = hash
    return faults
  })
}

/** The formula of graphile-migrate. */
export function hashOf(body: string, previous: string): string {
  const text = `${`${previous === '-' ? '' : previous}\n${body.trim()}`.trim()}\n`
  return `sha1:${createHash('sha1').update(text).digest('hex')}`
}

export async function currentIsCommitted(): Promise<string[]> {
  return (await currentMigration())
    .filter(file => !isBlank(file))
    .map(({ path }) => `${path} has statements: commit them with npm run db:commit -- "what it does"`)
}

/** A text that is included a second time is a needless copy. graphile-migrate hashes the text with LF line ends. */
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
