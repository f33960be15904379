/**
 * From the text of a request to a document that may be executed: tokens, syntax, limits, validation, in this order, so
 * that each step meets only what the one before has let through. Whatever is refused is `invalid_input`, and HTTP 400.
 */
import {
  type DocumentNode,
  GraphQLError,
  type GraphQLSchema,
  Kind,
  NoSchemaIntrospectionCustomRule,
  parse,
  Source,
  type ValidationRule,
  validate,
} from 'grafast/graphql'
import { assertTokens, documentLimits, limitErrors } from './documentLimits.ts'
import { refuseRequest } from './outcome.ts'
import { requestOf } from './request.ts'

/** What reading a document needs. */
export interface DocumentOptions {
  readonly rules: readonly ValidationRule[]
  /** "Did you mean" names fields to those who may not list them. */
  readonly hideSuggestions: boolean
}

type Reading =
  | { document: DocumentNode; errors?: undefined }
  | { document?: undefined; errors: GraphQLError[] }

/** Documents that are kept. The plan of an operation is kept by its document, so that this decides about plans as well. */
const cacheSize = 500
/** Characters of a document that is kept. 1000 tokens seldom need more, unless they are made of comments. */
const cachedLength = 20_000
/** One is enough to act on; each costs time. */
const maximumErrors = 5

/** A function that reads documents and remembers them. */
export function makeDocumentReader(
  schema: GraphQLSchema,
  options: DocumentOptions,
): (query: string) => Reading {
  const known = new Map<string, Reading>()
  return query => {
    const before = known.get(query)
    const reading = before ?? readDocument(schema, query, options)
    if (query.length <= cachedLength) {
      // A Map lists its keys in the order of their insertion: the first is the one unused for longest.
      known.delete(query)
      known.set(query, reading)
      if (known.size > cacheSize) known.delete(known.keys().next().value ?? '')
    }
    return reading
  }
}

/** Reads one document. */
export function readDocument(schema: GraphQLSchema, query: string, options: DocumentOptions): Reading {
  try {
    const source = new Source(query, 'GraphQL request')
    assertTokens(source)
    const document = parse(source, { maxLexicalTokens: documentLimits.tokens })
    const refused = [...limitErrors(document), ...unknownOperations(schema, document)]
    if (refused.length > 0) return { errors: refused }
    const { rules, hideSuggestions } = options
    const invalid = validate(schema, document, rules, { hideSuggestions, maxErrors: maximumErrors })
    return invalid.length > 0 ? { errors: invalid.map(asInvalidInput) } : { document }
  } catch (error) {
    if (error instanceof GraphQLError) return { errors: [asInvalidInput(error)] }
    throw error
  }
}

/** A subscription, where the schema has none, would be found out by the planner only. */
function unknownOperations(schema: GraphQLSchema, { definitions }: DocumentNode): GraphQLError[] {
  return definitions
    .filter(definition => definition.kind === Kind.OPERATION_DEFINITION)
    .filter(({ operation }) => !schema.getRootType(operation))
    .map(node => asInvalidInput(new GraphQLError(`This API has no ${node.operation}.`, { nodes: [node] })))
}

/** Puts the reader in the place of grafserv's own. */
export function makeDocumentsPlugin(options: { introspection: boolean }): GraphileConfig.Plugin {
  return {
    name: 'DocumentsPlugin',
    version: '1.0.0',
    grafserv: {
      middleware: {
        setPreset(next, event) {
          if (!options.introspection) event.validationRules.push(NoSchemaIntrospectionCustomRule)
          const { getExecutionConfig, validationRules: rules } = event
          const readers = new WeakMap<GraphQLSchema, ReturnType<typeof makeDocumentReader>>()
          const readerOf = (schema: GraphQLSchema) => {
            const reader =
              readers.get(schema) ??
              makeDocumentReader(schema, { rules, hideSuggestions: !options.introspection })
            readers.set(schema, reader)
            return reader
          }
          event.getExecutionConfig = async function (context) {
            const config = await getExecutionConfig.call(this, context)
            const parseAndValidate = (query: string) => {
              const reading = readerOf(config.schema)(query)
              if (reading.errors) refuseRequest(requestOf(context))
              return reading
            }
            return { ...config, parseAndValidate }
          }
          return next()
        },
      },
    },
  }
}

function asInvalidInput(error: GraphQLError): GraphQLError {
  const { message, nodes = null, source = null, positions = null, extensions } = error
  return new GraphQLError(message, {
    nodes,
    source,
    positions,
    extensions: { code: 'invalid_input', ...extensions },
  })
}
