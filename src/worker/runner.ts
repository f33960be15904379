/** The worker: runs the tasks of `tasks/`, and the crontab beside them. */
import { Logger, type Runner, run } from 'graphile-worker'
import type pg from 'pg'
import type { Logger as Log } from '../log.ts'

const tasks = new URL('../../tasks/', import.meta.url).pathname

/** Starts the runner on the owner's pool. Stop it with `stop()`, which lets running jobs finish. */
export function startWorker({ pool, log }: { pool: pg.Pool; log: Log }): Promise<Runner> {
  return run({
    pgPool: pool,
    taskDirectory: tasks,
    crontabFile: `${tasks}crontab`,
    concurrency: 2,
    // main stops everything in order
    noHandleSignals: true,
    logger: new Logger(scope => (level, message) => {
      const record = { task: scope.taskIdentifier, jobId: scope.jobId }
      log[level === 'warning' ? 'warn' : level](record, message)
    }),
    // With a delay, a graceful stop loses the completion of the last jobs, and they run again hours later.
    preset: { worker: { completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
  })
}
