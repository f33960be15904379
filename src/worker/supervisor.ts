/**
 * Keeps a runner running. graphile-worker stops its runner after the first job whose completion it cannot record, such as
 * during a failover, and reports that only by a promise.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from '../log.ts'
import type { StartedRunner } from './runner.ts'

/** The pause before a restart begins at `first` and doubles up to `most`. After a runner that ran for `most` it is `first` again. */
const BACK_OFF_MS = { first: 1_000, most: 30_000 } as const

export type Supervised = {
  /** Why no jobs are taken, as a sentence; undefined while the runner runs. */
  fault(): string | undefined
  /** How often a runner has ended by itself. */
  losses(): number
  stop(): Promise<void>
}

export type SupervisorOptions = {
  /** Calls `onName` before the runner can lock a job. */
  start: (onName: (name: string) => void) => Promise<StartedRunner>
  /** Frees the jobs that runners with these names hold. */
  unlock: (names: readonly string[]) => Promise<void>
  log: Logger
  backOffMs?: { first: number; most: number }
}

/** Rejects if the first runner does not start. */
export async function supervise(options: SupervisorOptions): Promise<Supervised> {
  const { log, backOffMs = BACK_OFF_MS } = options
  const stopping = new AbortController()
  /** Names of runners that may hold jobs. */
  const names = new Set<string>()
  let runner: StartedRunner | undefined = await options.start(name => names.add(name))
  let losses = 0

  const watched = (async () => {
    let delayMs = backOffMs.first
    while (runner !== undefined && !stopping.signal.aborted) {
      const startedAt = performance.now()
      await runner.ended
      if (stopping.signal.aborted) return
      losses += 1
      runner = undefined
      log.error('the worker has ended without being asked to; another one starts')
      if (performance.now() - startedAt > backOffMs.most) delayMs = backOffMs.first
      while (runner === undefined && !stopping.signal.aborted) {
        await sleep(delayMs, undefined, { signal: stopping.signal }).catch(() => {})
        delayMs = Math.min(delayMs * 2, backOffMs.most)
        if (!stopping.signal.aborted) runner = await restart(options, names)
      }
    }
  })()

  return {
    fault: () =>
      runner === undefined || runner.isEnding() ? 'The worker has ended, and another one starts.' : undefined,
    losses: () => losses,
    async stop() {
      stopping.abort()
      // a runner that is already ending rejects a stop, and a restart in progress must end first
      if (runner !== undefined && !runner.isEnding()) await runner.stop()
      await watched
      if (runner !== undefined && !runner.isEnding()) await runner.stop()
    },
  }
}

/** Frees the jobs of the dead runners and starts the next one. Returns undefined if that fails. */
async function restart(options: SupervisorOptions, names: Set<string>): Promise<StartedRunner | undefined> {
  try {
    await options.unlock([...names])
    names.clear()
    const runner = await options.start(name => names.add(name))
    options.log.info('the worker runs again')
    return runner
  } catch (error) {
    options.log.error({ err: error }, 'the worker cannot start; it tries again')
    return undefined
  }
}
