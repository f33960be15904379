/**
 * The one table of faults: SQLSTATE → code → HTTP status → message.
 *
 * PL/pgSQL functions raise SQLSTATEs of class FC, with a message and a DETAIL (a JSON object) for the client. So do
 * app_private.refuse_row() and refuse_listing(), with the SQLSTATE of a broken constraint and the field in DETAIL. Other database text
 * never reaches a client: the client gets a code and a message of this table, and the log gets the details.
 */

/** The stable `extensions.code` of an error. */
export type ErrorCode = keyof typeof faults

/** Facts for the client: which field, which country, which limit. */
export type Detail = Readonly<Record<string, unknown>>

/** An error as the client gets it. */
export interface Fault {
  readonly code: ErrorCode
  readonly status: number
  readonly message: string
  readonly detail?: Detail | undefined
  readonly meta?: Detail | undefined
  /** For the header `Retry-After`. */
  readonly retryAfterSeconds?: number | undefined
}

/** The client's message for a violated constraint: from its comment, or from the function that checks the rules of a row. */
export interface ConstraintMessage {
  readonly field: string
  readonly message: string
}

/** By constraint name. */
export type ConstraintMessages = ReadonlyMap<string, ConstraintMessage>

/** The facts, besides the error itself, that its translation depends on. */
export interface FaultContext {
  /** True for a verified user. A visitor without a privilege gets `unauthenticated` instead of `forbidden`. */
  readonly authenticated: boolean
  readonly constraintMessages: ConstraintMessages
}

/** Code → status, and the message for a fault without its own. */
const faults = {
  unauthenticated: { status: 401, message: 'Please log in first.' },
  invalid_credentials: { status: 401, message: 'The e-mail address or the password is wrong.' },
  forbidden: { status: 403, message: 'You are not allowed to do this.' },
  not_found: { status: 404, message: 'It does not exist, or you may not see it.' },
  pricing_config_missing: { status: 409, message: 'No price is configured for this country yet.' },
  pricing_config_ambiguous: { status: 409, message: 'More than one price is configured for this country.' },
  idempotency_conflict: { status: 409, message: 'This idempotency key was used with another input.' },
  conflict: { status: 409, message: 'This conflicts with something that exists already.' },
  quota_exhausted: { status: 402, message: 'Your quota is used up.' },
  invalid_input: { status: 422, message: 'A value is malformed or out of range.' },
  rate_limit_exceeded: { status: 429, message: 'Too many requests. Please try again later.' },
  system_busy: {
    status: 429,
    message: 'Another request is changing the same data. Please try again.',
    retryAfterSeconds: 1,
  },
  service_unavailable: {
    status: 503,
    message: 'The service is unavailable. Please try again.',
    retryAfterSeconds: 5,
  },
  internal_error: {
    status: 500,
    message: 'Something went wrong on our side. Please try again. If it fails again, report the requestId.',
  },
} as const satisfies Record<string, { status: number; message: string; retryAfterSeconds?: number }>

/** Class FC: our functions raise these, with message and detail for the client. */
export const ownSqlstates: Readonly<Record<string, ErrorCode>> = {
  FC001: 'unauthenticated',
  FC002: 'invalid_credentials',
  FC003: 'forbidden',
  FC004: 'not_found',
  FC005: 'pricing_config_missing',
  FC006: 'pricing_config_ambiguous',
  FC007: 'idempotency_conflict',
  FC008: 'conflict',
  FC009: 'quota_exhausted',
  FC010: 'invalid_input',
  FC011: 'rate_limit_exceeded',
}

