/** The migration that is being written: `migrations/current.sql`, or the files of `migrations/current/`. */
import { existsSync } from 'node:fs'
import { basename } from 'node:path'
import { compile } from 'graphile-migrate'
import { migrationsFolder } from '../../src/database/migrations.ts'
import { currentMigration, type Source } from '../support/sources.ts'

/** graphile-migrate takes the database's name from the URL; nothing connects. */
const SETTINGS = { connectionString: 'postgres://nobody@localhost/forecourt', migrationsFolder }
const COMMENT = /\/\*[\s\S]*?\*\/|--(?!![ \t]*include\b).*/g

/** The text that graphile-migrate will run, with every included fixture in place of its `--!include`. */
export async function compileCurrent(): Promise<string> {
  const files = await currentMigration()
  const compiled = await Promise.all(
    files.map(({ path, text }) => compile(SETTINGS, text, { filename: path })),
  )
  if (!existsSync('migrations/current')) return compiled.join('')
  return files
    .map(({ path }, index) => `--! split: ${basename(path)}\n${compiled[index]?.trim()}\n`)
    .join('\n')
}

/** True when a file has comments only. An `--!include` counts as a statement. */
export function isBlank({ text }: Pick<Source, 'text'>): boolean {
  return text.replaceAll(COMMENT, '').trim() === ''
}

/** The text after `--! Message:`, if there is one. */
export function messageOf(text: string): string | undefined {
  return /^--! Message:[ \t]*(\S.*?)[ \t]*$/m.exec(text)?.[1]
}
