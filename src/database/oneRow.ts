/** For tasks that hold one connection of the worker: its type, and a query for one row. */
import type { WithPgClient } from 'graphile-worker'
import type pg from 'pg'

export type Client = Parameters<Parameters<WithPgClient>[0]>[0]

/** Runs a statement that returns exactly one row. */
export async function queryOneRow<Row extends object>(
  client: Client,
  sql: string,
  values: unknown[] = [],
): Promise<Row> {
  const { rows } = await client.query<Row & pg.QueryResultRow>(sql, values)
  return rows[0] as Row
}
