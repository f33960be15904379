/**
 * The one table of faults: SQLSTATE → code → HTTP status → message.
 *
 * PL/pgSQL functions raise our own class FC with a message and a DETAIL (a JSON object) that are meant for the client.
 * Whatever else the database says stays here: a client sees the code and a sentence of ours, the log sees the rest.
 */

/** The stable `extensions.code` of an error. */
export type ErrorCode = keyof typeof faults

/** Facts for the client: which field, which country, which limit. */
export type Detail = Readonly<Record<string, unknown>>

/** What a client is told about an error. */
export interface Fault {
  readonly code: ErrorCode
  readonly status: number
  readonly message: string
  readonly detail?: Detail | undefined
  readonly meta?: Detail | undefined
  /** Seconds, for the header `Retry-After`. */
  readonly retryAfter?: number | undefined
}

/** A constraint whose breach a client may be told about, from its comment. */
export interface ConstraintMessage {
  readonly field: string
  readonly message: string
}

/** Constraint name → what to tell. */
export type ConstraintMessages = ReadonlyMap<string, ConstraintMessage>

/** What the translation of an error depends on besides the error. */
export interface FaultContext {
  /** Has the request a verified user? An anonymous one that lacks a right is told to sign in. */
  readonly authenticated: boolean
  readonly constraintMessages: ConstraintMessages
}

/** Code → status, and the message for a fault that brings none of its own. */
const faults = {
  unauthenticated: { status: 401, message: 'Please sign in first.' },
  invalid_credentials: { status: 401, message: 'The e-mail address or the password is wrong.' },
  forbidden: { status: 403, message: 'You are not allowed to do this.' },
  not_found: { status: 404, message: 'There is no such thing, or you may not see it.' },
  pricing_config_missing: { status: 409, message: 'No price is configured for this country yet.' },
  pricing_config_ambiguous: { status: 409, message: 'More than one price is configured for this country.' },
  idempotency_conflict: { status: 409, message: 'This idempotency key was used with another payload.' },
  conflict: { status: 409, message: 'This conflicts with something that exists already.' },
  quota_exhausted: { status: 402, message: 'Your quota is used up.' },
  invalid_input: { status: 422, message: 'A value is malformed or out of range.' },
  rate_limit_exceeded: { status: 429, message: 'Too many requests. Please try again later.' },
  system_busy: {
    status: 429,
    message: 'Others are changing the same data. Please try again.',
    retryAfter: 1,
  },
  service_unavailable: {
    status: 503,
    message: 'The service is unavailable. Please try again.',
    retryAfter: 5,
  },
  internal_error: {
    status: 500,
    message: 'Something went wrong on our side. Please try again, and name the requestId if it stays.',
  },
} as const satisfies Record<string, { status: number; message: string; retryAfter?: number }>

/** Class FC: raised on purpose, so message and detail are for the client. */
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
  '25006': 'service_unavailable', // read only: we are still talking to a former primary
  '25P03': 'service_unavailable', // idle in transaction timeout
  '25P04': 'service_unavailable', // transaction timeout
  '42501': 'forbidden', // no grant, or row-level security
  '23505': 'conflict', // unique
  '23P01': 'conflict', // exclusion
  '22P02': 'invalid_input', // text that is no value of its type
  '22P03': 'invalid_input', // the same, binary
  '22P05': 'invalid_input', // \u0000 in JSON
  '22001': 'invalid_input', // too long
  '22003': 'invalid_input', // number out of range
  '22007': 'invalid_input', // no date
  '22008': 'invalid_input', // date out of range
  '22009': 'invalid_input', // no time zone offset
  '22021': 'invalid_input', // byte that is no character, such as \0
  '22030': 'invalid_input', // duplicate JSON key
  '22032': 'invalid_input', // no JSON
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

// The driver reports these without any code, so its prose is all there is to go by.
const connectionMessages =
  /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Client was closed|Cannot use a pool after calling end|Query read timeout|Connection ended unexpectedly|timeout expired)/

/** A refusal that is made in TypeScript. Message, detail and meta reach the client. */
export class ApiError extends Error {
  readonly code: ErrorCode
  readonly detail: Detail | undefined
  readonly meta: Detail | undefined
  readonly retryAfter: number | undefined

