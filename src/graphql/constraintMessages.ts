/**
 * What a client may be told about a broken constraint. The constraint itself says so, in its comment:
 * `comment on constraint dealers_company_name_not_blank on dealers is '@field companyName The company name is blank.'`
 */
import type { Pool } from 'pg'
import type { ConstraintMessage } from './errors.ts'

const commentedConstraints = `
  select pg_constraint.conname as name, pg_description.description as comment
  from pg_catalog.pg_constraint
  join pg_catalog.pg_description
    on pg_description.objoid = pg_constraint.oid and pg_description.classoid = 'pg_catalog.pg_constraint'::regclass
  join pg_catalog.pg_namespace on pg_namespace.oid = pg_constraint.connamespace
  where pg_namespace.nspname in ('app_public', 'app_private') and pg_description.description like '@field %'`

/** Reads the map, once, at the start. */
export async function loadConstraintMessages(pool: Pool): Promise<Map<string, ConstraintMessage>> {
  const { rows } = await pool.query<{ name: string; comment: string }>(commentedConstraints)
  return new Map(rows.map(({ name, comment }) => [name, parseComment(comment)]))
}

/** `@field <field> <message>`, on the first line; further lines may hold tags for PostGraphile. */
function parseComment(comment: string): ConstraintMessage {
  const [, field = '', message = ''] = /^@field (\S+) ?(.*)/.exec(comment) ?? []
  return { field, message: message || 'This value is not accepted.' }
}
