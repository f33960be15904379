/** Registers accounts, logs them in and refreshes their sessions. Passwords are hashed here, so that no statement contains one. */
import type pg from 'pg'
import { addressOf } from '../request/address.ts'
import { ApiError, tooManyRequests } from '../request/errors.ts'
import type { ApiRequest } from '../request/request.ts'
import { normalEmail } from './emails.ts'
import { hashAsStored, hashPassword, passwordFault } from './passwords.ts'
import { hashToken, newMailToken, newToken, successorOf } from './secretTokens.ts'
import { makeSessionOpener } from './sessionOpener.ts'
import type { Accounts, Credentials, Session } from './sessions.ts'
import type { Tokens } from './tokens.ts'

/** A charge of a limit that SQL counts, by e-mail address. */
export type AccountCount = {
  account_key: Buffer
  max_count: number
  over_limit: boolean
  retry_after_seconds: number | null
}

type LoginAttempt = AccountCount & { password_parameters: string | null }

export type AccountPolicy = 'auth_account' | 'auth_mail'

/** As for any other charge: shadow mode allows and reports. */
export type AccountOutcome = 'allowed' | 'refused' | 'shadow_refused'

export type AccountsOptions = {
  /** Connects as forecourt_authenticator, which may call the identity functions. */
  pool: pg.Pool
  tokens: Tokens
  /** Derives the successors of refresh tokens. */
  refreshKey: Uint8Array
  /** Seals the tokens of mails. */
  mailKey: Uint8Array
  /** Called for each charge of a limit that SQL counts, with its outcome. */
  onCounted: (policy: AccountPolicy, outcome: AccountOutcome, request: ApiRequest | undefined) => void
}

export function makeAccounts({ pool, tokens, refreshKey, mailKey, onCounted }: AccountsOptions): Accounts {
  const serializeByKey = makeKeySerializer()
  const openSession = makeSessionOpener({ pool, tokens })

  async function attemptLogin(
    { email, password }: Credentials,
    request: ApiRequest | undefined,
  ): Promise<Session> {
    const address = addressOf(request)
    const begin = 'select * from app_public.begin_login($1, $2)'
    const { rows } = await pool.query<LoginAttempt>(begin, [email, address])
    const attempt = rows[0]
    if (attempt === undefined) throw new Error('begin_login returns one row')
    reportCount('auth_account', attempt, { onCounted, request })
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
    async register({ password, fullName, locale, ...input }) {
      const email = normalEmail(input.email)
      await requireAcceptable(password, email, 'password')
      const refreshToken = newToken()
      const account = [email, fullName, await hashPassword(password), hashToken(refreshToken)]
      const sql = `
        select s.* from app_public.sign_up($1, $2, $3, $4) as s
        cross join lateral app_public.complete_registration(s.user_id, $5, $6, $7)`
      const session = await openSession(sql, [...account, locale, ...newMailToken(mailKey)], refreshToken)
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

/** Throws unless the password fulfils the rules for new ones. `field` is the field of the input. */
export async function requireAcceptable(password: string, email: string, field: string): Promise<void> {
  const fault = await passwordFault(password, email)
  if (fault !== undefined) throw new ApiError('invalid_input', fault, { detail: { field } })
}

/** Reports a charge of a limit that SQL counts. Throws if it is refused. */
export function reportCount(
  policy: AccountPolicy,
  count: AccountCount,
  { onCounted, request }: { onCounted: AccountsOptions['onCounted']; request: ApiRequest | undefined },
): void {
  const { over_limit, retry_after_seconds } = count
  const allowed = over_limit ? 'shadow_refused' : 'allowed'
  onCounted(policy, retry_after_seconds === null ? allowed : 'refused', request)
  if (retry_after_seconds !== null) throw tooMany(policy, count, retry_after_seconds, request)
}

/** The key is a hash: the response contains no e-mail address and does not reveal whether the account exists. */
function tooMany(
  scope: AccountPolicy,
  { account_key, max_count }: AccountCount,
  seconds: number,
  request: ApiRequest | undefined,
): ApiError {
  const account = account_key.toString('hex').slice(0, 16)
  request?.res?.setHeader('X-RateLimit-Limit', String(max_count))
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
