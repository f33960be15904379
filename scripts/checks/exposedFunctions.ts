/**
 * A function that clients may execute is a field of GraphQL, or its comment says why it is not. Without this, a new function
 * whose comment lacks `@behavior +mutationField` is missing from the API, and nothing reports it.
 */
import { readFile } from 'node:fs/promises'
import { buildSchema } from 'grafast/graphql'
import type pg from 'pg'
import { sources } from '../support/sources.ts'

type ApiFunction = {
  signature: string
  name: string
  comment: string
  /** The roles of requests that may execute it. */
  roles: string[]
  /** A policy calls it, so a role needs the right to read the policy's table. */
  used_by_policy: boolean
}

const FUNCTIONS = `
  select p.oid::regprocedure::text as signature, p.proname as name, coalesce(obj_description(p.oid, 'pg_proc'), '') as comment,
    array(
      select r.rolname::text from pg_roles as r
      where r.rolname in ('forecourt_visitor', 'forecourt_dealer', 'forecourt_admin') and has_function_privilege(r.oid, p.oid, 'execute')
      order by 1
    ) as roles,
    exists (
      select from pg_depend as d
      where d.classid = 'pg_policy'::regclass and d.refclassid = 'pg_proc'::regclass and d.refobjid = p.oid
    ) as used_by_policy
  from pg_proc as p
  where p.pronamespace = 'app_public'::regnamespace and p.prorettype <> 'trigger'::regtype
  order by 1`

/** What the comment of a function says that is called by SQL or TypeScript of ours, and not by clients. */
const NOT_A_FIELD = 'Not a field of GraphQL'
const BEHAVIOR = /^@behavior .*\+(queryField|mutationField|typeField)\b/m

/** `owner` is a client of the owner of a migrated database. */
export async function functionsAreExposed(owner: pg.ClientBase): Promise<string[]> {
  const { rows } = await owner.query<ApiFunction>(FUNCTIONS)
  const schema = buildSchema(await readFile('schema.graphql', 'utf8'))
  const fields = new Set(
    [schema.getQueryType(), schema.getMutationType()].flatMap(type => Object.keys(type?.getFields() ?? {})),
  )
  const typescript = (await sources(['src/**/*.ts'])).map(({ text }) => text).join('\n')
  return rows.flatMap(row => exposureFaults(row, { fields, typescript }))
}

export function exposureFaults(
  { signature, name, comment, roles, used_by_policy: usedByPolicy }: ApiFunction,
  api: { fields: ReadonlySet<string>; typescript: string },
): string[] {
  const [, behavior] = BEHAVIOR.exec(comment) ?? []
  if (behavior !== undefined) {
    const field = /^@name (\w+)$/m.exec(comment)?.[1] ?? camelCase(name)
    // the name of a `+typeField` depends on its type
    if (behavior === 'typeField' || api.fields.has(field)) return []
    return [
      `${signature} is to be the field ${field}, but schema.graphql lacks it: which role may execute it?`,
    ]
  }
  if (comment.includes(NOT_A_FIELD)) {
    return new RegExp(`\\b${name}\\b`).test(api.typescript)
      ? []
      : [`${signature} is "${NOT_A_FIELD}", but no file in src/ calls it: revoke the right, or drop it`]
  }
  if (roles.length === 0 || usedByPolicy) return []
  return [
    `${signature} may be executed by ${roles.join(', ')}, but is no field of GraphQL. Begin its comment with ` +
      `"@behavior +mutationField" or "+queryField"; if the API calls it itself, say "${NOT_A_FIELD}" there`,
  ]
}

function camelCase(name: string): string {
  return name.replace(/_+(\w)/g, (_all, letter: string) => letter.toUpperCase())
}
