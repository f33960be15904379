/** Writes schema.graphql and schema.sql again if they differ from what a database gives. */
import { writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { makeSnapshots } from '../checks/snapshots.ts'

/** Returns the names of the files that changed. */
export async function refreshSnapshots(databaseUrl: string): Promise<string[]> {
  const changed: string[] = []
  for (const [file, text] of Object.entries(await makeSnapshots(databaseUrl))) {
    if ((await readFile(file, 'utf8').catch(() => undefined)) === text) continue
    // Synchronous, so that Ctrl-C leaves no half-written file.
    writeFileSync(file, text)
    changed.push(file)
  }
  return changed
}
