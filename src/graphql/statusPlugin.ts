/**
 * From the errors of a GraphQL result to the HTTP answer: each error is translated by the one table, the status is that
 * of the first error if no root field succeeded, and what nobody foresaw goes to the log under the request's id.
 */
import { type GrafastExecutionArgs, isSafeError } from 'grafast'
import { type ExecutionResult, type FormattedExecutionResult, GraphQLError, Kind } from 'grafast/graphql'
import type { Result } from 'postgraphile/grafserv'
import { CHALLENGE } from '../request/answers.ts'
import { operationOf } from '../request/document.ts'
import {
  type ConstraintMessages,
  databaseError,
  type Fault,
  fault,
  rootCause,
  toFault,
} from '../request/errors.ts'
import { refusalType } from '../request/mediaType.ts'
import { type ExecutedOperation, outcomeOf, refuseRequest } from '../request/outcome.ts'
import { isGet } from '../request/parameters.ts'
import { type ApiRequest, requestOf } from '../request/request.ts'

/** A fault on our side (status 500 and more), for the log. Parameters of statements are never part of it. */
export interface FaultReport {
  readonly requestId: string | undefined
  readonly operation: string | undefined
  readonly path: string
  readonly code: string
  readonly sqlstate?: string | undefined
  readonly constraint?: string | undefined
  readonly message: string
  readonly stack?: string | undefined
}

/** What the translation needs. */
export interface StatusOptions {
  readonly log: (report: FaultReport) => void
  /** Is told each error that a client is told, while its answer is made: may neither wait nor throw. */
  readonly onFault: (fault: Fault) => void
  readonly constraintMessages: ConstraintMessages
  /** No "Did you mean" in errors about variables. */
  readonly hideSuggestions: boolean
}

/** Marks what went through the table, for `maskError`. */
const translated = new WeakSet<object>()

/** Last line: whatever came past the table (a fault before the execution) says nothing about itself. */
export function maskError(error: GraphQLError): GraphQLError {
  return translated.has(error) ? error : clientError(error, fault('internal_error'))
}

/** Translates the errors of each result, and sets status and `Retry-After` of each answer. */
export function makeStatusPlugin(options: StatusOptions): GraphileConfig.Plugin {
  return {
    name: 'StatusPlugin',
    version: '1.0.0',
    grafast: {
      middleware: {
        async prepareArgs(next, { args }) {
          try {
            return await next()
          } catch (error) {
            // grafserv answers this by itself, through `maskError`, and with 200 where the client takes JSON.
            const told = fault('internal_error')
            const request = requestOf(args.requestContext)
            outcomeOf(request).status = told.status
            options.log(report(told, error, request))
            throw error
          }
        },
        async execute(next, { args }) {
          const request = requestOf(args.requestContext)
          outcomeOf(request).operation = describeOperation(args)
          args.hideSuggestions = options.hideSuggestions
          const result = await settle(async () => next())
          return 'errors' in result && result.errors ? translateResult(result, args, options) : result
        },
      },
    },
    grafserv: {
      middleware: {
        async processRequest(next, { requestDigest }) {
          const result = await next()
          return result && answer(result, requestOf(requestDigest.requestContext))
        },
      },
    },
  }
}

function describeOperation({ document, operationName }: GrafastExecutionArgs): ExecutedOperation | undefined {
  const operation = operationOf(document, operationName)
  if (operation === undefined) return undefined
  const { type, name, rootFields } = operation
  return { type, name, fields: [...rootFields.values()].map(field => field.name) }
}

/** A plan that fails to be made may throw instead of giving a result. */
async function settle<Execution>(execute: () => Promise<Execution>): Promise<Execution | ExecutionResult> {
  try {
    return await execute()
  } catch (error) {
    return { errors: [new GraphQLError('Execution failed', { originalError: error as Error })] }
  }
}

function translateResult(
  result: ExecutionResult,
  args: GrafastExecutionArgs,
  options: StatusOptions,
): ExecutionResult {
  const { data, errors = [] } = result
  const request = requestOf(args.requestContext)
  if (data === undefined && errors.every(isAboutRequest)) {
    refuseRequest(request)
    const refused = errors.map(error =>
      clientError(error, fault('invalid_input', { message: error.message })),
    )
    return { ...result, errors: refused }
  }
  const outcome = outcomeOf(request)
  const faults = errors.map(error => translate(error, request, options))
  outcome.codes.push(...faults.map(({ code }) => code))
  if (faults[0] && !someFieldSucceeded(result, args)) {
    outcome.status = faults[0].status
    outcome.retryAfter = faults[0].retryAfter
  }
  const requestId = request?.requestId
  return { ...result, errors: errors.map((error, i) => clientError(error, faults[i] as Fault, requestId)) }
}

