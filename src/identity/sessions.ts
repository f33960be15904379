/** `register`, `login` and `refreshSession`: mutations in TypeScript, because the database gets neither passwords nor tokens, only hashes. */
import { context, object, type Step, sideEffect } from 'grafast'
import { extendSchema, gql } from 'postgraphile/utils'
import type { ApiRequest } from '../request/request.ts'

/** Input of `register`. */
export interface Registration {
  readonly email: string
  readonly password: string
  readonly fullName: string
  /** `en` if it is absent. */
  readonly locale?: string | null
}

/** Input of `login`. */
export type Credentials = Pick<Registration, 'email' | 'password'>

/** Input of `refreshSession`. */
export interface Refreshing {
  readonly refreshToken: string
}

/** The result of each. */
export interface Session {
  readonly accessToken: string
  /** ISO 8601, UTC. */
  readonly expiresAt: string
  readonly refreshToken: string
  /** ISO 8601, UTC. */
  readonly refreshExpiresAt: string
  readonly user: { readonly id: string; readonly email: string; readonly fullName: string }
}

/** Implements the mutations. Refusals are `ApiError`s, or database errors of class FC. */
export interface Accounts {
  readonly register: (input: Registration, context: SessionContext) => Promise<Session>
  readonly login: (input: Credentials, context: SessionContext) => Promise<Session>
  readonly refresh: (input: Refreshing, context: SessionContext) => Promise<Session>
}

/** The request, for the client's address and the rate limit headers. */
export interface SessionContext {
  readonly request: ApiRequest | undefined
}

const typeDefs = gql`
  type SessionUser {
    "Time-ordered; the \`sub\` of the access token."
    id: UUID!
    "In its normal form."
    email: String!
    "The name that the person entered."
    fullName: String!
  }

  "A user who is logged in, and the token to send as \`Authorization: Bearer <accessToken>\`."
  type Session {
    "Signed; it says who the user is, and until when."
    accessToken: String!
    "When the access token becomes invalid: 15 minutes after it was issued."
    expiresAt: Datetime!
    "For \`refreshSession\`, once. Keep it as safe as a password."
    refreshToken: String!
    "When the refresh token becomes invalid: 30 days after it was issued."
    refreshExpiresAt: Datetime!
    "The user."
    user: SessionUser!
  }

  input RegisterInput {
    email: String!
    password: String!
    fullName: String!
    "The language of mails: \`en\`, the default, or \`de\`."
    locale: String
  }

  type RegisterPayload {
    "The user is logged in."
    session: Session!
  }

  input LoginInput {
    email: String!
    password: String!
  }

  type LoginPayload {
    "The user is logged in."
    session: Session!
  }

  input RefreshSessionInput {
    "The refresh token of the session, which was not used yet."
    refreshToken: String!
  }

  type RefreshSessionPayload {
    "The same session with new tokens."
    session: Session!
  }

  extend type Mutation {
    "Creates an account and logs its user in. A mail with a token for \`verifyEmail\` goes to the address."
    register(input: RegisterInput!): RegisterPayload
    "Logs in. The error is the same for an unknown e-mail address and for a wrong password."
    login(input: LoginInput!): LoginPayload
    """
    Exchanges the refresh token of a session for new tokens. Needs no access token; an expired one would be refused. The old access
    token stays valid until it expires. If the response is lost, the same call within 10 seconds gives the same refresh token again. Any
    other second use of a refresh token ends the session, because the token may have been stolen.
    """
    refreshSession(input: RefreshSessionInput!): RefreshSessionPayload
  }
`

type Work<Input> = (input: Input, context: SessionContext) => Promise<Session>

/** Adds the mutations to the schema. */
export function makeSessionsPlugin(accounts: Accounts): GraphileConfig.Plugin {
  return extendSchema(
    {
      typeDefs,
      objects: {
        Mutation: {
          plans: {
            register: (_$root, args) => sessionPlan(args.getRaw('input'), accounts.register),
            login: (_$root, args) => sessionPlan(args.getRaw('input'), accounts.login),
            refreshSession: (_$root, args) => sessionPlan(args.getRaw('input'), accounts.refresh),
          },
        },
      },
    },
    'SessionsPlugin',
  )
}

function sessionPlan<Input>($input: Step<Input>, work: Work<Input>) {
  const $request = context().get('request')
  const $session = sideEffect([$input, $request] as const, ([input, request]) => work(input, { request }))
  return object({ session: $session })
}
