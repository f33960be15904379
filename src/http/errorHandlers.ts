/** The last handlers: unknown paths, and errors of the handlers before. */
import type { ErrorRequestHandler, Express } from 'express'
import type { Logger } from '../log.ts'
import { sendFault } from '../request/faultResponse.ts'
import { requestId } from './requestLog.ts'

const BODY_MESSAGES: Readonly<Record<number, string>> = {
  400: 'The request body is not valid JSON. Please send an object with `query`.',
  413: 'The request body is too large. Please send less at once.',
  415: 'The encoding of the request body is not supported. Please send JSON in UTF-8.',
}

/** Errors of express.json have a status below 500 and a type. */
function isAboutBody(error: unknown): error is { status: number } {
  const { status, type } = error as { status?: unknown; type?: unknown }
  return typeof status === 'number' && status < 500 && typeof type === 'string'
}

export function installErrors(app: Express, log: Logger): void {
  app.use((request, response) => {
    sendFault(request, response, 'not_found', {
      message: 'This path does not exist. The API is POST /graphql.',
    })
  })
  const handleError: ErrorRequestHandler = (error, request, response, next) => {
    if (isAboutBody(error)) {
      return sendFault(request, response, 'invalid_input', {
        status: error.status,
        message: BODY_MESSAGES[error.status] ?? 'The request body cannot be read. Please send JSON in UTF-8.',
      })
    }
    const id = requestId(request)
    log.error({ requestId: id, err: error }, 'a request failed outside GraphQL')
    if (response.headersSent) return next(error)
    sendFault(request, response, 'internal_error', { requestId: id })
  }
  app.use(handleError)
}
