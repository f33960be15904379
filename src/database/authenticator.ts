/** The low-privilege login that serves requests: given by the operator, or derived from the owner's login. */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import pg from 'pg'
import { parseIntoClientConfig } from 'pg-connection-string'
import { CONNECT_TIMEOUT_MS } from './pool.ts'

const AUTHENTICATOR = 'forecourt_authenticator'

export type Authenticator = {
  config: pg.ClientConfig
  /** Present if the migration must set it in the database, because no `AUTH_DATABASE_URL` is given. */
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
 * Sets the derived password, unless it is valid already. Sends its SCRAM verifier, so that no statement log contains the
 * password.
 */
export async function ensureAuthenticatorPassword(
  client: pg.Client,
  { config, password }: Authenticator,
): Promise<void> {
  if (password === undefined || (await canConnect(config))) return
  await client.query(`alter role ${AUTHENTICATOR} password ${client.escapeLiteral(scramVerifier(password))}`)
}

async function canConnect(config: pg.ClientConfig): Promise<boolean> {
  const client = new pg.Client({ ...config, connectionTimeoutMillis: CONNECT_TIMEOUT_MS })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.end()
    return true
  } catch {
    return false
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
