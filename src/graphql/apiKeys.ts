/** `createApiKey`. The key is made and hashed here, so that no statement contains it. */
import { access, type FieldArgs, object, type Step, sideEffect } from 'grafast'
import { extendSchema, gql } from 'postgraphile/utils'
import { newApiKey } from '../identity/apiKeys.ts'
import { sqlCall } from './sqlCall.ts'

const typeDefs = gql`
  input CreateApiKeyInput {
    dealerId: UUID!
    name: String!
    expiresAt: Datetime
  }

  type CreateApiKeyPayload {
    "The new key, without its secret."
    apiKey: ApiKey!
    "The whole key, to send as \`Authorization: Bearer fc_…\`. It is shown only here: keep it as safe as a password."
    secret: String!
  }

  extend type Mutation {
    """
    For owners: makes an API key, with which software acts for the dealer with the rights of staff. A dealer has at most ten that are
    neither revoked nor expired (409), so a new key can replace another one while both are valid.
    """
    createApiKey(input: CreateApiKeyInput!): CreateApiKeyPayload
  }
`

export const ApiKeysPlugin: GraphileConfig.Plugin = extendSchema(({ pgResources }) => {
  const create = sqlCall(pgResources, 'create_api_key')
  const createApiKey = (_$root: Step, args: FieldArgs) => {
    const input = (name: string) => args.getRaw(['input', name])
    const $key = sideEffect(input('dealerId'), newApiKey)
    const [$prefix, $hash] = [access($key, 'prefix'), access($key, 'secretHash')]
    return object({
      apiKey: create(input('dealerId'), input('name'), input('expiresAt'), $prefix, $hash),
      secret: access($key, 'key'),
    })
  }
  return { typeDefs, objects: { Mutation: { plans: { createApiKey } } } }
}, 'ApiKeysPlugin')
