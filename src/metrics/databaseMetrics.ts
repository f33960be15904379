/** Metrics that the database reports with one function call: subscriptions, listings, jobs and runs of the worker, ledger, locks. */
import type pg from 'pg'
import { Counter, Gauge, type Registry } from 'prom-client'

/** A reading is reused for this long, so that frequent scrapes do not load the database. */
const READING_LIFETIME_MS = 5_000
/** Longest wait for a reading: well below the timeout of a scraper. */
const DEADLINE_MS = 2_000

const READ = 'select metric, labels, value from app_public.operation_metrics()'

/** The metrics of `operation_metrics()`. `counts`: a counter, else a gauge. */
const DEFINITIONS: readonly { name: string; help: string; labelNames?: string[]; counts?: boolean }[] = [
  { name: 'subscriptions_due', help: 'Active subscriptions past their end; at most 100,000.' },
  {
    name: 'subscription_expiry_last_success_timestamp_seconds',
    help: 'When an expiry run last succeeded, in Unix seconds; missing before the first run.',
  },
  {
    name: 'subscriptions_expired_total',
    help: 'Subscriptions that expiry runs have expired, over all workers.',
    counts: true,
  },
  { name: 'listings_due', help: 'Active listings past their end; at most 100,000.' },
  {
    name: 'listing_expiry_last_success_timestamp_seconds',
    help: 'When an expiry run of listings last succeeded, in Unix seconds; missing before the first run.',
  },
  {
    name: 'listings_expired_total',
    help: 'Listings that expiry runs have expired, over all workers.',
    counts: true,
  },
  {
    name: 'promotions_due',
    help: 'Listings that are shown as promoted after the end of a promotion; at most 100,000.',
  },
  { name: 'worker_jobs_due', help: 'Jobs that wait for a worker; at most 100,000.' },
  { name: 'worker_oldest_due_job_age_seconds', help: 'How long the oldest due job has been due.' },
  { name: 'worker_jobs_failing', help: 'Jobs that failed and will be retried.', labelNames: ['task'] },
  { name: 'worker_jobs_given_up', help: 'Jobs that failed and will not be retried.', labelNames: ['task'] },
  { name: 'ledger_broken_rows', help: 'Ledger rows that the last check found broken.' },
  {
    name: 'ledger_last_check_timestamp_seconds',
    help: 'When the ledger was last checked, in Unix seconds; missing before the first check.',
  },
  { name: 'database_sessions_waiting_for_locks', help: 'Sessions on this database that wait for a lock.' },
  { name: 'database_longest_lock_wait_seconds', help: 'How long the longest lock wait has lasted.' },
]

type Row = { metric: string; labels: Record<string, string>; value: number }

/** Returns a function that updates the metrics. It never rejects: `forecourt_database_up` reports a failure. */
export function reportDatabase(pool: pg.Pool, registry: Registry): () => Promise<void> {
  const registers = [registry]
  const up = new Gauge({
    name: 'forecourt_database_up',
    help: '1 while the database responds. While it is 0, the metrics that the database reports are missing.',
    registers,
  })
  const metrics = DEFINITIONS.map(({ counts, ...options }) => {
    const metric = counts ? new Counter({ ...options, registers }) : new Gauge({ ...options, registers })
    const write = metric instanceof Counter ? metric.inc.bind(metric) : metric.set.bind(metric)
    const clear = () => {
      metric.reset()
      // without labels a reset leaves 0, which would look like a reading
      if (options.labelNames === undefined) metric.remove()
    }
    clear()
    return { name: options.name, write, clear }
  })

  function show(rows: readonly Row[]): void {
    for (const { name, write, clear } of metrics) {
      clear()
      for (const { metric, labels, value } of rows) if (metric === name) write(labels, value)
    }
  }

  async function readDatabase(): Promise<void> {
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
    reading ??= readDatabase().finally(() => setTimeout(forgetReading, READING_LIFETIME_MS).unref())
    return reading
  }
}

function withDeadline<Value>(work: Promise<Value>): Promise<Value> {
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error('the database does not respond')), DEADLINE_MS)
  })
  return Promise.race([work, deadline]).finally(() => clearTimeout(timer))
}
