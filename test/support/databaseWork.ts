/** Counts the calls of functions and the writes to tables since the statistics were reset. */
import type { TestDatabase } from './database.ts'
import { until } from './waits.ts'

/** Waits until `lastFunction` has `times` calls, because a connection reports its statistics when it closes. */
export async function workInDatabase(
  database: TestDatabase,
  lastFunction: string,
  times: number,
): Promise<unknown[]> {
  const calls = async () =>
    (
      await database.superuser.query<{ name: string; calls: string }>(
        `select funcname as name, calls from pg_stat_user_functions
         -- the start and the polls of the server call these at any time
         where schemaname in ('app_public', 'app_private')
           and funcname <> all ('{applied_migrations,revoked_session_ids,revocation_lifetime}') order by name`,
      )
    ).rows
  await until('the connection has reported its work', async () =>
    (await calls()).some(({ name, calls }) => name === lastFunction && calls === String(times)),
  )
  const { rows: writes } = await database.superuser.query(
    `select relname, n_tup_ins, n_tup_upd, n_tup_del from pg_stat_user_tables
     where n_tup_ins + n_tup_upd + n_tup_del > 0 order by relname`,
  )
  return [await calls(), writes]
}
