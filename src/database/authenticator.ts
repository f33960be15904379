/** The low-privilege login that serves requests: given by the operator, or derived from the owner's login. */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import pg from 'pg'
import { parseIntoClientConfig } from 'pg-connection-string'
import { isLoginRefused } from './connectionErrors.ts'
import { CONNECT_TIMEOUT_MS } from './pool.ts'

const AUTHENTICATOR = 'forecourt_authenticator'
/** SQLSTATEs when two sessions create the same role at once. */
const DUPLICATE = new Set(['42710', '23505'])

export type Authenticator = {
  config: pg.ClientConfig
  /** The derived password, with which the migration creates the role. Absent if `AUTH_DATABASE_URL` is given. */
  password?: string
}

/**
 * The login of the API. Without `AUTH_DATABASE_URL` it is the role `forecourt_authenticator` in the owner's database. Every
 * process derives the same password from the owner's.
 */
export function authenticator(urls: {
  databaseUrl: string
  authDatabaseUrl?: string | undefined
}): Authenticator {
  if (urls.authDatabaseUrl !== undefined) return { config: parseIntoClientConfig(urls.authDatabaseUrl) }
  const owner = parseIntoClientConfig(urls.databaseUrl)
  const { password: ownerPassword, ...rest } = owner
  const config = { ...rest, user: AUTHENTICATOR }
  // the server admits this owner without a password (pg_hba.conf), and the authenticator too
  if (typeof ownerPassword !== 'string' || ownerPassword === '') return { config }
  const password = createHmac('sha256', ownerPassword).update(AUTHENTICATOR).digest('base64url')
  return { config: { ...config, password }, password }
}

/**
 * Creates the role with the derived password. A role that exists keeps its password: another Forecourt of this cluster may use
 * it, or an operator has set it. With `ownsCluster` neither is possible, so a wrong password is replaced.
 */
export async function ensureAuthenticator(
  owner: pg.Client,
  { config, password }: Authenticator,
  ownsCluster: boolean,
): Promise<void> {
  if (password === undefined) return
  // Sent as a SCRAM verifier, so that no statement log contains the password.
  const verifier = owner.escapeLiteral(scramVerifier(password))
  if (await makeRole(owner, verifier)) return
  const refused = await loginRefusal(config)
  if (refused === undefined) return
  if (!ownsCluster) throw new Error(authenticatorFault(refused))
  await owner.query(`alter role ${AUTHENTICATOR} password ${verifier}`)
}

/** The sentence for a login of the API that the server refuses. */
export function authenticatorFault(error: unknown): string {
  const { message } = error as { message?: unknown }
  return (
    `The API cannot log in (${message}). If the database is new, run "npm run migrate" first. ` +
    `Otherwise set AUTH_DATABASE_URL to the URL of ${AUTHENTICATOR} with its password; ` +
    `docs/operations.md, "Roles and grants", shows how to set one.`
  )
}

/** Creates the role together with its password. Returns false if it exists. */
async function makeRole(owner: pg.Client, verifier: string): Promise<boolean> {
  const { rows } = await owner.query('select to_regrole($1) is not null as exists', [AUTHENTICATOR])
  if (rows[0]?.exists) return false
  try {
    await owner.query(`create role ${AUTHENTICATOR} login noinherit password ${verifier}`)
    return true
  } catch (error) {
    // a concurrent migration of another database in this cluster has created it
    if (DUPLICATE.has(String((error as { code?: unknown }).code))) return false
    throw error
  }
}

/** The error with which the server refuses this login; undefined if it accepts it. */
async function loginRefusal(config: pg.ClientConfig): Promise<unknown> {
  const client = new pg.Client({ ...config, connectionTimeoutMillis: CONNECT_TIMEOUT_MS })
  client.on('error', () => {})
  try {
    await client.connect()
    return undefined
  } catch (error) {
    if (isLoginRefused(error)) return error
    throw error
  } finally {
    await client.end()
  }
}

/** SCRAM-SHA-256 (RFC 5803), as Postgres stores it in pg_authid. */
function scramVerifier(password: string): string {
  const iterations = 4096
  const salt = randomBytes(16)
  const salted = pbkdf2Sync(password, salt, iterations, 32, 'sha256')
  const hmac = (text: string) => createHmac('sha256', salted).update(text).digest()
  const storedKey = createHash('sha256').update(hmac('Client Key')).digest('base64')
  const serverKey = hmac('Server Key').toString('base64')
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey}:${serverKey}`
}
