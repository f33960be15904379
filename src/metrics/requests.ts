/**
 * Metrics of requests: duration and outcome. Labels have few values, whatever a client sends: existing routes and root fields,
 * else `other`.
 */
import type { Express, Request, Response } from 'express'
import { Counter, Histogram, type Registry } from 'prom-client'
import { outcomeOf } from '../request/outcome.ts'

const ROUTES = ['/', '/graphql', '/healthz', '/readyz', '/metrics']
/** In seconds, with the most buckets around the duration of a publication. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export type RequestMetrics = ReturnType<typeof makeRequestMetrics>

type Options = {
  /** Root fields of the schema, as `Mutation.login`. */
  rootFields: ReadonlySet<string>
  /** The root fields that the limiter found in the document of a request, and how often. */
  fieldsOf: (request: Request) => ReadonlyMap<string, number>
}

export function makeRequestMetrics(registry: Registry, { rootFields, fieldsOf }: Options) {
  const registers = [registry]
  const requests = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Time from the head of a request to the end of its response, by route and status class. aborted: the client disconnected.',
    labelNames: ['route', 'status'],
    buckets: BUCKETS,
    registers,
  })
  const operations = new Histogram({
    name: 'graphql_operation_duration_seconds',
    help: 'Time of a GraphQL request by its root field. several: more than one. other: a field that does not exist.',
    labelNames: ['field'],
    buckets: BUCKETS,
    registers,
  })
  const outcomes = new Counter({
    name: 'graphql_operations_total',
    help: 'GraphQL requests by root field and outcome: ok, aborted, or the code of the first error.',
    labelNames: ['field', 'code'],
    registers,
  })

  function labelOf(request: Request): string {
    const fields = fieldsOf(request)
    if (fields.size > 1) return 'several'
    const [field = ''] = fields.keys()
    return rootFields.has(field) ? field.slice(field.indexOf('.') + 1) : 'other'
  }
  return {
    observe(request: Request, response: Response, route: string, seconds: number): void {
      const finished = response.writableFinished
      const status = finished ? `${Math.trunc(response.statusCode / 100)}xx` : 'aborted'
      requests.observe({ route, status }, seconds)
      if (route !== '/graphql') return
      const field = labelOf(request)
      operations.observe({ field }, seconds)
      outcomes.inc({ field, code: finished ? codeOf(request, response) : 'aborted' })
    },
  }
}

function codeOf(request: Request, { statusCode }: Response): string {
  return outcomeOf(request).codes[0] ?? (statusCode < 400 ? 'ok' : 'other')
}

export function installRequestMetrics(app: Express, metrics: RequestMetrics): void {
  app.use((request, response, next) => {
    const startedAt = performance.now()
    // read it here: inside a mounted handler the path is shorter
    const route = ROUTES.includes(request.path) ? request.path : 'other'
    response.once('close', () =>
      metrics.observe(request, response, route, (performance.now() - startedAt) / 1000),
    )
    next()
  })
}
