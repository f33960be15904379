/**
 * `logout`. The session is an argument and not a setting like the id of the user, because the API sends the settings with every
 * statement. Without the setting, a publication takes 6 % less CPU in the API (16 connections, side by side).
 */
import { context, type FieldArgs, lambda, object, type Step } from 'grafast'
import { extendSchema, gql } from 'postgraphile/utils'
import { isApiKey } from '../request/identity.ts'
import type { ApiRequest } from '../request/request.ts'
import { sqlCall } from './sqlCall.ts'

const typeDefs = gql`
  input LogoutInput {
    "True: ends all sessions of the user. False or absent: only the session of the access token."
    everywhere: Boolean
  }

  type LogoutPayload {
    "Always true."
    ok: Boolean!
  }

  extend type Mutation {
    """
    Ends the session of the access token, or all sessions of its user. Within a second every API process refuses their access
    tokens; their refresh tokens are refused at once.
    """
    logout(input: LogoutInput!): LogoutPayload
  }
`

export const LogoutPlugin: GraphileConfig.Plugin = extendSchema(({ pgResources }) => {
  const endSession = sqlCall(pgResources, 'logout')
  const logout = (_$root: Step, args: FieldArgs) => {
    const $sessionId = lambda(context().get('request'), sessionOf)
    return object({ ok: endSession($sessionId, args.getRaw(['input', 'everywhere'])) })
  }
  return { typeDefs, objects: { Mutation: { plans: { logout } } } }
}, 'LogoutPlugin')

function sessionOf(request: ApiRequest | undefined): string | null {
  const identity = request?.identity
  return identity === undefined || isApiKey(identity) ? null : identity.sessionId
}
