/** Requirements on a server, a database and its owner. Each fault is a sentence for an operator, with the next step. */
import type pg from 'pg'

type Queryable = Pick<pg.Pool, 'query'>

/** The roles that the first migration creates if the cluster lacks them. */
const ROLES = ['forecourt_authenticator', 'forecourt_visitor', 'forecourt_dealer', 'forecourt_admin']
const HOW_TO_CREATE =
  "Please create another database: create database … template template0 encoding 'UTF8' locale 'C.UTF-8'."

/** Why this database cannot hold Forecourt's text; undefined if it can. */
export async function encodingFault(database: Queryable): Promise<string | undefined> {
  const { rows } = await database.query<{ encoding: string }>('select getdatabaseencoding() as encoding')
  const encoding = rows[0]?.encoding
  if (encoding !== 'UTF8')
    return `The database has the encoding ${encoding}, but Forecourt needs UTF8. ${HOW_TO_CREATE}`
  // A separate statement: with most encodings the server cannot even read this character. Our SQL does not depend on the
  // locale, but regular expressions and searches by hand do.
  const { rows: folded } = await database.query<{ folds: boolean }>(
    String.raw`select lower(U&'\00D6') = U&'\00F6' as folds`,
  )
  return folded[0]?.folds
    ? undefined
    : `The database has a locale that knows only ASCII letters (lc_ctype). ${HOW_TO_CREATE}`
}

export async function requireEncoding(database: Queryable): Promise<void> {
  const fault = await encodingFault(database)
  if (fault !== undefined) throw new Error(fault)
}

export async function requireSupportedServer(owner: Queryable): Promise<void> {
  const { rows } = await owner.query<{ version: number }>(
    "select current_setting('server_version_num')::int as version",
  )
  const version = rows[0]?.version ?? 0
  if (version < 150_000) {
    throw new Error(`Forecourt needs Postgres 15 to 18, but this server is ${Math.trunc(version / 10_000)}.`)
  }
}

/** Throws if this login cannot migrate: a standby, or a right that the migrations need is missing. */
export async function requireOwnerRights(owner: Queryable): Promise<void> {
  const { rows } = await owner.query<{
    login: string
    database: string
    is_read_only: boolean
    may_create_roles: boolean
    may_create_schemas: boolean
    lacks_roles: boolean
  }>(
    `select current_user as login, current_database() as database,
       current_setting('transaction_read_only')::boolean as is_read_only,
       r.rolcreaterole or r.rolsuper as may_create_roles,
       has_database_privilege(current_database(), 'create') as may_create_schemas,
       exists (select from unnest($1::text[]) as needed where to_regrole(needed) is null) as lacks_roles
     from pg_roles as r where r.rolname = current_user`,
    [ROLES],
  )
  const [found] = rows
  if (found === undefined) return
  const { login, database } = found
  if (found.is_read_only)
    throw new Error(
      'The database is read-only, or this server is a standby. Please point DATABASE_URL at the primary.',
    )
  if (found.lacks_roles && !found.may_create_roles)
    throw new Error(
      `The role ${login} may not create roles. Please run as a superuser: alter role "${login}" createrole.`,
    )
  if (!found.may_create_schemas)
    throw new Error(
      `The role ${login} may not create schemas in this database. Please run as a superuser: alter database "${database}" owner to "${login}".`,
    )
}
