/**
 * Decides whether a document may be executed. Checks tokens, syntax, limits and validation in this order, so that no
 * validation rule processes a large document. A refusal is `invalid_input` with HTTP 400, or 422 for a value that cannot be
 * stored.
 */
import {
  type DocumentNode,
  GraphQLError,
  type GraphQLSchema,
  Kind,
  NoSchemaIntrospectionCustomRule,
  type ValidationRule,
  validate,
} from 'grafast/graphql'
import { operationOf, type ParsedDocument, parseDocument } from '../request/document.ts'
import { documentLimits, limitError } from '../request/documentLimits.ts'
import { refuseRequest } from '../request/outcome.ts'
import { type Parameters, parametersOf } from '../request/parameters.ts'
import { requestOf } from '../request/request.ts'
import { withoutValues } from './errorMessages.ts'
import { unstorableLiteral } from './storableInput.ts'

export interface DocumentOptions {
  readonly rules: readonly ValidationRule[]
  /** Errors contain no "Did you mean", which would name fields to clients that may not read the schema. */
  readonly hideSuggestions: boolean
}

type Reading =
  | { document: DocumentNode; errors?: undefined }
  | { document?: undefined; errors: GraphQLError[]; status?: number }

/** A client needs few errors to act on, and each costs time. */
const MAX_ERRORS = 5

/** Returns a function that validates documents, each once while it is cached. */
export function makeDocumentReader(
  schema: GraphQLSchema,
  options: DocumentOptions,
): (query: string) => Reading {
  const known = new WeakMap<ParsedDocument, Reading>()
  return query => {
    const parsed = parseDocument(query)
    const reading = known.get(parsed) ?? readDocument(schema, parsed, options)
    known.set(parsed, reading)
    return reading
  }
}

function readDocument(
  schema: GraphQLSchema,
  { document, errors }: ParsedDocument,
  { rules, hideSuggestions }: DocumentOptions,
): Reading {
  if (document === undefined) return { errors: errors.map(asInvalidInput) }
  const refused = [...errors, ...unknownOperations(schema, document), ...reservedVariables(document)]
  if (refused.length > 0) return { errors: refused }
  const unstorable = unstorableLiteral(schema, document)
  if (unstorable !== undefined) {
    const { message, detail } = unstorable
    return { errors: [asInvalidInput(new GraphQLError(message, { extensions: { detail } }))], status: 422 }
  }
  const invalid = validate(schema, document, rules, { hideSuggestions, maxErrors: MAX_ERRORS })
  if (invalid.length === 0) return { document }
  const found = invalid.map(asInvalidInput)
  return { errors: hideSuggestions ? found.map(withoutSuggestion) : found }
}

/** Without this check, only the planner would refuse a subscription to a schema that has none. */
function unknownOperations(schema: GraphQLSchema, { definitions }: DocumentNode): GraphQLError[] {
  return definitions
    .filter(definition => definition.kind === Kind.OPERATION_DEFINITION)
    .filter(({ operation }) => !schema.getRootType(operation))
    .map(node => asInvalidInput(new GraphQLError(`This API has no ${node.operation}.`, { nodes: [node] })))
}

/** Grafast looks a variable up in a plain object, which has a value under these names although the client gave none. */
function reservedVariables({ definitions }: DocumentNode): GraphQLError[] {
  return definitions
    .flatMap(node => (node.kind === Kind.OPERATION_DEFINITION ? (node.variableDefinitions ?? []) : []))
    .filter(({ variable }) => variable.name.value in Object.prototype)
    .map(node => {
      const message = `Please give the variable $${node.variable.name.value} another name.`
      return asInvalidInput(new GraphQLError(message, { nodes: [node] }))
    })
}

/** Errors that depend on the request: the document has no such operation, or the operation may return too many rows. */
function operationErrors(
  document: DocumentNode,
  { operationName, variables }: Parameters,
): GraphQLError[] | undefined {
  const operation = operationOf(document, operationName)
  if (operation === undefined) return [asInvalidInput(new GraphQLError(noOperation(operationName)))]
  return operation.rows(variables) > documentLimits.rows ? [limitError('rows')] : undefined
}

function noOperation(name: string | undefined): string {
  if (name !== undefined) return `The document has no operation "${name}".`
  return 'Please send a document with one operation, or name one of its operations in `operationName`.'
}

/** Replaces the parser and the validation of grafserv. */
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
              const request = requestOf(context)
              const reading = readerOf(config.schema)(query)
              if (reading.errors !== undefined) {
                refuseRequest(request, reading.status)
                return { errors: reading.errors }
              }
              const errors = request && operationErrors(reading.document, parametersOf(request))
              if (errors === undefined) return reading
              refuseRequest(request)
              return { errors }
            }
            return { ...config, parseAndValidate }
          }
          return next()
        },
      },
    },
  }
}

/** The validation rule about missing selections ignores `hideSuggestions`. */
function withoutSuggestion(error: GraphQLError): GraphQLError {
  error.message = error.message.replace(/ Did you mean .*$/s, '')
  return error
}

function asInvalidInput(error: GraphQLError): GraphQLError {
  const { message, nodes = null, source = null, positions = null, extensions } = error
  return new GraphQLError(withoutValues(message), {
    nodes,
    source,
    positions,
    extensions: { code: 'invalid_input', ...extensions },
  })
}
