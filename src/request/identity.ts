/** Who sent a request, as its verified access token says. */

export type Role = 'dealer' | 'admin'

export type Identity = { userId: string; role: Role }
