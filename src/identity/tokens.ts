/** Access tokens: JWTs of one fixed algorithm, issuer and audience. */
import { jwtVerify, SignJWT } from 'jose'
import { LRUCache } from 'lru-cache'
import { derivedKey } from '../request/derivedKey.ts'
import type { UserIdentity } from '../request/identity.ts'

export type AccessToken = { accessToken: string; expiresAt: string }

const ALGORITHM = 'HS256'
const HMAC = { name: 'HMAC', hash: 'SHA-256' }
const ISSUER = 'forecourt'
const AUDIENCE = 'forecourt'
/** `app_private.revocation_lifetime` in SQL is a minute longer. */
const LIFETIME_SECONDS = 15 * 60
const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/

export type Tokens = {
  issue(identity: UserIdentity): Promise<AccessToken>
  /** Rejects a token that `issue` did not make or that has expired. */
  verify(token: string): Promise<UserIdentity>
}

export function makeTokens(secret: string, lifetimeSeconds = LIFETIME_SECONDS): Tokens {
  // jose would import the bytes of the key again for each token, which takes as long as the rest of the verification
  const importing = crypto.subtle.importKey('raw', derivedKey(secret, 'access token'), HMAC, false, [
    'sign',
    'verify',
  ])
  /** A client sends the same token with each request, so its signature is checked once. */
  const verified = new LRUCache<string, { identity: UserIdentity; expiresAt: number }>({ max: 20_000 })
  return {
    async issue({ userId, sessionId, role }) {
      const issuedAt = Math.floor(Date.now() / 1000)
      const expiresAt = issuedAt + lifetimeSeconds
      const accessToken = await new SignJWT({ role, sid: sessionId })
        .setProtectedHeader({ alg: ALGORITHM, typ: 'JWT' })
        .setSubject(userId)
        .setIssuer(ISSUER)
        .setAudience(AUDIENCE)
        .setIssuedAt(issuedAt)
        .setExpirationTime(expiresAt)
        .sign(await importing)
      return { accessToken, expiresAt: new Date(expiresAt * 1000).toISOString() }
    },
    async verify(token) {
      const known = verified.get(token)
      if (known !== undefined && Date.now() < known.expiresAt) return known.identity
      const { payload } = await jwtVerify(token, await importing, {
        algorithms: [ALGORITHM],
        issuer: ISSUER,
        audience: AUDIENCE,
        requiredClaims: ['sub', 'sid', 'role', 'iat', 'exp'],
      })
      const { sub, sid, role, exp = 0 } = payload
      if (sub === undefined || !UUID.test(sub)) throw new Error('the subject is not a user id')
      if (typeof sid !== 'string' || !UUID.test(sid)) throw new Error('the session is not a session id')
      if (role !== 'dealer' && role !== 'admin') throw new Error('the role is unknown')
      const identity: UserIdentity = Object.freeze({ userId: sub, sessionId: sid, role })
      verified.set(token, { identity, expiresAt: exp * 1000 })
      return identity
    },
  }
}
