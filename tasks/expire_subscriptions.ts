/** Records the end of subscriptions, batch by batch, each its own transaction; as many workers as there are share the work. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { JobHelpers, Task } from 'graphile-worker'
import { type Client, one } from '../src/worker/one.ts'

/** Rows locked at once: for some milliseconds. */
const BATCH_SIZE = 500
/** From so many on a run has two lanes, each on a connection of its own: one begins with the oldest end, one in the middle. */
const TWO_LANES_FROM = 10_000
/** While listings are made, a lane rests so many times as long as its batch took: two take a quarter of one processor. */
const REST = 7
const PROGRESS_MS = 5_000

type Plan = { due: number; middle: string | null; until: string }
type Batch = { expired: number; last_end_at: string; is_publishing: boolean }
type Run = { id: string; mayGoOn: () => boolean; count: (expired: number) => void }

// times as text: a Date has no microseconds
const PLAN = `select p.due::integer, p.middle::text, p.until_at::text as until
  from app_private.plan_expiry() as p`
const BATCH = `select b.expired, b.last_end_at::text, b.is_publishing
  from app_private.run_expiry_batch($1, ${BATCH_SIZE}, $2, $3) as b`

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
      const run: Run = { id, mayGoOn: () => !abortSignal?.aborted, count: progress.count }
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

/** Batch by batch, the oldest end in the range first; false: it was stopped before it was done. */
async function expireRange(client: Client, run: Run, from: string, until: string): Promise<boolean> {
  for (let at = from; ; ) {
    const startedAt = performance.now()
    const batch = await one<Batch>(client, BATCH, [run.id, at, until])
    if (batch.expired === 0) return true
    run.count(batch.expired)
    // a batch that is not full is the last but one: what is nearly done is done
    if (batch.expired === BATCH_SIZE && !run.mayGoOn()) return false
    at = batch.last_end_at
    if (batch.is_publishing) await sleep(REST * (performance.now() - startedAt))
  }
}

/** Waits for each, whatever becomes of the others: their connections are in use until then. */
async function allOf<Value>(promises: Promise<Value>[]): Promise<Value[]> {
  await Promise.allSettled(promises)
  return Promise.all(promises)
}

function makeProgress(due: number, logger: JobHelpers['logger']) {
  const startedAt = performance.now()
  let loggedAt = startedAt
  let done = 0
  return {
    done: () => done,
    count(expired: number) {
      done += expired
      const now = performance.now()
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
