/**
 * JSON numbers that a double cannot keep. `JSON.parse` and `parseFloat` change them silently: an amount or an id would be stored
 * with another value, and a retry with the changed number would count as the same request.
 */

/** Decimal digits that a double always keeps. */
const MAX_DIGITS = 15
/** The smallest number of which a double keeps 15 digits. */
const MIN_NORMAL = 2.2250738585072014e-308

/** Replaces an inexact number in a parsed body. Only GraphQL's JSON and Float would accept it as a value. */
export const INEXACT: unknown = Object.freeze(Object.create(null))

/** Matches each number that may be inexact, and little other text. */
const SUSPECT = /[\d.]{16}|\d[eE][+-]?\d{3}/

/** False: every number of the text, a JSON or GraphQL document, is exact. */
export function mayHaveInexactNumbers(text: string): boolean {
  return SUSPECT.test(text)
}

/** Whether a double keeps the number that this text writes. Leading and trailing zeros do not count as digits. */
export function isExact(source: string): boolean {
  const [mantissa = ''] = source.split(/e/i)
  const digits = mantissa.replace(/\D/g, '').replace(/^0+|0+$/g, '')
  if (digits === '') return true
  const size = Math.abs(Number(source))
  return digits.length <= MAX_DIGITS && size >= MIN_NORMAL && size < Number.POSITIVE_INFINITY
}

/** A reviver for `JSON.parse`: replaces each inexact number with INEXACT. */
export function markInexact(_key: string, value: unknown, context?: { source?: string }): unknown {
  return typeof value === 'number' && context?.source !== undefined && !isExact(context.source)
    ? INEXACT
    : value
}
