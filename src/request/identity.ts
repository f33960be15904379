/** The sender of a request, from its verified access token. */

export type Role = 'dealer' | 'admin'

export type Identity = { userId: string; sessionId: string; role: Role }
