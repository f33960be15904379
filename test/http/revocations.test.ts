/** When processes learn that a session has ended: by NOTIFY, by the poll, and what they do while they cannot learn it. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { startApiProcess } from '../support/apiProcess.ts'
import { createListing, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { register, type Session } from '../support/graphqlOperations.ts'
import { type Relay, startRelay } from '../support/relay.ts'
import { makeSeller } from '../support/seller.ts'
import { until } from '../support/waits.ts'

const ME = '{ currentUser { id } }'

let database: TestDatabase
let relay: Relay
/** The second one reaches the database through the relay. */
let servers: [TestServer, TestServer]

beforeAll(async () => {
  database = await cloneDatabase()
  await database.owner.query("update app_public.rate_limit_policies set mode = 'off'")
  relay = await startRelay(database.ownerUrl)
  servers = await Promise.all([startApiProcess(database), startApiProcess({ ownerUrl: relay.url })])
})

afterAll(async () => {
  for (const server of servers) await server.stop()
  await relay.cut()
  await database.drop()
})

async function makeAccount(): Promise<Session> {
  const input = { email: `${randomUUID()}@example.com`, password: 'correct horse battery' }
  return (await register(servers[0], input)).data.register?.session as Session
}

async function outcome(server: TestServer, query: string, token: string): Promise<string> {
  const { status, errors } = await server.call(query, { token })
  return errors[0] ? `${status} ${errors[0].extensions.code}` : String(status)
}

/** Called after the commit. No process may accept a request that is sent a second later. */
async function refusedInTime(token: string): Promise<void> {
  const since = performance.now()
  const refusals = servers.map(async server => {
    for (;;) {
      const sentAfter = performance.now() - since
      const result = await outcome(server, ME, token)
      if (result === '401 unauthenticated') return
      // on a busy machine the overload refuses some requests
      if (result === '503 service_unavailable') continue
      expect(result).toBe('200')
      expect(sentAfter).toBeLessThan(1_000)
    }
  })
  await Promise.all(refusals)
}

test('within a second of its commit, every process refuses the token of an ended session, while 16 connections publish', async () => {
  const seller = await makeSeller(database, servers[0])
  let publishing = true
  let published = 0
  const publishers = Array.from({ length: 16 }, async (_, number) => {
    while (publishing) {
      const { status } = await createListing(servers[number % 2 ? 0 : 1], seller.token, seller.dealerId)
      if (status === 200) published += 1
    }
  })
  try {
    await until('listings are published', () => published > 20)
    for (let round = 0; round < 5; round += 1) {
      const { accessToken, user } = await makeAccount()
      await database.owner.query('delete from app_private.sessions where user_id = $1', [user.id])
      await refusedInTime(accessToken)
    }
  } finally {
    publishing = false
    await Promise.all(publishers)
  }
})

test('without a listener the poll finds an end within a second', async () => {
  const { accessToken, user } = await makeAccount()
  const listeners = "datname = current_database() and application_name = 'forecourt listener'"
  // the notification of this transaction has nobody who listens
  await database.superuser.query(`
    begin;
    delete from app_private.sessions where user_id = '${user.id}';
    select pg_terminate_backend(pid, 5000) from pg_stat_activity where ${listeners};
    commit`)
  await refusedInTime(accessToken)
  await until('every process listens again', async () => {
    const { rowCount } = await database.superuser.query(`select from pg_stat_activity where ${listeners}`)
    return rowCount === 2
  })
})

test('a process that has not read the revocations for 3 seconds serves visitors only, until it reads them again', async () => {
  const { accessToken } = await makeAccount()
  const [, cut] = servers
  expect(await outcome(cut, ME, accessToken)).toBe('200')
  const cutAt = performance.now()
  await relay.cut()
  const query = '{ __typename }'
  await until(
    'the process does not trust its set',
    async () => (await outcome(cut, query, accessToken)) !== '200',
  )
  expect(performance.now() - cutAt).toBeGreaterThan(2_000)
  const { status, headers, errors } = await cut.call(query, { token: accessToken })
  expect([status, errors[0]?.extensions.code]).toEqual([503, 'service_unavailable'])
  expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
  expect((await cut.call(query)).status).toBe(200)
  expect(await outcome(cut, query, 'garbage')).toBe('401 unauthenticated')
  await relay.restore()
  await until('the process serves users again', async () => (await outcome(cut, ME, accessToken)) === '200')
})
