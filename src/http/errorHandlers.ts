/** The last handlers: unknown paths, and errors of the handlers before. */
import type { ErrorRequestHandler, Express } from 'express'
import type { Logger } from '../log.ts'
import { sendFault } from '../request/faultResponse.ts'
import { requestId } from './requestLog.ts'

export function installErrors(app: Express, log: Logger): void {
  app.use((request, response) => {
    sendFault(request, response, 'not_found', { message: 'This path does not exist. The API is /graphql.' })
  })
  const handleError: ErrorRequestHandler = (error, request, response, next) => {
    const id = requestId(request)
    log.error({ requestId: id, err: error }, 'a request failed outside GraphQL')
    if (response.headersSent) return next(error)
    sendFault(request, response, 'internal_error', { requestId: id })
  }
  app.use(handleError)
}
