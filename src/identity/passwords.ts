/** Passwords: the form in which they are compared, the rules for new ones, and their hashes. */
import { randomBytes } from 'node:crypto'
import { hash } from '@node-rs/argon2'
import { isCommonPassword } from './commonPasswords.ts'

/** Argon2id, the first choice of the OWASP Password Storage Cheat Sheet: 19 MiB, 2 passes, 1 lane. */
const COST = { memoryCost: 19_456, timeCost: 2, parallelism: 1 }
const PARAMETERS = /^\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([\w+/]+)$/
/** For an account that does not exist: the same work, and no stored hash has this salt. */
const UNKNOWN_SALT = randomBytes(16)

/** NIST SP 800-63B: at least 8 characters, no rule about their kinds; the upper bound keeps hashing cheap. */
const LENGTH = { least: 8, most: 128 }

/** NIST SP 800-63B: the name of the service is among the first guesses of an attacker. */
const SERVICE = 'forecourt'

/**
 * RFC 8265 refuses characters that a keyboard cannot be expected to repeat: control characters, unassigned ones, and those that
 * nobody can see. Joiners and variation selectors are allowed, because words in Persian and emoji have them.
 */
const REFUSED = /[[\p{Cc}\p{Cs}\p{Cn}\p{DI}]--[\u200c\u200d\ufe00-\ufe0f]]/v

/** The form in which a password is hashed: RFC 8265, OpaqueString. Other keyboards and systems then give the same hash. */
function normalPassword(password: string): string {
  return password.replace(/\p{Zs}/gu, ' ').normalize('NFC')
}

/** Why an account with this e-mail address may not have this password, as a sentence; undefined if it may. */
export async function passwordFault(password: string, email: string): Promise<string | undefined> {
  const normal = normalPassword(password)
  const length = [...normal].length
  if (length < LENGTH.least || length > LENGTH.most) {
    return `The password needs ${LENGTH.least} to ${LENGTH.most} characters.`
  }
  if (REFUSED.test(normal)) return 'The password may not have control characters or invisible characters.'
  const lower = normal.toLowerCase()
  if (await isCommonPassword(lower)) {
    return 'This password is one of the most common ones, which attackers try first. Please choose another.'
  }
  if (normal.normalize('NFKC').toLowerCase().replace(/\P{L}/gu, '') === SERVICE) {
    return 'The password may not be the name of this service, even with digits or punctuation added. Please choose another.'
  }
  const [localPart] = email.split('@')
  return lower === email || lower === localPart
    ? 'The password may not be the e-mail address or its first part. Please choose another.'
    : undefined
}

/** The result is in PHC format and contains a random salt. */
export function hashPassword(password: string): Promise<string> {
  return hash(normalPassword(password), COST)
}

/** Hashes a password with the parameters and the salt of a stored hash: its PHC string without the last part. */
export function hashAsStored(password: string, parameters: string | null): Promise<string> {
  const normal = normalPassword(password)
  const [, memoryCost, timeCost, parallelism, salt] = PARAMETERS.exec(parameters ?? '') ?? []
  if (salt === undefined) return hash(normal, { ...COST, salt: UNKNOWN_SALT })
  return hash(normal, {
    memoryCost: Number(memoryCost),
    timeCost: Number(timeCost),
    parallelism: Number(parallelism),
    salt: Buffer.from(salt, 'base64'),
  })
}
