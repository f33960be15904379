/** Whether the database has the migrations of this build, all and no other. */
import { migrationFault } from '../database/migrations.ts'
import type { Check } from './check.ts'

export const migrations: Check = {
  name: 'migrations: those of this build',
  async run({ client }) {
    const finding = await migrationFault(client)
    return finding === undefined
      ? []
      : [{ verdict: 'FAIL', finding, remedy: 'docs/operations.md, Migrations' }]
  },
}
