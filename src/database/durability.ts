/**
 * Commits mutations without waiting for the disk, and lets one flush of the log serve all that have committed before it. The
 * response is sent after the flush.
 *
 * Why: an ordinary commit waits for the disk, and for a synchronous standby, while it holds the transaction's locks. Publications
 * of one dealer then wait for each other's disk writes. Measured beside ordinary commits, 16 connections, two busy cores, limits
 * off: 1.4 times the rate for one dealer, 1.07 for 9,000; 0.83 and 0.96 of the CPU of API and Postgres per publication.
 *
 * - The transaction runs with `synchronous_commit = off`. Its locks and its connection are free once it has committed in memory.
 * - A second, tiny transaction then commits with the server's own setting, `remote_apply` or an operator's `off` included. The
 *   log is sequential: once this commit is on the disk (or on the standby), every earlier one is too.
 * - While a flush is under way, later requests wait for the next one, which serves all of them.
 * - Every transaction of a GraphQL mutation waits for a flush, even one that wrote nothing: the response to a retry with the same
 *   key comes from a row that may not be on the disk yet.
 *
 * A flush proves nothing about a commit that another server made, or this one before a crash: a failover or a restart may come
 * between the two. So both transactions return an identifier of the server's run, and different runs are a failure. A failure is 503:
 * the commit may be lost, and the client retries with the same key.
 *
 * Other sessions see a row a moment before it is durable, so a crash may remove a row that somebody has read. That is
 * acceptable: its writer was not told of success, and nothing is charged or sent because of it. Only a read, or the refusal of
 * another request, may report a state that a crash removes; neither changes anything. A transaction that acts on the row
 * commits later in the same log. If that later commit is durable, so is the row. The worker locks a job in a transaction that waits
 * for the disk before it runs the job.
 */
import type pg from 'pg'
import type { ConnectionUse } from '../request/request.ts'
import { runAndReport, type Settings, type Statement } from './pipeline.ts'

/**
 * Identifies one run of the server, between two losses of its memory. After the crash of a backend the server loses its memory,
 * but keeps its start time; then it resets its statistics. A cold copy of a server has the statistics of the original, but
 * another start time. Numbers, because the text of a time depends on the session's time zone. An operator who resets these
 * statistics changes this identifier too. Mutations that wait for a flush at that moment then get 503.
 */
const SERVER_RUN =
  "concat(extract(epoch from pg_postmaster_start_time()), ' ', extract(epoch from pg_stat_get_bgwriter_stat_reset_time()))"

/** Only a transaction that writes to the log waits for the disk at its commit. Without the message, this one would not. */
const FLUSH = `select ${SERVER_RUN} as server_run from pg_logical_emit_message(true, '', '')`

/** Resolves once a flush that began after the call is on the disk. Rejects if the server is in another run. */
export type Flush = (serverRun: unknown) => Promise<void>

type Options = {
  pool: pg.Pool
  flush: Flush
  keepPlan: boolean
  /** Called before the statement takes a connection, and after the connection is free: the wait for the flush uses none. */
  connectionUse?: ConnectionUse | undefined
}

/** Runs one statement under settings of its own. Resolves once everything that it wrote or read is on the disk. */
export async function runDurably(
  { pool, flush, keepPlan, connectionUse }: Options,
  settings: Settings,
  statement: Statement,
): Promise<pg.QueryArrayResult> {
  const inMemory = { ...settings, synchronous_commit: 'off' }
  connectionUse?.use()
  const { result, report } = await runAndReport(pool, inMemory, statement, keepPlan, SERVER_RUN)
  const flushed = flush(report)
  // Only now: this starts queued requests, and the flush must be requested before their statements.
  connectionUse?.free()
  try {
    await flushed
  } catch (error) {
    throw uncertain(error)
  }
  return result
}

/** The pool has a connection of its own, so that flushes and transactions do not wait for each other's connections. */
export function makeFlush(pool: pg.Pool, keepPlan: boolean): Flush {
  const statement = { text: FLUSH, ...(keepPlan ? { name: 'flush' } : {}) }
  let current: Promise<string> | undefined
  let next: Promise<string> | undefined
  let isStale = false
  const send = async (): Promise<string> => {
    // The connection leads to another server, such as a former primary. Each flush on it would succeed and prove nothing.
    if (isStale) (await pool.connect()).release(true)
    isStale = false
    const { rows } = await pool.query<{ server_run: string }>(statement)
    return rows[0]?.server_run ?? ''
  }
  const start = (): Promise<string> => {
    next = undefined
    const flush = send()
    const end = () => {
      if (current === flush) current = undefined
    }
    current = flush
    flush.then(end, end)
    return flush
  }
  const wait = (): Promise<string> => {
    if (current === undefined) return start()
    // If the current one fails, so does the next: while a standby is away, a request waits for one timeout, not for two.
    next ??= current.then(start)
    return next
  }
  return async serverRun => {
    if ((await wait()) === serverRun) return
    isStale = true
    throw new Error('the server has restarted, or is another one')
  }
}

/** The code of a broken connection, so always a 503: the statement has committed, so the error is not about the request. */
function uncertain(reason: unknown): Error {
  const { message } = reason as { message?: unknown }
  return Object.assign(new Error(`the commit may not be on the disk: ${message}`), { code: 'ETIMEDOUT' })
}
