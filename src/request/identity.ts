/** The sender of a request, from its verified access token or API key. */

export type Role = 'dealer' | 'admin'

export type UserIdentity = { userId: string; sessionId: string; role: Role }

/** An API key acts for one dealer, with the rights of staff. It is no user. */
export type ApiKeyIdentity = { apiKeyId: string; dealerId: string; role: 'dealer' }

export type Identity = UserIdentity | ApiKeyIdentity

export const isApiKey = (identity: Identity): identity is ApiKeyIdentity => 'apiKeyId' in identity

/** For what is counted by sender: `user:<id>` or `api_key:<id>`. */
export function senderOf(identity: Identity): string {
  return isApiKey(identity) ? `api_key:${identity.apiKeyId}` : `user:${identity.userId}`
}

/** The sender as fields of a line of the log. */
export function loggedSender(identity: Identity | undefined): { user: string | undefined; apiKey?: string } {
  if (identity === undefined) return { user: undefined }
  return isApiKey(identity) ? { user: undefined, apiKey: identity.apiKeyId } : { user: identity.userId }
}
