/** The errors stand in three places that must agree: the SQL that raises them, src/request/errors.ts, and docs/errors.md. */
import { readFile } from 'node:fs/promises'
import { type ErrorCode, type FaultContext, fault, ownSqlstates, toFault } from '../../src/request/errors.ts'
import { currentMigration, fixtures, type Source, sources } from '../support/sources.ts'

const TABLE = 'src/request/errors.ts'
const PAGE = 'docs/errors.md'

/** A row of the table "Codes". */
type CodeRow = { code: string; http: string; sqlstate: string; raisedBy: string }
/** A row of the table "Errors that Postgres raises". */
type PostgresRow = { sqlstates: string[]; codes: string[]; http: string[] }

export type Registry = {
  page: string
  /** The text of src/request/errors.ts. Its tables are private to the module, so their keys are read from the text. */
  table: string
  /** The other files of src/. */
  typescript: string[]
  /** The SQLSTATEs of class FC that SQL raises. */
  raised: string[]
}

export async function errorRegistry(): Promise<string[]> {
  return registryFaults(await readRegistry())
}

export async function readRegistry(): Promise<Registry> {
  const typescript = (await sources(['src/**/*.ts'])).filter(({ path }) => path !== TABLE)
  return {
    page: await readFile(PAGE, 'utf8'),
    table: await readFile(TABLE, 'utf8'),
    typescript: typescript.map(({ text }) => text),
    raised: raisedIn([...(await currentMigration()), ...(await fixtures())]),
  }
}

/** Committed migrations are not read: a later one may have replaced a function of theirs. */
function raisedIn(files: Source[]): string[] {
  const raise = /\b(?:errcode\s*(?:=|:=)|sqlstate)\s*'(FC\w*)'/gi
  const found = files.flatMap(({ text }) => [...text.matchAll(raise)].map(([, sqlstate = '']) => sqlstate))
  return [...new Set(found)].sort()
}

export function registryFaults(registry: Registry): string[] {
  const codes = rowsOf(registry.page, 'Codes').map(
    ([code = '', http = '', sqlstate = '', raisedBy = '']): CodeRow => ({
      code: code.replaceAll('`', ''),
      http,
      sqlstate,
      raisedBy,
    }),
  )
  const postgres = rowsOf(registry.page, 'Errors that Postgres raises').map(
    ([sqlstates = '', names = '', http = '']): PostgresRow => ({
      sqlstates: sqlstates.split(', '),
      codes: names.replaceAll('`', '').split(', ').sort(),
      http: http.split(', ').sort(),
    }),
  )
  return [
    ...sqlFaults(registry.raised),
    ...codeFaults(codes, registry),
    ...postgresFaults(postgres, registry),
  ]
}

function sqlFaults(raised: string[]): string[] {
  return raised
    .filter(sqlstate => !(sqlstate in ownSqlstates))
    .map(sqlstate => `SQL raises ${sqlstate}, but ${TABLE} lacks it`)
}

/** Each code has one row, and the row says the same as the sources. */
function codeFaults(rows: CodeRow[], { table, typescript, raised }: Registry): string[] {
  const known = [...table.matchAll(/^ {2}(\w+): \{\s*status: \d{3}/gm)].map(([, code = '']) => code)
  const unknown = rows
    .filter(({ code }) => !known.includes(code))
    .map(({ code }) => `${PAGE}: there is no code ${code}`)
  const faults = known.flatMap(code => {
    const [row, ...more] = rows.filter(row => row.code === code)
    if (row === undefined || more.length > 0) return [`${PAGE} needs one row for \`${code}\``]
    const [sqlstate = ''] = Object.entries(ownSqlstates).find(([, own]) => own === code) ?? []
    const places = [
      ...(raised.includes(sqlstate) ? ['SQL'] : []),
      ...(sqlstate !== '' && typescript.some(text => text.includes(`'${code}'`)) ? ['TypeScript'] : []),
    ].join(', ')
    const { status } = fault(code as ErrorCode)
    return [
      ...(sqlstate !== '' && places === '' ? [`${sqlstate} \`${code}\` is raised nowhere`] : []),
      ...(row.http === String(status) ? [] : [`${PAGE}: \`${code}\` is ${status}`]),
      ...(row.sqlstate === sqlstate ? [] : [`${PAGE}: the SQLSTATE of \`${code}\` is ${sqlstate || 'none'}`]),
      ...(row.raisedBy === places
        ? []
        : [`${PAGE}: \`${code}\` is raised by ${places || 'none of the two'}`]),
    ]
  })
  return [...unknown, ...faults]
}

/** Each SQLSTATE that the table of TypeScript knows is on the page, and each one on the page gives what its row says. */
function postgresFaults(rows: PostgresRow[], { table }: Registry): string[] {
  const listed = rows.flatMap(({ sqlstates }) => sqlstates)
  const known = [...table.matchAll(/^ {2}'?(\d{2}|[0-9A-Z]{5})'?: '\w+'/gm)]
    .map(([, key = '']) => (key.length === 2 ? `${key}xxx` : key))
    .filter(key => !key.startsWith('FC'))
  const twice = listed.filter((sqlstate, index) => listed.indexOf(sqlstate) !== index)
  return [
    ...known.filter(key => !listed.includes(key)).map(key => `${PAGE} needs ${key}, which ${TABLE} knows`),
    ...twice.map(sqlstate => `${PAGE} has ${sqlstate} twice`),
    ...rows.flatMap(row => row.sqlstates.flatMap(sqlstate => rowFaults(row, sqlstate))),
  ]
}

function rowFaults({ codes, http }: PostgresRow, sqlstate: string): string[] {
  const outcomes = outcomesOf(sqlstate.replace('xxx', '000'))
  const made = [...new Set(outcomes.map(({ code }) => code))].sort()
  const statuses = [...new Set(outcomes.map(({ status }) => String(status)))].sort()
  return [
    ...(made.join() === codes.join() ? [] : [`${PAGE}: ${sqlstate} gives \`${made.join('`, `')}\``]),
    ...(statuses.join() === http.join()
      ? []
      : [`${PAGE}: the status of ${sqlstate} is ${statuses.join(', ')}`]),
  ]
}

/** What a client may get for this SQLSTATE: with and without a user, with and without a message on the constraint. */
function outcomesOf(sqlstate: string) {
  const message = { field: 'field', message: 'A message.' }
  const contexts: FaultContext[] = [true, false].flatMap(authenticated => [
    { authenticated, constraintMessages: new Map() },
    { authenticated, constraintMessages: new Map([['constraint', message]]) },
  ])
  const error = { code: sqlstate, severity: 'ERROR', message: '', constraint: 'constraint' }
  return contexts.map(context => toFault(error, context))
}

/** The cells of the first table below a heading, without its head. */
function rowsOf(page: string, heading: string): string[][] {
  const section = page.split(/^## /m).find(text => text.startsWith(`${heading}\n`)) ?? ''
  const lines = section.split('\n').filter(line => line.startsWith('|'))
  return lines.slice(2).map(line =>
    line
      .split('|')
      .slice(1, -1)
      .map(cell => cell.trim()),
  )
}
