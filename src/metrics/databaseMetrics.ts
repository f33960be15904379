/** What the database knows: subscriptions, the worker's queue and runs, the ledger, locks. One call of one function answers. */
import type pg from 'pg'
import { Counter, Gauge, type Registry } from 'prom-client'

/** How long a reading serves, in milliseconds: however often a scraper asks, the database is asked no more often. */
const FRESH_MS = 5_000
/** Longest wait for a reading, in milliseconds: well below the patience of a scraper. */
const DEADLINE_MS = 2_000

const READ = 'select metric, labels, value from app_public.operation_metrics()'

/** What `operation_metrics()` tells. */
const told: readonly { name: string; help: string; labelNames?: string[]; counts?: boolean }[] = [
  { name: 'subscriptions_due', help: 'Active subscriptions whose end has come; at most 100,000.' },
  {
    name: 'subscription_expiry_last_success_timestamp_seconds',
    help: 'When expiry last ended without an error, in Unix seconds; missing before its first run.',
  },
  {
    name: 'subscriptions_expired_total',
    help: 'Subscriptions that expiry has ended, over all workers.',
    counts: true,
  },
  { name: 'worker_jobs_due', help: 'Jobs that wait for a worker; at most 100,000.' },
  { name: 'worker_oldest_due_job_age_seconds', help: 'For how long the oldest of them has been due.' },
  { name: 'worker_jobs_failing', help: 'Jobs that failed and will be tried again.', labelNames: ['task'] },
  { name: 'worker_jobs_given_up', help: 'Jobs that failed for the last time.', labelNames: ['task'] },
  { name: 'ledger_broken_rows', help: 'Rows of the books that the last check found broken.' },
  {
    name: 'ledger_last_check_timestamp_seconds',
    help: 'When the books were last checked, in Unix seconds; missing before the first check.',
  },
  { name: 'database_sessions_waiting_for_locks', help: 'Sessions on this database that wait for a lock.' },
  { name: 'database_longest_lock_wait_seconds', help: 'For how long the first of them has waited.' },
]

type Row = { metric: string; labels: Record<string, string>; value: number }

/** Returns what brings the figures up to date. It never rejects: a database that does not answer is a figure too. */
export function reportDatabase(pool: pg.Pool, registry: Registry): () => Promise<void> {
  const registers = [registry]
  const up = new Gauge({
    name: 'forecourt_database_up',
    help: '1 while the database answers; while it is 0, all that the database would tell is missing.',
    registers,
  })
  const metrics = told.map(({ counts, ...options }) => {
    const metric = counts ? new Counter({ ...options, registers }) : new Gauge({ ...options, registers })
    const add = metric instanceof Counter ? metric.inc.bind(metric) : metric.set.bind(metric)
    const forget = () => {
      metric.reset()
      // a reset leaves 0 where there are no labels, and 0 says something
      if (options.labelNames === undefined) metric.remove()
    }
    forget()
    return { name: options.name, add, forget }
  })

  function show(rows: readonly Row[]): void {
    for (const { name, add, forget } of metrics) {
      forget()
      for (const { metric, labels, value } of rows) if (metric === name) add(labels, value)
    }
  }

  async function ask(): Promise<void> {
    try {
      const { rows } = await withDeadline(pool.query<Row>(READ))
      show(rows)
      up.set(1)
    } catch {
      show([])
      up.set(0)
    }
  }

  let reading: Promise<void> | undefined
  const forgetReading = () => {
    reading = undefined
  }
  return () => {
    reading ??= ask().finally(() => setTimeout(forgetReading, FRESH_MS).unref())
    return reading
  }
}

function withDeadline<Value>(work: Promise<Value>): Promise<Value> {
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('the database is silent')), DEADLINE_MS)
  })
  return Promise.race([work, deadline]).finally(() => clearTimeout(timer))
}
