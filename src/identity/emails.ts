/**
 * The one form of an e-mail address: Unicode form NFC, lower case, the domain in ASCII (UTS 46). Two spellings of an address,
 * and two addresses that differ only by what nobody can see, must not become two accounts.
 *
 * `app_private.normalize_email` and the constraints of `users` have the same rules. Two steps are only here: Postgres cannot
 * convert a domain to ASCII, so the constraints refuse any other domain; and the ICU of a server may be too old to know the
 * capitals of some scripts.
 */
import { domainToASCII } from 'node:url'
import { ApiError } from '../request/errors.ts'

/** Longer text is refused before it is normalized, which would cost time. */
const MAX_GIVEN = 1_000
const MAX_LENGTH = 254

/** RFC 5321: a dot-string. RFC 6531 allows letters beyond ASCII; invisible ones are refused. */
const LOCAL_PART = new RegExp(
  dotted(String.raw`[[\x21-\x7e]--["\(\),.:;<>@\[\\\]]]|[[^\x00-\x7f]--[\p{C}\p{Z}\p{DI}\u2800]]`),
  'v',
)
/** Checked before the conversion to ASCII, which also accepts other parts of a URL, such as escapes and a path. */
const DOMAIN = new RegExp(dotted(String.raw`[[\p{L}\p{M}\p{N}\-]--\p{DI}]`), 'v')
/** Checked after the conversion. The last label starts with a letter, so that no IPv4 address passes. */
const ASCII_DOMAIN = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$/

function dotted(character: string): string {
  return String.raw`^(?:${character})+(?:\.(?:${character})+)*$`
}

/** The form in which an address is stored, looked up and counted. Throws for text that is no address. */
export function normalEmail(text: string, field = 'email'): string {
  const email = text.length <= MAX_GIVEN ? normalForm(text) : undefined
  if (email !== undefined && [...email].length <= MAX_LENGTH) return email
  throw new ApiError('invalid_input', 'Please enter an e-mail address such as name@example.com.', {
    detail: { field },
  })
}

function normalForm(text: string): string | undefined {
  const trimmed = text.replace(/^ +| +$/g, '')
  // NFC twice: J with a caron is two characters, but its lower case in NFC is one
  const parts = trimmed.normalize('NFC').toLowerCase().normalize('NFC').split('@')
  const [localPart = '', domain = ''] = parts
  if (parts.length !== 2 || !LOCAL_PART.test(localPart) || !DOMAIN.test(domain)) return undefined
  const ascii = domainToASCII(domain)
  return ASCII_DOMAIN.test(ascii) ? `${localPart}@${ascii}` : undefined
}
