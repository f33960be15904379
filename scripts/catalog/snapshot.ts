/** The two schemas as near-SQL text made from the catalogs: the same text for the same schema on any server, 15 to 18. */
import { readFile } from 'node:fs/promises'
import type pg from 'pg'
import { sources } from '../support/sources.ts'

type Row = { kind: string; name: string; statement: string }

const HEADER = `-- The schema as all migrations make it, read from the catalogs. For people, and for the check that compares it:
-- a change here is a change of the database. Written by \`npm run fix\`; neither edited by hand nor run.
-- \`owner\` stands for whoever owns the database.
`

/** In the order in which one reads them. */
const KINDS = ['role', 'schema', 'type', 'sequence', 'table', 'view', 'function', 'procedure']

/** Describes the database that `owner`, a client of its owner, is connected to. Changes nothing but the search path. */
export async function describeSchema(owner: pg.ClientBase): Promise<string> {
  // names are written out with their schema unless the search path has it
  await owner.query('set search_path to pg_catalog')
  await owner.query(await readFile(new URL('objects.sql', import.meta.url), 'utf8'))
  const { rows: names } = await owner.query<{ owner: string }>('select quote_ident(current_user) as owner')
  const blocks = new Map<string, string[]>()
  for (const query of await sources(['scripts/catalog/[0-9]*.sql'])) {
    const { rows } = await owner.query<Row>(query.text)
    const statements = rows.map(row => ({ key: blockKey(row), text: `${row.statement};` }))
    for (const { key, text } of statements.sort((a, b) => compare(a.text, b.text))) {
      const block = blocks.get(key) ?? []
      blocks.set(key, block)
      block.push(text)
    }
  }
  const ordered = [...blocks].sort(([a], [b]) => compare(a, b)).map(([, statements]) => statements.join('\n'))
  return [HEADER, ...ordered]
    .join('\n\n')
    .replaceAll(names[0]?.owner ?? '', 'owner')
    .concat('\n')
}

/** All that is said about one object stands together. */
function blockKey({ kind, name }: Row): string {
  return `${KINDS.indexOf(kind)} ${name}`
}

/** By code unit: the same on every machine. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
