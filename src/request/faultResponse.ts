/** Error responses from outside GraphQL, in the format that GraphQL clients read. */
import type { Request, Response } from 'express'
import { type ErrorCode, fault } from './errors.ts'
import { outcomeOf } from './outcome.ts'

export const GRAPHQL_RESPONSE = 'application/graphql-response+json'

/** Sends one error of the fault table. Do not call it after the response has started. */
export function sendFault(
  request: Request,
  response: Response,
  code: ErrorCode,
  more: { message?: string; requestId?: string; status?: number } = {},
): void {
  const { status, message, retryAfterSeconds } = { ...fault(code), ...more }
  outcomeOf(request).codes.push(code)
  if (retryAfterSeconds !== undefined) response.setHeader('Retry-After', String(retryAfterSeconds))
  const extensions = { code, ...(more.requestId === undefined ? {} : { requestId: more.requestId }) }
  const type = request.accepts(['application/json', GRAPHQL_RESPONSE]) || 'application/json'
  response.status(status).type(`${type}; charset=utf-8`)
  response.send(JSON.stringify({ errors: [{ message, extensions }] }))
}
