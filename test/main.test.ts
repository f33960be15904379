/** The commands in real processes: how each role starts, reports a failed start, and stops. */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { makeTokens } from '../src/identity/tokens.ts'
import { jwtSecret } from './support/apiServer.ts'
import { killLeftOvers, start, startOn, untilReady } from './support/commandProcess.ts'
import { cloneDatabase, emptyDatabase, type TestDatabase } from './support/database.ts'
import { recordExpiryRun } from './support/expiryRuns.ts'
import { makeCountry, makeDealer, makeSubscription, makeUser } from './support/testData.ts'
import { holding, until, untilWaitingForLock } from './support/waits.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  await recordExpiryRun(database)
})

afterEach(killLeftOvers)

afterAll(async () => {
  await database.drop()
})

async function post(url: string, query: string, token?: string, variables = {}) {
  const headers = {
    'content-type': 'application/json',
    ...(token ? { authorization: `Bearer ${token}` } : {}),
  }
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers,
    body: JSON.stringify({ query, variables }),
  })
  return JSON.parse(await response.text())
}

/** Expects text for a person: whole sentences, no stack trace, no path. */
function expectSentences(text: string): void {
  expect(text.trim()).toMatch(/^[A-Z].*\.$/s)
  expect(text).not.toMatch(/^\s+at |node:internal|\.ts:\d/m)
}

async function statusOf(subscriptionId: string): Promise<unknown> {
  const { rows } = await database.superuser.query(
    'select status from app_public.dealer_subscriptions where id = $1',
    [subscriptionId],
  )
  return rows[0]?.status
}

async function countJobs(): Promise<number> {
  const { rows } = await database.superuser.query('select count(*)::int from graphile_worker._private_jobs')
  return rows[0].count
}

const addJob = () => database.owner.query("select graphile_worker.add_job('expire_subscriptions')")

async function countConnections(name: string): Promise<number> {
  const { rows } = await database.superuser.query(
    'select count(*)::int from pg_stat_activity where datname = current_database() and application_name = $1',
    [name],
  )
  return rows[0].count
}

test('after SIGTERM the process serves the running request, finishes the running job and exits with 0', async () => {
  const userId = await makeUser(database.owner)
  const running = startOn(database, 'start')
  const url = await untilReady(running)
  await until('the expiry run of the start has ended', async () => (await countJobs()) === 0)
  const due = await makeSubscription(database.owner, await makeDealer(database.owner, userId), {
    endAt: "now() - interval '1 minute'",
  })
  const { accessToken } = await makeTokens(jwtSecret).issue({
    userId,
    sessionId: randomUUID(),
    role: 'dealer',
  })
  // a query, because the lock timeout of a mutation would end its wait
  const sendQuery = () => post(url, '{ listings { totalCount } }', accessToken, {})
  const holdJob = 'lock table app_public.audit_logs in exclusive mode'
  const holdRequest = 'lock table app_public.listings in access exclusive mode'
  await holding(database, holdJob, [], async releaseJob => {
    await holding(database, holdRequest, [], async releaseRequest => {
      await addJob()
      const response = sendQuery()
      await untilWaitingForLock(database, 'forecourt api')
      await untilWaitingForLock(database, 'forecourt worker')
      running.child.kill('SIGTERM')
      await until(
        'no new connection is accepted',
        async () => (await fetch(`${url}/healthz`).catch(() => 'refused')) === 'refused',
      )
      await releaseRequest()
      expect((await response).data).toEqual({ listings: { totalCount: 0 } })
    })
    await until('the API has stopped', () => running.output().includes('"stopped api"'))
    expect([running.child.exitCode, await statusOf(due)]).toEqual([null, 'active'])
    await releaseJob()
  })
  expect(await running.ended).toBe(0)
  expect([await statusOf(due), await countJobs()]).toEqual(['expired', 0])
  expect([await countConnections('forecourt api'), await countConnections('forecourt worker')]).toEqual([
    0, 0,
  ])
})

