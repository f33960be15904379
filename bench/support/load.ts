/** Starts the load generator and sends it jobs. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import type { Job, Load } from './jobs.ts'

export type Generator = {
  /** Runs a job. Fails if a server returned an error. */
  run(job: Job): Promise<Load>
  /** Starts a job without an end. `stop` ends it and returns its figures. */
  start(job: Job): { stop(): Promise<Load> }
  stop(): Promise<void>
}

type Answer = { load: Load } | { error: string }

export function startGenerator(): Generator {
  const child = fork(new URL('generator.ts', import.meta.url), {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  process.once('exit', () => child.kill('SIGKILL'))
  return {
    run: job => runJob(child, job),
    start(job) {
      const load = runJob(child, job)
      load.catch(() => {})
      return {
        stop() {
          child.send('stop')
          return load
        },
      }
    },
    async stop() {
      child.disconnect()
      await once(child, 'exit')
    },
  }
}

async function runJob(child: ChildProcess, job: Job): Promise<Load> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const onExit = () => reject(new Error('the load generator has ended'))
  child.once('message', resolve).once('exit', onExit)
  try {
    child.send(job)
    const answer = await promise
    if ('error' in answer) throw new Error(answer.error)
    return withoutErrors(answer.load)
  } finally {
    child.off('message', resolve).off('exit', onExit)
  }
}

function withoutErrors(load: Load): Load {
  if (load.errors > 0) throw new Error(`${load.errors} requests failed, the first with: ${load.fault}`)
  if (load.count + (load.refused?.count ?? 0) === 0) throw new Error('no request was answered in time')
  return load
}
