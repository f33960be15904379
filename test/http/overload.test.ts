/** More requests than can be served, on the real server: some are refused at once, the others are served. */
import { connect } from 'node:net'
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals'
import { type ApiResponse, createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { metric } from '../support/limits.ts'
import { type RecordedLog, recordLog } from '../support/recordedLog.ts'
import { makeSeller } from '../support/seller.ts'
import { holding, until } from '../support/waits.ts'

const SLOTS = 4
/** Under sustained load, as many requests may queue as there are slots. */
const QUEUE = SLOTS
/** A queue of this age counts as sustained load. */
const SUSTAINED_MS = 500

let database: TestDatabase
let server: TestServer
let log: RecordedLog

beforeEach(async () => {
  database = await cloneDatabase()
  log = recordLog()
  const env = { POOL_SIZE: '2', MAX_IN_PROGRESS: String(SLOTS), TRUST_PROXY: '127.0.0.1' }
  server = await startServer(database, env, log.log)
})

afterEach(async () => {
  jest.restoreAllMocks()
  await server.stop()
  await database.drop()
})

/** Stops the clock of the slots at this many milliseconds from now, so that a slow machine changes no decision. */
function stopClock(milliseconds = 0): void {
  const time = performance.now() + milliseconds
  jest.spyOn(performance, 'now').mockReturnValue(time)
}

let clients = 0

/** An operation without the lock timeout of a publication, each from another client. */
const read = () =>
  server.call('{ listings { totalCount } }', { headers: { 'x-forwarded-for': `192.0.2.${++clients % 256}` } })

async function untilAdmitted(inProgress: number, queued: number): Promise<void> {
  await until(`${inProgress} requests are in progress and ${queued} are queued`, async () => {
    const names = ['admission_in_progress', 'admission_waiting']
    const [taken, waiting] = await Promise.all(names.map(name => metric(server, name)))
    return taken === inProgress && waiting === queued
  })
}

/** Runs `work` while all slots are taken and the queue is full. Then frees them, and returns the statuses of their requests. */
async function whileFull(work: () => Promise<void>): Promise<number[]> {
  let admitted: Promise<ApiResponse<unknown>>[] = []
  await holding(database, 'lock table app_public.listings in access exclusive mode', [], async () => {
    admitted = Array.from({ length: SLOTS + QUEUE }, read)
    await untilAdmitted(SLOTS, QUEUE)
    stopClock(SUSTAINED_MS)
    await work()
  })
  const responses = await Promise.all(admitted)
  return responses.map(({ status }) => status)
}

test('a request to a full queue gets 503, on both media types, and all requests before it are served', async () => {
  const statuses = await whileFull(async () => {
    for (const accept of ['application/json', 'application/graphql-response+json']) {
      const { status, headers, errors, data } = await server.call('{ currentUser { id } }', { accept })
      const cached = headers.get('cache-control')
      expect([status, headers.get('retry-after'), cached, data]).toEqual([503, '1', 'no-store', undefined])
      expect(headers.get('content-type')).toContain(accept)
      expect(headers.get('x-request-id')).toMatch(/^[\w-]{8,}$/)
      expect(errors).toEqual([
        { message: expect.stringMatching(/^[A-Z].*\.$/), extensions: { code: 'service_unavailable' } },
      ])
    }
    expect(await metric(server, 'admission_refused_total')).toBe(2)
  })
  expect(statuses).toEqual(Array(SLOTS + QUEUE).fill(200))
  await untilAdmitted(0, 0)
  expect((await read()).status).toBe(200)
})

test('a full server still serves /healthz and /metrics', async () => {
  await whileFull(async () => {
    for (const path of ['/healthz', '/metrics']) expect((await fetch(server.url + path)).status).toBe(200)
  })
})

test('a full server refuses a request before it reads the token, the document or the body', async () => {
  await whileFull(async () => {
    expect((await server.call('{ nonsense', { token: 'garbage' })).status).toBe(503)
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    const head =
      'POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50000\r\n\r\n'
    const response = new Promise<string>(resolve => socket.once('data', data => resolve(String(data))))
    socket.write(head)
    expect(await response).toMatch(/^HTTP\/1\.1 503 /)
    socket.destroy()
  })
})

test('a client that disconnects while queued leaves the queue', async () => {
  await holding(database, 'lock table app_public.listings in access exclusive mode', [], async release => {
    const first = Array.from({ length: SLOTS }, read)
    await untilAdmitted(SLOTS, 0)
    const leaving = new AbortController()
    const body = JSON.stringify({ query: '{ listings { totalCount } }' })
    const headers = { 'content-type': 'application/json' }
    const gone = fetch(`${server.url}/graphql`, { method: 'POST', headers, body, signal: leaving.signal })
    await untilAdmitted(SLOTS, 1)
    leaving.abort()
    await expect(gone).rejects.toThrow()
    await untilAdmitted(SLOTS, 0)
    await release()
    for (const response of await Promise.all(first)) expect(response.status).toBe(200)
  })
  await untilAdmitted(0, 0)
})

test('refusals are logged together, not one by one', async () => {
  await whileFull(async () => {
    for (let count = 0; count < 5; count += 1) await read()
  })
  await until('the refusals are logged', () => log.lines.some(({ refused }) => refused === 5))
  expect(log.lines.filter(({ status }) => status === 503)).toEqual([])
})

test('a client that sends its body slowly holds no slot', async () => {
  const head =
    'POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50000\r\n\r\n'
  const sockets = Array.from({ length: SLOTS * 10 }, () =>
    connect(Number(new URL(server.url).port), '127.0.0.1'),
  )
  try {
    for (const socket of sockets) socket.write(`${head}{`)
    await until(
      'all of them are connected',
      async () => (await metric(server, 'http_connections')) > SLOTS * 10,
    )
    expect((await read()).status).toBe(200)
  } finally {
    for (const socket of sockets) socket.destroy()
  }
})

test('fifty parallel publications of one dealer are a burst, and each is served', async () => {
  const usual = await startServer(database)
  try {
    const { token, dealerId } = await makeSeller(database, usual)
    // all of them arrive within the time of a burst
    stopClock()
    const responses = await Promise.all(
      Array.from({ length: 50 }, () => createListing(usual, token, dealerId)),
    )
    expect(responses.map(({ status }) => status)).toEqual(Array(50).fill(200))
  } finally {
    await usual.stop()
  }
})
