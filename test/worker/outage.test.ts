/** The loss of the database while jobs run, in real processes: the worker takes jobs again, and the process shows its state. */
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { killLeftOvers, startOn, untilReady } from '../support/commandProcess.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { recordExpiryRun } from '../support/expiryRuns.ts'
import { type Relay, startRelay } from '../support/relay.ts'
import { makeCountry } from '../support/testData.ts'
import { holding, until, untilWaitingForLock } from '../support/waits.ts'

let database: TestDatabase
/** The processes reach the database through this relay. */
let relay: Relay

beforeEach(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  await recordExpiryRun(database)
  relay = await startRelay(database.ownerUrl)
})

afterEach(async () => {
  await killLeftOvers()
  await relay.cut()
  await database.drop()
})

async function addJobs(count: number): Promise<void> {
  await database.owner.query(
    "select graphile_worker.add_job('remove_old_alerts') from generate_series(1, $1)",
    [count],
  )
}

async function countJobs(): Promise<number> {
  const { rows } = await database.superuser.query('select count(*)::int from graphile_worker._private_jobs')
  return rows[0].count
}

/** Cuts the connection while two of four jobs run, waits until the worker has ended, and restores the connection. */
async function loseDatabase(output: () => string): Promise<void> {
  await holding(database, 'lock table app_private.alerts in access exclusive mode', [], async () => {
    await addJobs(4)
    await untilWaitingForLock(database, 'forecourt worker', 2)
    await relay.cut()
    await until('the end of the worker is logged', () => output().includes('"the worker has ended'))
  })
  await relay.restore()
}

test('npm run worker takes jobs again after it lost the database, also the jobs that it had locked', async () => {
  const running = startOn({ ownerUrl: relay.url }, 'worker')
  await addJobs(1)
  await until('the worker works', async () => (await countJobs()) === 0, 120)
  await loseDatabase(running.output)
  await until('no job is left', async () => (await countJobs()) === 0)
  running.child.kill('SIGTERM')
  expect(await running.ended).toBe(0)
})

test('npm start is not ready while its worker has ended, and then ready again with a worker', async () => {
  const running = startOn({ ownerUrl: relay.url }, 'start')
  const url = await untilReady(running)
  await loseDatabase(running.output)
  await until('no job is left', async () => (await countJobs()) === 0)
  await until('it is ready', async () => (await fetch(`${url}/readyz`)).status === 200)
  const metrics = await (await fetch(`${url}/metrics`)).text()
  expect(metrics).toMatch(/^worker_running 1$/m)
  expect(metrics).toMatch(/^worker_losses_total [1-9]/m)
  running.child.kill('SIGTERM')
  expect(await running.ended).toBe(0)
})

test('a stop while the database cannot be reached ends the process', async () => {
  const running = startOn({ ownerUrl: relay.url }, 'worker')
  await addJobs(1)
  await until('the worker works', async () => (await countJobs()) === 0, 120)
  await holding(database, 'lock table app_private.alerts in access exclusive mode', [], async () => {
    await addJobs(2)
    await untilWaitingForLock(database, 'forecourt worker', 2)
    await relay.cut()
    await until('the end of the worker is logged', () => running.output().includes('"the worker has ended'))
    running.child.kill('SIGTERM')
    expect(await running.ended).toBe(0)
  })
  await relay.restore()
})

test('a stop while a job hangs ends the process with code 1, and says that the worker has not stopped', async () => {
  const running = startOn({ ownerUrl: relay.url }, 'worker')
  await addJobs(1)
  await until('the worker works', async () => (await countJobs()) === 0, 120)
  await holding(database, 'lock table app_private.alerts in access exclusive mode', [], async () => {
    await addJobs(1)
    await untilWaitingForLock(database, 'forecourt worker')
    running.child.kill('SIGTERM')
    expect(await running.ended).toBe(1)
  })
  expect(running.output()).toContain('"could not stop worker"')
})
