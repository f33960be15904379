/** Registers accounts, logs them in and refreshes their sessions. Passwords are hashed here, so that no statement contains one. */
import type pg from 'pg'
import { addressOf } from '../request/address.ts'
import { ApiError, tooManyRequests } from '../request/errors.ts'
import type { ApiRequest } from '../request/request.ts'
import { normalEmail } from './emails.ts'
import { hashAsStored, hashPassword, passwordFault } from './passwords.ts'
import { hashToken, newToken, successorOf } from './secretTokens.ts'
import type { Accounts, Credentials, Session } from './sessions.ts'
import type { Tokens } from './tokens.ts'

type LoginAttempt = {
  password_parameters: string | null
  account_key: Buffer
  max_count: number
  over_limit: boolean
  retry_after_seconds: number | null
}

/** `app_private.opened_session`: all null if there is no session. */
type SessionRow = {
  session_id: string | null
  refresh_expires_at: Date
  user_id: string
  email: string
  full_name: string
  is_admin: boolean
}

/** As for any other charge: shadow mode allows and reports. */
export type AccountOutcome = 'allowed' | 'refused' | 'shadow_refused'

export type AccountsOptions = {
  /** Connects as forecourt_authenticator, which may call the identity functions. */
  pool: pg.Pool
  tokens: Tokens
  /** Derives the successors of refresh tokens. */
  refreshKey: Uint8Array
  /** Called for each login attempt, with the outcome of the account's limit. */
  onCounted: (outcome: AccountOutcome, request: ApiRequest | undefined) => void
}

export function makeAccounts({ pool, tokens, refreshKey, onCounted }: AccountsOptions): Accounts {
  const serializeByKey = makeKeySerializer()

  /** Runs a statement that opens or refreshes a session. Undefined: it returned none. */
  async function openSession(sql: string, parameters: unknown[], refreshToken: string) {
    const { rows } = await pool.query<SessionRow>(sql, parameters)
    const row = rows[0]
    if (row === undefined || row.session_id === null) return undefined
    const { session_id: sessionId, user_id: userId, is_admin: isAdmin } = row
    const session: Session = {
      ...(await tokens.issue({ userId, sessionId, role: isAdmin ? 'admin' : 'dealer' })),
      refreshToken,
      refreshExpiresAt: row.refresh_expires_at.toISOString(),
      user: { id: userId, email: row.email, fullName: row.full_name },
    }
    return session
  }

  async function attemptLogin(
    { email, password }: Credentials,
    request: ApiRequest | undefined,
  ): Promise<Session> {
    const address = addressOf(request)
    const begin = 'select * from app_public.begin_login($1, $2)'
    const { rows } = await pool.query<LoginAttempt>(begin, [email, address])
    const attempt = rows[0]
    if (attempt === undefined) throw new Error('begin_login returns one row')
    onCounted(outcomeOf(attempt), request)
    if (attempt.retry_after_seconds !== null)
      throw tooManyFailures(attempt, attempt.retry_after_seconds, request)
    const hash = await hashAsStored(password, attempt.password_parameters)
    const refreshToken = newToken()
    const complete = 'select * from app_public.log_in($1, $2, $3, $4, $5, $6)'
    const { account_key, max_count } = attempt
    const parameters = [email, address, account_key, max_count, hash, hashToken(refreshToken)]
    const session = await openSession(complete, parameters, refreshToken)
    if (session === undefined) throw new ApiError('invalid_credentials')
    return session
  }

  return {
    async register({ password, fullName, ...input }) {
      const email = normalEmail(input.email)
      await requireAcceptable(password, email)
      const refreshToken = newToken()
      const parameters = [email, fullName, await hashPassword(password), hashToken(refreshToken)]
      const sql = 'select * from app_public.sign_up($1, $2, $3, $4)'
      const session = await openSession(sql, parameters, refreshToken)
      if (session === undefined) throw new Error('sign_up returns a session')
      return session
    },
    async login({ password, ...input }, { request }) {
      const email = normalEmail(input.email)
      // begin_login counts a failure before the password is checked. Logins of one account run one after another, so
      // that several correct ones at once do not reach the limit.
      return serializeByKey(email, () => attemptLogin({ email, password }, request))
    },
    async refresh({ refreshToken }, { request }) {
      const successor = successorOf(refreshToken, refreshKey)
      const parameters = [hashToken(refreshToken), hashToken(successor), addressOf(request)]
      const sql = 'select * from app_public.refresh_session($1, $2, $3)'
      const session = await openSession(sql, parameters, successor)
      if (session === undefined)
        throw new ApiError('unauthenticated', 'The refresh token is not valid. Please log in again.')
      return session
    },
  }
}

function outcomeOf(attempt: LoginAttempt): AccountOutcome {
  if (attempt.retry_after_seconds !== null) return 'refused'
  return attempt.over_limit ? 'shadow_refused' : 'allowed'
}

async function requireAcceptable(password: string, email: string): Promise<void> {
  const fault = await passwordFault(password, email)
  if (fault !== undefined) throw new ApiError('invalid_input', fault, { detail: { field: 'password' } })
}

/** The key is a hash: the response contains no e-mail address and does not reveal whether the account exists. */
function tooManyFailures(attempt: LoginAttempt, seconds: number, request: ApiRequest | undefined): ApiError {
  const scope = 'auth_account'
  const account = attempt.account_key.toString('hex').slice(0, 16)
  request?.res?.setHeader('X-RateLimit-Limit', String(attempt.max_count))
  request?.res?.setHeader('X-RateLimit-Remaining', '0')
  request?.res?.setHeader('X-RateLimit-Reset', String(Math.ceil(Date.now() / 1000) + seconds))
  return tooManyRequests(scope, `account:${account}:${scope}`, seconds)
}

/** Returns a function that runs the work of each key one after another. */
function makeKeySerializer() {
  const last = new Map<string, Promise<unknown>>()
  return async <Value>(key: string, work: () => Promise<Value>): Promise<Value> => {
    const previous = last.get(key) ?? Promise.resolve()
    const current = previous.then(work, work)
    last.set(key, current)
    try {
      return await current
    } finally {
      if (last.get(key) === current) last.delete(key)
    }
  }
}
