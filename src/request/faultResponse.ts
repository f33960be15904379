/** Refusals outside GraphQL, in the shape that GraphQL clients read. */
import type { Request, Response } from 'express'
import { type ErrorCode, fault } from './errors.ts'
import { outcomeOf } from './outcome.ts'

export const GRAPHQL_RESPONSE = 'application/graphql-response+json'

/** Answers with one error of the table. Never call it once an answer has begun. */
export function sendFault(
  request: Request,
  response: Response,
  code: ErrorCode,
  more: { message?: string; requestId?: string; status?: number } = {},
): void {
  const { status, message, retryAfter } = { ...fault(code), ...more }
  outcomeOf(request).codes.push(code)
  if (retryAfter !== undefined) response.setHeader('Retry-After', String(retryAfter))
  const extensions = { code, ...(more.requestId === undefined ? {} : { requestId: more.requestId }) }
  const type = request.accepts(['application/json', GRAPHQL_RESPONSE]) || 'application/json'
  response.status(status).type(`${type}; charset=utf-8`)
  response.send(JSON.stringify({ errors: [{ message, extensions }] }))
}
