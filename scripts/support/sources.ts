/** Reads the project's SQL files: the fixtures, and the migrations that include them. */
import { existsSync } from 'node:fs'
import { glob, readFile } from 'node:fs/promises'
import { basename } from 'node:path'

export type Source = {
  /** Relative to the project's directory. */
  path: string
  text: string
}

export type Fixture = Source & {
  /** The path after `--!include`. */
  include: string
  /** The function or view that the file makes. */
  name: string
}

const FIXTURES = 'migrations/fixtures/'

/** Reads every matching file, sorted by path. npm runs scripts in the project's directory, so the paths are relative. */
export async function sources(patterns: string[]): Promise<Source[]> {
  const paths: string[] = []
  for await (const path of glob(patterns)) paths.push(path)
  paths.sort()
  return Promise.all(paths.map(async path => ({ path, text: await readFile(path, 'utf8') })))
}

export async function fixtures(): Promise<Fixture[]> {
  const files = await sources([`${FIXTURES}**/*.sql`])
  return files.map(file => ({
    ...file,
    include: file.path.slice(FIXTURES.length),
    name: basename(file.path, '.sql'),
  }))
}

/** The committed migrations, in their order. */
export function committedMigrations(): Promise<Source[]> {
  return sources(['migrations/committed/*.sql'])
}

/** The migration that is being written: one file, or several in a folder. */
export function currentMigration(): Promise<Source[]> {
  return sources(existsSync('migrations/current') ? ['migrations/current/*.sql'] : ['migrations/current.sql'])
}

/** The included fixtures, ordered by their last inclusion. They can be run again in this order. */
export async function includedFixtures(): Promise<string[]> {
  return includesOf([...(await committedMigrations()), ...(await currentMigration())])
}

/** The same for these migrations alone. */
export function includesOf(migrations: Source[]): string[] {
  const order = new Set<string>()
  for (const { text } of migrations) {
    // a commit replaces `--!include x.sql` by `--! Included x.sql` and the text
    for (const [, path = ''] of text.matchAll(/^--! ?(?:include|Included)[ \t]+(\S+\.sql)[ \t]*$/gm)) {
      order.delete(path)
      order.add(path)
    }
  }
  return [...order]
}