const sqlstates: Readonly<Record<string, ErrorCode>> = {
  '55P03': 'system_busy', // lock timeout
  '40P01': 'system_busy', // deadlock
  '40001': 'system_busy', // serialization failure
  '57014': 'service_unavailable', // statement timeout
  '57P01': 'service_unavailable', // shut down by an administrator
  '57P02': 'service_unavailable', // crash of another backend
  '57P03': 'service_unavailable', // starting up or shutting down
  '57P04': 'service_unavailable', // database dropped
  '57P05': 'service_unavailable', // idle session timeout
  '25006': 'service_unavailable', // read only: still connected to a former primary
  '25P03': 'service_unavailable', // idle in transaction timeout
  '25P04': 'service_unavailable', // transaction timeout
  '42501': 'forbidden', // no grant, or row-level security
  '23505': 'conflict', // unique
  '23P01': 'conflict', // exclusion
  '22P02': 'invalid_input', // text that is not a value of its type
  '22P03': 'invalid_input', // the same, binary
  '22P05': 'invalid_input', // \u0000 in JSON
  '22001': 'invalid_input', // too long
  '22003': 'invalid_input', // number out of range
  '22007': 'invalid_input', // invalid date
  '22008': 'invalid_input', // date out of range
  '22009': 'invalid_input', // invalid time zone offset
  '22021': 'invalid_input', // byte that is not a character, such as \0
  '22030': 'invalid_input', // duplicate JSON key
  '22032': 'invalid_input', // invalid JSON
  '2201W': 'invalid_input', // negative LIMIT
  '2201X': 'invalid_input', // negative OFFSET
  '54001': 'invalid_input', // nested too deeply
}

const sqlstateClasses: Readonly<Record<string, ErrorCode>> = {
  '08': 'service_unavailable', // connection
  '53': 'service_unavailable', // out of connections, memory or disk
}

/** Codes of Node and of the driver for a connection that failed. */
const connectionCodes = new Set(
  'ECONNREFUSED ECONNRESET ECONNABORTED EPIPE ETIMEDOUT EHOSTUNREACH ENETUNREACH ENOTFOUND EAI_AGAIN'.split(
    ' ',
  ),
)

// The driver reports these without a code, so they are recognised by their message.
const connectionMessages =
  /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Client was closed|Cannot use a pool after calling end|Query read timeout|Connection ended unexpectedly|timeout expired)/

/** An error raised in TypeScript. The client gets its message, detail and meta. */
export class ApiError extends Error {
  readonly code: ErrorCode
  readonly detail: Detail | undefined
  readonly meta: Detail | undefined
  readonly retryAfterSeconds: number | undefined

  constructor(
    code: ErrorCode,
    message?: string,
    more: { detail?: Detail; meta?: Detail; retryAfterSeconds?: number } = {},
  ) {
    super(message ?? faults[code].message)
    this.code = code
    this.detail = more.detail
    this.meta = more.meta
    this.retryAfterSeconds = more.retryAfterSeconds
  }
}

/** The error for an exceeded rate limit. */
export function tooManyRequests(scope: string, limitKey: string, seconds: number): ApiError {
  return new ApiError('rate_limit_exceeded', `Too many requests. Please try again in ${seconds} seconds.`, {
    detail: { scope },
    meta: { limit_key: limitKey, retry_after_seconds: seconds },
    retryAfterSeconds: seconds,
  })
}

/** The parts of a database error that are read here. Not the class of `pg`, because `pg` may be loaded twice. */
export interface DatabaseError {
  readonly severity: string
  readonly code: string
  readonly message: string
  readonly detail?: string
  readonly constraint?: string
}

/** The refusal of a row of a batch, which SQL returns as a value: app_private.refusal. A part that is absent is null. */
export interface Refusal {
  readonly sqlstate: string
  readonly message: string | null
  readonly detail: string | null
  /** The name of the constraint or of the rule. */
  readonly rule: string | null
}

/** The fault of a code, with its default message unless another is given. */
export function fault(code: ErrorCode, more: Partial<Omit<Fault, 'code' | 'status'>> = {}): Fault {
  const known: { status: number; message: string; retryAfterSeconds?: number } = faults[code]
  return { ...known, ...more, code }
}

/** Translates any error for the client. The text of an unexpected error is never part of the result. */
export function toFault(error: unknown, context: FaultContext): Fault {
  const root = rootCause(error)
  if (root instanceof ApiError) return fault(root.code, fieldsOf(root))
  const database = databaseError(root)
  if (database) return databaseFault(database, context)
  if (isConnectionFailure(root)) return fault('service_unavailable')
  return fault('internal_error')
}

