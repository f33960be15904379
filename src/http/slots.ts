/**
 * The slots for GraphQL requests, as a state machine without timers or sockets: how many requests run, how many queue, and when
 * more are refused.
 *
 * - Up to `slots` requests run at once. Others queue. When the queue is full, requests are refused, because a long queue makes
 *   every response late.
 * - A burst may queue up to BURST_QUEUE requests per slot, because it ends by itself.
 * - A queue older than BURST_MS counts as sustained load and may hold as many requests as are running.
 * - Refusals for longer than BURST_MS are an overload. For OVERLOAD_MS, half of the slots are used and one request may queue.
 *   Halving concurrency keeps throughput, because requests contend less. Admitted requests keep their latency.
 */

/** Queued requests per slot: in a burst, and under sustained load. */
const BURST_QUEUE = 10
const SUSTAINED_QUEUE = 1
/** Queued requests in total during an overload: one, so that a free slot is used at once. */
const OVERLOAD_QUEUE = 1
/** A queue counts as a burst for this long. Refusals that last this long count as an overload. */
const BURST_MS = 500
/** How long an overload is assumed to last. */
export const OVERLOAD_MS = 10_000
/** Time without a refusal after which a queue counts as a burst again. */
const CALM_MS = 1_000

/** A queued request is identified by its callback, which is called when it gets a slot. */
export type Slots = {
  /** Returns true when there is neither a slot nor queue room. Counts as a refusal when true. */
  refuseIfFull(): boolean
  /** Takes a slot and calls `admit`, now or later. Returns false when there is neither a slot nor queue room. */
  enter(admit: () => void): boolean
  /** Frees the slot, or leaves the queue. Call it once for each successful `enter`. */
  leave(admit: () => void): void
  inUse(): number
  queued(): number
}

/** `now` is a clock in milliseconds. */
export function makeSlots(slots: number, now = () => performance.now()): Slots {
  // a Set keeps the order of arrival and removes any entry in constant time
  const queue = new Set<() => void>()
  let inUse = 0
  let burstAt = Number.NEGATIVE_INFINITY
  let refusedAt = Number.NEGATIVE_INFINITY
  let refusingSince = Number.NEGATIVE_INFINITY
  let overloadAt = Number.NEGATIVE_INFINITY

  const isOverload = () => now() - overloadAt < OVERLOAD_MS
  const usable = () => (isOverload() ? Math.ceil(slots / 2) : slots)

  function refuseIfFull(): boolean {
    if (inUse < usable() || queue.size === 0) return false
    const isBurst = now() - burstAt < BURST_MS
    const room = isBurst ? slots * BURST_QUEUE : isOverload() ? OVERLOAD_QUEUE : slots * SUSTAINED_QUEUE
    if (queue.size < room) return false
    noteRefusal(now())
    return true
  }
  function noteRefusal(at: number): void {
    if (at - refusedAt >= CALM_MS) refusingSince = at
    refusedAt = at
    if (at - refusingSince >= BURST_MS && !isOverload()) overloadAt = at
  }
  /** Gives free slots to the oldest queued requests. The end of an overload frees slots too, without a call of `leave`. */
  function admitQueued(): void {
    for (const next of queue) {
      if (inUse >= usable()) return
      queue.delete(next)
      inUse += 1
      next()
    }
  }
  return {
    refuseIfFull,
    enter(admit) {
      admitQueued()
      if (inUse < usable()) {
        inUse += 1
        admit()
        return true
      }
      if (refuseIfFull()) return false
      if (queue.size === 0 && !isOverload() && now() - refusedAt >= CALM_MS) burstAt = now()
      queue.add(admit)
      return true
    },
    leave(admit) {
      if (queue.delete(admit)) return
      inUse -= 1
      admitQueued()
    },
    inUse: () => inUse,
    queued: () => queue.size,
  }
}
