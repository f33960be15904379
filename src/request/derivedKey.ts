/** The keys of this service, all derived from JWT_SECRET. */
import { hkdfSync } from 'node:crypto'

/** The use of a key. The keys are independent: one that leaks reveals nothing about another. */
export type Purpose = 'access token' | 'mail token' | 'rate limit' | 'refresh token'

const BYTES = 32

/** HKDF with SHA-256 (RFC 5869). */
export function derivedKey(secret: string, purpose: Purpose): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, '', `forecourt ${purpose}`, BYTES))
}