test('a second, later signal ends the process immediately', async () => {
  const running = startOn(database, 'worker', { LOG_LEVEL: 'debug' })
  // the start has ended too then: a signal before its end would end the process at once
  await until(
    'the expiry run of the start has ended',
    () => /Completed task .*expire_subscriptions/.test(running.output()),
    120,
  )
  await holding(
    database,
    'lock table app_public.dealer_subscriptions in exclusive mode',
    [],
    async release => {
      await addJob()
      await untilWaitingForLock(database, 'forecourt worker')
      running.child.kill('SIGINT')
      await until('the worker is stopping', () => running.output().includes('"stopping"'))
      // npm forwards the same Ctrl-C a second time
      running.child.kill('SIGINT')
      await sleep(200)
      expect(running.child.exitCode).toBeNull()
      const again = setInterval(() => running.child.kill('SIGINT'), 200)
      const code = await running.ended.finally(() => clearInterval(again))
      expect(code).toBe(1)
      await release()
    },
  )
})

test('npm run api serves requests and runs no jobs, and Ctrl-C stops it although a client stays connected', async () => {
  await database.superuser.query('delete from graphile_worker._private_jobs')
  await addJob()
  const running = startOn(database, 'api')
  const url = await untilReady(running)
  expect((await fetch(`${url}/readyz`)).status).toBe(200)
  expect(await post(url, '{ dealerPackages { totalCount } }')).toEqual({
    data: { dealerPackages: { totalCount: expect.any(Number) } },
  })
  expect([await countJobs(), await countConnections('forecourt worker')]).toEqual([1, 0])
  running.child.kill('SIGINT')
  expect(await running.ended).toBe(0)
})

test('npm run worker runs jobs and serves no requests', async () => {
  await addJob()
  const running = startOn(database, 'worker')
  await until('no job is left', async () => (await countJobs()) === 0, 120)
  expect(await countConnections('forecourt api')).toBe(0)
  expect(running.output()).not.toContain('http://')
  running.child.kill('SIGTERM')
  expect(await running.ended).toBe(0)
})

test('two concurrent npm run migrate on a migrated database both exit with 0', async () => {
  const [first, second] = [startOn(database, 'migrate'), startOn(database, 'migrate')]
  expect([await first.ended, await second.ended]).toEqual([0, 0])
})

test('only a process that signs access tokens asks for JWT_SECRET', async () => {
  const outputOf = async (command: string) => {
    const running = start(command, {
      DATABASE_URL: database.ownerUrl,
      AUTH_DATABASE_URL: 'postgres://127.0.0.1:1/none',
    })
    await running.ended
    return running.output()
  }
  expect(await outputOf('migrate')).not.toContain('JWT_SECRET')
  expect(await outputOf('api')).toContain('JWT_SECRET')
})

test('npm run api on an unmigrated database names the command to run and exits with 1', async () => {
  const unmigrated = await emptyDatabase()
  try {
    const running = startOn(unmigrated, 'api')
    expect(await running.ended).toBe(1)
    expectSentences(running.output())
    expect(running.output()).toContain('npm run migrate')
  } finally {
    await unmigrated.drop()
  }
})

test('in production one error names every missing variable, and the exit code is 1', async () => {
  const commands = ['start', 'worker']
  const all = commands.map(command => start(command, { NODE_ENV: 'production' }))
  for (const running of all) {
    expect(await running.ended).toBe(1)
    expectSentences(running.output())
    expect(running.output()).toMatch(/JWT_SECRET.*DATABASE_URL/)
  }
})

const failingStarts: [string, Record<string, string>, RegExp][] = [
  ['api', {}, /DATABASE_URL/],
  ['start serve', {}, /npm start/],
  ['start', { PORT: 'http' }, /PORT/],
  [
    'worker',
    { DATABASE_URL: 'postgres://nobody:secret@127.0.0.1:1/none', JWT_SECRET: jwtSecret },
    /127\.0\.0\.1:1/,
  ],
]

test('a failed start exits with 1 and names the reason, without a stack trace or a password', async () => {
  const all = failingStarts.map(([command, env, words]) => ({ running: start(command, env), words }))
  for (const { running, words } of all) {
    expect(await running.ended).toBe(1)
    expect(running.output()).toMatch(words)
    expect(running.output()).not.toMatch(/secret|^\s+at /m)
  }
})

test('a start on a taken port exits with 1 and names the port', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as { port: number }
  const running = startOn(database, 'start', { PORT: String(port) })
  const code = await running.ended.finally(() => other.close())
  expect(code).toBe(1)
  expect(running.output()).toContain(String(port))
})
