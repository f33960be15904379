/** Error responses from outside GraphQL, in the format that GraphQL clients read. */
import type { Request, Response } from 'express'
import { type Detail, type ErrorCode, fault } from './errors.ts'
import { refusalType } from './mediaType.ts'
import { outcomeOf } from './outcome.ts'

/** The value of WWW-Authenticate. RFC 9110, section 15.5.2, requires it on every 401. */
export const CHALLENGE = 'Bearer'

type More = {
  message?: string
  detail?: Detail | undefined
  meta?: Detail | undefined
  requestId?: string
  status?: number
}

/** Sends one error of the fault table. Do not call it after the response has started. */
export function sendFault(request: Request, response: Response, code: ErrorCode, more: More = {}): void {
  const { status, message, retryAfterSeconds } = { ...fault(code), ...more }
  outcomeOf(request).codes.push(code)
  if (retryAfterSeconds !== undefined) response.setHeader('Retry-After', String(retryAfterSeconds))
  if (status === 401 && !response.hasHeader('WWW-Authenticate')) {
    response.setHeader('WWW-Authenticate', CHALLENGE)
  }
  const { detail, meta, requestId } = more
  // JSON leaves undefined members out
  const extensions = { code, detail, meta, requestId }
  response.status(status).type(refusalType(request.headers.accept))
  response.send(JSON.stringify({ errors: [{ message, extensions }] }))
}
