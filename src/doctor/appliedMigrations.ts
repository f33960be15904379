/** Whether the database has exactly the migrations of this build. */
import { migrationFault } from '../database/migrations.ts'
import type { Check } from './finding.ts'

export const appliedMigrations: Check = {
  name: 'migrations: those of this build',
  async run({ client }) {
    const finding = await migrationFault(client)
    return finding === undefined
      ? []
      : [{ verdict: 'FAIL', finding, remedy: 'docs/operations.md, Migrations' }]
  },
}
