/** CORS: pages of the origins in CORS_ORIGINS may call `/graphql` from a browser. No other page may, and by default none. */
import type { IncomingMessage } from 'node:http'
import cors from 'cors'
import type { Express } from 'express'

/** Chromium caches the answer to a preflight for at most this long, other browsers for as long or longer. */
const MAX_AGE_SECONDS = 7_200
const EXPOSED_HEADERS = [
  'X-RateLimit-Limit',
  'X-RateLimit-Remaining',
  'X-RateLimit-Reset',
  'Retry-After',
  'WWW-Authenticate',
  'X-Request-Id',
].join(',')

/** The headers of a response that express does not send, as a list of names and values. */
export type CorsHeaders = (request: IncomingMessage) => readonly string[]

export function makeCorsHeaders(origins: readonly string[]): CorsHeaders {
  if (origins.length === 0) return () => []
  return request =>
    isAllowed(origins, request)
      ? [
          'Vary',
          'Origin',
          'Access-Control-Allow-Origin',
          String(request.headers.origin),
          'Access-Control-Expose-Headers',
          EXPOSED_HEADERS,
        ]
      : ['Vary', 'Origin']
}

/** Runs before the limits, so that refusals have the headers too. A preflight ends here: it takes no slot and no limit. */
export function installCors(app: Express, origins: readonly string[]): void {
  if (origins.length === 0) return
  // no credentials: a page sends its access token itself, and cookies have no meaning here
  const allow = cors({
    origin: [...origins],
    methods: 'GET,HEAD,POST',
    allowedHeaders: 'authorization,content-type',
    exposedHeaders: EXPOSED_HEADERS,
    maxAge: MAX_AGE_SECONDS,
  })
  app.use('/graphql', (request, response, next) => {
    // caches must not give one origin the response to another
    response.vary('Origin')
    if (isAllowed(origins, request)) allow(request, response, next)
    else if (isPreflight(request)) response.status(204).end()
    else next()
  })
}

function isAllowed(origins: readonly string[], { headers }: IncomingMessage): boolean {
  return headers.origin !== undefined && origins.includes(headers.origin)
}

function isPreflight({ method, headers }: IncomingMessage): boolean {
  return method === 'OPTIONS' && headers['access-control-request-method'] !== undefined
}
