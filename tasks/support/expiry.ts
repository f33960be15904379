/** Expires ended subscriptions or listings in batches. Each batch is a transaction, so that a second worker can share the work. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { JobHelpers, Task } from 'graphile-worker'
import { type Client, queryOneRow } from '../../src/database/oneRow.ts'

/** Rows of a batch. Their locks last a few milliseconds. */
const BATCH_SIZE = 500
/** Batches found by one statement, sorted in the order of the table. */
const BATCHES = 32
/** A run with at least this many rows has two lanes on two connections: one starts at the oldest end, one in the middle. */
const TWO_LANES_FROM = 10_000
/** While publications run, a lane pauses this many times as long as its batch took. Two lanes then use a fifth of one core. */
const PAUSE_FACTOR = 9
const PROGRESS_MS = 5_000

type Plan = { due: number; middle: string | null; until: string }
type DueBatch = { tids: string; last_end_at: string }
type Batch = { expired: number; is_publishing: boolean }
type Run = { id: string; task: string; signal: AbortSignal | undefined; count: (expired: number) => void }

// times are text, because a Date has no microseconds; tids are text, because they are only passed back
const PLAN = `select p.due::integer, p.middle::text, p.until_at::text as until
  from app_private.plan_expiry($1) as p`
const DUE_BATCHES = `select b.tids::text, b.last_end_at::text
  from app_private.find_due_batches($1, $2, ${BATCH_SIZE}, ${BATCHES}, $3) as b`
const BATCH = 'select b.expired, b.is_publishing from app_private.run_expiry_batch($1, $2) as b'

/**
 * Makes a task of `app_private.expirable`. `noun` is for its log lines. `job_runs` identifies a run by the connection of the first
 * lane.
 */
export function makeExpiry(task: 'expire_subscriptions' | 'expire_listings', noun: string): Task {
  return (_payload, { abortSignal, addJob, job, logger, query, withPgClient }) =>
    withPgClient(async client => {
      const { id } = await queryOneRow<{ id: string }>(
        client,
        'select app_private.begin_job_run($1, $2) as id',
        [task, job.locked_by],
      )
      const finish = (error: string | null) => query('select app_private.finish_job_run($1, $2)', [id, error])
      try {
        const { due, middle, until } = await queryOneRow<Plan>(client, PLAN, [task])
        const progress = makeProgress(due, noun, logger)
        const run: Run = { id, task, signal: abortSignal, count: progress.count }
        const lanes =
          middle === null || due < TWO_LANES_FROM
            ? [expireRange(client, run, '-infinity', until)]
            : [
                expireRange(client, run, '-infinity', middle),
                withPgClient(secondClient => expireRange(secondClient, run, middle, until)),
              ]
        const done = (await settleAll(lanes)).every(Boolean)
        if (done) await client.query('select app_private.end_expiry($1, $2)', [progress.done() === due, task])
        await finish(done ? null : 'The worker was stopped. Another job continues.')
        if (!done) await addJob(task, {}, { jobKey: `${task}:rest` })
        const continued = done ? '' : '; the worker was stopped, another job continues'
        logger.info(`expired ${progress.done()} ${noun}${continued}`)
      } catch (error) {
        // if this fails too, the next run closes this one, because its connection has ended
        await finish(error instanceof Error ? error.message : String(error)).catch(() => {})
        throw error
      }
    })
}

/** Expires a range in batches, roughly by end. Returns false if the worker was stopped before the end of the range. */
async function expireRange(client: Client, run: Run, from: string, until: string): Promise<boolean> {
  for (let at = from; ; ) {
    let startedAt = performance.now()
    const { rows: batches } = await client.query<DueBatch>(DUE_BATCHES, [at, until, run.task])
    let expired = 0
    for (const { tids } of batches) {
      if (run.signal?.aborted) return false
      const batch = await queryOneRow<Batch>(client, BATCH, [run.id, tids])
      run.count(batch.expired)
      expired += batch.expired
      if (batch.is_publishing) await pause(PAUSE_FACTOR * (performance.now() - startedAt), run.signal)
      startedAt = performance.now()
    }
    const last = batches[0]?.last_end_at
    // the range cannot get shorter: other sessions have locked the rows that are left
    if (last === undefined || (last === at && expired === 0)) return true
    at = last
  }
}

/** Ends early if the worker stops. */
async function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => {})
}

/** Waits for all promises, even if one rejects, because each uses its connection until it settles. */
async function settleAll<Value>(promises: Promise<Value>[]): Promise<Value[]> {
  await Promise.allSettled(promises)
  return Promise.all(promises)
}

/** Counts expired rows and logs the progress. `clock` is in milliseconds. */
export function makeProgress(
  due: number,
  noun: string,
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
      logger.info(progressLine(noun, done, Math.max(0, due - done), (now - startedAt) / 1000))
    },
  }
}

/** Done, left, rate and estimated end, for a person who waits. */
export function progressLine(
  noun: string,
  done: number,
  left: number,
  seconds: number,
  now = Date.now(),
): string {
  const rate = done / seconds
  const end = new Date(now + (left / rate) * 1000).toISOString()
  return `expired ${done} ${noun}, ${left} left, ${Math.round(rate)}/s, done at about ${end}`
}
