/** The rows and index entries that the server has read, from its statistics. */
import type pg from 'pg'
import type { TestDatabase } from './database.ts'
import { single } from './testData.ts'

const TOTAL = `select (select sum(seq_tup_read) from pg_stat_user_tables)
  + (select sum(idx_tup_read) from pg_stat_user_indexes)`

/** The number that `work` reads on this connection, while nothing else runs. */
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
