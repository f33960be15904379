/** At most MAX_IN_PROGRESS GraphQL requests run at once; some queue; the rest get 503: `slots.ts` decides which. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Express } from 'express'
import { CONNECT_TIMEOUT_MS } from '../database/pool.ts'
import type { Logger } from '../log.ts'
import type { AdmissionMetrics } from '../metrics/httpServer.ts'
import { addressOf } from '../request/address.ts'
import { operationOf, parseDocument } from '../request/document.ts'
import { type ErrorCode, fault } from '../request/errors.ts'
import { senderOf } from '../request/identity.ts'
import { refusalType } from '../request/mediaType.ts'
import { outcomeOf } from '../request/outcome.ts'
import { parametersOf } from '../request/parameters.ts'
import type { ApiRequest } from '../request/request.ts'
import type { CorsHeaders } from './cors.ts'
import { requestIdOf } from './requestLog.ts'
import { type Entry, makeSlots, type SlotOptions, type Slots } from './slots.ts'

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

type Options = SlotOptions & { metrics: AdmissionMetrics; corsHeaders: CorsHeaders; log: Logger }

export function makeAdmission({ metrics, corsHeaders, log, ...options }: Options): Admission {
  const slots = makeSlots(options)
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
        'Cache-Control',
        'no-store',
        'X-Content-Type-Options',
        'nosniff',
        'X-Request-Id',
        requestIdOf(request.headers['x-request-id']),
        ...corsHeaders(request),
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
    // a preflight takes no slot
    const mayNeedSlot = request.url?.startsWith('/graphql') && request.method !== 'OPTIONS'
    if (mayNeedSlot && slots.refuseIfFull()) refuse(request, response)
    else app(request, response)
  }
}

/** Takes a slot after the body and the token are read, and frees it when the response is ready to be sent. */
export function installAdmission(app: Express, { slots, refuse }: Admission): void {
  app.use('/graphql', (request, response, next) => {
    let isRunning = false
    let hasLeft = false
    const entry: Entry = {
      keys: keysOf(request),
      admit() {
        clearTimeout(timeout)
        isRunning = true
        next()
      },
      refuse() {
        clearTimeout(timeout)
        hasLeft = true
        outcomeOf(request).codes.push('service_unavailable')
        refuse(request, response)
      },
    }
    const leave = () => {
      clearTimeout(timeout)
      if (!hasLeft) slots.leave(entry)
      hasLeft = true
    }
    const timeout = setTimeout(() => {
      leave()
      entry.refuse()
    }, QUEUE_TIMEOUT_MS)
    request.connectionUse = {
      use: () => {
        if (!hasLeft) slots.useConnection(entry)
      },
      free: () => slots.freeConnection(entry),
    }
    // After the response is handed to the socket: the next request begins only then. `end` does not wait for a slow reader.
    // Not by `prefinish`: Node does not emit it for a pipelined request whose client has disconnected.
    const end = response.end
    response.end = ((...values: Parameters<typeof end>) => {
      try {
        return end.apply(response, values)
      } finally {
        leave()
      }
    }) as typeof end
    // a running request of a client that has disconnected still holds its database connection, until its response is ready
    response.once('close', () => {
      if (!isRunning) leave()
    })
    if (!slots.enter(entry)) entry.refuse()
  })
}

/** The sender, and the dealer and other rows that the operation names. */
function keysOf(request: ApiRequest): string[] {
  const { identity } = request
  const sender = identity === undefined ? `ip:${addressOf(request)}` : senderOf(identity)
  return [sender, ...idsOf(request).map(id => `row:${id}`)]
}

function idsOf(request: ApiRequest): readonly string[] {
  const { query, operationName, variables } = parametersOf(request)
  const { document } = query === undefined ? {} : parseDocument(query)
  return (document && operationOf(document, operationName)?.ids(variables)) ?? []
}
