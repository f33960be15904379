/** Random tokens that are stored as hashes: those in mails, refresh tokens and API keys. */
import { createCipheriv, createDecipheriv, createHash, createHmac, randomBytes } from 'node:crypto'

const BYTES = 32
const CIPHER = 'aes-256-gcm'
const NONCE_BYTES = 12
const TAG_BYTES = 16

/** 256 random bits, as text for URLs. */
export function newToken(): string {
  return randomBytes(BYTES).toString('base64url')
}

/** The form in which the database stores a token. A plain hash is enough: nobody can guess 256 random bits. */
export function hashToken(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

/** The same for a token of a mail: people paste blanks and line breaks with it. */
export function hashMailToken(token: string): Buffer {
  return hashToken(token.trim())
}

/** The refresh token that follows another. It is derived, so that a client that has lost the response can get the same one again. */
export function successorOf(token: string, key: Uint8Array): string {
  return createHmac('sha256', key).update(token).digest('base64url')
}

/** A token for a mail, in the two forms that SQL may see: its hash, and sealed for the outbox. */
export function newMailToken(key: Uint8Array): [hash: Buffer, sealed: Buffer] {
  const token = newToken()
  return [hashToken(token), sealToken(token, key)]
}

/** Encrypts a token for the outbox of mails, so that the database never contains it in clear. */
export function sealToken(token: string, key: Uint8Array): Buffer {
  const nonce = randomBytes(NONCE_BYTES)
  const cipher = createCipheriv(CIPHER, key, nonce)
  return Buffer.concat([nonce, cipher.update(token, 'utf8'), cipher.final(), cipher.getAuthTag()])
}

/** The token that `sealToken` encrypted. Throws if the key is another one. */
export function openToken(sealed: Uint8Array, key: Uint8Array): string {
  const tagStart = sealed.length - TAG_BYTES
  const decipher = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  })
  decipher.setAuthTag(sealed.subarray(tagStart))
  return decipher.update(sealed.subarray(NONCE_BYTES, tagStart), undefined, 'utf8') + decipher.final('utf8')
}
