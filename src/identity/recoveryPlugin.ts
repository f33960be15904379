/** The mutations about passwords and e-mail addresses whose work is done in TypeScript, as in sessions.ts. */
import { context, object, type Step, sideEffect } from 'grafast'
import { extendSchema, gql } from 'postgraphile/utils'
import type { Session, SessionContext } from './sessions.ts'

export interface VerifiedUser {
  readonly id: string
  readonly email: string
  readonly fullName: string
  /** ISO 8601, UTC. */
  readonly emailVerifiedAt: string
}

type Work<Input, Result> = (input: Input, context: SessionContext) => Promise<Result>

/** Implements the mutations. Refusals are `ApiError`s, or database errors of class FC. */
export interface Recovery {
  readonly requestPasswordReset: Work<{ readonly email: string }, true>
  readonly resetPassword: Work<{ readonly token: string; readonly newPassword: string }, Session>
  readonly requestEmailVerification: Work<unknown, true>
  readonly verifyEmail: Work<{ readonly token: string }, VerifiedUser>
  readonly changeEmail: Work<{ readonly password: string; readonly newEmail: string }, true>
  readonly changePassword: Work<{ readonly currentPassword: string; readonly newPassword: string }, Session>
}

const typeDefs = gql`
  "A user whose e-mail address is verified."
  type VerifiedUser {
    "Time-ordered; the \`sub\` of the access token."
    id: UUID!
    "The verified address."
    email: String!
    "The name that the person entered."
    fullName: String!
    "When the user proved that it reads the mail of this address."
    emailVerifiedAt: Datetime!
  }

  input RequestPasswordResetInput {
    email: String!
  }
  type RequestPasswordResetPayload {
    "Always true, whether an account has the address or not."
    ok: Boolean!
  }

  input ResetPasswordInput {
    "From the mail."
    token: String!
    newPassword: String!
  }
  type ResetPasswordPayload {
    "The user is logged in. All other sessions have ended."
    session: Session!
  }

  input RequestEmailVerificationInput {
    "Ignored: an input needs a field."
    clientMutationId: String
  }
  type RequestEmailVerificationPayload {
    "Always true."
    ok: Boolean!
  }

  input VerifyEmailInput {
    "From the mail."
    token: String!
  }
  type VerifyEmailPayload {
    "The user whose address is verified."
    user: VerifiedUser!
  }

  input ChangeEmailInput {
    password: String!
    newEmail: String!
  }
  type ChangeEmailPayload {
    "Always true, whether another account has the new address or not."
    ok: Boolean!
  }

  input ChangePasswordInput {
    currentPassword: String!
    newPassword: String!
  }
  type ChangePasswordPayload {
    "A new session. All others have ended."
    session: Session!
  }

  extend type Mutation {
    "Sends a token for \`resetPassword\` to the address, if an account has it. The token is valid for an hour, and replaces an earlier one."
    requestPasswordReset(input: RequestPasswordResetInput!): RequestPasswordResetPayload
    "Sets a new password with a token of \`requestPasswordReset\`, which works once. Ends all sessions, and lifts the limit of failed logins of the account. The address counts as verified too."
    resetPassword(input: ResetPasswordInput!): ResetPasswordPayload
    "Sends a token for \`verifyEmail\` to the address of the caller. The token is valid for 48 hours, and replaces an earlier one."
    requestEmailVerification(input: RequestEmailVerificationInput!): RequestEmailVerificationPayload
    "Verifies an address with a token that was sent to it, which works once. After \`changeEmail\` the address of the account changes now. The caller need not be logged in."
    verifyEmail(input: VerifyEmailInput!): VerifyEmailPayload
    "Sends a token for \`verifyEmail\` to a new address of the caller, and a notice to the old one. The address changes when the token is used. A wrong password counts as a failed login."
    changeEmail(input: ChangeEmailInput!): ChangeEmailPayload
    "Sets another password of the caller and ends all of its sessions. A wrong current password counts as a failed login."
    changePassword(input: ChangePasswordInput!): ChangePasswordPayload
  }
`

/** Adds the mutations to the schema. */
export function makeRecoveryPlugin(recovery: Recovery): GraphileConfig.Plugin {
  const { requestPasswordReset, resetPassword, requestEmailVerification } = recovery
  const { verifyEmail, changeEmail, changePassword } = recovery
  const plans = {
    requestPasswordReset: planOf('ok', requestPasswordReset),
    resetPassword: planOf('session', resetPassword),
    requestEmailVerification: planOf('ok', requestEmailVerification),
    verifyEmail: planOf('user', verifyEmail),
    changeEmail: planOf('ok', changeEmail),
    changePassword: planOf('session', changePassword),
  }
  return extendSchema({ typeDefs, objects: { Mutation: { plans } } }, 'RecoveryPlugin')
}

type InputArgument = { getRaw(name: 'input'): Step }

function planOf<Input>(field: string, work: Work<Input, unknown>) {
  return (_$root: Step, args: InputArgument) => {
    const $request = context().get('request')
    const $input = args.getRaw('input') as Step<Input>
    const $result = sideEffect([$input, $request] as const, ([input, request]) => work(input, { request }))
    return object({ [field]: $result })
  }
}
