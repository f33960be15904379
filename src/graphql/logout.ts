/**
 * `logout`. The id of the session is an argument of its SQL function, and not a setting of the statement as the user's is: every
 * statement would set it. Without it a publication takes 0.94 times the CPU in the API (16 connections, side by side).
 */
import { context, type FieldArgs, lambda, object, type Step } from 'grafast'
import { extendSchema, gql } from 'postgraphile/utils'
import { isApiKey } from '../request/identity.ts'
import type { ApiRequest } from '../request/request.ts'
import { caller } from './caller.ts'

const typeDefs = gql`
  input LogoutInput {
    "All sessions of the user instead of the one of the access token. False if it is absent."
    everywhere: Boolean
  }

  type LogoutPayload {
    "Always true."
    ok: Boolean!
  }

  extend type Mutation {
    """
    Ends the session of the access token, or all sessions of its user. Within a second every server refuses their access tokens; their
    refresh tokens are refused at once.
    """
    logout(input: LogoutInput!): LogoutPayload
  }
`

export const LogoutPlugin: GraphileConfig.Plugin = extendSchema(({ pgResources }) => {
  const logOut = caller(pgResources.logout)
  const logout = (_$root: Step, args: FieldArgs) => {
    const $sessionId = lambda(context().get('request'), sessionOf)
    return object({ ok: logOut($sessionId, args.getRaw(['input', 'everywhere'])) })
  }
  return { typeDefs, objects: { Mutation: { plans: { logout } } } }
}, 'LogoutPlugin')

function sessionOf(request: ApiRequest | undefined): string | null {
  const identity = request?.identity
  return identity === undefined || isApiKey(identity) ? null : identity.sessionId
}
