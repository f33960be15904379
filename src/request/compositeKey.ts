/** Keys that are made of several parts. */

/** One text for a list of parts. The length before each part keeps any two lists apart, whatever the parts contain. */
export function compositeKey(...parts: readonly string[]): string {
  return parts.map(part => `${part.length}:${part}`).join('')
}
