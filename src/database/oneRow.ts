/** For tasks that keep a connection of the worker for themselves: its type, and a statement that answers with one row. */
import type { WithPgClient } from 'graphile-worker'
import type pg from 'pg'

export type Client = Parameters<Parameters<WithPgClient>[0]>[0]

/** The one row of an answer. */
export async function one<Row extends object>(
  client: Client,
  sql: string,
  values: unknown[] = [],
): Promise<Row> {
  const { rows } = await client.query<Row & pg.QueryResultRow>(sql, values)
  return rows[0] as Row
}
