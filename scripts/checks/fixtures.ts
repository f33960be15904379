/** The fixtures equal the functions and views of the database, so nobody has to look for a function anywhere else. */
import type pg from 'pg'
import { describeSchema } from '../catalog/snapshot.ts'
import { difference } from '../support/difference.ts'
import { type Fixture, fixtures, includedFixtures } from '../support/sources.ts'

// `create or replace` keeps grants and comments: taken away first, they come back only if the file has them.
const FORGET = `
  do $$
  declare
    v_object record;
  begin
    for v_object in select o.kind, o.name from objects as o where o.kind in ('function', 'procedure', 'view') loop
      execute format('comment on %s %s is null', v_object.kind, v_object.name);
      execute format('revoke all on %s %s from public, forecourt_authenticator, forecourt_visitor, forecourt_dealer, forecourt_admin',
        case v_object.kind when 'view' then 'table' else v_object.kind end, v_object.name);
    end loop;
    for v_object in
      select format('%s.%I', o.name, a.attname) as name
      from objects as o join pg_attribute as a on a.attrelid = o.oid and a.attnum > 0
      where o.kind = 'view'
    loop
      execute format('comment on column %s is null', v_object.name);
    end loop;
  end
  $$`

const DIFFERS =
  'The fixture differs from the committed migrations. Include it in migrations/current.sql and run npm run db:commit.'

/** `owner`: a client of the owner of a migrated database; nothing is left changed. */
export async function fixturesEqualDatabase(owner: pg.ClientBase): Promise<string[]> {
  const files = await fixtures()
  const included = await includedFixtures()
  const before = await describeSchema(owner)
  const strangers = await withoutFixture(owner, files)
  await owner.query('begin')
  try {
    // an older migration may include a file that has been removed since
    const inOrder = included.flatMap(include => files.filter(file => file.include === include))
    const fault = await runAgain(owner, inOrder)
    const changed = fault === undefined ? await difference(before, await describeSchema(owner)) : [fault]
    return [
      ...files.filter(file => !inOrder.includes(file)).map(({ path }) => `no migration includes ${path}`),
      ...strangers,
      ...(changed.length > 0 ? [DIFFERS, ...changed] : []),
    ]
  } finally {
    await owner.query('rollback')
  }
}

/** The error of the first file that fails. */
async function runAgain(owner: pg.ClientBase, files: Fixture[]): Promise<string | undefined> {
  await owner.query(FORGET)
  await owner.query('reset search_path')
  for (const { path, text } of files) {
    try {
      await owner.query(text)
    } catch (error) {
      return `${path}: ${(error as Error).message}`
    }
  }
  return undefined
}

/** The functions and views without a file of their name. Needs the view `objects`, which `describeSchema` makes. */
async function withoutFixture(owner: pg.ClientBase, files: Fixture[]): Promise<string[]> {
  const { rows } = await owner.query<{ name: string }>(
    "select name from objects where kind in ('function', 'procedure', 'view')",
  )
  const names = new Set(files.map(({ name }) => name))
  return rows
    .filter(({ name }) => !names.has(name.replace(/\(.*/, '').replace(/.*\./, '')))
    .map(({ name }) => `the database has ${name}, for which there is no file in migrations/fixtures`)
}
