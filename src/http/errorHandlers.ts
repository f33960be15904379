/** The end of the line: unknown paths, and whatever was thrown on the way. */
import type { ErrorRequestHandler, Express } from 'express'
import type { Logger } from '../log.ts'
import { sendFault } from '../request/answers.ts'
import { requestId } from './requestLog.ts'

const BODY_FAULTS: Readonly<Record<number, string>> = {
  400: 'The request body is no JSON. Please send an object with `query`.',
  413: 'The request body is too large. Please send less at once.',
  415: 'The request body has an encoding that is not read here. Please send JSON in UTF-8.',
}

/** What express's body reader throws has a status below 500 and a type. */
function isAboutBody(error: unknown): error is { status: number } {
  const { status, type } = error as { status?: unknown; type?: unknown }
  return typeof status === 'number' && status < 500 && typeof type === 'string'
}

export function installErrors(app: Express, log: Logger): void {
  app.use((request, response) => {
    sendFault(request, response, 'not_found', { message: 'There is nothing here. The API is POST /graphql.' })
  })
  const handleError: ErrorRequestHandler = (error, request, response, next) => {
    if (isAboutBody(error)) {
      return sendFault(request, response, 'invalid_input', {
        status: error.status,
        message: BODY_FAULTS[error.status] ?? 'The request body cannot be read.',
      })
    }
    const id = requestId(request)
    log.error({ requestId: id, err: error }, 'a request failed outside GraphQL')
    if (response.headersSent) return next(error)
    sendFault(request, response, 'internal_error', { requestId: id })
  }
  app.use(handleError)
}
