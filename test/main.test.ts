/** Real processes: how each role starts, what it says when it cannot, and how it stops. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import { argumentsOf, projectDirectory } from '../scripts/support/commands.ts'
import { makeTokens } from '../src/identity/tokens.ts'
import { jwtSecret } from './support/apiServer.ts'
import { cloneDatabase, emptyDatabase, type TestDatabase } from './support/database.ts'
import { recordNight } from './support/nights.ts'
import { holding, until, untilWaitingForLock } from './support/waits.ts'
import { makeCountry, makeDealer, makeSubscription, makeUser } from './support/world.ts'

let database: TestDatabase
const children: ChildProcess[] = []

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  await recordNight(database)
})

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
  }
})

afterAll(async () => {
  await database.drop()
})

type Running = {
  child: ChildProcess
  /** What it has written so far, on both streams. */
  output(): string
  /** Its exit code once it has ended; the signal if one has ended it. */
  ended: Promise<number | string>
}

/** Starts what `npm run` does, in a clean environment: nothing of ours but the path. */
function start(command: string, env: Record<string, string> = {}): Running {
  const { PATH = '', HOME = '' } = process.env
  const [name = '', ...args] = command.split(' ')
  const child = spawn(process.execPath, [...argumentsOf(name), ...args], {
    cwd: projectDirectory,
    env: { PATH, HOME, PORT: '0', ...env },
  })
  children.push(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', text => (output += text))
  const ended = once(child, 'close').then(([code, signal]) => code ?? signal)
  return { child, output: () => output, ended }
}

function startOn({ ownerUrl }: TestDatabase, command: string, env: Record<string, string> = {}): Running {
  return start(command, { DATABASE_URL: ownerUrl, JWT_SECRET: jwtSecret, ...env })
}

/** The URL of the API, once the process says that it is ready. */
async function ready({ output, child }: Running): Promise<string> {
  await until('the process is ready', () => output().includes('Stop  ') || child.exitCode !== null, 120)
  const [, url] = /GraphQL API +(http\S+)\/graphql/.exec(output()) ?? []
  if (url === undefined) throw new Error(`it has not started:\n${output()}`)
  return url
}

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

/** A person reads it: sentences, no stack, no path. */
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

async function jobs(): Promise<number> {
  const { rows } = await database.superuser.query('select count(*)::int from graphile_worker._private_jobs')
  return rows[0].count
}

const addJob = () => database.owner.query("select graphile_worker.add_job('expire_subscriptions')")

async function connectionsOf(name: string): Promise<number> {
  const { rows } = await database.superuser.query(
    'select count(*)::int from pg_stat_activity where datname = current_database() and application_name = $1',
    [name],
  )
  return rows[0].count
}

test('SIGTERM lets the running request be answered and the running job be finished, and exits with 0', async () => {
  const userId = await makeUser(database.owner)
  const due = await makeSubscription(database.owner, await makeDealer(database.owner, userId), {
    endAt: "now() - interval '1 minute'",
  })
  const running = startOn(database, 'start')
  const url = await ready(running)
  const { accessToken } = await makeTokens(jwtSecret).issue({ userId, role: 'dealer' })
  // a query: no lock timeout of a function ends its wait
  const ask = () => post(url, '{ listings { totalCount } }', accessToken, {})
  const holdJob = 'lock table app_public.audit_logs in exclusive mode'
  const holdRequest = 'lock table app_public.listings in access exclusive mode'
  await holding(database, holdJob, [], async releaseJob => {
    await holding(database, holdRequest, [], async releaseRequest => {
      await addJob()
      const answer = ask()
      await untilWaitingForLock(database, 'forecourt api')
      await untilWaitingForLock(database, 'forecourt worker')
      running.child.kill('SIGTERM')
      await until(
        'no new connection is accepted',
        async () => (await fetch(`${url}/healthz`).catch(() => 'refused')) === 'refused',
      )
      await releaseRequest()
      expect((await answer).data).toEqual({ listings: { totalCount: 0 } })
    })
    await until('the API has stopped', () => running.output().includes('"stopped api"'))
    expect([running.child.exitCode, await statusOf(due)]).toEqual([null, 'active'])
    await releaseJob()
  })
  expect(await running.ended).toBe(0)
  expect([await statusOf(due), await jobs()]).toEqual(['expired', 0])
  expect([await connectionsOf('forecourt api'), await connectionsOf('forecourt worker')]).toEqual([0, 0])
})

test('a second signal a moment later stops at once', async () => {
  const running = startOn(database, 'worker', { LOG_LEVEL: 'debug' })
  await until('the worker is connected', () => running.output().includes('Worker connected'), 120)
  await holding(
    database,
    'lock table app_public.dealer_subscriptions in exclusive mode',
    [],
    async release => {
      await addJob()
      await untilWaitingForLock(database, 'forecourt worker')
      running.child.kill('SIGINT')
      await until('it is stopping', () => running.output().includes('"stopping"'))
      // the same Ctrl-C, passed on by npm
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

test('npm run api serves requests and runs no job; Ctrl-C stops it although a client stays connected', async () => {
  await database.superuser.query('delete from graphile_worker._private_jobs')
  await addJob()
  const running = startOn(database, 'api')
  const url = await ready(running)
  expect((await fetch(`${url}/readyz`)).status).toBe(200)
  expect(await post(url, '{ dealerPackages { totalCount } }')).toEqual({
    data: { dealerPackages: { totalCount: expect.any(Number) } },
  })
  expect([await jobs(), await connectionsOf('forecourt worker')]).toEqual([1, 0])
  running.child.kill('SIGINT')
  expect(await running.ended).toBe(0)
})

test('npm run worker runs jobs and serves nothing', async () => {
  await addJob()
  const running = startOn(database, 'worker')
  await until('no job is left', async () => (await jobs()) === 0, 120)
  expect(await connectionsOf('forecourt api')).toBe(0)
  expect(running.output()).not.toContain('http://')
  running.child.kill('SIGTERM')
  expect(await running.ended).toBe(0)
})

test('npm run migrate ends by itself, and neither it nor npm start needs to be the first', async () => {
  const [first, second] = [startOn(database, 'migrate'), startOn(database, 'migrate')]
  expect([await first.ended, await second.ended]).toEqual([0, 0])
})

test('npm run api on a database that was not migrated says what to run, and exits with 1', async () => {
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

test('in production every missing variable is named at once, and the exit code is 1', async () => {
  const commands = ['start', 'worker']
  const all = commands.map(command => start(command, { NODE_ENV: 'production' }))
  for (const running of all) {
    expect(await running.ended).toBe(1)
    expectSentences(running.output())
    expect(running.output()).toMatch(/JWT_SECRET.*DATABASE_URL/)
  }
})

const unstartable: [string, Record<string, string>, RegExp][] = [
  ['api', {}, /DATABASE_URL/],
  ['start serve', {}, /npm start/],
  ['start', { PORT: 'http' }, /PORT/],
  [
    'worker',
    { DATABASE_URL: 'postgres://nobody:secret@127.0.0.1:1/none', JWT_SECRET: jwtSecret },
    /127\.0\.0\.1:1/,
  ],
]

test('what cannot start ends with 1 and words that say why, without a stack or a password', async () => {
  const all = unstartable.map(([command, env, words]) => ({ running: start(command, env), words }))
  for (const { running, words } of all) {
    expect(await running.ended).toBe(1)
    expect(running.output()).toMatch(words)
    expect(running.output()).not.toMatch(/secret|^\s+at /m)
  }
})

test('a port that is taken ends with 1 and leaves nothing running', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as { port: number }
  const running = startOn(database, 'start', { PORT: String(port) })
  const code = await running.ended.finally(() => other.close())
  expect(code).toBe(1)
  expect(running.output()).toContain(String(port))
})
