/**
 * Commits mutations without waiting for the disk, and lets one flush of the log serve all that have committed before it. The
 * answer is sent after the flush.
 *
 * Why: an ordinary commit waits for the disk, and for a synchronous standby, while it holds the transaction's locks. Publications
 * of one dealer then wait for each other's disk writes. Measured beside ordinary commits, 16 connections, two busy cores, limits
 * off: 1.4 times the rate for one dealer, 1.07 for 9,000; 0.83 and 0.96 of the CPU of API and Postgres per publication.
 *
 * - The transaction runs with `synchronous_commit = off`. Its locks and its connection are free once it has committed in memory.
 * - A second, tiny transaction then commits with the server's own setting, `remote_apply` or an operator's `off` included. The
 *   log is sequential: once this commit is on the disk (or on the standby), every earlier one is too.
 * - While a flush is under way, later requests wait for the next one, which serves all of them.
 * - Every mutation does this, also one that wrote nothing: a retry with the same key answers from a row that may not be on the
 *   disk yet.
 *
 * A flush proves nothing about a commit that another server made, or this one before a crash: a failover or a restart may come
 * between the two. So both transactions report the run of the server, and different runs are a failure. A failure is 503: the
 * commit may be lost, and the client retries with the same key.
 *
 * Other sessions see a row a moment before it is durable, so a crash may remove a row that somebody has read. That is
 * acceptable: its writer was not told of success, and nothing is charged or sent because of it. Only a read, or the refusal of
 * another request, may report a state that a crash removes; neither changes anything. Any transaction that acts on the row
 * commits after it in the same log, so if that commit is durable, the row is. The worker locks a job in a transaction that waits
 * for the disk before it runs the job.
 */
import type pg from 'pg'
import { runAndReport, type Settings, type Statement } from './pipeline.ts'

/**
 * Identifies one run of the server, between two losses of its memory. After the crash of a backend the server loses its memory,
 * but keeps its start time; then it resets its statistics. A cold copy of a server has the statistics of the original, but
 * another start time. Numbers, because the text of a time depends on the session's time zone.
 */
const RUN =
  "concat(extract(epoch from pg_postmaster_start_time()), ' ', extract(epoch from pg_stat_get_bgwriter_stat_reset_time()))"

/** Only a transaction that writes to the log waits for the disk at its commit. Without the message, this one would not. */
const FLUSH = `select ${RUN} as run from pg_logical_emit_message(true, '', '')`

/** Starts after the call, and resolves once the log is on the disk of the server that reported this run. */
export type Flush = (run: unknown) => Promise<void>

type Options = {
  pool: pg.Pool
  flush: Flush
  keepPlan: boolean
  /** Called between the commit in memory and the flush. */
  onCommit?: (() => void) | undefined
}

/** Runs one statement under settings of its own. Resolves once everything that it wrote or read is on the disk. */
export async function runDurably(
  { pool, flush, keepPlan, onCommit }: Options,
  settings: Settings,
  statement: Statement,
): Promise<pg.QueryArrayResult> {
  const inMemory = { ...settings, synchronous_commit: 'off' }
  const { result, report } = await runAndReport(pool, inMemory, statement, keepPlan, RUN)
  onCommit?.()
  try {
    await flush(report)
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
    // It leads to another server, such as a former primary, and would succeed there for ever.
    if (isStale) (await pool.connect()).release(true)
    isStale = false
    const { rows } = await pool.query<{ run: string }>(statement)
    return rows[0]?.run ?? ''
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
  return async run => {
    if ((await wait()) === run) return
    isStale = true
    throw new Error('the server has restarted, or is another one')
  }
}

/** The code of a broken connection, so always a 503: the statement has committed, so the error is not about the request. */
function uncertain(reason: unknown): Error {
  const { message } = reason as { message?: unknown }
  return Object.assign(new Error(`the commit may not be on the disk: ${message}`), { code: 'ETIMEDOUT' })
}
