/** Registers accounts and logs them in. Passwords are hashed here, so that no statement contains one. */
import type pg from 'pg'
import { addressOf } from '../request/address.ts'
import { ApiError, tooManyRequests } from '../request/errors.ts'
import type { ApiRequest } from '../request/request.ts'
import { normalEmail } from './emails.ts'
import { hashAsStored, hashPassword, passwordFault } from './passwords.ts'
import type { Accounts, Credentials, Session } from './sessions.ts'
import type { Tokens } from './tokens.ts'

type LoginAttempt = {
  user_id: string | null
  normalized_email: string
  full_name: string
  is_admin: boolean
  password_parameters: string | null
  account_key: Buffer
  max_count: number
  over_limit: boolean
  retry_after_seconds: number | null
}

/** As for any other charge: shadow mode allows and reports. */
export type AccountOutcome = 'allowed' | 'refused' | 'shadow_refused'

export type AccountsOptions = {
  /** Connects as forecourt_authenticator, which may call the three identity functions. */
  pool: pg.Pool
  tokens: Tokens
  /** Called for each login attempt, with the outcome of the account's limit. */
  onCounted: (outcome: AccountOutcome, request: ApiRequest | undefined) => void
}

export function makeAccounts({ pool, tokens, onCounted }: AccountsOptions): Accounts {
  const serializeByKey = makeKeySerializer()

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
    const hash = await hashAsStored(password, attempt.password_parameters)
    const complete = 'select app_public.complete_login($1, $2, $3, $4, $5) as matches'
    const { account_key, max_count } = attempt
    const { rows: completed } = await pool.query(complete, [email, address, account_key, max_count, hash])
    if (!completed[0]?.matches || attempt.user_id === null) throw new ApiError('invalid_credentials')
    return openSession(
      { id: attempt.user_id, email: attempt.normalized_email, fullName: attempt.full_name },
      attempt.is_admin,
    )
  }

  return {
    async register({ password, fullName, ...input }) {
      const email = normalEmail(input.email)
      await requireAcceptable(password, email)
      const { rows } = await pool.query<Session['user']>(
        `select user_id as id, normalized_email as email, trimmed_full_name as "fullName"
         from app_public.register_user($1, $2, $3)`,
        [email, fullName, await hashPassword(password)],
      )
      if (rows[0] === undefined) throw new Error('register_user returns one row')
      return openSession(rows[0], false)
    },
    async login({ password, ...input }, { request }) {
      const email = normalEmail(input.email)
      // begin_login counts a failure before the password is checked. Logins of one account run one after another, so
      // that several correct ones at once do not reach the limit.
      return serializeByKey(email, () => attemptLogin({ email, password }, request))
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
