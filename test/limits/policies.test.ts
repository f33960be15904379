/** The policies of a running process. Its poll runs only when the test moves the clock. */

import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, expect, jest, test } from '@jest/globals'
import type pg from 'pg'
import { makePool } from '../../src/database/pool.ts'
import { startWatch, type Watch } from '../../src/database/watch.ts'
import { type PolicySource, watchPolicies } from '../../src/limits/policies.ts'
import { makeLog } from '../../src/log.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { until } from '../support/waits.ts'

let database: TestDatabase
let pool: pg.Pool
let watching: Watch | undefined

beforeAll(async () => {
  database = await cloneDatabase()
  pool = makePool({ config: config(), name: 'test policies', size: 1, onError: () => {} })
})

afterEach(async () => {
  // the clock runs again before the stop: it waits for the last poll
  jest.useRealTimers()
  await watching?.stop()
})

afterAll(async () => {
  await pool.end()
  await database.drop()
})

const config = () => ({ connectionString: database.ownerUrl })

/** Only the interval of the poll is fake: the connections to Postgres use timers, too. */
async function watch(listenConfig: pg.ClientConfig = config()): Promise<PolicySource> {
  jest.useFakeTimers({
    doNotFake: [
      'Date',
      'hrtime',
      'nextTick',
      'performance',
      'queueMicrotask',
      'setImmediate',
      'clearImmediate',
      'setTimeout',
      'clearTimeout',
    ],
  })
  watching = startWatch(listenConfig)
  return watchPolicies({
    pool,
    watch: watching,
    log: makeLog('silent'),
    onLoad: () => {},
    onFault: () => {},
  })
}

const limitOf = ({ current }: PolicySource) =>
  current().all.find(({ scope }) => scope === 'public_read')?.maxCount
const setLimit = (max: number) =>
  database.owner.query(
    `update app_public.rate_limit_policies set max_count = ${max} where scope = 'public_read'`,
  )
const LISTENERS =
  "from pg_stat_activity where datname = current_database() and application_name = 'forecourt listener'"

async function endListener(): Promise<void> {
  await database.superuser.query(`select pg_terminate_backend(pid, 30000) ${LISTENERS}`)
}

test('NOTIFY reports a change without the poll', async () => {
  const policies = await watch()
  await setLimit(101)
  await until('the change is loaded', () => limitOf(policies) === 101)
  expect(limitOf(policies)).toBe(101)
})

test('without a listener the poll finds a change within a second', async () => {
  const policies = await watch()
  await endListener()
  await setLimit(102)
  expect(limitOf(policies)).toBe(101)
  jest.advanceTimersByTime(1_000)
  await until('the change is loaded', () => limitOf(policies) === 102)
  expect(limitOf(policies)).toBe(102)
})

test('the poll connects the listener again', async () => {
  const policies = await watch()
  await endListener()
  // the process must have seen the end of its connection
  await until('a listener is connected', async () => {
    jest.advanceTimersByTime(1_000)
    return (await database.superuser.query(`select ${LISTENERS} and state = 'idle'`)).rowCount === 1
  })
  await setLimit(103)
  await until('the change is loaded', () => limitOf(policies) === 103)
  expect(limitOf(policies)).toBe(103)
})

test('a server that accepts a connection and stays silent does not stop the polls', async () => {
  const sockets: Socket[] = []
  const silent = createServer(socket => void sockets.push(socket)).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  const { port } = silent.address() as AddressInfo
  try {
    const policies = await watch({ connectionString: `postgres://a:b@127.0.0.1:${port}/c` })
    await setLimit(104)
    jest.advanceTimersByTime(1_000)
    await until('the change is loaded', () => limitOf(policies) === 104)
    expect(limitOf(policies)).toBe(104)
  } finally {
    for (const socket of sockets) socket.destroy()
    silent.close()
  }
})
