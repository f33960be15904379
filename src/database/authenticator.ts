/** The low-privilege login that serves requests: given by the operator, or derived from the owner's. */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import pg from 'pg'
import { parseIntoClientConfig } from 'pg-connection-string'

const AUTHENTICATOR = 'forecourt_authenticator'

export type Authenticator = {
  config: pg.ClientConfig
  /** Set when it is ours to set in the database: no `AUTH_DATABASE_URL` was given. */
  password?: string
}

/**
 * Where the API connects. Without a URL of its own it is the same database as the owner's under the role
 * `forecourt_authenticator`, with a password that every process computes alike from the owner's.
 */
export function authenticator(urls: {
  databaseUrl: string
  authDatabaseUrl?: string | undefined
}): Authenticator {
  if (urls.authDatabaseUrl !== undefined) return { config: parseIntoClientConfig(urls.authDatabaseUrl) }
  const owner = parseIntoClientConfig(urls.databaseUrl)
  const { password: ownerPassword, ...rest } = owner
  const config = { ...rest, user: AUTHENTICATOR }
  // an owner without a password is let in by the server's own rules, and so is the authenticator
  if (typeof ownerPassword !== 'string' || ownerPassword === '') return { config }
  const password = createHmac('sha256', ownerPassword).update(AUTHENTICATOR).digest('base64url')
  return { config: { ...config, password }, password }
}

/**
 * Sets the derived password, unless it is in force already. Sends its SCRAM verifier, so that no statement log can hold
 * the password.
 */
export async function ensureAuthenticatorPassword(
  client: pg.Client,
  { config, password }: Authenticator,
): Promise<void> {
  if (password === undefined || (await canConnect(config))) return
  await client.query(`alter role ${AUTHENTICATOR} password ${client.escapeLiteral(scramVerifier(password))}`)
}

async function canConnect(config: pg.ClientConfig): Promise<boolean> {
  const client = new pg.Client({ ...config, connectionTimeoutMillis: 5_000 })
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
