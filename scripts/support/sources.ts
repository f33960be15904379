/** The project's SQL as files: fixtures, and the migrations that include them. */
import { existsSync } from 'node:fs'
import { glob, readFile } from 'node:fs/promises'
import { basename } from 'node:path'

export type Source = {
  /** As one writes it on the command line. */
  path: string
  text: string
}

export type Fixture = Source & {
  /** As it stands behind `--!include`. */
  include: string
  /** What the file is named for. */
  name: string
}

const FIXTURES = 'migrations/fixtures/'

/** Every file that matches, sorted by path. Scripts run in the project's directory, as npm starts them. */
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

/** What has been committed, in order. */
export function committedMigrations(): Promise<Source[]> {
  return sources(['migrations/committed/*.sql'])
}

/** The migration that is being written: one file, or several in a folder. */
export function currentMigration(): Promise<Source[]> {
  return sources(existsSync('migrations/current') ? ['migrations/current/*.sql'] : ['migrations/current.sql'])
}

/** The fixtures that migrations include, each where it was included last: an order in which they can be run again. */
export async function includedFixtures(): Promise<string[]> {
  const order = new Set<string>()
  for (const { text } of [...(await committedMigrations()), ...(await currentMigration())]) {
    // graphile-migrate puts the text in the place of the line when it commits, and leaves the name
    for (const [, path = ''] of text.matchAll(/^--! ?(?:include|Included)[ \t]+(\S+\.sql)[ \t]*$/gm)) {
      order.delete(path)
      order.add(path)
    }
  }
  return [...order]
}
