/**
 * A GraphQL document, lexed and parsed once for every reader: the limits, the validation, the plan and the log all look at the
 * same parsed document. The cache also decides how long plans live, because Grafast keeps a plan by its document.
 */
import {
  type DocumentNode,
  GraphQLError,
  getOperationAST,
  type OperationTypeNode,
  parse,
  Source,
} from 'grafast/graphql'
import { LRUCache } from 'lru-cache'
import { idReader } from './documentIds.ts'
import { assertTokens, documentLimits, limitErrors, type RootFields, rootFields } from './documentLimits.ts'
import { rowCounter, type Variables } from './documentRows.ts'

/** `document` is set if the syntax is correct. `errors` are the limits that it breaks, or the syntax error. */
export type ParsedDocument = Readonly<{ document?: DocumentNode; errors: readonly GraphQLError[] }>

/** Root field, as `Mutation.login` → how often the operation selects it. */
export type FieldCounts = ReadonlyMap<string, number>

/** The operation of a document that a request runs. */
export type Operation = Readonly<{
  type: `${OperationTypeNode}`
  name: string | undefined
  rootFields: RootFields
  /** One for each response key. Empty for a document with two mutation fields: it is refused, so nothing runs. */
  counts: FieldCounts
  /** Rows that it may return with these variables. */
  rows: (variables: Variables) => number
  /** Ids of the rows that its arguments name. */
  ids: (variables: Variables) => readonly string[]
}>

const NO_FIELDS: FieldCounts = new Map()

/** Measured: a parsed document takes about 500 bytes for each token, so one of 5 kB may take half a megabyte. */
const BYTES_PER_TOKEN = 500

/** At most 500 documents, and 32 MB of their text and tokens. */
const documents = new LRUCache<string, ParsedDocument>({
  max: 500,
  maxSize: 32_000_000,
  sizeCalculation: ({ document }, query) => query.length + 1 + tokensOf(document) * BYTES_PER_TOKEN,
})

/** By the operation name of the request. Only names that the document has are kept, so a client cannot fill the map. */
const operations = new WeakMap<DocumentNode, Map<string | undefined, Operation>>()

/** Never throws. */
export function parseDocument(query: string): ParsedDocument {
  const known = documents.get(query)
  if (known !== undefined) return known
  const parsed = readDocument(new Source(query, 'GraphQL request'))
  documents.set(query, parsed)
  return parsed
}

function readDocument(source: Source): ParsedDocument {
  try {
    const document = parse(source, { maxTokens: documentLimits.tokens })
    return { document, errors: limitErrors(document) }
  } catch (error) {
    return { errors: [syntaxError(source, error)] }
  }
}

/** The parser reports too many tokens by its message alone, so the tokens are counted again. */
function syntaxError(source: Source, error: unknown): GraphQLError {
  try {
    assertTokens(source)
  } catch (error) {
    if (error instanceof GraphQLError) return error
  }
  if (error instanceof GraphQLError) return error
  throw error
}

function tokensOf(document: DocumentNode | undefined): number {
  let tokens = 0
  for (let token = document?.loc?.startToken.next; token; token = token.next) tokens += 1
  return tokens
}

/** The operation that a request runs. Undefined if no operation has the name, or if several exist and no name is given. */
export function operationOf(document: DocumentNode, name: string | null | undefined): Operation | undefined {
  const key = name ?? undefined
  const known = operations.get(document)?.get(key)
  if (known !== undefined) return known
  const node = getOperationAST(document, key)
  if (!node) return undefined
  const fields = rootFields(document, node)
  const operation: Operation = {
    type: node.operation,
    name: node.name?.value,
    rootFields: fields,
    counts: countsOf(node.operation, fields),
    rows: rowCounter(document, node),
    ids: idReader(document, node),
  }
  const found = operations.get(document) ?? new Map<string | undefined, Operation>()
  operations.set(document, found.set(key, operation))
  return operation
}

function countsOf(type: `${OperationTypeNode}`, fields: RootFields): FieldCounts {
  const selected = [...fields.values()].filter(({ name }) => name !== '__typename')
  if (type === 'mutation' && selected.length > documentLimits.mutationFields) return NO_FIELDS
  const counts = new Map<string, number>()
  for (const { name } of selected) {
    const field = `${type === 'mutation' ? 'Mutation' : 'Query'}.${name}`
    counts.set(field, (counts.get(field) ?? 0) + 1)
  }
  return counts
}
