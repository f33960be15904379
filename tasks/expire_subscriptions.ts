/** Records the end of subscriptions, batch by batch, each its own transaction; a worker that starts meanwhile shares the work. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { JobHelpers, Task } from 'graphile-worker'
import { type Client, one } from '../src/database/oneRow.ts'

/** Rows locked at once: for some milliseconds. */
const BATCH_SIZE = 500
/** Looked up at once, to be made in the order of the table. */
const BATCHES = 32
/** From so many on a run has two lanes, each on a connection of its own: one begins with the oldest end, one in the middle. */
const TWO_LANES_FROM = 10_000
/** While listings are made, a lane rests so many times as long as its batch took: two take a fifth of one processor. */
const REST = 9
const PROGRESS_MS = 5_000

type Plan = { due: number; middle: string | null; until: string }
type DueBatch = { tids: string; last_end_at: string }
type Batch = { expired: number; is_publishing: boolean }
type Run = { id: string; signal: AbortSignal | undefined; count: (expired: number) => void }

// times as text: a Date has no microseconds; places of rows as text: they come back as they are
const PLAN = `select p.due::integer, p.middle::text, p.until_at::text as until
  from app_private.plan_expiry() as p`
const DUE_BATCHES = `select b.tids::text, b.last_end_at::text
  from app_private.find_due_batches($1, $2, ${BATCH_SIZE}, ${BATCHES}) as b`
const BATCH = 'select b.expired, b.is_publishing from app_private.run_expiry_batch($1, $2) as b'

/** The connection of the first lane is what the run is known by in `job_runs`. */
const expireSubscriptions: Task = (_payload, { abortSignal, addJob, job, logger, query, withPgClient }) =>
  withPgClient(async client => {
    const { id } = await one<{ id: string }>(client, 'select app_private.begin_job_run($1, $2) as id', [
      'expire_subscriptions',
      job.locked_by,
    ])
    const finish = (error: string | null) => query('select app_private.finish_job_run($1, $2)', [id, error])
    try {
      const { due, middle, until } = await one<Plan>(client, PLAN)
      const progress = makeProgress(due, logger)
      const run: Run = { id, signal: abortSignal, count: progress.count }
      const lanes =
        middle === null || due < TWO_LANES_FROM
          ? [expireRange(client, run, '-infinity', until)]
          : [
              expireRange(client, run, '-infinity', middle),
              withPgClient(other => expireRange(other, run, middle, until)),
            ]
      const done = (await allOf(lanes)).every(Boolean)
      if (done) await client.query('select app_private.end_expiry($1)', [progress.done() === due])
      await finish(done ? null : 'The worker was stopped; another job goes on.')
      if (!done) await addJob('expire_subscriptions', {}, { jobKey: 'expire_subscriptions:rest' })
      const rest = done ? '' : '; stopped, the rest is for another job'
      logger.info(`expired ${progress.done()} subscriptions${rest}`)
    } catch (error) {
      // where even this fails, the next run closes the one whose connection is gone
      await finish(error instanceof Error ? error.message : String(error)).catch(() => {})
      throw error
    }
  })

/** Batch by batch, about the oldest end in the range first; false: it was stopped before it was done. */
async function expireRange(client: Client, run: Run, from: string, until: string): Promise<boolean> {
  for (let at = from; ; ) {
    let startedAt = performance.now()
    const { rows: batches } = await client.query<DueBatch>(DUE_BATCHES, [at, until])
    let expired = 0
    for (const { tids } of batches) {
      if (run.signal?.aborted) return false
      const batch = await one<Batch>(client, BATCH, [run.id, tids])
      run.count(batch.expired)
      expired += batch.expired
      if (batch.is_publishing) await rest(REST * (performance.now() - startedAt), run.signal)
      startedAt = performance.now()
    }
    const last = batches[0]?.last_end_at
    // what is left of so short a range is held by others
    if (last === undefined || (last === at && expired === 0)) return true
    at = last
  }
}

/** A stop cuts it short. */
async function rest(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => {})
}

/** Waits for each, whatever becomes of the others: their connections are in use until then. */
async function allOf<Value>(promises: Promise<Value>[]): Promise<Value[]> {
  await Promise.allSettled(promises)
  return Promise.all(promises)
}

/** Counts what has been expired, and logs it every few seconds. `clock`: in milliseconds. */
export function makeProgress(
  due: number,
  logger: Pick<JobHelpers['logger'], 'info'>,
  clock = () => performance.now(),
) {
  const startedAt = clock()
  let loggedAt = startedAt
  let done = 0
  return {
    done: () => done,
    count(expired: number) {
      done += expired
      const now = clock()
      if (now - loggedAt < PROGRESS_MS) return
      loggedAt = now
      logger.info(progressLine(done, Math.max(0, due - done), (now - startedAt) / 1000))
    },
  }
}

/** What a person who waits for the end wants to know. */
export function progressLine(done: number, left: number, seconds: number, now = Date.now()): string {
  const rate = done / seconds
  const end = new Date(now + (left / rate) * 1000).toISOString()
  return `expired ${done} subscriptions, ${left} left, ${Math.round(rate)}/s, done at about ${end}`
}

export default expireSubscriptions
