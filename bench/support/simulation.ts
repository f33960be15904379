/**
 * A queue model of publication, to see which resource is full first on a larger machine. Each client sends again as soon as it has
 * its response. A request needs in turn: the one thread of its API process; a slot, until its response; a connection and the lock
 * of its dealer, while Postgres computes; a flush of the write-ahead log; and the thread once more. All CPU work needs a free
 * core. One flush serves all transactions that wait for it when it begins.
 */
import { percentile, seededRandom } from './statistics.ts'

export type Machine = {
  cores: number
  processes: number
  /** Slots and connections of each process. */
  slots: number
  connections: number
  clients: number
  dealers: number
}

/** Milliseconds for each publication; `flush` for each flush. `client` uses the same cores. */
export type Costs = { client: number; api: number; postgres: number; flush: number }

export type Simulated = {
  rate: number
  p50: number
  p99: number
  /** Busy shares from 0 to 1. */
  coresBusy: number
  threadsBusy: number
  flushBusy: number
}

type Resource = { free: number; waiting: (() => void)[] }

const REQUESTS = 40_000
/** The queues fill during these. */
const FIRST = 4_000

export function simulate(machine: Machine, costs: Costs, seed = 1): Simulated {
  const random = seededRandom(seed)
  const clock = makeClock()
  const log = makeLog(clock, costs.flush)
  const resources = (count: number, free: number) => Array.from({ length: count }, () => resource(free))
  const cores = resource(machine.cores)
  const threads = resources(machine.processes, 1)
  const slots = resources(machine.processes, machine.slots)
  const pools = resources(machine.processes, machine.connections)
  const locks = resources(machine.dealers, 1)
  const busy = { cores: 0, threads: 0 }
  const latencies: number[] = []
  let [responses, began] = [0, 0]

  /** Work differs from request to request: its length has an exponential distribution. */
  const compute = (mean: number, then: () => void) =>
    acquire(cores, () => {
      const length = -Math.log(1 - random()) * mean
      busy.cores += length
      clock.after(length, () => {
        release(cores)
        then()
      })
    })
  const onThread = (thread: Resource, then: () => void) =>
    acquire(thread, () => {
      const start = clock.now()
      compute(costs.api / 2, () => {
        busy.threads += clock.now() - start
        release(thread)
        then()
      })
    })
  const send = (client: number) => {
    const sent = clock.now()
    const [thread, slot, pool] = [threads, slots, pools].map(all => all[client % all.length]) as [
      Resource,
      Resource,
      Resource,
    ]
    const lock = locks[Math.floor(random() * locks.length)] as Resource
    const answer = () => {
      release(slot)
      if (++responses > FIRST) latencies.push(clock.now() - sent)
      else began = clock.now()
      send(client)
    }
    const commit = () => {
      release(lock)
      release(pool)
      log.flush(() => onThread(thread, answer))
    }
    const write = () => acquire(pool, () => acquire(lock, () => compute(costs.postgres, commit)))
    compute(costs.client, () => onThread(thread, () => acquire(slot, write)))
  }

  for (let client = 0; client < machine.clients; client++) send(client)
  while (responses < REQUESTS) clock.step()
  const sorted = Float64Array.from(latencies).sort()
  return {
    rate: (latencies.length / (clock.now() - began)) * 1000,
    p50: percentile(sorted, 0.5),
    p99: percentile(sorted, 0.99),
    coresBusy: busy.cores / clock.now() / machine.cores,
    threadsBusy: busy.threads / clock.now() / machine.processes,
    flushBusy: log.busy() / clock.now(),
  }
}

type Clock = { now(): number; after(milliseconds: number, run: () => void): void; step(): void }

function makeClock(): Clock {
  const events: { at: number; run: () => void }[] = []
  let now = 0
  return {
    now: () => now,
    after: (milliseconds, run) => events.push({ at: now + milliseconds, run }),
    step() {
      const next = events.reduce((first, { at }, index) => (at < (events[first]?.at ?? 0) ? index : first), 0)
      const [event] = events.splice(next, 1)
      if (event === undefined) throw new Error('the simulation has no next event')
      now = event.at
      event.run()
    },
  }
}

/** One flush at a time. */
function makeLog(clock: Clock, milliseconds: number) {
  let waiting: (() => void)[] = []
  let isBusy = false
  let busy = 0
  const begin = () => {
    const served = waiting
    waiting = []
    isBusy = served.length > 0
    if (!isBusy) return
    busy += milliseconds
    clock.after(milliseconds, () => {
      begin()
      for (const then of served) then()
    })
  }
  return {
    busy: () => busy,
    flush(then: () => void) {
      waiting.push(then)
      if (!isBusy) begin()
    },
  }
}

const resource = (free: number): Resource => ({ free, waiting: [] })

function acquire(resource: Resource, then: () => void): void {
  if (resource.free === 0) {
    resource.waiting.push(then)
    return
  }
  resource.free--
  then()
}

function release(resource: Resource): void {
  const next = resource.waiting.shift()
  if (next === undefined) resource.free++
  else next()
}
