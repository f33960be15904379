/** Tells a burst from sustained load, and both from an overload, by the times of queues and refusals. */

/** A queue counts as a burst for this long. Refusals that last this long count as an overload. */
const BURST_MS = 500
/** How long an overload is assumed to last. */
export const OVERLOAD_MS = 10_000
/** Time without a refusal after which a queue counts as a burst again. */
const CALM_MS = 1_000

export type Pressure = {
  isBurst(): boolean
  isOverload(): boolean
  /** A queue has formed. */
  noteQueue(): void
  noteRefusal(): void
}

/** `now` is a clock in milliseconds. */
export function makePressure(now: () => number): Pressure {
  let burstAt = Number.NEGATIVE_INFINITY
  let refusedAt = Number.NEGATIVE_INFINITY
  let refusingSince = Number.NEGATIVE_INFINITY
  let overloadAt = Number.NEGATIVE_INFINITY
  const isOverload = () => now() - overloadAt < OVERLOAD_MS
  return {
    isBurst: () => now() - burstAt < BURST_MS,
    isOverload,
    noteQueue() {
      if (!isOverload() && now() - refusedAt >= CALM_MS) burstAt = now()
    },
    noteRefusal() {
      const at = now()
      if (at - refusedAt >= CALM_MS) refusingSince = at
      refusedAt = at
      if (at - refusingSince >= BURST_MS && !isOverload()) overloadAt = at
    },
  }
}
