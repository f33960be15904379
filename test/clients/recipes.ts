/** The files of docs/clients.md in a directory of their own, as an app developer has them. */
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { projectDirectory } from '../../scripts/support/commands.ts'
import { stepsOf } from '../scripts/guide.ts'

export type Recipes = {
  directory: string
  /** Imports one of the files. The type is that of its exports. */
  load<Exports>(file: string): Promise<Exports>
  remove(): void
}

export async function writeRecipes(): Promise<Recipes> {
  const directory = mkdtempSync(join(tmpdir(), 'forecourt-clients-'))
  symlinkSync(join(projectDirectory, 'node_modules'), join(directory, 'node_modules'))
  await copyFile(join(projectDirectory, 'schema.graphql'), join(directory, 'schema.graphql'))
  await writeFile(join(directory, 'package.json'), '{ "type": "module" }')
  for (const step of stepsOf(await readFile(join(projectDirectory, 'docs/clients.md'), 'utf8'))) {
    if (step.kind === 'file') await writeFile(join(directory, step.path), step.text)
  }
  return {
    directory,
    load: file => import(join(directory, file)),
    remove: () => rmSync(directory, { recursive: true }),
  }
}
