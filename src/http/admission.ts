/**
 * How much is worked on at once. So many requests are in progress, some wait for a place, and the rest is refused before any
 * work is done for it: a queue that grows makes every answer late, and helps nobody.
 *
 * A burst may wait: it ends. A queue that stands for longer is no burst, and has room for as many as are in progress: these are
 * steady clients, whom waiting slows down to what can be served. Where refusals go on it is an overload: half of the places are
 * given out, which serves as many, for they hold each other up less, and one may wait, so that a place that is given back is
 * taken at once. Who is let in is answered as fast as ever. After a while all places are tried anew.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Express } from 'express'
import { type ErrorCode, fault } from '../graphql/errors.ts'
import { outcomeOf } from '../graphql/outcome.ts'
import type { Logger } from '../log.ts'
import type { AdmissionMetrics } from '../metrics/server.ts'
import { GRAPHQL_RESPONSE } from './answers.ts'
import { requestIdOf } from './requestLog.ts'

/** Waiting requests to a place: in a burst, and in a queue that stands. */
const IN_BURST = 10
const STANDING = 1
/** Waiting requests in all, in an overload. */
const IN_OVERLOAD = 1
/** How long a queue may stand and be a burst, and how long refusals go on before it is an overload, in milliseconds. */
const BURST_MS = 500
/** How long an overload is taken to last, in milliseconds. */
export const OVERLOAD_MS = 10_000
/** How long nobody must have been refused before the next burst, in milliseconds. */
const CALM_MS = 1_000
/** How long a request waits for a place before it is refused, in milliseconds: as long as for a connection. */
const PATIENCE_MS = 5_000
/** Refusals are told of together, once in so many milliseconds. */
const REPORT_MS = 5_000
/** Seconds after which a refused client may try again. */
const RETRY_AFTER = 1
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

/** The places. What waits is known by its callback, which is called once there is a place for it. */
export type Places = {
  /** Is there neither a place nor room to wait for one? Who asks and hears yes has been refused. */
  isFull(): boolean
  /** Takes a place and calls `admit`, now or later; false: neither. */
  enter(admit: () => void): boolean
  /** Gives the place back, or ends the wait for it. Once for each that has entered. */
  leave(admit: () => void): void
  taken(): number
  waiting(): number
}

/** `now`: a clock, in milliseconds. */
export function makePlaces(places: number, now = () => performance.now()): Places {
  // a Set keeps the order in which they came, and gives up any of them at once
  const queue = new Set<() => void>()
  let taken = 0
  let burstAt = Number.NEGATIVE_INFINITY
  let refusedAt = Number.NEGATIVE_INFINITY
  let refusingSince = Number.NEGATIVE_INFINITY
  let overloadAt = Number.NEGATIVE_INFINITY

  const isOverload = () => now() - overloadAt < OVERLOAD_MS
  const open = () => (isOverload() ? Math.ceil(places / 2) : places)

  function isFull(): boolean {
    if (taken < open() || queue.size === 0) return false
    const isBurst = now() - burstAt < BURST_MS
    const room = isBurst ? places * IN_BURST : isOverload() ? IN_OVERLOAD : places * STANDING
    if (queue.size < room) return false
    noteRefusal(now())
    return true
  }
  function noteRefusal(at: number): void {
    if (at - refusedAt >= CALM_MS) refusingSince = at
    refusedAt = at
    if (at - refusingSince >= BURST_MS && !isOverload()) overloadAt = at
  }
  /** A place goes on to who has waited longest; some become free by the clock, when an overload ends. */
  function handOn(): void {
    for (const next of queue) {
      if (taken >= open()) return
      queue.delete(next)
      taken += 1
      next()
    }
  }
  return {
    isFull,
    enter(admit) {
      handOn()
      if (taken < open()) {
        taken += 1
        admit()
        return true
      }
      if (isFull()) return false
      if (queue.size === 0 && !isOverload() && now() - refusedAt >= CALM_MS) burstAt = now()
      queue.add(admit)
      return true
    },
    leave(admit) {
      if (queue.delete(admit)) return
      taken -= 1
      handOn()
    },
    taken: () => taken,
    waiting: () => queue.size,
  }
}

export type Admission = {
  places: Places
  /** Answers 503, for next to nothing: of this there may be far more than of work. */
  refuse(request: IncomingMessage, response: ServerResponse): void
}

type Options = { maxInProgress: number; metrics: AdmissionMetrics; log: Logger }

export function makeAdmission({ maxInProgress, metrics, log }: Options): Admission {
  const places = makePlaces(maxInProgress)
  metrics.watch(places)
  const { status } = fault('service_unavailable')
  let refused = 0
  const report = () => {
    log.warn({ refused, seconds: REPORT_MS / 1000 }, 'more requests than can be served: some were refused')
    refused = 0
  }
  return {
    places,
    refuse(request, response) {
      if (refused === 0) setTimeout(report, REPORT_MS).unref()
      refused += 1
      metrics.refused.inc()
      const { accept } = request.headers
      const wantsGraphql = accept?.includes(GRAPHQL_RESPONSE) && !accept.includes('application/json')
      // as a list of names and values, which Node writes as it is
      response.writeHead(status, [
        'Content-Type',
        `${wantsGraphql ? GRAPHQL_RESPONSE : 'application/json'}; charset=utf-8`,
        'Content-Length',
        String(REFUSAL.length),
        'Retry-After',
        String(RETRY_AFTER),
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
 * Before express: who sends slowly takes no place, and for who cannot be served nothing is done. What is refused here has no line
 * in the log of its own, and is no part of the times of requests.
 */
export function refuseWhenFull(app: RequestListener, { places, refuse }: Admission): RequestListener {
  return (request, response) => {
    if (request.url?.startsWith('/graphql') && places.isFull()) refuse(request, response)
    else app(request, response)
  }
}

/** Behind the body: from here on a request costs something, until its answer is made. */
export function installAdmission(app: Express, { places, refuse }: Admission): void {
  app.use('/graphql', (request, response, next) => {
    let entered = true
    const leave = () => {
      clearTimeout(patience)
      if (entered) places.leave(admit)
      entered = false
    }
    const giveUp = () => {
      leave()
      outcomeOf(request).codes.push('service_unavailable')
      refuse(request, response)
    }
    const admit = () => {
      clearTimeout(patience)
      next()
    }
    const patience = setTimeout(giveUp, PATIENCE_MS)
    // the answer is made: who reads it slowly holds no place meanwhile
    response.once('prefinish', leave)
    response.once('close', leave)
    if (places.enter(admit)) return
    entered = false
    giveUp()
  })
}
