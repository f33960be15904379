/** Refusals outside GraphQL, in the shape that GraphQL clients read. */
import type { Request, Response } from 'express'
import { type Detail, type ErrorCode, fault } from './errors.ts'
import { refusalType } from './mediaType.ts'
import { outcomeOf } from './outcome.ts'

/** RFC 9110, section 15.5.2: a 401 names the way to authenticate. */
export const CHALLENGE = 'Bearer'

type More = {
  message?: string
  detail?: Detail | undefined
  meta?: Detail | undefined
  requestId?: string
  status?: number
}

/** Answers with one error of the table. Never call it once an answer has begun. */
export function sendFault(request: Request, response: Response, code: ErrorCode, more: More = {}): void {
  const { status, message, retryAfter } = { ...fault(code), ...more }
  outcomeOf(request).codes.push(code)
  if (retryAfter !== undefined) response.setHeader('Retry-After', String(retryAfter))
  if (status === 401 && !response.hasHeader('WWW-Authenticate')) {
    response.setHeader('WWW-Authenticate', CHALLENGE)
  }
  const { detail, meta, requestId } = more
  // absent members are left out of the JSON
  const extensions = { code, detail, meta, requestId }
  response.status(status).type(refusalType(request.headers.accept))
  response.send(JSON.stringify({ errors: [{ message, extensions }] }))
}
