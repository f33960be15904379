/** The shared counters gone, hung or read-only in the middle of an attack: quick answers, local limits, recovery by itself. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import pg from 'pg'
import { startApiProcess } from '../support/apiProcess.ts'
import type { Answer, TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { countResponses, login, quoteListing, register } from '../support/graphqlOperations.ts'
import { type Relay, startRelay, startSilentServer } from '../support/relay.ts'
import { holding, until } from '../support/waits.ts'

const LOCK = 'lock table app_private.rate_limit_counters in access exclusive mode'
/** Longest answer while the counters are out of reach, in milliseconds. */
const QUICK = 250

let database: TestDatabase
let relay: Relay
let servers: TestServer[]
let address = 0

beforeAll(async () => {
  database = await cloneDatabase()
  relay = await startRelay(database.ownerUrl)
  const env = { INSTANCES: '2', TRUST_PROXY: '127.0.0.1' }
  const behindRelay = { ...database, ownerUrl: relay.url }
  servers = await Promise.all([startApiProcess(behindRelay, env), startApiProcess(behindRelay, env)])
  await change("max_count = 6, mode = 'enforce'", 'public_read')
})

beforeEach(() => {
  address++
})

afterEach(recovered)

afterAll(async () => {
  for (const server of servers) await server.stop()
  await relay.cut()
  await database.drop()
})

/** A server as the client of this test, at its own address, sees it. */
function client(number = 0, host = address): TestServer {
  const server = servers[number] as TestServer
  const headers = { 'x-forwarded-for': `203.0.113.${host}` }
  return { ...server, call: (query, options) => server.call(query, { headers, ...options }) }
}

/** Sends an operation that needs no database but the limiter's, and says how long its answer took. */
async function read(server = client()): Promise<Answer<unknown> & { took: number }> {
  const start = performance.now()
  const answer = await server.call('{ __typename }')
  return { ...answer, took: performance.now() - start }
}

/** Sends one after the other, each of which must be answered soon; the outcomes. */
async function attack(times: number, server = client()): Promise<Record<string, number>> {
  const answers = []
  for (let time = 0; time < times; time++) {
    const answer = await read(server)
    expect(answer.took).toBeLessThan(QUICK)
    answers.push(answer)
  }
  return countResponses(answers)
}

async function metric(name: string, number = 0): Promise<number> {
  const text = await (await fetch(`${servers[number]?.url}/metrics`)).text()
  const line = text.split('\n').find(one => one.startsWith(`${name} `))
  return Number(line?.split(' ').at(-1) ?? 0)
}

const errors = (reason: string) => metric(`rate_limit_backend_errors_total{reason="${reason}"}`)
const breakerOpen = (number = 0) => metric('rate_limit_breaker_open', number)

/** Changes a policy, and waits until both servers keep to it. */
async function change(set: string, scope: string): Promise<void> {
  const versions = () => Promise.all([0, 1].map(number => metric('rate_limit_config_version', number)))
  const before = await versions()
  await database.owner.query(`update app_public.rate_limit_policies set ${set} where scope = $1`, [scope])
  await until('the policy is in force', async () => {
    const after = await versions()
    return after.every((version, index) => version > (before[index] ?? 0))
  })
}

/** Comes back once both servers count together again, without help. */
async function recovered(): Promise<void> {
  await until('both servers use the shared counters', async () => {
    address++
    const left: (string | null)[] = []
    for (const number of [0, 1, 0, 1]) {
      left.push((await read(client(number))).headers.get('x-ratelimit-remaining'))
    }
    return left.join() === '5,4,3,2'
  })
  expect([await breakerOpen(0), await breakerOpen(1)]).toEqual([0, 0])
  address++
}

/** Comes back once the first server leaves the database alone; until then it tries. */
async function breakerOpens(): Promise<void> {
  await until('the breaker opens', async () => {
    expect((await read(client(0, 250))).took).toBeLessThan(QUICK)
    return (await breakerOpen()) === 1
  })
}

