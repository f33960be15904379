/**
 * How much is worked on at once. So many requests are in progress, some wait for a place, and the rest is refused before any
 * work is done for it: a queue that grows makes every answer late, and helps nobody.
 *
 * A burst may wait: it ends. Once somebody had to be refused, or the queue has not been empty for a while, it is no burst, and
 * only so many may wait as wait for less time than the work itself takes.
 */
import type { Express, Request, Response } from 'express'
import { outcomeOf } from '../graphql/outcome.ts'
import type { Logger } from '../log.ts'
import type { AdmissionMetrics } from '../metrics/server.ts'
import { sendFault } from './answers.ts'

/** Waiting requests to a place, in a burst. */
const IN_BURST = 5
/** Waiting requests to a place, when it is none. */
const IN_OVERLOAD = 0.5
/** How long a queue may stand and be a burst, in milliseconds. */
const BURST_MS = 500
/** How long nobody must have been refused before the next burst, in milliseconds. */
const CALM_MS = 1_000
/** Refusals are told of together, once in so many milliseconds. */
const REPORT_MS = 5_000
/** Seconds after which a refused client may try again. */
const RETRY_AFTER = 1

/** The places. What waits is known by its callback, which is called once there is a place for it. */
export type Places = {
  /** Is there neither a place nor room to wait for one? */
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

  function isFull(): boolean {
    if (taken < places || queue.size === 0) return false
    const at = now()
    const full = queue.size >= places * (at - burstAt < BURST_MS ? IN_BURST : IN_OVERLOAD)
    if (full) refusedAt = at
    return full
  }
  return {
    isFull,
    enter(admit) {
      if (taken < places) {
        taken += 1
        admit()
        return true
      }
      if (isFull()) return false
      if (queue.size === 0 && now() - refusedAt >= CALM_MS) burstAt = now()
      queue.add(admit)
      return true
    },
    leave(admit) {
      if (queue.delete(admit)) return
      const [next] = queue
      if (next === undefined) {
        taken -= 1
        return
      }
      // the place goes on to who has waited longest
      queue.delete(next)
      next()
    },
    taken: () => taken,
    waiting: () => queue.size,
  }
}

export type Admission = { places: Places; refuse(request: Request, response: Response): void }

type Options = { maxInProgress: number; metrics: AdmissionMetrics; log: Logger }

export function makeAdmission({ maxInProgress, metrics, log }: Options): Admission {
  const places = makePlaces(maxInProgress)
  metrics.watch(places)
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
      outcomeOf(request).overload = true
      const message = 'Too many requests are in progress. Please try again in a second.'
      sendFault(request, response, 'service_unavailable', { message, retryAfter: RETRY_AFTER })
    },
  }
}

/** Before anything is read: who sends slowly takes no place, and who cannot be served costs next to nothing. */
export function installRefusal(app: Express, { places, refuse }: Admission): void {
  app.use('/graphql', (request, response, next) => {
    if (places.isFull()) refuse(request, response)
    else next()
  })
}

/** Behind the body: from here on a request costs something, until its answer is made. */
export function installAdmission(app: Express, { places, refuse }: Admission): void {
  app.use('/graphql', (request, response, next) => {
    const admit = () => next()
    let entered = true
    const leave = () => {
      if (entered) places.leave(admit)
      entered = false
    }
    // the answer is made: who reads it slowly holds no place meanwhile
    response.once('prefinish', leave)
    response.once('close', leave)
    if (places.enter(admit)) return
    entered = false
    refuse(request, response)
  })
}
