/** What a request does, as far as limits go: how often the operation that will run selects each root field. */

import { getOperationAST, parse } from 'grafast/graphql'
import { LRUCache } from 'lru-cache'
import { documentLimits, rootFields } from '../../graphql/documentLimits.ts'

/** Root field, as `Mutation.login` → how often it is selected. */
export type FieldCounts = ReadonlyMap<string, number>

export type Classified = { fields: FieldCounts } | { unclassified: 'no_document' | 'syntax' | 'operation' }

const cache = new LRUCache<string, Classified>({
  max: 500,
  maxSize: 4_000_000,
  sizeCalculation: (_value, key) => key.length + 1,
})

/** Never throws: what cannot be classified is not executed either, and is refused further down. */
export function classify(body: unknown): Classified {
  if (typeof body !== 'object' || body === null || Array.isArray(body)) return { unclassified: 'no_document' }
  const { query, operationName } = body as { query?: unknown; operationName?: unknown }
  if (typeof query !== 'string') return { unclassified: 'no_document' }
  const name = typeof operationName === 'string' ? operationName : undefined
  // the length keeps apart what only reads alike when put together, as no name and an empty one do
  const key = `${name?.length}\n${name}\n${query}`
  const known = cache.get(key)
  if (known !== undefined) return known
  const classified = read(query, name)
  cache.set(key, classified)
  return classified
}

function read(query: string, operationName: string | undefined): Classified {
  let document: ReturnType<typeof parse>
  try {
    document = parse(query, { maxTokens: documentLimits.tokens, noLocation: true })
  } catch {
    return { unclassified: 'syntax' }
  }
  const operation = getOperationAST(document, operationName)
  if (!operation) return { unclassified: 'operation' }
  const type = operation.operation === 'mutation' ? 'Mutation' : 'Query'
  const counts = new Map<string, number>()
  const selected = [...rootFields(document, operation).values()].filter(({ name }) => name !== '__typename')
  // refused further down as a document, before anything runs: nothing is charged
  if (type === 'Mutation' && selected.length > documentLimits.mutationFields) return { fields: counts }
  // one for each response key: the same key selected twice is executed once
  for (const { name } of selected) {
    const field = `${type}.${name}`
    counts.set(field, (counts.get(field) ?? 0) + 1)
  }
  return { fields: counts }
}
