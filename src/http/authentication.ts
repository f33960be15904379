/** Who asks. A token that does not verify is refused here, never taken for a visitor. */
import type { Express } from 'express'
import type { Tokens } from '../identity/tokens.ts'
import type { Logger } from '../log.ts'
import { sendFault } from '../request/answers.ts'
import type {} from '../request/request.ts'
import { requestId } from './requestLog.ts'

const BEARER = /^Bearer +([^\s]+)$/i

const faults = new WeakSet<object>()

/** Verifies the token. One that does not verify makes the request nobody's, until it is refused. */
export function installIdentity(app: Express, tokens: Tokens, log: Logger): void {
  app.use(async (request, _response, next) => {
    const header = request.headers.authorization
    if (header === undefined) return next()
    try {
      const token = BEARER.exec(header)?.[1]
      if (token === undefined) throw new Error('no bearer token')
      request.identity = await tokens.verify(token)
    } catch (error) {
      const reason = error instanceof Error ? error.message : 'unknown'
      log.info({ requestId: requestId(request), reason }, 'refused an access token')
      faults.add(request)
    }
    next()
  })
}

/** Behind the limits, so that guessing tokens is counted on the address it comes from. */
export function installTokenRefusal(app: Express): void {
  app.use((request, response, next) => {
    if (!faults.has(request)) return next()
    response.setHeader('WWW-Authenticate', 'Bearer error="invalid_token"')
    const message = 'The access token is not valid. Please log in again.'
    sendFault(request, response, 'unauthenticated', { message })
  })
}
