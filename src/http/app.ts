/** The express app, as install functions in the order in which a request meets them. */
import { IncomingMessage, ServerResponse } from 'node:http'
import { Socket } from 'node:net'
import express, { type Express, type RequestHandler } from 'express'
import helmet from 'helmet'
import type { ApiKeys } from '../identity/apiKeys.ts'
import type { Revocations } from '../identity/revocations.ts'
import type { Tokens } from '../identity/tokens.ts'
import { installLimits, type LimiterOptions } from '../limits/limiter.ts'
import type { Logger } from '../log.ts'
import { installRequestMetrics, type RequestMetrics } from '../metrics/requests.ts'
import type { Reading } from '../metrics/startMetrics.ts'
import { type Admission, installAdmission } from './admission.ts'
import { installIdentity, installTokenRefusal } from './authentication.ts'
import { installBody, installBodyRefusal } from './body.ts'
import { installClientAddress } from './clientAddress.ts'
import { installCors } from './cors.ts'
import { installErrors } from './errorHandlers.ts'
import { installHealth } from './health.ts'
import { installMetrics } from './metricsRoute.ts'
import { installRequestLog } from './requestLog.ts'

export type AppOptions = {
  log: Logger
  tokens: Tokens
  revocations: Revocations
  apiKeys: ApiKeys
  trustProxy: readonly string[]
  corsOrigins: readonly string[]
  /** GraphiQL is served under `/`, which then gets no content security policy. */
  graphiql: boolean
  admission: Admission
  requestMetrics: RequestMetrics
  /** The metrics of this process, in the format of Prometheus. Undefined: another port serves them. */
  readMetrics: (() => Promise<Reading>) | undefined
  limits: Omit<LimiterOptions, 'log'>
  /** Why the process is not ready, as a sentence. Undefined: it is ready. */
  readinessFault: () => Promise<string | undefined>
  /** Mounts GraphQL, after identity and limits, before the handlers of errors. */
  installGraphql: (app: Express) => void | Promise<void>
}

export async function makeApp(options: AppOptions): Promise<Express> {
  const app = express()
  app.set('trust proxy', options.trustProxy.length > 0 ? [...options.trustProxy] : false)
  app.set('etag', false)
  app.disable('x-powered-by')
  installClientAddress(app)
  installRequestLog(app, options.log)
  installRequestMetrics(app, options.requestMetrics)
  app.use(securityHeaders(options.graphiql))
  installHealth(app, options.readinessFault)
  if (options.readMetrics !== undefined) installMetrics(app, options.readMetrics)
  installCors(app, options.corsOrigins)
  installBody(app)
  installIdentity(app, options)
  installAdmission(app, options.admission)
  installLimits(app, { ...options.limits, log: options.log })
  installTokenRefusal(app)
  installBodyRefusal(app)
  await options.installGraphql(app)
  installErrors(app, options.log)
  return app
}

function securityHeaders(graphiql: boolean): RequestHandler {
  const strict = headersOf(
    helmet({ contentSecurityPolicy: { useDefaults: false, directives: { defaultSrc: ["'none'"] } } }),
  )
  // GraphiQL has inline scripts
  const page = headersOf(helmet({ contentSecurityPolicy: false }))
  return (request, response, next) => {
    response.setHeaders(graphiql && request.method === 'GET' ? page : strict)
    next()
  }
}

/** Helmet makes its headers anew for each response, although with constant options they are the same for all. */
function headersOf(setHeaders: ReturnType<typeof helmet>): Map<string, string> {
  const request = new IncomingMessage(new Socket())
  const response = new ServerResponse(request)
  setHeaders(request, response, () => {})
  // a response can have tokens (RFC 6749, section 5.1) and differs from user to user
  response.setHeader('cache-control', 'no-store')
  return new Map(Object.entries(response.getHeaders()).map(([name, value]) => [name, String(value)]))
}
