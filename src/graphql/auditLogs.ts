/** Adds `createdFrom` and `createdBefore` to the condition of `auditLogs`. Conditions on columns only test equality. */
import { TYPES } from '@dataplan/pg'
import { sql } from 'pg-sql2'
import { addPgTableCondition } from 'postgraphile/utils'

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
      // compare the bare column, so that its index is used
      value == null
        ? null
        : sql`${sqlTableAlias}.created_at ${operator} ${sqlValueWithCodec(value, TYPES.timestamptz)}`,
  )
}
