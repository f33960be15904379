/** The worker: runs the tasks and the crontab of `tasks/`. */
import { EventEmitter } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Logger, type Runner, run, type TaskList, type WorkerEvents } from 'graphile-worker'
import type pg from 'pg'
import alertPricingGaps from '../../tasks/alert_pricing_gaps.ts'
import endPromotions from '../../tasks/end_promotions.ts'
import expireListings from '../../tasks/expire_listings.ts'
import expireSubscriptions from '../../tasks/expire_subscriptions.ts'
import maintainAuditLogs from '../../tasks/maintain_audit_logs.ts'
import maintainMails from '../../tasks/maintain_mails.ts'
import removeEndedSessions from '../../tasks/remove_ended_sessions.ts'
import removeIdleRateLimitCounters from '../../tasks/remove_idle_rate_limit_counters.ts'
import removeOldAlerts from '../../tasks/remove_old_alerts.ts'
import { makeSendAlert } from '../../tasks/send_alert.ts'
import { makeSendMail, type SendMailOptions } from '../../tasks/send_mail.ts'
import verifyLedger from '../../tasks/verify_ledger.ts'
import type { AlertChannel } from '../alerts/channel.ts'
import type { Logger as Log } from '../log.ts'
import { checkListener } from './listener.ts'

const crontabFile = fileURLToPath(new URL('../../tasks/crontab', import.meta.url))

/** Every task, by the name that the crontab and the database use. */
export function makeTaskList(channels: readonly AlertChannel[], mail: SendMailOptions): TaskList {
  return {
    alert_pricing_gaps: alertPricingGaps,
    end_promotions: endPromotions,
    expire_listings: expireListings,
    expire_subscriptions: expireSubscriptions,
    maintain_audit_logs: maintainAuditLogs,
    maintain_mails: maintainMails,
    remove_ended_sessions: removeEndedSessions,
    remove_idle_rate_limit_counters: removeIdleRateLimitCounters,
    remove_old_alerts: removeOldAlerts,
    send_alert: makeSendAlert(channels),
    send_mail: makeSendMail(mail),
    verify_ledger: verifyLedger,
  }
}

export type WorkerOptions = {
  pool: pg.Pool
  log: Log
  channels: readonly AlertChannel[]
  mail: SendMailOptions
  /** Receives the name under which the runner locks jobs, before it can lock one. */
  onName?: (name: string) => void
}

export type StartedRunner = {
  /** Resolves when the runner has ended, whatever the reason. */
  ended: Promise<void>
  /** True once it takes no more jobs. */
  isEnding(): boolean
  /** Waits for running jobs. Rejects if the runner is ending. */
  stop(): Promise<void>
}

/**
 * Starts the runner on the owner's pool, frees the jobs of dead workers, and schedules an expiry run. `stop()` waits for
 * running jobs; long jobs end after their current batch.
 */
export async function startWorker(options: WorkerOptions): Promise<StartedRunner> {
  const events: WorkerEvents = new EventEmitter()
  checkListener(events)
  events.once('pool:create', ({ workerPool }) => options.onName?.(workerPool.id))
  let isEnding = false
  const noteEnd = () => {
    isEnding = true
  }
  events.once('pool:gracefulShutdown', noteEnd).once('pool:forcefulShutdown', noteEnd).once('stop', noteEnd)
  const runner = await runTasks(options, events)
  const ended = runner.promise.catch(() => {}).then(noteEnd)
  try {
    await options.pool.query('select app_private.schedule_missed_expiry()')
    return { ended, isEnding: () => isEnding, stop: () => runner.stop() }
  } catch (error) {
    if (isEnding) await ended
    else await runner.stop()
    throw error
  }
}

function runTasks({ pool, log, channels, mail }: WorkerOptions, events: WorkerEvents): Promise<Runner> {
  return run({
    pgPool: pool,
    taskList: makeTaskList(channels, mail),
    crontabFile,
    events,
    concurrency: 2,
    // main.ts handles signals and stops everything in order
    noHandleSignals: true,
    logger: new Logger(scope => (level, message) => {
      const record = { task: scope.taskIdentifier, jobId: scope.jobId }
      log[level === 'warning' ? 'warn' : level](record, message)
    }),
    preset: {
      worker: {
        // with a delay, a graceful stop loses the completion of the last jobs, and they run again hours later
        completeJobBatchDelay: 0,
        failJobBatchDelay: 0,
        gracefulShutdownAbortTimeout: 0,
      },
    },
  })
}
