/** Verifies access tokens and API keys. A request with an invalid one is refused; it is never served as a visitor's. */
import type { IncomingMessage } from 'node:http'
import type { Express, Request, Response } from 'express'
import { type ApiKeys, looksLikeApiKey } from '../identity/apiKeys.ts'
import type { Revocations } from '../identity/revocations.ts'
import type { Tokens } from '../identity/tokens.ts'
import type { Logger } from '../log.ts'
import { CHALLENGE, sendFault } from '../request/faultResponse.ts'
import type {} from '../request/request.ts'
import { requestId } from './requestLog.ts'

const BEARER = /^Bearer +([^\s]+)$/i

const INVALID = {
  code: 'unauthenticated',
  message: 'The access token is not valid or has expired. Please refresh the session, or log in again.',
} as const
const REPEATED = {
  code: 'invalid_input',
  message: 'The request has several Authorization headers.',
  status: 400,
} as const
const INVALID_KEY = {
  code: 'unauthenticated',
  message:
    'The API key is not valid. It may have expired or been revoked. Please ask an owner of the dealer for a new one.',
} as const
/** This process cannot know whether the session has ended or the key is valid. */
const UNCERTAIN = { code: 'service_unavailable', status: 503 } as const

const faults = new WeakMap<object, typeof INVALID | typeof INVALID_KEY | typeof REPEATED | typeof UNCERTAIN>()

type Options = { tokens: Tokens; revocations: Revocations; apiKeys: ApiKeys; log: Logger }

/** Sets the identity of a request. An invalid token or key is only noted here, and `installTokenRefusal` refuses it. */
export function installIdentity(app: Express, options: Options): void {
  app.use(async (request, response, next) => {
    const header = request.headers.authorization
    if (header === undefined) return next()
    if (timesSent(request, 'authorization') > 1) {
      faults.set(request, REPEATED)
      return next()
    }
    const credential = BEARER.exec(header)?.[1]
    if (credential !== undefined && looksLikeApiKey(credential)) {
      await identifyApiKey(request, response, credential, options)
    } else await identifyUser(request, credential, options)
    next()
  })
}

async function identifyUser(
  request: Request,
  token: string | undefined,
  { tokens, revocations, log }: Options,
): Promise<void> {
  try {
    if (token === undefined) throw new Error('no bearer token')
    const identity = await tokens.verify(token)
    if (revocations.has(identity.sessionId)) throw new Error('the session has ended')
    if (revocations.isStale()) faults.set(request, UNCERTAIN)
    else request.identity = identity
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'unknown'
    log.info({ requestId: requestId(request), reason }, 'refused an access token')
    faults.set(request, INVALID)
  }
}

async function identifyApiKey(
  request: Request,
  response: Response,
  key: string,
  { apiKeys, log }: Options,
): Promise<void> {
  try {
    const identity = await apiKeys.verify(key)
    if (identity === undefined) {
      log.info({ requestId: requestId(request) }, 'refused an API key')
      faults.set(request, INVALID_KEY)
      return
    }
    request.identity = identity
    response.once('close', () => apiKeys.recordUse(identity))
  } catch (error) {
    const reason = error instanceof Error ? error.message : 'unknown'
    log.warn({ requestId: requestId(request), reason }, 'an API key could not be verified')
    faults.set(request, UNCERTAIN)
  }
}

/** Runs after the limits, so that a client that guesses tokens or keys is counted by its address. */
export function installTokenRefusal(app: Express): void {
  app.use((request, response, next) => {
    const fault = faults.get(request)
    if (fault === undefined) return next()
    if (fault.code === 'unauthenticated')
      response.setHeader('WWW-Authenticate', `${CHALLENGE} error="invalid_token"`)
    sendFault(request, response, fault.code, fault)
  })
}

/** Node keeps the first of several such headers and drops the others. */
function timesSent({ rawHeaders }: IncomingMessage, name: string): number {
  return rawHeaders.filter((text, index) => index % 2 === 0 && text.toLowerCase() === name).length
}
