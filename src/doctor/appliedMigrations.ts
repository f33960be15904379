/** Whether the database has exactly the migrations of this build. */
import { migrationDifference } from '../database/migrations.ts'
import type { Check } from './finding.ts'

export const appliedMigrations: Check = {
  name: 'migrations: those of this build',
  async run({ client }) {
    const { fault, isNewer } = await migrationDifference(client)
    const remedy = 'docs/operations.md, Deploy a new version'
    if (fault !== undefined) return [{ verdict: 'FAIL', finding: fault, remedy }]
    if (!isNewer) return []
    const finding = 'the database has newer migrations than this build, which still works with them'
    return [{ verdict: 'note', finding, remedy: 'run the doctor of the newest build' }]
  },
}
