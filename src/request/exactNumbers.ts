/**
 * JSON numbers that a double cannot keep. `JSON.parse` and `parseFloat` change them without a word, so that an amount or an id
 * would be stored as another one, and a retry with the changed number would count as the same request.
 */

/** Decimal digits that a double always keeps. */
const MAX_DIGITS = 15
/** The smallest number that has all its digits. */
const MIN_NORMAL = 2.2250738585072014e-308

/** Stands in a parsed body for a number that is not exact. Only GraphQL's JSON and Float would accept it as a number. */
export const INEXACT: unknown = Object.freeze(Object.create(null))

/** Finds each number that may not be exact, and little else. */
const SUSPECT = /[\d.]{16}|\d[eE][+-]?\d{3}/

/** False: every number of the text, a JSON or GraphQL document, is exact. */
export function mayHaveInexactNumbers(text: string): boolean {
  return SUSPECT.test(text)
}

/** Whether a double keeps a number that is written like this. Zeros at its ends do not count as digits. */
export function isExact(source: string): boolean {
  const [mantissa = ''] = source.split(/e/i)
  const digits = mantissa.replace(/\D/g, '').replace(/^0+|0+$/g, '')
  if (digits === '') return true
  const size = Math.abs(Number(source))
  return digits.length <= MAX_DIGITS && size >= MIN_NORMAL && size < Number.POSITIVE_INFINITY
}

/** For `JSON.parse`: puts INEXACT in the place of each number that is not exact. */
export function markInexact(_key: string, value: unknown, context?: { source?: string }): unknown {
  return typeof value === 'number' && context?.source !== undefined && !isExact(context.source)
    ? INEXACT
    : value
}
