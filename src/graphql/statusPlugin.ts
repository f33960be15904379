/**
 * Makes the HTTP response fit the errors of a GraphQL result. The table of faults translates each error. If no root field
 * succeeded, the status is that of the first error. Unexpected errors are logged with the id of the request.
 */
import { type GrafastExecutionArgs, isSafeError } from 'grafast'
import { type ExecutionResult, type FormattedExecutionResult, GraphQLError, Kind } from 'grafast/graphql'
import type { Result } from 'postgraphile/grafserv'
import { operationOf } from '../request/document.ts'
import {
  type ConstraintMessages,
  databaseError,
  type Fault,
  fault,
  rootCause,
  toFault,
} from '../request/errors.ts'
import { CHALLENGE } from '../request/faultResponse.ts'
import { refusalType } from '../request/mediaType.ts'
import { type ExecutedOperation, outcomeOf, refuseRequest } from '../request/outcome.ts'
import { isGet } from '../request/parameters.ts'
import { type ApiRequest, requestOf } from '../request/request.ts'
import { withoutValues } from './errorMessages.ts'
import { refuseUnstorable } from './storableInput.ts'

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

export interface StatusOptions {
  readonly log: (report: FaultReport) => void
  /** Called for each error that a client gets, before the response is sent. It must neither wait nor throw. */
  readonly onFault: (fault: Fault) => void
  readonly constraintMessages: ConstraintMessages
  /** No "Did you mean" in errors about variables. */
  readonly hideSuggestions: boolean
}

/** Errors that are already translated, for `maskError`. */
const translated = new WeakSet<object>()

/** Hides the text of an error that was not translated, such as one that was thrown before the execution. */
export function maskError(error: GraphQLError): GraphQLError {
  return translated.has(error) ? error : clientError(error, fault('internal_error'))
}

/** Translates the errors of each result, and sets status and `Retry-After` of each response. */
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
            // grafserv sends this error itself, through `maskError`, with status 200 if the client accepts JSON
            const clientFault = fault('internal_error')
            const request = requestOf(args.requestContext)
            outcomeOf(request).status = clientFault.status
            options.log(report(clientFault, error, request))
            throw error
          }
        },
        async execute(next, { args }) {
          const request = requestOf(args.requestContext)
          outcomeOf(request).operation = describeOperation(args)
          args.hideSuggestions = options.hideSuggestions
          const result = await settle(async () => {
            refuseUnstorable(args)
            return next()
          })
          return 'errors' in result && result.errors ? translateResult(result, args, options) : result
        },
      },
    },
    grafserv: {
      middleware: {
        async processRequest(next, { requestDigest }) {
          const result = await next()
          return result && applyOutcome(result, requestOf(requestDigest.requestContext))
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

/** Planning may throw instead of returning a result. */
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
      clientError(error, fault('invalid_input', { message: withoutValues(error.message) })),
    )
    return { ...result, errors: refused }
  }
  const outcome = outcomeOf(request)
  const faults = errors.map(error => translate(error, request, options))
  outcome.codes.push(...faults.map(({ code }) => code))
  if (faults[0] && !someFieldSucceeded(result, args)) {
    outcome.status = faults[0].status
    outcome.retryAfterSeconds = faults[0].retryAfterSeconds
  }
  const requestId = request?.requestId
  return { ...result, errors: errors.map((error, i) => clientError(error, faults[i] as Fault, requestId)) }
}

/**
 * Whether the error is about the operation's name or its variables. graphql-js finds these before the execution, so they have
 * no path. An error of planning has no path either, but it has an `originalError`.
 */
function isAboutRequest({ path, nodes, originalError }: GraphQLError): boolean {
  return path === undefined && (nodes?.[0]?.kind === Kind.VARIABLE_DEFINITION || originalError === undefined)
}

function translate(error: GraphQLError, request: ApiRequest | undefined, options: StatusOptions): Fault {
  const root = rootCause(error)
  const { constraintMessages } = options
  const found = toFault(error, { authenticated: request?.identity !== undefined, constraintMessages })
  // a safe error of Grafast is about the client's arguments, such as an invalid cursor
  const clientFault =
    found.code === 'internal_error' && isSafeError(Object(root))
      ? fault('invalid_input', { message: (root as Error).message })
      : found
  const database = databaseError(root)
  if (database) outcomeOf(request).sqlstates.push(database.code)
  if (clientFault.status >= 500) options.log(report(clientFault, error, request, error.path))
  options.onFault(clientFault)
  return clientFault
}

function report(
  clientFault: Fault,
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
    code: clientFault.code,
    sqlstate: database?.code,
    constraint: database?.constraint,
    message,
    stack: database ? undefined : stack,
  }
}

function clientError(error: GraphQLError, clientFault: Fault, requestId?: string): GraphQLError {
  const { nodes = null, source = null, positions = null, path = null } = error
  const { code, detail, meta, message } = clientFault
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

function applyOutcome(result: Result, request: ApiRequest | undefined): Result {
  const { status, retryAfterSeconds } = outcomeOf(request)
  if (status !== undefined) {
    // the type allows only 204 and 304 for a result without a body, which a GraphQL result never is
    Object.assign(result, { statusCode: status })
    if (status === 401) result.headers['www-authenticate'] = CHALLENGE
    if (retryAfterSeconds !== undefined) result.headers['retry-after'] = String(retryAfterSeconds)
    return result
  }
  return result.type === 'buffer' && result.statusCode >= 400 ? withCodes(result, request) : result
}

/** Adds the code and the headers to errors of grafserv itself: wrong method or media type, or invalid JSON. */
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
    // grafserv refuses only one kind of GET: a mutation
    ...(result.statusCode === 405 ? { allow: request && isGet(request) ? 'POST' : 'GET, HEAD, POST' } : null),
  }
  return { ...result, buffer, headers }
}

function faultOfStatus(status: number) {
  if (status < 500) return 'invalid_input'
  return status === 503 ? 'service_unavailable' : 'internal_error'
}