/** Translates the refusal of a row as if its transaction had failed with it. */
export function refusalFault(
  { sqlstate, message, detail, rule }: Refusal,
  constraintMessages: ConstraintMessages,
): Fault {
  const error: DatabaseError = {
    severity: 'ERROR',
    code: sqlstate,
    message: message ?? '',
    ...(detail === null ? null : { detail }),
    ...(rule === null ? null : { constraint: rule }),
  }
  return databaseFault(error, { authenticated: true, constraintMessages })
}

/** The database error that caused an error, if there is one. */
export function databaseError(error: unknown): DatabaseError | undefined {
  const root = rootCause(error)
  return isObject(root) &&
    typeof root.code === 'string' &&
    /^[0-9A-Z]{5}$/.test(root.code) &&
    'severity' in root
    ? (root as unknown as DatabaseError)
    : undefined
}

/** The innermost error: GraphQL wraps errors of plans as `originalError`, and libraries wrap errors as `cause`. */
export function rootCause(error: unknown): unknown {
  let root = error
  // An ApiError is already written for the client. Its cause is for the log only.
  while (isObject(root) && !(root instanceof ApiError)) {
    const inner = root.originalError ?? root.cause
    if (!isObject(inner)) break
    root = inner
  }
  return root
}

function databaseFault(error: DatabaseError, context: FaultContext): Fault {
  const own = ownSqlstates[error.code]
  if (own) return raisedFault(own, error)
  const constraint =
    error.code.startsWith('23') &&
    (raisedMessage(error) ?? context.constraintMessages.get(error.constraint ?? ''))
  // FATAL: the server closed or refused the connection, for example because of a wrong password
  const connectionCode =
    error.severity === 'FATAL' || error.severity === 'PANIC' ? 'service_unavailable' : undefined
  const code = connectionCode ?? sqlstates[error.code] ?? sqlstateClasses[error.code.slice(0, 2)]
  if (constraint) {
    const { field, message } = constraint
    return fault(code ?? 'invalid_input', { message, detail: { field } })
  }
  if (code === 'forbidden' && !context.authenticated) return fault('unauthenticated')
  return fault(code ?? 'internal_error')
}

/** DETAIL is a JSON object. Its member `meta`, if any, becomes `extensions.meta`, and the others `extensions.detail`. */
function raisedFault(code: ErrorCode, error: DatabaseError): Fault {
  const { meta, ...detail } = parseDetail(error.detail)
  const seconds = isObject(meta) ? Number(meta.retry_after_seconds) : Number.NaN
  return fault(code, {
    ...(error.message === '' ? null : { message: error.message }),
    ...(Object.keys(detail).length > 0 ? { detail } : null),
    ...(isObject(meta) ? { meta } : null),
    ...(seconds >= 0 ? { retryAfterSeconds: seconds } : null),
  })
}

/** The message of app_private.refuse_row() or row_refusal(). Postgres writes a sentence into DETAIL, never a JSON object. */
function raisedMessage(error: DatabaseError): ConstraintMessage | undefined {
  const { field } = parseDetail(error.detail)
  return typeof field === 'string' ? { field, message: error.message } : undefined
}

function parseDetail(text: string | undefined): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(text ?? '{}')
    return isObject(parsed) && !Array.isArray(parsed) ? parsed : {}
  } catch {
    return {}
  }
}

function fieldsOf({ message, detail, meta, retryAfterSeconds }: ApiError): Partial<Fault> {
  return {
    message,
    ...(detail ? { detail } : null),
    ...(meta ? { meta } : null),
    ...(retryAfterSeconds === undefined ? null : { retryAfterSeconds }),
  }
}

function isConnectionFailure(error: unknown): boolean {
  if (!isObject(error)) return false
  return connectionCodes.has(String(error.code)) || connectionMessages.test(String(error.message))
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
