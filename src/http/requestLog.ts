/** Gives each request an id, and logs it once its response is sent or aborted. */
import { randomUUID } from 'node:crypto'
import type { Express, Request } from 'express'
import { type Logger, withoutRedaction } from '../log.ts'
import { loggedSender } from '../request/identity.ts'
import { outcomeOf } from '../request/outcome.ts'
import type {} from '../request/request.ts'

/** Long enough for an id and for nothing else, because ids are logged. */
const REQUEST_ID = /^[A-Za-z0-9._-]{8,64}$/
/** Polled every few seconds, so logged at level debug. */
const QUIET_PATHS = new Set(['/healthz', '/readyz', '/metrics'])

/** All fields of a request's line. Add none that may contain a secret or a personal detail: this log is not redacted. */
export type RequestRecord = {
  requestId: string
  method: string
  path: string
  status: number
  aborted?: true
  durationMs: number
  user: string | undefined
  apiKey?: string
  operation: string | undefined
  fields: readonly string[] | undefined
  codes?: readonly string[]
  sqlstates?: readonly string[]
}

export function requestId(request: Request): string {
  return request.requestId ?? 'none'
}

/** The id from the proxy if it is valid, else a new one. */
export function requestIdOf(given: string | string[] | undefined): string {
  return typeof given === 'string' && REQUEST_ID.test(given) ? given : randomUUID()
}

export function installRequestLog(app: Express, log: Logger): void {
  const requestLog = withoutRedaction(log)
  app.use((request, response, next) => {
    const startedAt = performance.now()
    // read it here: inside a mounted handler the path is shorter
    const { path } = request
    const id = requestIdOf(request.headers['x-request-id'])
    request.requestId = id
    response.setHeader('X-Request-Id', id)
    response.once('close', () => {
      const { operation, codes, sqlstates } = outcomeOf(request)
      const record: RequestRecord = {
        requestId: id,
        method: request.method,
        path,
        status: response.statusCode,
        ...(response.writableFinished ? {} : { aborted: true }),
        durationMs: Math.round((performance.now() - startedAt) * 10) / 10,
        ...loggedSender(request.identity),
        operation: operation?.name,
        fields: operation?.fields,
        ...(codes.length > 0 ? { codes } : {}),
        ...(sqlstates.length > 0 ? { sqlstates } : {}),
      }
      requestLog[levelOf(path, response.statusCode)](record, 'request')
    })
    next()
  })
}

function levelOf(path: string, status: number): 'debug' | 'info' | 'warn' {
  if (status >= 500) return 'warn'
  return QUIET_PATHS.has(path) ? 'debug' : 'info'
}
