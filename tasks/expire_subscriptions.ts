/** Records the end of subscriptions, batch by batch, each its own transaction; as many workers as there are share the work. */
import type { JobHelpers, Task, WithPgClient } from 'graphile-worker'

/** Rows locked at once: for some milliseconds. */
const BATCH_SIZE = 500
const PROGRESS_MS = 5_000

type Client = Parameters<Parameters<WithPgClient>[0]>[0]
type Progress = Pick<JobHelpers, 'abortSignal' | 'logger'>

/** One connection for the whole run: it is what the run is known by in `job_runs`, and it remembers how far the run has got. */
const expireSubscriptions: Task = (_payload, { abortSignal, addJob, job, logger, query, withPgClient }) =>
  withPgClient(async client => {
    const runId = await call<string>(client, 'begin_job_run($1, $2)', ['expire_subscriptions', job.locked_by])
    const finish = (error: string | null) =>
      query('select app_private.finish_job_run($1, $2)', [runId, error])
    try {
      const { expired, done } = await expireAll(client, runId, { abortSignal, logger })
      await finish(done ? null : 'The worker was stopped; another job goes on.')
      if (!done) await addJob('expire_subscriptions', {}, { jobKey: 'expire_subscriptions:rest' })
      logger.info(`expired ${expired} subscriptions${done ? '' : '; stopped, the rest is for another job'}`)
    } catch (error) {
      // where even this fails, the next run closes the one whose connection is gone
      await finish(error instanceof Error ? error.message : String(error)).catch(() => {})
      throw error
    }
  })

async function expireAll(client: Client, runId: string, { abortSignal, logger }: Progress) {
  const startedAt = performance.now()
  let loggedAt = startedAt
  let expired = 0
  for (;;) {
    const count = await call<number>(client, 'run_expiry_batch($1, $2)', [runId, BATCH_SIZE])
    if (count === 0) return { expired, done: true }
    expired += count
    // a batch that is not full is the last but one: what is nearly done is done
    if (abortSignal?.aborted && count === BATCH_SIZE) return { expired, done: false }
    if (performance.now() - loggedAt < PROGRESS_MS) continue
    const left = Number(await call<string>(client, 'count_due_subscriptions()'))
    loggedAt = performance.now()
    logger.info(progressLine(expired, left, (loggedAt - startedAt) / 1000))
  }
}

/** What a person who waits for the end wants to know. */
export function progressLine(done: number, left: number, seconds: number, now = Date.now()): string {
  const rate = done / seconds
  const end = new Date(now + (left / rate) * 1000).toISOString()
  return `expired ${done} subscriptions, ${left} left, ${Math.round(rate)}/s, done at about ${end}`
}

/** What a function of ours returns. */
async function call<Value>(client: Client, invocation: string, values: unknown[] = []): Promise<Value> {
  const { rows } = await client.query<{ value: Value }>(`select app_private.${invocation} as value`, values)
  return rows[0]?.value as Value
}

export default expireSubscriptions
