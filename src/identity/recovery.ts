/** Resets and changes passwords, and verifies and changes e-mail addresses. Tokens and passwords are hashed here, as in accounts.ts. */
import type pg from 'pg'
import { addressOf } from '../request/address.ts'
import { ApiError } from '../request/errors.ts'
import { isApiKey } from '../request/identity.ts'
import type { ApiRequest } from '../request/request.ts'
import { type AccountCount, type AccountsOptions, reportCount, requireAcceptable } from './accounts.ts'
import { normalEmail } from './emails.ts'
import { hashAsStored, hashPassword } from './passwords.ts'
import type { Recovery, VerifiedUser } from './recoveryPlugin.ts'
import { hashMailToken, hashToken, newMailToken, newToken } from './secretTokens.ts'
import { makeSessionOpener } from './sessionOpener.ts'

type PasswordCheck = AccountCount & { normalized_email: string; password_parameters: string }

/** The arguments with which SQL compares the password that a user has entered again. */
type Proof = [address: string, countedUnder: Buffer, maxFailures: number, hash: string]

export function makeRecovery({ pool, tokens, mailKey, onCounted }: AccountsOptions): Recovery {
  const openSession = makeSessionOpener({ pool, tokens })
  const one = oneRowOf(pool)
  const checkPassword = makePasswordCheck({ pool, onCounted })

  return {
    async requestPasswordReset({ email }, { request }) {
      const count = await one<AccountCount>('select * from app_public.request_password_reset($1, $2, $3)', [
        normalEmail(email),
        ...newMailToken(mailKey),
      ])
      reportCount('auth_mail', count, { onCounted, request })
      return true
    },
    async resetPassword({ token, newPassword }) {
      const tokenHash = hashMailToken(token)
      const begin = 'select app_public.begin_password_reset($1) as email'
      const { email } = await one<{ email: string }>(begin, [tokenHash])
      await requireAcceptable(newPassword, email, 'newPassword')
      const complete = 'select * from app_public.complete_password_reset($1, $2, $3)'
      const refreshToken = newToken()
      const hashes = [tokenHash, await hashPassword(newPassword), hashToken(refreshToken)]
      const session = await openSession(complete, hashes, refreshToken)
      if (session === undefined) throw new Error('complete_password_reset returns a session')
      return session
    },
    async requestEmailVerification(_input, { request }) {
      const count = await one<AccountCount>(
        'select * from app_public.request_email_verification($1, $2, $3)',
        [userOf(request), ...newMailToken(mailKey)],
      )
      reportCount('auth_mail', count, { onCounted, request })
      return true
    },
    async verifyEmail({ token }) {
      return one<VerifiedUser>(
        `select v.user_id as id, v.normalized_email as email, v.full_name as "fullName",
           to_char(v.email_verified_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.USZ') as "emailVerifiedAt"
         from app_public.verify_email($1) as v`,
        [hashMailToken(token)],
      )
    },
    async changeEmail({ password, newEmail }, { request }) {
      const userId = userOf(request)
      const email = normalEmail(newEmail, 'newEmail')
      const { proof } = await checkPassword(userId, password, request)
      const { password_matches, ...count } = await one<AccountCount & { password_matches: boolean }>(
        'select * from app_public.change_email($1, $2, $3, $4, $5, $6, $7, $8)',
        [userId, ...proof, email, ...newMailToken(mailKey)],
      )
      if (!password_matches) throw wrongPassword()
      reportCount('auth_mail', count, { onCounted, request })
      return true
    },
    async changePassword({ currentPassword, newPassword }, { request }) {
      const userId = userOf(request)
      const { email, proof } = await checkPassword(userId, currentPassword, request)
      await requireAcceptable(newPassword, email, 'newPassword').catch(async fault => {
        // the comparison takes the counted failure back, and a wrong password is reported first
        throw (await matches(pool, email, proof)) ? fault : wrongPassword()
      })
      const refreshToken = newToken()
      const change =
        'select $1 as user_id, c.* from app_public.change_password($1::uuid, $2, $3, $4, $5, $6, $7) as c'
      const values = [userId, ...proof, await hashPassword(newPassword), hashToken(refreshToken)]
      const session = await openSession(change, values, refreshToken)
      if (session === undefined) throw wrongPassword()
      return session
    },
  }
}

type CheckOptions = Pick<AccountsOptions, 'pool' | 'onCounted'>

/** Counts the attempt like a login: a wrong password is a failure of the account. */
function makePasswordCheck({ pool, onCounted }: CheckOptions) {
  return async (userId: string, password: string, request: ApiRequest | undefined) => {
    const address = addressOf(request)
    const begin = 'select * from app_public.begin_password_check($1, $2)'
    const check = await oneRowOf(pool)<PasswordCheck>(begin, [userId, address])
    reportCount('auth_account', check, { onCounted, request })
    const hash = await hashAsStored(password, check.password_parameters)
    const proof: Proof = [address, check.account_key, check.max_count, hash]
    return { email: check.normalized_email, proof }
  }
}

/** Returns the hash of a password that its user has entered again. */
export type PasswordProof = (password: string, request: ApiRequest | undefined) => Promise<string>

/** The result compares the password by itself, so that a refusal of what comes next does not count as a failed login. */
export function makePasswordProof(options: CheckOptions): PasswordProof {
  const checkPassword = makePasswordCheck(options)
  return async (password, request) => {
    const { email, proof } = await checkPassword(userOf(request), password, request)
    if (!(await matches(options.pool, email, proof))) throw wrongPassword()
    return proof[3]
  }
}

async function matches(pool: pg.Pool, email: string, proof: Proof): Promise<boolean> {
  const compare = 'select app_public.complete_login($1, $2, $3, $4, $5) as matches'
  return (await oneRowOf(pool)<{ matches: boolean }>(compare, [email, ...proof])).matches
}

function oneRowOf(pool: pg.Pool) {
  return async <Row extends object>(statement: string, values: unknown[]): Promise<Row> => {
    const { rows } = await pool.query<Row>(statement, values)
    if (rows[0] === undefined) throw new Error('the function returns one row')
    return rows[0]
  }
}

function userOf(request: ApiRequest | undefined): string {
  const identity = request?.identity
  if (identity === undefined) throw new ApiError('unauthenticated')
  if (isApiKey(identity))
    throw new ApiError(
      'forbidden',
      'An API key cannot do this. Please log in and send the access token of a user.',
    )
  return identity.userId
}

export function wrongPassword(): ApiError {
  return new ApiError('invalid_credentials', 'The password is wrong.')
}
