/** A clock that tests set to the microsecond. In a clone, the functions of Forecourt read a setting in place of the time. */
import type pg from 'pg'
import { cloneDatabase, rolledBack, type TestDatabase } from './database.ts'

const FUNCTIONS = `
  select pg_get_functiondef(p.oid) as definition from pg_proc as p
  where p.pronamespace in ('app_public'::regnamespace, 'app_private'::regnamespace) and p.prokind = 'f'
    and not exists (select from pg_depend as d where d.objid = p.oid and d.classid = 'pg_proc'::regclass and d.deptype = 'e')`
const CLOCKS = /\b(clock_timestamp|statement_timestamp|now)\(\)/gi
const FROZEN = `
  create function app_private.frozen_now() returns timestamptz language sql stable
    return coalesce(nullif(current_setting('forecourt.frozen_now', true), '')::timestamptz, clock_timestamp());
  grant execute on function app_private.frozen_now() to public`

/** Clones a database in which time stands still once it is set. Column defaults and views still read the clock. */
export async function cloneFrozen(): Promise<TestDatabase> {
  const database = await cloneDatabase()
  const { rows } = await database.superuser.query<{ definition: string }>(FUNCTIONS)
  await database.superuser.query(FROZEN)
  const frozen = rows.map(({ definition }) => definition).filter(definition => definition.search(CLOCKS) >= 0)
  for (const definition of frozen) {
    await database.superuser.query(definition.replace(CLOCKS, 'app_private.frozen_now()'))
  }
  return database
}

/** The moment of the tests, as SQL. */
export const NOON = "timestamptz '2026-05-15 12:00Z'"

/** Sets the clock of the current transaction to a moment, given as SQL. */
export async function freeze(client: pg.ClientBase, moment: string): Promise<void> {
  await client.query(`select set_config('forecourt.frozen_now', (${moment})::text, true)`)
}

/** A microsecond before the moment, the moment, and a microsecond after it, as SQL. */
export const around = (moment: string): string[] =>
  ['- 1', '+ 0', '+ 1'].map(offset => `(${moment} ${offset} * interval '1 microsecond')`)

/** What `work` returns at each of three moments: before, at and after `moment`. Each runs in its own transaction, rolled back. */
export async function atEach<Value>(
  database: TestDatabase,
  moment: string,
  work: (client: pg.PoolClient) => Promise<Value>,
): Promise<Value[]> {
  const values: Value[] = []
  for (const at of around(moment)) {
    values.push(
      await rolledBack(database, async client => {
        await freeze(client, at)
        return work(client)
      }),
    )
  }
  return values
}