async function limiterConnections(waitingFor?: string): Promise<number> {
  const { rows } = await database.superuser.query(
    `select count(*)::integer as count from pg_stat_activity
     where datname = current_database() and application_name = 'forecourt limits'
       and ($1::text is null or wait_event_type = $1)`,
    [waitingFor],
  )
  return rows[0].count
}

/** Runs statements outside the database of the test. */
async function fromOutside(...statements: string[]): Promise<void> {
  const outside = new pg.Client({ connectionString: process.env.TEST_SUPERUSER_URL as string })
  await outside.connect()
  for (const sql of statements) await outside.query(sql)
  await outside.end()
}

const endConnections = (names: string) =>
  `select pg_terminate_backend(pid) from pg_stat_activity
   where datname = '${database.name}' and application_name like '${names}'`

test('with the line cut each of two instances gives out half, quickly, and both count together once it is back', async () => {
  expect(await attack(1)).toEqual({ 200: 1 })
  const before = await errors('connection')
  await relay.cut()
  try {
    expect(await attack(10)).toEqual({ 200: 3, '429 rate_limit_exceeded': 7 })
    expect(await attack(10, client(1))).toEqual({ 200: 3, '429 rate_limit_exceeded': 7 })
    await breakerOpens()
    expect(await errors('connection')).toBeGreaterThan(before)
    expect(await errors('breaker_open')).toBeGreaterThan(0)
  } finally {
    await relay.restore()
  }
  await recovered()
  address++
  const together = [await attack(4), await attack(4, client(1))]
  expect(together).toEqual([{ 200: 4 }, { 200: 2, '429 rate_limit_exceeded': 2 }])
})

test('a lock held on the counters delays nobody, leaves no statement behind, and is over when it is released', async () => {
  const before = (await errors('lock_timeout')) + (await errors('deadline'))
  await holding(database, LOCK, [], async release => {
    const answers = await Promise.all(Array.from({ length: 40 }, () => read()))
    expect(countResponses(answers)).toEqual({ 200: 3, '429 rate_limit_exceeded': 37 })
    expect(await attack(5)).toEqual({ '429 rate_limit_exceeded': 5 })
    expect((await errors('lock_timeout')) + (await errors('deadline'))).toBeGreaterThan(before)
    await breakerOpens()
    expect(await limiterConnections()).toBeLessThanOrEqual(8)
    await until('no statement waits for the lock', async () => (await limiterConnections('Lock')) === 0)
    await release()
  })
  const start = performance.now()
  const attacker = address
  await recovered()
  expect(performance.now() - start).toBeLessThan(3_000)
  // what nobody waited for any more was not counted late: the attacker has a whole limit again
  expect(await attack(7, client(0, attacker))).toEqual({ 200: 6, '429 rate_limit_exceeded': 1 })
})

test('a lock held for long is met by one request a second, not by each', async () => {
  await holding(database, LOCK, [], async () => {
    await breakerOpens()
    const met = async () => (await errors('lock_timeout')) + (await errors('deadline'))
    const before = await met()
    const deadline = Date.now() + 2_500
    while (Date.now() < deadline) {
      expect((await read()).took).toBeLessThan(QUICK)
      await sleep(10)
    }
    expect(await met()).toBeLessThanOrEqual(before + 3)
    expect(await met()).toBeGreaterThan(before)
    expect(await breakerOpen()).toBe(1)
  })
})

test('connections that go silent delay nobody, and fresh ones take their place', async () => {
  const before = await errors('deadline')
  relay.stall()
  const outcomes = await attack(12)
  expect(Object.keys(outcomes).sort()).toEqual(['200', '429 rate_limit_exceeded'])
  // the share of the instance, and then what the shared counters have
  expect(outcomes[200]).toBeLessThanOrEqual(3 + 6)
  expect(await errors('deadline')).toBeGreaterThan(before)
})

test('a backend that never answers delays nobody, and is noticed when it answers again', async () => {
  await relay.cut()
  const speak = await startSilentServer(relay)
  try {
    expect(await attack(10)).toEqual({ 200: 3, '429 rate_limit_exceeded': 7 })
    const burst = await Promise.all(Array.from({ length: 40 }, () => read()))
    expect(countResponses(burst)).toEqual({ '429 rate_limit_exceeded': 40 })
    await breakerOpens()
  } finally {
    await speak()
    await relay.restore()
  }
})

