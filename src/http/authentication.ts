/** Verifies access tokens. A request with an invalid token is refused; it is never served as a visitor's. */
import type { Express } from 'express'
import type { Tokens } from '../identity/tokens.ts'
import type { Logger } from '../log.ts'
import { sendFault } from '../request/faultResponse.ts'
import type {} from '../request/request.ts'
import { requestId } from './requestLog.ts'

const BEARER = /^Bearer +([^\s]+)$/i

const withInvalidToken = new WeakSet<object>()

/** Sets the identity of a request. An invalid token is only noted here, and `installTokenRefusal` refuses it. */
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
      withInvalidToken.add(request)
    }
    next()
  })
}

/** Runs after the limits, so that a client that guesses tokens is counted by its address. */
export function installTokenRefusal(app: Express): void {
  app.use((request, response, next) => {
    if (!withInvalidToken.has(request)) return next()
    response.setHeader('WWW-Authenticate', 'Bearer error="invalid_token"')
    const message = 'The access token is not valid. Please log in again.'
    sendFault(request, response, 'unauthenticated', { message })
  })
}
