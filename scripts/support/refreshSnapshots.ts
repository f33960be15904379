/** Writes schema.graphql and schema.sql, where a database says something else than the files do. */
import { readFile, writeFile } from 'node:fs/promises'
import { makeSnapshots } from '../checks/snapshots.ts'

/** Returns the names of the files that changed. */
export async function refreshSnapshots(databaseUrl: string): Promise<string[]> {
  const changed: string[] = []
  for (const [file, text] of Object.entries(await makeSnapshots(databaseUrl))) {
    if ((await readFile(file, 'utf8').catch(() => undefined)) === text) continue
    await writeFile(file, text)
    changed.push(file)
  }
  return changed
}
