/** The end of the line: unknown paths, and whatever was thrown on the way. */
import type { ErrorRequestHandler, Express } from 'express'
import type { Logger } from '../log.ts'
import { sendFault } from '../request/answers.ts'
import { requestId } from './requestLog.ts'

export function installErrors(app: Express, log: Logger): void {
  app.use((request, response) => {
    sendFault(request, response, 'not_found', { message: 'There is nothing here. The API is /graphql.' })
  })
  const handleError: ErrorRequestHandler = (error, request, response, next) => {
    const id = requestId(request)
    log.error({ requestId: id, err: error }, 'a request failed outside GraphQL')
    if (response.headersSent) return next(error)
    sendFault(request, response, 'internal_error', { requestId: id })
  }
  app.use(handleError)
}
