/** One registry of errors in three places: what SQL raises, the table of the API, and the page that clients read. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { ownSqlstates } from '../../src/request/errors.ts'
import { currentMigration, fixtures, type Source, sources } from '../support/sources.ts'

const TABLE = 'src/request/errors.ts'
const PAGE = 'docs/errors.md'

type Entry = { sqlstate: string; code: string; raisedBy: string }

export async function errorRegistry(): Promise<string[]> {
  if (!existsSync(PAGE)) return [`${PAGE} is missing`]
  const page = await readFile(PAGE, 'utf8')
  const entries = registryOf(page)
  const sqlstates = await raisedSqlstates()
  return [
    ...sqlstates
      .filter(sqlstate => !(sqlstate in ownSqlstates))
      .map(sqlstate => `${TABLE} lacks ${sqlstate}`),
    ...(await entryFaults(entries, sqlstates)),
    ...(await statusFaults(page)),
  ]
}

/** Each SQLSTATE of ours has one row, and the row tells the truth. */
async function entryFaults(entries: Entry[], sqlstates: string[]): Promise<string[]> {
  const api = (await sources(['src/**/*.ts'])).filter(({ path }) => path !== TABLE)
  const faults = entries
    .filter(({ sqlstate }) => !(sqlstate in ownSqlstates))
    .map(({ sqlstate }) => `${PAGE} tells of ${sqlstate}, ${TABLE} does not`)
  for (const [sqlstate, code] of Object.entries(ownSqlstates)) {
    const places = [
      ...(sqlstates.includes(sqlstate) ? ['SQL'] : []),
      ...(api.some(({ text }) => text.includes(`'${code}'`)) ? ['TypeScript'] : []),
    ].join(', ')
    if (places === '') faults.push(`${sqlstate} \`${code}\` is raised nowhere`)
    const [entry, ...more] = entries.filter(entry => entry.sqlstate === sqlstate)
    if (entry === undefined || more.length > 0) faults.push(`${PAGE} needs one row for ${sqlstate}`)
    else if (entry.code !== code) faults.push(`${PAGE}: ${sqlstate} is \`${code}\``)
    else if (entry.raisedBy !== places) faults.push(`${PAGE}: ${sqlstate} is raised by ${places}`)
  }
  return faults
}

/** Every code of the API stands in a row with its status. */
async function statusFaults(page: string): Promise<string[]> {
  const rows = page.split('\n').filter(line => line.startsWith('|'))
  const table = await readFile(TABLE, 'utf8')
  // the table is private to its module, so its text is read
  const codes = [...table.matchAll(/^ {2}(\w+): \{\s*status: (\d{3})/gm)]
  return codes
    .filter(
      ([, code, status]) => !rows.some(row => row.includes(`\`${code}\``) && row.includes(` ${status}`)),
    )
    .map(([, code, status]) => `${PAGE} needs a row with \`${code}\` and ${status}`)
}

/** The rows that begin with a SQLSTATE of ours. */
function registryOf(page: string): Entry[] {
  const row = /^\| *(FC\w+) *\| *`(\w+)` *\|.*\| *([^|]*?) *\|$/gm
  return [...page.matchAll(row)].map(([, sqlstate = '', code = '', raisedBy = '']) => ({
    sqlstate,
    code,
    raisedBy,
  }))
}

/** Not by committed migrations: the functions in them may have changed since. */
async function raisedSqlstates(): Promise<string[]> {
  const files: Source[] = [...(await currentMigration()), ...(await fixtures())]
  const raise = /\b(?:errcode\s*(?:=|:=)|sqlstate)\s*'(FC\w*)'/gi
  const found = files.flatMap(({ text }) => [...text.matchAll(raise)].map(([, sqlstate = '']) => sqlstate))
  return [...new Set(found)].sort()
}
