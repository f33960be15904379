/** Accounts: passwords are hashed and checked here, so that none is ever a parameter of a statement. */
import { createHash } from 'node:crypto'
import { verify } from '@node-rs/argon2'
import type pg from 'pg'
import { addressOf } from '../request/address.ts'
import { ApiError, tooManyRequests } from '../request/errors.ts'
import type { ApiRequest } from '../request/request.ts'
import { hashPassword } from './passwords.ts'
import type { Accounts, Credentials, Session } from './sessions.ts'
import type { Tokens } from './tokens.ts'

/** NIST SP 800-63B: at least 8 characters, no rule about their kinds; the upper bound keeps hashing cheap. */
const PASSWORD_LENGTH = { least: 8, most: 128 }

type LoginAttempt = {
  user_id: string | null
  normalized_email: string
  full_name: string
  is_admin: boolean
  password_hash: string | null
  account_key: Buffer
  max_count: number
  over_limit: boolean
  retry_after_seconds: number | null
}

/** As of any other charge: what only watches lets through, and says so. */
export type AccountOutcome = 'allowed' | 'refused' | 'shadow_refused'

export type AccountsOptions = {
  /** Connects as forecourt_authenticator, which may call the four functions of identity and nothing else. */
  pool: pg.Pool
  tokens: Tokens
  /** Told of each attempt that was counted on its account, and of each that is refused for that. */
  onCounted: (outcome: AccountOutcome, request: ApiRequest | undefined) => void
}

export function makeAccounts({ pool, tokens, onCounted }: AccountsOptions): Accounts {
  const takeTurn = makeTurns()
  // What an unknown address is checked against: the same work, and never right.
  const nobodysHash = hashPassword(createHash('sha256').update(String(Math.random())).digest('hex'))

  async function openSession(user: Session['user'], isAdmin: boolean): Promise<Session> {
    const token = await tokens.issue({ userId: user.id, role: isAdmin ? 'admin' : 'dealer' })
    return { ...token, user }
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
    const matches = await verify(attempt.password_hash ?? (await nobodysHash), password)
    if (!matches || attempt.user_id === null) {
      const fail = 'select app_public.fail_login($1, $2, $3, $4)'
      await pool.query(fail, [email, address, attempt.account_key, attempt.max_count])
      throw new ApiError('invalid_credentials')
    }
    const complete = 'select app_public.complete_login($1, $2, $3)'
    await pool.query(complete, [email, address, attempt.account_key])
    return openSession(
      { id: attempt.user_id, email: attempt.normalized_email, fullName: attempt.full_name },
      attempt.is_admin,
    )
  }

  return {
    async register({ email, password, fullName }) {
      requirePrintable(email)
      requirePassword(password)
      const { rows } = await pool.query<Session['user']>(
        `select user_id as id, normalized_email as email, trimmed_full_name as "fullName"
         from app_public.register_user($1, $2, $3)`,
        [email, fullName, await hashPassword(password)],
      )
      if (rows[0] === undefined) throw new Error('register_user returns one row')
      return openSession(rows[0], false)
    },
    async login(credentials, { request }) {
      requirePrintable(credentials.email)
      // A failure is counted before the password is looked at. One at a time, the right passwords of one account do
      // not stand in each other's way.
      return takeTurn(credentials.email.trim().toLowerCase(), () => attemptLogin(credentials, request))
    },
  }
}

function outcomeOf(attempt: LoginAttempt): AccountOutcome {
  if (attempt.retry_after_seconds !== null) return 'refused'
  return attempt.over_limit ? 'shadow_refused' : 'allowed'
}

/** No address has control characters. Whatever joins one with other text could read it as two lines. */
function requirePrintable(email: string): void {
  if (!/\p{Cc}/u.test(email)) return
  throw new ApiError('invalid_input', 'An e-mail address has no line breaks or other control characters.', {
    detail: { field: 'email' },
  })
}

function requirePassword(password: string): void {
  const { least, most } = PASSWORD_LENGTH
  const length = [...password].length
  if (length >= least && length <= most) return
  throw new ApiError('invalid_input', `The password needs ${least} to ${most} characters.`, {
    detail: { field: 'password' },
  })
}

/** Contract, section 5. The key is a hash: the answer repeats no address, and tells nothing of whether it is known. */
function tooManyFailures(attempt: LoginAttempt, seconds: number, request: ApiRequest | undefined): ApiError {
  const scope = 'auth_account'
  const account = attempt.account_key.toString('hex').slice(0, 16)
  request?.res?.setHeader('X-RateLimit-Limit', String(attempt.max_count))
  request?.res?.setHeader('X-RateLimit-Remaining', '0')
  request?.res?.setHeader('X-RateLimit-Reset', String(Math.ceil(Date.now() / 1000) + seconds))
  return tooManyRequests(scope, `account:${account}:${scope}`, seconds)
}

/** Runs what is under one key one after another. */
function makeTurns() {
  const last = new Map<string, Promise<unknown>>()
  return async <Value>(key: string, work: () => Promise<Value>): Promise<Value> => {
    const before = last.get(key) ?? Promise.resolve()
    const mine = before.then(work, work)
    last.set(key, mine)
    try {
      return await mine
    } finally {
      if (last.get(key) === mine) last.delete(key)
    }
  }
}
