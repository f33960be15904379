/** The samples of the mutations of an account: login, recovery, profile and deletion. */
import { randomUUID } from 'node:crypto'
import type { TestServer } from '../support/apiServer.ts'
import { register } from '../support/graphqlOperations.ts'
import { mailedToken } from '../support/mails.ts'
import type { Sample, SampleWorld } from './samples.ts'

const PASSWORD = 'correct horse battery'
const OTHER_PASSWORD = 'another horse battery'

export const accountSamples: Record<string, (world: SampleWorld) => Sample | Promise<Sample>> = {
  register: () => ({ input: { email: newEmail(), password: PASSWORD, fullName: 'Test User' } }),
  login: async ({ server }) => {
    const email = newEmail()
    await register(server, { email, password: PASSWORD })
    return { input: { email, password: PASSWORD } }
  },
  refreshSession: async ({ server }) => ({ input: { refreshToken: await refreshTokenOf(server) } }),
  logout: () => ({ input: { everywhere: true } }),
  requestPasswordReset: () => ({ input: { email: newEmail() } }),
  resetPassword: async world => {
    const { email } = await newAccount(world)
    await world.server.call(
      'mutation ($input: RequestPasswordResetInput!) { requestPasswordReset(input: $input) { ok } }',
      { variables: { input: { email } } },
    )
    const token = await mailedToken(world.database, 'password_reset', email)
    return { input: { token, newPassword: OTHER_PASSWORD } }
  },
  requestEmailVerification: async world => ({ token: (await newAccount(world)).token, input: {} }),
  verifyEmail: async world => {
    const { email } = await newAccount(world)
    return { input: { token: await mailedToken(world.database, 'email_verification', email) } }
  },
  changeEmail: async world => ({
    token: (await newAccount(world)).token,
    input: { password: PASSWORD, newEmail: newEmail() },
  }),
  changePassword: async world => ({
    token: (await newAccount(world)).token,
    input: { currentPassword: PASSWORD, newPassword: OTHER_PASSWORD },
  }),
  exportMyData: () => ({ input: {} }),
  deleteMyAccount: async world => ({ token: (await newAccount(world)).token, input: { password: PASSWORD } }),
  updateProfile: () => ({ input: { fullName: 'Other Name', locale: 'de' } }),
}

/** The refresh token of a new account. */
async function refreshTokenOf(server: TestServer): Promise<string | undefined> {
  const { data } = await register(server, { email: newEmail(), password: PASSWORD })
  return data.register?.session.refreshToken
}

async function newAccount({ server }: SampleWorld): Promise<{ email: string; token: string }> {
  const email = newEmail()
  const { data } = await register(server, { email, password: PASSWORD })
  return { email, token: data.register?.session.accessToken ?? '' }
}

export function newEmail(): string {
  return `${randomUUID()}@example.com`
}
