/** `npm run fix`: writes schema.graphql and schema.sql from a throw-away database. */
import { writeFile } from 'node:fs/promises'
import { makeSnapshots } from './checks/snapshots.ts'
import { endServersWithProcess, migrated18 } from './support/databases.ts'

endServersWithProcess()
const { ownerUrl } = await migrated18()
for (const [file, text] of Object.entries(await makeSnapshots(ownerUrl))) {
  await writeFile(file, text)
  process.stdout.write(`wrote ${file}\n`)
}
