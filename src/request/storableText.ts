/**
 * Text that can be stored and read back unchanged. Postgres stores no NUL, half a surrogate pair would become another character,
 * and Unicode assigns its noncharacters to nobody.
 */
const UNSTORABLE = /[\0\p{Surrogate}\p{Noncharacter_Code_Point}]/u

export function isStorable(text: string): boolean {
  return !UNSTORABLE.test(text)
}

/** If false, every string of this GraphQL document is storable. */
export function mayHaveUnstorableText(document: string): boolean {
  return document.includes('\\u') || !isStorable(document)
}
