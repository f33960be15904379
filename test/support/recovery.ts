/** A server with accounts that reset passwords and verify addresses. */
import { randomUUID } from 'node:crypto'
import { type ApiResponse, startServer, type TestServer } from './apiServer.ts'
import { cloneDatabase, type TestDatabase } from './database.ts'
import { register } from './graphqlOperations.ts'
import { outcomeOf } from './limits.ts'
import { mailedToken } from './mails.ts'
import { type RecordedLog, recordLog } from './recordedLog.ts'
import { makeCountry } from './testData.ts'

export const PASSWORD = 'correct horse battery'
export const OTHER = 'another horse battery'

type Result = {
  ok?: boolean
  data?: Record<string, unknown>
  session?: { accessToken: string; user: { id: string; email: string } }
  user?: { id: string; email: string; emailVerifiedAt: string; locale: string; fullName: string }
} | null

const SELECTIONS: Record<string, string> = {
  requestPasswordReset: 'ok',
  resetPassword: 'session { accessToken user { id email } }',
  requestEmailVerification: 'ok',
  verifyEmail: 'user { id email emailVerifiedAt }',
  changeEmail: 'ok',
  changePassword: 'session { accessToken user { id email } }',
  updateProfile: 'user { id fullName locale }',
  exportMyData: 'data',
  deleteMyAccount: 'ok',
}

export type Account = { email: string; id: string; token: string }

export type Recovery = {
  database: TestDatabase
  server: TestServer
  log: RecordedLog
  /** Sends one of the mutations above. */
  mutate(name: string, input: object, token?: string): Promise<ApiResponse<Record<string, Result>>>
  newAccount(locale?: string): Promise<Account>
  /** Asks for a reset, and returns the token in the mail. */
  resetTokenFor(email: string, spelled?: string): Promise<string>
  stop(): Promise<void>
}

export async function startRecovery(): Promise<Recovery> {
  const database = await cloneDatabase()
  await makeCountry(database.owner, { freeListings: 1 })
  const log = recordLog()
  const server = await startServer(database, {}, log.log)
  const mutate: Recovery['mutate'] = (name, input, token) => {
    const type = `${name[0]?.toUpperCase()}${name.slice(1)}Input`
    const query = `mutation ($input: ${type}!) { ${name}(input: $input) { ${SELECTIONS[name]} } }`
    return server.call(query, { variables: { input }, ...(token === undefined ? {} : { token }) })
  }
  return {
    database,
    server,
    log,
    mutate,
    async newAccount(locale) {
      const email = `${randomUUID()}@example.com`
      const input = { email, password: PASSWORD, ...(locale && { locale }) }
      const { data } = await register(server, input)
      const { accessToken = '', user } = data.register?.session ?? {}
      return { email, id: user?.id ?? '', token: accessToken }
    },
    async resetTokenFor(email, spelled = email) {
      const { status } = await mutate('requestPasswordReset', { email: spelled })
      if (status !== 200) throw new Error(`requestPasswordReset responded with ${status}`)
      return mailedToken(database, 'password_reset', email)
    },
    async stop() {
      await server.stop()
      await database.drop()
    },
  }
}

export async function createDealer(
  server: TestServer,
  token: string,
  companyName = 'Test Cars',
): Promise<string> {
  type Made = { createDealer: { dealer: { id: string } } }
  const { data } = await server.call<Made>(
    'mutation ($input: CreateDealerInput!) { createDealer(input: $input) { dealer { id } } }',
    { token, variables: { input: { companyName, country: 'DE', dealerType: 'AUTO_DEALER' } } },
  )
  return data.createDealer.dealer.id
}

/** An account with a dealer. */
export async function newOwner(recovery: Recovery) {
  const account = await recovery.newAccount()
  // only a verified address can invite
  await recovery.database.owner.query('update app_public.users set email_verified_at = now() where id = $1', [
    account.id,
  ])
  return { account, dealerId: await createDealer(recovery.server, account.token) }
}

export const outcome = async (response: Promise<ApiResponse<unknown>>) => outcomeOf(await response)
export const fieldOf = ({ errors }: ApiResponse<unknown>) => errors[0]?.extensions.detail?.field
