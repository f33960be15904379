/** Whether the schema is the one that this build expects: `schema.sql`. */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type pg from 'pg'
import { migrationDifference, migrationsFolder } from '../database/migrations.ts'
import { describeSchema, SNAPSHOT_MAJOR } from './catalog/describeSchema.ts'
import type { Check, Finding } from './finding.ts'
import { differences } from './snapshot/differences.ts'

export const snapshotFile = fileURLToPath(new URL('../../schema.sql', import.meta.url))
/** More lines would hide the other checks. */
const MOST_SHOWN = 24

export const schemaSnapshot: Check = {
  name: 'schema: as this build expects it',
  async run({ client }) {
    const { fault, isNewer } = await migrationDifference(client)
    if (fault !== undefined || isNewer) {
      const finding = 'not compared, because the migrations differ from those of this build'
      return [{ verdict: 'note', finding, remedy: 'see the finding on migrations' }]
    }
    const expected = await readFile(snapshotFile, 'utf8')
    const found = differences({
      expected,
      actual: await describeSchema(client),
      sameMajor: (await majorVersion(client)) === SNAPSHOT_MAJOR,
      apiRoles: ['public', ...rolesOf(expected)],
    })
    const isAhead = found.length > 0 && (await hasUncommittedMigration())
    return [...shortened(found), ...(isAhead ? [uncommittedNote()] : [])]
  },
}

async function majorVersion(client: pg.ClientBase): Promise<number> {
  const { rows } = await client.query<{ major: number }>(
    "select current_setting('server_version_num')::integer / 10000 as major",
  )
  return rows[0]?.major ?? 0
}

function rolesOf(snapshot: string): string[] {
  return [...snapshot.matchAll(/^create role (\S+)/gm)].map(([, role = '']) => role)
}

/** Whether the snapshot has more than the committed migrations make: it is made with the migration that is being written. */
async function hasUncommittedMigration(): Promise<boolean> {
  const text = await readFile(`${migrationsFolder}/current.sql`, 'utf8').catch(() => '')
  return /^(?!--[^!]|\s*$)/m.test(text)
}

function uncommittedNote(): Finding {
  const finding = 'schema.sql includes migrations/current.sql, which npm run migrate does not run'
  return { verdict: 'note', finding, remedy: 'commit that migration before it is deployed' }
}

/** The first findings, and how many more there are. */
function shortened(findings: Finding[]): Finding[] {
  const rest = findings.slice(MOST_SHOWN)
  const [worst] = rest
  if (worst === undefined) return findings
  const finding = `${rest.length} more differences from schema.sql`
  return [
    ...findings.slice(0, MOST_SHOWN),
    { verdict: worst.verdict, finding, remedy: 'correct the differences above first' },
  ]
}
