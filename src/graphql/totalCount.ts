/**
 * Stops `totalCount` at 10,001 rows, which bounds its cost on large tables.
 *
 * A subquery with a limit would be the usual way, but @dataplan/pg 1.1.2 adds the conditions to the outer statement only. So a
 * window function counts: its frame is the current row and the next 10,000, and `limit 1` reads it at the first row. Postgres
 * reads no row beyond that frame. The frame takes 363 kB of memory. With a `work_mem` below 1 MB the count is right, but Postgres
 * may read all rows.
 */
import { TYPES } from '@dataplan/pg'
import { type ConnectionStep, constant, lambda, type Step } from 'grafast'
import { sql } from 'pg-sql2'
import type { PgSelectStep } from 'postgraphile/@dataplan/pg'

/** The largest `totalCount`. A client that reads it knows that there are more than 10,000 rows. */
export const TOTAL_COUNT_MAXIMUM = 10_001

/** Replaces the plan and the description of every `totalCount`. */
export const TotalCountPlugin: GraphileConfig.Plugin = {
  name: 'TotalCountPlugin',
  version: '1.0.0',
  schema: {
    hooks: {
      GraphQLObjectType_fields_field(field, _build, { scope }) {
        if (!scope.isPgConnectionTotalCountField) return field
        const most = TOTAL_COUNT_MAXIMUM.toLocaleString('en')
        const description = `The number of rows, at most ${most}: more are not counted.`
        return { ...field, description, plan: countRows }
      },
    },
  },
}

function countRows($connection: ConnectionStep<unknown>): Step<number> {
  // this mode ignores `orderBy`: after a sort, the first row may be any row of the window, and all rows are read
  const $rows = $connection.cloneSubplanWithoutPagination('aggregate') as unknown as PgSelectStep
  $rows.setFirst(constant(1))
  const following = sql.literal(TOTAL_COUNT_MAXIMUM - 1)
  const count = sql`(count(*) over (rows between current row and ${following} following))`
  const $count = $rows.singleAsRecord().select(count, TYPES.int, false)
  // without rows there is no first row
  return lambda($count, rows => rows ?? 0, true)
}
