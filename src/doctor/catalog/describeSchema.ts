/** The two schemas as near-SQL text made from the catalogs: the same text for the same schema on any server, 15 to 18. */
import { readdir, readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type pg from 'pg'

type Row = { kind: string; name: string; statement: string }

/** The server that the committed snapshot is made on. */
export const SNAPSHOT_MAJOR = 18

const HEADER = `-- The schema as all migrations make it, read from the catalogs of Postgres ${SNAPSHOT_MAJOR}. People read it, \`npm run check\` holds it
-- against the migrations, and \`npm run db:doctor\` compares databases with it: a change here is a change of the database.
-- \`npm run fix\` writes it. Do not edit it by hand, and do not run it as a whole.
-- \`owner\` stands for the role that owns the schemas.
`

/** The order in which a person reads them. */
const KINDS = ['role', 'schema', 'type', 'sequence', 'table', 'view', 'function', 'procedure']

const folder = fileURLToPath(new URL('.', import.meta.url))

/** The query for the objects that the snapshot describes. */
export function objectsQuery(): Promise<string> {
  return readFile(`${folder}objects.sql`, 'utf8')
}

/** Describes the database that `client` is connected to. Changes nothing but the search path. */
export async function describeSchema(client: pg.ClientBase): Promise<string> {
  // Postgres writes names with their schema unless the search path has it
  await client.query('set search_path to pg_catalog')
  const objects = await objectsQuery()
  const blocks = new Map<string, string[]>()
  for (const query of await catalogQueries()) {
    // a temporary view for `objects` would need a right that a login may lack, and a server that accepts writes
    const { rows } = await client.query<Row>(`with objects as (${objects}) select * from (${query}) as q`)
    const statements = rows.map(row => ({ key: blockKey(row), text: `${row.statement};` }))
    for (const { key, text } of statements.sort((a, b) => compare(a.text, b.text))) {
      const block = blocks.get(key) ?? []
      blocks.set(key, block)
      block.push(text)
    }
  }
  const ordered = [...blocks].sort(([a], [b]) => compare(a, b)).map(([, statements]) => statements.join('\n'))
  return [HEADER, ...ordered].join('\n\n').concat('\n')
}

/** In the order of their numbers. */
async function catalogQueries(): Promise<string[]> {
  const files = (await readdir(folder)).filter(file => /^\d.*\.sql$/.test(file)).sort()
  return Promise.all(files.map(file => readFile(folder + file, 'utf8')))
}

/** All statements about one object stand together. */
function blockKey({ kind, name }: Row): string {
  return `${KINDS.indexOf(kind)} ${name}`
}

/** By code unit: the same on every machine. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
