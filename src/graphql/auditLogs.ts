/** The audit trail by time: `auditLogs(condition: {createdFrom, createdBefore})`. Conditions of columns know equality alone. */
import { TYPES } from '@dataplan/pg'
import { sql } from 'pg-sql2'
import { addPgTableCondition } from 'postgraphile/utils'

/** Add the two ends of a span to the condition of `auditLogs`. */
export const auditLogsPlugins: GraphileConfig.Plugin[] = [
  bound('createdFrom', 'From this moment on.', sql`>=`),
  bound('createdBefore', 'Before this moment.', sql`<`),
]

function bound(name: string, description: string, operator: ReturnType<typeof sql>): GraphileConfig.Plugin {
  return addPgTableCondition(
    { schemaName: 'app_public', tableName: 'audit_logs' },
    name,
    build => ({ description, type: build.getInputTypeByName('Datetime') }),
    (value, { sqlTableAlias, sqlValueWithCodec }) =>
      // the column as it stands, so that an index serves it
      value == null
        ? null
        : sql`${sqlTableAlias}.created_at ${operator} ${sqlValueWithCodec(value, TYPES.timestamptz)}`,
  )
}
