/** The rows and index entries that the server has read, from its statistics. */
import type pg from 'pg'
import type { TestDatabase } from './database.ts'
import { single } from './testData.ts'

const TOTAL = `select (select sum(seq_tup_read) from pg_stat_user_tables)
  + (select sum(idx_tup_read) from pg_stat_user_indexes)`

/**
 * The number that `work` reads on this connection, while nothing else runs. It includes old row versions: use
 * `databaseAlone` if `work` replaces many rows.
 */
export async function tuplesRead(
  database: TestDatabase,
  client: pg.ClientBase,
  work: () => Promise<unknown>,
): Promise<number> {
  const total = async () => {
    await client.query('select pg_stat_force_next_flush()')
    return Number(await single(database.superuser, TOTAL))
  }
  const before = await total()
  await work()
  return (await total()) - before
}

/** Keeps autovacuum from the tables: it would change what the planner knows in the middle of a test. */
export async function stopAutovacuum({ superuser }: TestDatabase): Promise<void> {
  await superuser.query(
    `do $$ declare t regclass; begin
       for t in select oid from pg_class where relkind = 'r' and relnamespace in ('app_public'::regnamespace, 'app_private'::regnamespace) loop
         execute format('alter table %s set (autovacuum_enabled = off)', t);
       end loop;
     end $$`,
  )
}