  constructor(
    code: ErrorCode,
    message?: string,
    more: { detail?: Detail; meta?: Detail; retryAfter?: number } = {},
  ) {
    super(message ?? faults[code].message)
    this.code = code
    this.detail = more.detail
    this.meta = more.meta
    this.retryAfter = more.retryAfter
  }
}

/** Refuses what is beyond a rate limit: contract, section 5. */
export function tooManyRequests(scope: string, limitKey: string, seconds: number): ApiError {
  return new ApiError('rate_limit_exceeded', `Too many requests. Please try again in ${seconds} seconds.`, {
    detail: { scope },
    meta: { limit_key: limitKey, retry_after_seconds: seconds },
    retryAfter: seconds,
  })
}

/** The parts of a database error that we look at. `pg` has a class for it; a plain shape survives its copies. */
export interface DatabaseError {
  readonly severity: string
  readonly code: string
  readonly message: string
  readonly detail?: string
  readonly constraint?: string
}

/** The fault of a code, with our own sentence unless another is given. */
export function fault(code: ErrorCode, more: Partial<Omit<Fault, 'code' | 'status'>> = {}): Fault {
  const known: { status: number; message: string; retryAfter?: number } = faults[code]
  return { ...known, ...more, code }
}

/** What a client is told about any error at all. The raw text of an unforeseen one is never part of it. */
export function toFault(error: unknown, context: FaultContext): Fault {
  const root = rootCause(error)
  if (root instanceof ApiError) return fault(root.code, ownWords(root))
  const database = databaseError(root)
  if (database) return databaseFault(database, context)
  if (isConnectionFailure(root)) return fault('service_unavailable')
  return fault('internal_error')
}

/** The database error behind an error, if there is one: for the log. */
export function databaseError(error: unknown): DatabaseError | undefined {
  const root = rootCause(error)
  return isObject(root) &&
    typeof root.code === 'string' &&
    /^[0-9A-Z]{5}$/.test(root.code) &&
    'severity' in root
    ? (root as unknown as DatabaseError)
    : undefined
}

/** GraphQL wraps what a plan threw (`originalError`), libraries wrap with `cause`: the innermost tells the most. */
export function rootCause(error: unknown): unknown {
  let root = error
  // An ApiError is an answer already; its cause, if any, is for the log.
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
  const constraint = error.code.startsWith('23') && context.constraintMessages.get(error.constraint ?? '')
  // FATAL ends the connection, or never let it begin: wrong password, database that takes no connections
  const lost = error.severity === 'FATAL' || error.severity === 'PANIC' ? 'service_unavailable' : undefined
  const code = lost ?? sqlstates[error.code] ?? sqlstateClasses[error.code.slice(0, 2)]
  if (constraint) {
    const { field, message } = constraint
    return fault(code ?? 'invalid_input', { message, detail: { field } })
  }
  if (code === 'forbidden' && !context.authenticated) return fault('unauthenticated')
  return fault(code ?? 'internal_error')
}

/** DETAIL is a JSON object; its member `meta`, if any, stands beside `detail` in the answer. */
function raisedFault(code: ErrorCode, error: DatabaseError): Fault {
  const { meta, ...detail } = parseDetail(error.detail)
  const seconds = isObject(meta) ? Number(meta.retry_after_seconds) : Number.NaN
  return fault(code, {
    message: error.message,
    ...(Object.keys(detail).length > 0 ? { detail } : null),
    ...(isObject(meta) ? { meta } : null),
    ...(seconds >= 0 ? { retryAfter: seconds } : null),
  })
}

function parseDetail(text: string | undefined): Record<string, unknown> {
  try {
    const parsed: unknown = JSON.parse(text ?? '{}')
    return isObject(parsed) && !Array.isArray(parsed) ? parsed : {}
  } catch {
    return {}
  }
}

function ownWords({ message, detail, meta, retryAfter }: ApiError): Partial<Fault> {
  return {
    message,
    ...(detail ? { detail } : null),
    ...(meta ? { meta } : null),
    ...(retryAfter === undefined ? null : { retryAfter }),
  }
}

function isConnectionFailure(error: unknown): boolean {
  if (!isObject(error)) return false
  return connectionCodes.has(String(error.code)) || connectionMessages.test(String(error.message))
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
