/** The outcome of a GraphQL request. The HTTP status, the log and the metrics depend on it. */
import type { IncomingMessage } from 'node:http'
import type { ErrorCode } from './errors.ts'

/** An operation, as the log and the metrics report it. */
export interface ExecutedOperation {
  readonly type: string
  readonly name: string | undefined
  /** Its root fields, once for each alias. */
  readonly fields: readonly string[]
}

export interface Outcome {
  /** The executed operation. Undefined if the document was refused. */
  operation?: ExecutedOperation | undefined
  /** Codes of the errors that the client got, in their order. */
  readonly codes: ErrorCode[]
  /** The SQLSTATEs behind them. */
  readonly sqlstates: string[]
  /** The HTTP status, if the GraphQL result decides it. */
  status?: number
  /** For the header `Retry-After`. */
  retryAfterSeconds?: number | undefined
}

const outcomes = new WeakMap<IncomingMessage, Outcome>()

/** The outcome of a request. The first call creates it. */
export function outcomeOf(request: IncomingMessage | undefined): Outcome {
  const known = request && outcomes.get(request)
  if (known !== undefined) return known
  const outcome: Outcome = { codes: [], sqlstates: [] }
  if (request) outcomes.set(request, outcome)
  return outcome
}

/** Records that the document or its variables were refused, on both media types alike. Nothing was executed. */
export function refuseRequest(request: IncomingMessage | undefined, status = 400): void {
  const outcome = outcomeOf(request)
  outcome.status = status
  outcome.codes.push('invalid_input')
}