test('a database that turns read-only delays nobody, and no connection stays read-only', async () => {
  const before = await errors('read_only')
  await fromOutside(
    `alter database ${database.name} set default_transaction_read_only = on`,
    endConnections('forecourt limits'),
  )
  try {
    await until('a charge meets it', async () => {
      await read(client(0, 250))
      return (await errors('read_only')) > before
    })
    expect(await attack(10)).toEqual({ 200: 3, '429 rate_limit_exceeded': 7 })
    await breakerOpens()
  } finally {
    await fromOutside(`alter database ${database.name} reset default_transaction_read_only`)
  }
})

test('a restart in the middle of an attack opens no gap: every connection ends, and none is taken for a while', async () => {
  await attack(2)
  const answers: Awaited<ReturnType<typeof read>>[] = []
  let over = false
  const attacking = (async () => {
    while (!over) answers.push(await read())
  })()
  await fromOutside(`alter database ${database.name} allow_connections false`, endConnections('%'))
  await sleep(1_500)
  await fromOutside(`alter database ${database.name} allow_connections true`)
  await sleep(1_500)
  over = true
  await attacking
  expect(Math.max(...answers.map(({ took }) => took))).toBeLessThan(QUICK)
  // what the shared counters have left, and the share of the instance
  expect(countResponses(answers)[200]).toBeLessThanOrEqual(4 + 3)
  expect(Object.keys(countResponses(answers)).sort()).toEqual(['200', '429 rate_limit_exceeded'])
})

test('login and registration never fail open', async () => {
  await change("max_count = 4, mode = 'enforce'", 'auth_login')
  await change("max_count = 4, mode = 'enforce', fallback = 'refuse'", 'auth_register')
  await change("mode = 'off'", 'public_read')
  await relay.cut()
  try {
    const logins = []
    for (let time = 0; time < 8; time++) logins.push(await login(client(), 'a@example.com', 'wrong password'))
    expect(countResponses(logins)).toEqual({ '503 service_unavailable': 2, '429 rate_limit_exceeded': 6 })
    const input = { email: 'b@example.com', password: 'a long password' }
    const answer = await register(client(), input)
    expect(countResponses([answer])).toEqual({ '429 rate_limit_exceeded': 1 })
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
  } finally {
    await relay.restore()
    await change("mode = 'off', fallback = 'local'", 'auth_register')
    await change("mode = 'off'", 'auth_login')
    await change("mode = 'enforce'", 'public_read')
  }
})

test('a key known to be over is refused without the database, until its policy changes', async () => {
  expect(await attack(7)).toEqual({ 200: 6, '429 rate_limit_exceeded': 1 })
  const sum = async () =>
    (await errors('connection')) + (await errors('deadline')) + (await errors('breaker_open'))
  const before = await sum()
  await relay.cut()
  expect(await attack(20)).toEqual({ '429 rate_limit_exceeded': 20 })
  expect(await sum()).toBe(before)
  await relay.restore()
  const start = performance.now()
  await change('max_count = 8', 'public_read')
  expect(performance.now() - start).toBeLessThan(2_500)
  await until('the shared counters are back', async () => (await read(client(0, 251))).status === 200)
  try {
    expect(await attack(3)).toEqual({ 200: 2, '429 rate_limit_exceeded': 1 })
  } finally {
    await change('max_count = 6', 'public_read')
  }
})

test('a refusal of much is no refusal of little: a single quote still passes', async () => {
  await change("max_count = 3, mode = 'enforce'", 'pricing_quote')
  try {
    const id = '00000000-0000-7000-8000-000000000001'
    const quotes = ['a', 'b', 'c', 'd'].map(alias => `${alias}: quoteListing(dealerId: "${id}") { source }`)
    const many = () => client().call(`{ ${quotes.join(' ')} }`)
    expect([(await many()).status, (await many()).status]).toEqual([429, 429])
    for (let time = 0; time < 3; time++) expect((await quoteListing(client(), '', id)).status).not.toBe(429)
  } finally {
    await change("mode = 'off'", 'pricing_quote')
  }
})
