/** Plants a row that breaks one rule: a copy of a valid row with some columns changed, inserted without the other rules. */
import type pg from 'pg'
import type { TestDatabase } from '../support/database.ts'
import { isolateRule } from './rowRules.ts'

/** Columns by name. Numbers that must keep their decimal places are strings. */
export type Row = Record<string, unknown>

/** Runs `work` as a superuser in a transaction that is rolled back. Only a superuser may remove the rules of a table. */
export async function planting<Value>(
  database: TestDatabase,
  work: (client: pg.PoolClient) => Promise<Value>,
): Promise<Value> {
  const client = await database.superuser.connect()
  try {
    await client.query('begin')
    return await work(client)
  } finally {
    await client.query('rollback')
    client.release()
  }
}

const OTHER_RULES = `
  select format('alter table %s disable trigger user', $1::regclass) as drop, 0 as number
  union all
  -- foreign keys first: the cascade of a key also drops those that refer to it
  select format('alter table %s drop constraint %I cascade', conrelid::regclass, conname), case contype when 'f' then 1 else 2 end
  from pg_constraint where conrelid = $1::regclass and contype in ('c', 'f', 'p', 'u', 'x') and conname <> $2
    -- a foreign key to its own table needs the key that it refers to
    and not exists (select from pg_constraint as f where f.conrelid = $1::regclass and f.conname = $2 and f.contype = 'f'
      and f.confrelid = f.conrelid and f.conindid = pg_constraint.conindid and pg_constraint.contype in ('p', 'u'))
  union all
  select format('drop index %s cascade', i.indexrelid::regclass), 3
  from pg_index as i join pg_class as c on c.oid = i.indexrelid
  where i.indrelid = $1::regclass and i.indisunique and c.relname <> $2
    and not exists (select from pg_constraint where conindid = i.indexrelid and contype in ('p', 'u', 'x'))
  order by number`

/** Removes the other constraints and the triggers of the table, so that none of them hides the one under test. */
export async function isolate(client: pg.ClientBase, table: string, name: string): Promise<void> {
  const holder = await isolateRule(client, table, name)
  const { rows } = await client.query<{ drop: string }>(OTHER_RULES, [table, holder ?? name])
  await client.query(rows.map(({ drop }) => drop).join(';'))
}

/**
 * Inserts a copy of a row that fulfils `where`, with these changes, and takes it back. Returns `accepted`, or the SQLSTATE with
 * the name of the constraint or of the column that refused it.
 */
export async function plant(
  client: pg.ClientBase,
  table: string,
  changes: Row,
  where = 'true',
): Promise<string> {
  await client.query('savepoint plant')
  try {
    const { rowCount } = await client.query(
      `insert into ${table} select (jsonb_populate_record(null::${table}, to_jsonb(original) || $1)).*
       from (select * from ${table} where ${where} limit 1) as original`,
      [JSON.stringify(changes)],
    )
    return rowCount === 1 ? 'accepted' : `no row of ${table} fulfils ${where}`
  } catch (error) {
    const { code, constraint, column } = error as pg.DatabaseError
    return `${code} ${constraint ?? column}`
  } finally {
    await client.query('rollback to savepoint plant')
  }
}
