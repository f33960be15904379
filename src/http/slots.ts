/**
 * The slots for GraphQL requests, as a state machine without timers or sockets: which requests run, which queue, and when more
 * are refused.
 *
 * - Up to `slots` requests run at once. Others queue. When the queue is full, requests are refused, because a long queue makes
 *   every response late.
 * - A burst may queue up to BURST_QUEUE requests per slot, because it ends by itself.
 * - A queue older than BURST_MS counts as sustained load and may hold as many requests as are running.
 * - Refusals for longer than BURST_MS are an overload, unless a slot is free. For OVERLOAD_MS, half of the slots are used and one request may queue.
 *   Halving concurrency keeps throughput, because requests contend less. Admitted requests keep their latency.
 *
 * No key takes all slots. A key is a sender, or a dealer or another row that the request names. One locked dealer would otherwise
 * stop all dealers, because each of its requests holds a slot until the lock times out.
 *
 * - A key that has a slot gets another one only if it then has at most SHARE slots for each free slot: alone 6 of 10, two keys 4
 *   each. Requests over the share queue, and requests of other keys overtake them.
 * - The same holds for the database connections: with five, a key alone gets three. A mutation that has committed has given its
 *   connection back and holds no lock. While it waits for the disk, it counts for its slot only.
 * - While a slot and a connection are free, only requests over a share queue. They delay nobody else, so they may queue like a burst.
 * - When the queue is full and a key has more than a quarter of it, new requests of this key are refused. A request without this
 *   key replaces the newest queued one that has it. These refusals do not count towards an overload.
 */
import { makePressure } from './pressure.ts'
import { type Entry, makeQueue } from './queue.ts'
import { makeTally } from './tally.ts'

export { OVERLOAD_MS } from './pressure.ts'
export type { Entry } from './queue.ts'

/** Queued requests per slot: in a burst, and under sustained load. */
const BURST_QUEUE = 10
const SUSTAINED_QUEUE = 1
/** Queued requests in total during an overload: one, so that a free slot is used at once. */
const OVERLOAD_QUEUE = 1
/** Slots of a key for each slot that is left free, and connections for each free connection. */
const SHARE = 2

export type Slots = {
  /** Returns true if a request would be refused whatever its keys. Counts as a refusal when true. Cheap: it needs no keys. */
  refuseIfFull(): boolean
  /** Returns false when there is neither a slot nor queue room. */
  enter(entry: Entry): boolean
  /** Call it when a transaction of a running request has committed: the request keeps its slot, but uses no connection. */
  freeConnection(entry: Entry): void
  /** Call it before the next transaction of a running request, which uses a connection again, even beyond the share. */
  useConnection(entry: Entry): void
  /** Frees the slot, or leaves the queue. Call it once for each successful `enter`, unless the entry was refused. */
  leave(entry: Entry): void
  inUse(): number
  queued(): number
}

export type SlotOptions = {
  slots: number
  /** Connections in the pool of the API. Default: one for each slot. */
  connections?: number
}

/** `now` is a clock in milliseconds. */
export function makeSlots({ slots, connections = slots }: SlotOptions, now = () => performance.now()): Slots {
  const queue = makeQueue()
  const running = makeTally()
  /** The running requests that use a connection or wait for one, and how many of them each key has. */
  const connected = new Set<Entry>()
  const connectedByKey = makeTally()
  const pressure = makePressure(now)
  let inUse = 0

  const usable = () => (pressure.isOverload() ? Math.ceil(slots / 2) : slots)
  const isFree = () => inUse < usable()
  const usableConnections = () => Math.min(usable(), connections)
  const isConnectionFree = () => connected.size < usableConnections()

  function isFull(): boolean {
    if ((isFree() && isConnectionFree()) || pressure.isBurst()) return queue.size() >= slots * BURST_QUEUE
    return queue.size() >= (pressure.isOverload() ? OVERLOAD_QUEUE : slots * SUSTAINED_QUEUE)
  }
  function fits({ keys }: Entry): boolean {
    if (!isFree()) return false
    const slotsAfter = usable() - inUse - 1
    const connectionsAfter = usableConnections() - connected.size - 1
    return keys.every(
      key => isInShare(running.of(key), slotsAfter) && isInShare(connectedByKey.of(key), connectionsAfter),
    )
  }
  function start(entry: Entry): void {
    inUse += 1
    running.add(entry.keys)
    connect(entry)
    entry.admit()
  }
  function connect(entry: Entry): void {
    if (!connected.has(entry)) connectedByKey.add(entry.keys)
    connected.add(entry)
  }
  function disconnect(entry: Entry): void {
    if (connected.delete(entry)) connectedByKey.remove(entry.keys)
  }
  /** Gives free slots to the oldest requests that fit. The end of an overload frees slots too, without a call of `leave`. */
  function admitQueued(): void {
    for (const entry of queue.entries()) {
      if (!isFree()) return
      if (fits(entry) && queue.remove(entry)) start(entry)
    }
  }
  /** Refuses the newest queued request of the dominant key. Returns false if there is none, or if the entry has that key. */
  function makeRoom({ keys }: Entry): boolean {
    const dominant = queue.dominantKey()
    if (dominant === undefined && !isFree()) pressure.noteRefusal()
    if (dominant === undefined || keys.includes(dominant)) return false
    const newest = queue.newestOf(dominant)
    if (newest === undefined || !queue.remove(newest)) return false
    newest.refuse()
    return true
  }
  return {
    refuseIfFull() {
      if (isFree() || !isFull() || queue.dominantKey() !== undefined) return false
      pressure.noteRefusal()
      return true
    },
    enter(entry) {
      admitQueued()
      if (fits(entry)) {
        start(entry)
        return true
      }
      if (isFull() && !makeRoom(entry)) return false
      if (queue.size() === 0) pressure.noteQueue()
      queue.add(entry)
      return true
    },
    freeConnection(entry) {
      disconnect(entry)
      admitQueued()
    },
    useConnection: connect,
    leave(entry) {
      if (queue.remove(entry)) return
      inUse -= 1
      running.remove(entry.keys)
      disconnect(entry)
      admitQueued()
    },
    inUse: () => inUse,
    queued: queue.size,
  }
}

/** Whether a key with `has` slots (or connections) may take one more, if `freeAfter` are free afterwards. */
function isInShare(has: number, freeAfter: number): boolean {
  return has === 0 || has + 1 <= SHARE * freeAfter
}