/**
 * Is the error about the operation's name or its variables? graphql-js finds those before anything runs, and they come
 * without a path; so does a plan that cannot be made, but behind that stands what was thrown.
 */
function isAboutRequest({ path, nodes, originalError }: GraphQLError): boolean {
  return path === undefined && (nodes?.[0]?.kind === Kind.VARIABLE_DEFINITION || originalError === undefined)
}

function translate(error: GraphQLError, request: ApiRequest | undefined, options: StatusOptions): Fault {
  const root = rootCause(error)
  const { constraintMessages } = options
  const found = toFault(error, { authenticated: request?.identity !== undefined, constraintMessages })
  // What Grafast calls safe is about the arguments of the client, such as a cursor that was never given out.
  const told =
    found.code === 'internal_error' && isSafeError(Object(root))
      ? fault('invalid_input', { message: (root as Error).message })
      : found
  const database = databaseError(root)
  if (database) outcomeOf(request).sqlstates.push(database.code)
  if (told.status >= 500) options.log(report(told, error, request, error.path))
  options.onFault(told)
  return told
}

function report(
  told: Fault,
  error: unknown,
  request: ApiRequest | undefined,
  path: readonly (string | number)[] = [],
): FaultReport {
  const root = rootCause(error)
  const database = databaseError(root)
  const { message = String(root), stack } = Object(root) as Partial<Error>
  return {
    requestId: request?.requestId,
    operation: outcomeOf(request).operation?.name,
    path: path.join('.'),
    code: told.code,
    sqlstate: database?.code,
    constraint: database?.constraint,
    message,
    stack: database ? undefined : stack,
  }
}

function clientError(error: GraphQLError, told: Fault, requestId?: string): GraphQLError {
  const { nodes = null, source = null, positions = null, path = null } = error
  const { code, detail, meta, message } = told
  const extensions = {
    code,
    ...(detail ? { detail } : null),
    ...(meta ? { meta } : null),
    ...(code === 'internal_error' && requestId ? { requestId } : null),
  }
  const client = new GraphQLError(message, { nodes, source, positions, path, extensions })
  translated.add(client)
  return client
}

/** A field that is null without an error counts as a success. `__typename` does not count as a field. */
function someFieldSucceeded({ data, errors }: ExecutionResult, args: GrafastExecutionArgs): boolean {
  const operation = operationOf(args.document, args.operationName)
  if (!data || operation === undefined) return false
  const failed = new Set(errors?.map(({ path }) => path?.[0]))
  return Object.entries(data).some(
    ([key, value]) =>
      operation.rootFields.get(key)?.name !== '__typename' && (value !== null || !failed.has(key)),
  )
}

function answer(result: Result, request: ApiRequest | undefined): Result {
  const { status, retryAfter } = outcomeOf(request)
  if (status !== undefined) {
    // The type says 204 or 304 for an empty answer, which a GraphQL result never is.
    Object.assign(result, { statusCode: status })
    if (status === 401) result.headers['www-authenticate'] = CHALLENGE
    if (retryAfter !== undefined) result.headers['retry-after'] = String(retryAfter)
    return result
  }
  return result.type === 'buffer' && result.statusCode >= 400 ? withCodes(result, request) : result
}

/** What grafserv refuses by itself (method, media type, no JSON) is a GraphQL answer without a code: adds it, and the headers. */
function withCodes(result: Result & { type: 'buffer' }, request: ApiRequest | undefined): Result {
  if (!result.headers['content-type']?.includes('json')) return result
  const payload = JSON.parse(result.buffer.toString()) as FormattedExecutionResult
  const { code } = fault(faultOfStatus(result.statusCode))
  outcomeOf(request).codes.push(code)
  const errors = payload.errors?.map(({ message }) => ({ message, extensions: { code } }))
  const buffer = Buffer.from(JSON.stringify({ errors }))
  const headers = {
    ...result.headers,
    'content-type': refusalType(request?.headers.accept),
    'content-length': String(buffer.length),
    // only a mutation is refused by its method where GET is served
    ...(result.statusCode === 405 ? { allow: request && isGet(request) ? 'POST' : 'GET, HEAD, POST' } : null),
  }
  return { ...result, buffer, headers }
}

function faultOfStatus(status: number) {
  if (status < 500) return 'invalid_input'
  return status === 503 ? 'service_unavailable' : 'internal_error'
}
