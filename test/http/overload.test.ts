/** More requests than can be served, on the real server: who is refused, how, and what becomes of the others. */
import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import express from 'express'
import { installAdmission } from '../../src/http/admission.ts'
import { makeSlots } from '../../src/http/slots.ts'
import { type Answer, createListing, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { metric } from '../support/limits.ts'
import { type RecordedLog, recordLog } from '../support/recordedLog.ts'
import { makeSeller } from '../support/seller.ts'
import { holding, until, untilWaitingForLock } from '../support/waits.ts'

const PLACES = 4
/** As many may wait once a queue stands. */
const WAITING = PLACES
/** Longer than a queue may stand and still be a burst. */
const STANDING_MS = 700

let database: TestDatabase
let server: TestServer
let log: RecordedLog

beforeEach(async () => {
  database = await cloneDatabase()
  log = recordLog()
  server = await startServer(database, { POOL_SIZE: '2', MAX_IN_PROGRESS: String(PLACES) }, log.log)
})

afterEach(async () => {
  await server.stop()
  await database.drop()
})

/** Waits for a lock without the time limit that a publication sets for itself. */
const read = () => server.call('{ listings { totalCount } }')

async function untilAdmission(inProgress: number, waiting: number): Promise<void> {
  await until(`${inProgress} requests are in progress and ${waiting} wait`, async () => {
    const names = ['admission_in_progress', 'admission_waiting']
    const [taken, queued] = await Promise.all(names.map(name => metric(server, name)))
    return taken === inProgress && queued === waiting
  })
}

/** Runs `work` while all places are taken and as many wait as may. Then those are released, and their statuses returned. */
async function whileFull(work: () => Promise<void>): Promise<number[]> {
  let admitted: Promise<Answer<unknown>>[] = []
  await holding(database, 'lock table app_public.listings in access exclusive mode', [], async () => {
    admitted = Array.from({ length: PLACES + WAITING }, read)
    await untilAdmission(PLACES, WAITING)
    await sleep(STANDING_MS)
    await work()
  })
  const answers = await Promise.all(admitted)
  return answers.map(({ status }) => status)
}

test('the request after the last that may wait is 503 at once, on both media types; all before it are answered', async () => {
  const statuses = await whileFull(async () => {
    for (const accept of ['application/json', 'application/graphql-response+json']) {
      const { status, headers, errors, data } = await server.call('{ currentUser { id } }', { accept })
      expect([status, headers.get('retry-after'), data]).toEqual([503, '1', undefined])
      expect(headers.get('content-type')).toContain(accept)
      expect(headers.get('x-request-id')).toMatch(/^[\w-]{8,}$/)
      expect(errors).toEqual([
        { message: expect.stringMatching(/^[A-Z].*\.$/), extensions: { code: 'service_unavailable' } },
      ])
    }
    expect(await metric(server, 'admission_refused_total')).toBe(2)
  })
  expect(statuses).toEqual(Array(PLACES + WAITING).fill(200))
  await untilAdmission(0, 0)
  expect((await read()).status).toBe(200)
})

test('a full server still says that it lives, and tells its figures', async () => {
  await whileFull(async () => {
    for (const path of ['/healthz', '/metrics']) expect((await fetch(server.url + path)).status).toBe(200)
  })
})

test('a refusal comes before the token, the document or the body is looked at', async () => {
  await whileFull(async () => {
    expect((await server.call('{ nonsense', { token: 'garbage' })).status).toBe(503)
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    const head =
      'POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50000\r\n\r\n'
    const answer = new Promise<string>(resolve => socket.once('data', data => resolve(String(data))))
    socket.write(head)
    expect(await answer).toMatch(/^HTTP\/1\.1 503 /)
    socket.destroy()
  })
})

test('who goes away while waiting leaves the queue, and the next one may wait', async () => {
  await holding(database, 'lock table app_public.listings in access exclusive mode', [], async release => {
    const first = Array.from({ length: PLACES }, read)
    await untilAdmission(PLACES, 0)
    const leaving = new AbortController()
    const body = JSON.stringify({ query: '{ listings { totalCount } }' })
    const headers = { 'content-type': 'application/json' }
    const gone = fetch(`${server.url}/graphql`, { method: 'POST', headers, body, signal: leaving.signal })
    await untilAdmission(PLACES, 1)
    leaving.abort()
    await expect(gone).rejects.toThrow()
    await untilAdmission(PLACES, 0)
    await release()
    for (const answer of await Promise.all(first)) expect(answer.status).toBe(200)
  })
  await untilAdmission(0, 0)
})

test('who has waited five seconds for a place is 503', async () => {
  const narrow = await startServer(database, { MAX_IN_PROGRESS: '1' })
  try {
    await holding(database, 'lock table app_public.listings in access exclusive mode', [], async release => {
      const first = narrow.call('{ listings { totalCount } }')
      await untilWaitingForLock(database)
      const { status, errors, headers } = await narrow.call('{ __typename }')
      const code = errors[0]?.extensions.code
      expect([status, code, headers.get('retry-after')]).toEqual([503, 'service_unavailable', '1'])
      await release()
      expect((await first).status).toBe(200)
    })
    expect((await narrow.call('{ __typename }')).status).toBe(200)
  } finally {
    await narrow.stop()
  }
})

test('refusals are told of together in the log, not one by one', async () => {
  await whileFull(async () => {
    for (let count = 0; count < 5; count += 1) await read()
  })
  await until('the refusals are told of', () => log.lines.some(({ refused }) => refused === 5))
  expect(log.lines.filter(({ status }) => status === 503)).toEqual([])
})

test('who sends a body slowly takes no place', async () => {
  const head =
    'POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50000\r\n\r\n'
  const sockets = Array.from({ length: PLACES * 10 }, () =>
    connect(Number(new URL(server.url).port), '127.0.0.1'),
  )
  try {
    for (const socket of sockets) socket.write(`${head}{`)
    await until(
      'all of them are connected',
      async () => (await metric(server, 'http_connections')) > PLACES * 10,
    )
    expect((await read()).status).toBe(200)
  } finally {
    for (const socket of sockets) socket.destroy()
  }
})

test('who does not read the answer has given its place back', async () => {
  const slots = makeSlots(1)
  const app = express()
  installAdmission(app, { slots, refuse: () => {} })
  app.use((_request, response) => void response.end(Buffer.alloc(64_000_000)))
  const plain = app.listen(0, '127.0.0.1')
  await once(plain, 'listening')
  const socket = connect((plain.address() as AddressInfo).port, '127.0.0.1')
  try {
    socket.write('GET /graphql HTTP/1.1\r\nhost: x\r\n\r\n')
    await once(socket, 'data')
    socket.pause()
    expect(slots.inUse()).toBe(0)
  } finally {
    socket.destroy()
    plain.close()
  }
})

test('fifty publications of one dealer at once are a burst: each is answered', async () => {
  const usual = await startServer(database)
  try {
    const { token, dealerId } = await makeSeller(database, usual)
    const answers = await Promise.all(Array.from({ length: 50 }, () => createListing(usual, token, dealerId)))
    expect(answers.map(({ status }) => status)).toEqual(Array(50).fill(200))
  } finally {
    await usual.stop()
  }
})
