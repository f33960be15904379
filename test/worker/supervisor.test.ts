/** A runner that ends by itself is replaced, its jobs are freed, and its end is reported. */
import { expect, test } from '@jest/globals'
import type { StartedRunner } from '../../src/worker/runner.ts'
import { type Supervised, supervise } from '../../src/worker/supervisor.ts'
import { recordLog } from '../support/recordedLog.ts'
import { until } from '../support/waits.ts'

const { log } = recordLog('silent')
const backOffMs = { first: 5, most: 20 }

/** Runners that a test ends, and the names whose jobs were freed. */
function fakes() {
  const runners: { die(): void; stopped: boolean }[] = []
  const freed: string[] = []
  let refusals = 0
  const start = async (onName: (name: string) => void): Promise<StartedRunner> => {
    onName(`runner ${runners.length}`)
    if (refusals > 0) {
      refusals -= 1
      throw new Error('the database does not respond')
    }
    const { promise, resolve } = Promise.withResolvers<void>()
    let isEnding = false
    const end = () => {
      isEnding = true
      resolve()
    }
    const runner = { die: end, stopped: false }
    runners.push(runner)
    return {
      ended: promise,
      isEnding: () => isEnding,
      async stop() {
        if (isEnding) throw new Error('Runner is already stopped')
        runner.stopped = true
        end()
      },
    }
  }
  const unlock = async (names: readonly string[]) => {
    freed.push(...names)
  }
  return { runners, freed, start, unlock, refuse: (times: number) => (refusals = times) }
}

async function withWorker(
  fake: ReturnType<typeof fakes>,
  work: (worker: Supervised) => Promise<void>,
): Promise<void> {
  const worker = await supervise({ ...fake, log, backOffMs })
  await work(worker)
  await worker.stop()
}

test('a runner that ends by itself is replaced after its jobs are freed', async () => {
  const fake = fakes()
  await withWorker(fake, async worker => {
    expect([worker.fault(), worker.losses()]).toEqual([undefined, 0])
    fake.runners[0]?.die()
    expect(worker.fault()).toBeDefined()
    await until('another runner runs', () => fake.runners.length === 2)
    await until('the fault is over', () => worker.fault() === undefined)
    expect([fake.freed, worker.losses()]).toEqual([['runner 0'], 1])
  })
  expect(fake.runners[1]?.stopped).toBe(true)
})

test('a start that fails is tried again, and the jobs of both runners are freed', async () => {
  const fake = fakes()
  await withWorker(fake, async worker => {
    fake.refuse(3)
    fake.runners[0]?.die()
    await until('another runner runs', () => worker.fault() === undefined && fake.runners.length === 2)
    expect(new Set(fake.freed)).toEqual(new Set(['runner 0', 'runner 1']))
  })
})

test('a stop ends a worker that waits for its next start', async () => {
  const fake = fakes()
  const worker = await supervise({ ...fake, log, backOffMs: { first: 60_000, most: 60_000 } })
  fake.runners[0]?.die()
  await worker.stop()
  expect(fake.runners).toHaveLength(1)
})

test('a first start that fails is an error of the caller', async () => {
  const fake = fakes()
  fake.refuse(1)
  await expect(supervise({ ...fake, log })).rejects.toThrow('does not respond')
})
