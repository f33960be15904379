/** Second half of `npm run fix`: writes schema.graphql and schema.sql from a throw-away database. */
import { endServersWithProcess, migrated18 } from './support/databases.ts'
import { refreshSnapshots } from './support/refreshSnapshots.ts'

endServersWithProcess()
try {
  const { ownerUrl } = await migrated18()
  const changed = await refreshSnapshots(ownerUrl)
  process.stdout.write(
    changed.length > 0 ? `Wrote ${changed.join(' and ')}.\n` : 'The snapshots were up to date.\n',
  )
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = 1
}
