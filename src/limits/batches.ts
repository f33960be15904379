/**
 * Takes the charges of concurrent requests in one statement. While a statement is under way, the charges of other requests queue,
 * and the next statement takes all of them. A charge that finds no statement under way is sent at once. With 16 charges at once, a
 * charge takes 0.4 of the CPU in Postgres and 0.75 in Node, compared with a statement and a connection for each.
 *
 * A locked row delays the other charges of its batch only once. A statement that meets one fails after the lock timeout and takes
 * nothing. Then each key of the batch gets a queue of its own. A locked key keeps its queue for HELD_MS, so later batches do not
 * include it. The other keys return to the common queue.
 */
import { LRUCache } from 'lru-cache'
import type pg from 'pg'
import type { Charge } from './charges.ts'
import type { Attempt } from './deadline.ts'
import {
  type ChargeResult,
  LOCK_TIMEOUT,
  NOT_TAKEN,
  statementFor,
  TAKE_BATCH,
  takeFrom,
} from './statements.ts'

/** After a lock timeout, time until a key is sent with others again. */
const HELD_MS = 1_000
/** More keys than this share the common queue. */
const MAX_QUEUES = 1_000

type Pending = {
  charge: Charge
  attempt: Attempt
  resolve: (result: ChargeResult) => void
  reject: (error: unknown) => void
}

/** Sends one batch at a time: `current`. The others wait. */
type Queue = { waiting: Pending[]; current: readonly Pending[] | undefined }

export type TakeInBatch = (charge: Charge, attempt: Attempt) => Promise<ChargeResult>

const makeQueue = (): Queue => ({ waiting: [], current: undefined })
const isWanted = ({ attempt }: Pending) => !attempt.expired
const idOf = ({ charge }: Pending) => charge.key.toString('latin1')

export function makeBatches(pool: pg.Pool, prepareStatements: boolean): TakeInBatch {
  const common = makeQueue()
  const queues = new LRUCache<string, Queue>({ max: MAX_QUEUES, ttl: HELD_MS, ttlAutopurge: true })

  // nearly always there is no other queue
  const queueOf = (pending: Pending) => (queues.size === 0 ? common : (queues.get(idOf(pending)) ?? common))

  /** Sends the charges that wait, unless a batch of the queue is under way. */
  function start(queue: Queue): void {
    if (queue.current !== undefined) return
    const batch = queue.waiting.filter(isWanted)
    queue.waiting = []
    queue.current = batch.length === 0 ? undefined : batch
    if (batch.length === 0) return
    const proceed = () => {
      if (queue.current !== batch) return
      queue.current = undefined
      start(queue)
    }
    // a silent connection may keep its statement for seconds after the last deadline of the batch
    for (const { attempt } of batch) {
      attempt.onExpired = () => {
        if (!batch.some(isWanted)) proceed()
      }
    }
    // a stable sort, so charges of one key keep the order of their arrival
    batch.sort((a, b) => Buffer.compare(a.charge.key, b.charge.key))
    send(batch)
      .then(
        () => leave(queue, batch),
        error => fail(queue, batch, error),
      )
      .then(proceed)
  }

  async function send(batch: readonly Pending[]): Promise<void> {
    let sent = batch
    const results = await takeFrom(pool, () => {
      sent = batch.filter(isWanted)
      const charges = sent.map(({ charge }) => charge)
      return charges.length === 0 ? undefined : statementFor(TAKE_BATCH, charges, prepareStatements)
    })
    for (const [index, { resolve }] of sent.entries()) resolve(results[index] ?? NOT_TAKEN)
  }

  /** The row is not locked: the key returns to the common queue. */
  function leave(queue: Queue, [first]: readonly Pending[]): void {
    if (first !== undefined && queue.waiting.length === 0 && queues.get(idOf(first)) === queue)
      queues.delete(idOf(first))
  }

  function fail(queue: Queue, batch: readonly Pending[], error: { code?: unknown }): void {
    const ids = new Set(error.code === LOCK_TIMEOUT ? batch.map(idOf) : [])
    for (const id of ids) queues.set(id, queues.get(id) ?? (queue === common ? makeQueue() : queue))
    if (ids.size <= 1) for (const { reject } of batch) reject(error)
    else for (const pending of batch) queueOf(pending).waiting.push(pending)
    // charges that have queued meanwhile follow their keys, so that the next batch does not meet the locked row
    for (const pending of common.waiting.splice(0)) queueOf(pending).waiting.push(pending)
    for (const id of ids) start(queues.get(id) ?? common)
  }

  return (charge, attempt) =>
    new Promise((resolve, reject) => {
      const pending: Pending = { charge, attempt, resolve, reject }
      const queue = queueOf(pending)
      queue.waiting.push(pending)
      start(queue)
    })
}
