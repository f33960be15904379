/** What became of a GraphQL request: for the HTTP status, and for the log and the metrics of the server around it. */
import type { IncomingMessage } from 'node:http'
import type { ErrorCode } from './errors.ts'

/** An operation, as a log and a counter want to know it. */
export interface ExecutedOperation {
  readonly type: string
  readonly name: string | undefined
  /** Its root fields, as often as their aliases select them. */
  readonly fields: readonly string[]
}

/** The record of one request. */
export interface Outcome {
  /** The operation that was executed; none where the document was refused. */
  operation?: ExecutedOperation | undefined
  /** The codes of the errors that the client was told, in their order. */
  readonly codes: ErrorCode[]
  /** The SQLSTATEs behind them. */
  readonly sqlstates: string[]
  /** The HTTP status, where the GraphQL result decides about it. */
  status?: number
  /** Seconds, for `Retry-After`. */
  retryAfter?: number | undefined
}

const outcomes = new WeakMap<IncomingMessage, Outcome>()

/** The record of a request, begun when it is first asked for. */
export function outcomeOf(request: IncomingMessage | undefined): Outcome {
  const outcome = (request && outcomes.get(request)) ?? { codes: [], sqlstates: [] }
  if (request) outcomes.set(request, outcome)
  return outcome
}

/** Notes that a request was refused for its document or its variables: 400 on both media types, and nothing ran. */
export function refuseRequest(request: IncomingMessage | undefined): void {
  const outcome = outcomeOf(request)
  outcome.status = 400
  outcome.codes.push('invalid_input')
}
