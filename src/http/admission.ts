/** At most MAX_IN_PROGRESS GraphQL requests run at once; some queue; the rest get 503: `slots.ts` decides which. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Express } from 'express'
import { CONNECT_TIMEOUT_MS } from '../database/pool.ts'
import type { Logger } from '../log.ts'
import type { AdmissionMetrics } from '../metrics/httpServer.ts'
import { type ErrorCode, fault } from '../request/errors.ts'
import { refusalType } from '../request/mediaType.ts'
import { outcomeOf } from '../request/outcome.ts'
import { requestIdOf } from './requestLog.ts'
import { makeSlots, type Slots } from './slots.ts'

/** A request in the queue is refused after the time that it could wait for a database connection. */
const QUEUE_TIMEOUT_MS = CONNECT_TIMEOUT_MS
/** Refusals are logged together, once in this time. */
const REPORT_MS = 5_000
const RETRY_AFTER_SECONDS = 1
export const REFUSAL_MESSAGE = 'Too many requests are in progress. Please try again in a second.'
const REFUSAL = Buffer.from(
  JSON.stringify({
    errors: [
      {
        message: REFUSAL_MESSAGE,
        extensions: { code: 'service_unavailable' satisfies ErrorCode },
      },
    ],
  }),
)

export type Admission = {
  slots: Slots
  /** Responds with 503. Must be cheap: refusals can far outnumber served requests. */
  refuse(request: IncomingMessage, response: ServerResponse): void
}

type Options = { maxInProgress: number; metrics: AdmissionMetrics; log: Logger }

export function makeAdmission({ maxInProgress, metrics, log }: Options): Admission {
  const slots = makeSlots(maxInProgress)
  metrics.watch(slots)
  const { status } = fault('service_unavailable')
  let refused = 0
  const report = () => {
    log.warn({ refused, seconds: REPORT_MS / 1000 }, 'refused requests, because too many were in progress')
    refused = 0
  }
  return {
    slots,
    refuse(request, response) {
      if (refused === 0) setTimeout(report, REPORT_MS).unref()
      refused += 1
      metrics.refused.inc()
      // Node writes a list of names and values without copying it
      response.writeHead(status, [
        'Content-Type',
        refusalType(request.headers.accept),
        'Content-Length',
        String(REFUSAL.length),
        'Retry-After',
        String(RETRY_AFTER_SECONDS),
        'X-Content-Type-Options',
        'nosniff',
        'X-Request-Id',
        requestIdOf(request.headers['x-request-id']),
      ])
      response.end(REFUSAL)
    },
  }
}

/**
 * Runs before express, so slow senders hold no slot and refused requests cost nothing. The log and the request metrics do not
 * see a request that is refused here; `admission_refused_total` counts it.
 */
export function refuseWhenFull(app: RequestListener, { slots, refuse }: Admission): RequestListener {
  return (request, response) => {
    if (request.url?.startsWith('/graphql') && slots.refuseIfFull()) refuse(request, response)
    else app(request, response)
  }
}

/** Takes a slot after the body is read, and frees it when the response is ready to be sent. */
export function installAdmission(app: Express, { slots, refuse }: Admission): void {
  app.use('/graphql', (request, response, next) => {
    let entered = true
    const leave = () => {
      clearTimeout(timeout)
      if (entered) slots.leave(admit)
      entered = false
    }
    const giveUp = () => {
      leave()
      outcomeOf(request).codes.push('service_unavailable')
      refuse(request, response)
    }
    const admit = () => {
      clearTimeout(timeout)
      next()
    }
    const timeout = setTimeout(giveUp, QUEUE_TIMEOUT_MS)
    // before the response is sent, so that a client that reads slowly holds no slot
    response.once('prefinish', leave)
    response.once('close', leave)
    if (slots.enter(admit)) return
    entered = false
    giveUp()
  })
}
