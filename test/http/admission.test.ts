/** The admission without the rest of the server, with its timeouts on a clock that the test moves. */
import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals'
import express from 'express'
import { Registry } from 'prom-client'
import { type Admission, installAdmission, makeAdmission } from '../../src/http/admission.ts'
import { makeLog } from '../../src/log.ts'
import { makeAdmissionMetrics } from '../../src/metrics/httpServer.ts'
import { until } from '../support/waits.ts'

const QUEUE_TIMEOUT_MS = 5_000

// only setTimeout is fake
beforeEach(
  () =>
    void jest.useFakeTimers({
      doNotFake: [
        'Date',
        'hrtime',
        'nextTick',
        'performance',
        'queueMicrotask',
        'setImmediate',
        'clearImmediate',
        'setInterval',
        'clearInterval',
      ],
    }),
)

afterEach(() => void jest.useRealTimers())

/** Serves /graphql with the admission alone, and runs `work` with its URL. */
async function serveSlots(
  maxInProgress: number,
  respond: (response: express.Response) => void,
  work: (url: string, admission: Admission) => Promise<void>,
): Promise<void> {
  const metrics = makeAdmissionMetrics(new Registry())
  const admission = makeAdmission({
    slots: maxInProgress,
    metrics,
    corsHeaders: () => [],
    log: makeLog('silent'),
  })
  const app = express()
  installAdmission(app, admission)
  app.use('/graphql', (_request, response) => respond(response))
  const plain = app.listen(0, '127.0.0.1')
  try {
    await once(plain, 'listening')
    await work(`http://127.0.0.1:${(plain.address() as AddressInfo).port}/graphql`, admission)
  } finally {
    plain.close()
    plain.closeAllConnections()
  }
}

test('a request that is queued for five seconds gets 503, and the next one is served', async () => {
  const pending: (() => void)[] = []
  await serveSlots(
    1,
    response => void pending.push(() => response.end('served')),
    async (url, { slots }) => {
      const first = fetch(url)
      await until('the first is in progress', () => pending.length === 1)
      let outcome: Response | undefined
      const second = fetch(url).then(response => {
        outcome = response
        return response
      })
      await until('the second is queued', () => slots.queued() === 1)
      jest.advanceTimersByTime(QUEUE_TIMEOUT_MS - 1)
      // a later response of the same process shows that the second request has none yet
      expect((await fetch(`${url}/../healthz`)).status).toBe(404)
      expect(outcome).toBeUndefined()
      jest.advanceTimersByTime(1)
      const { status, headers } = await second
      expect([status, headers.get('retry-after')]).toEqual([503, '1'])
      expect(await second.then(response => response.json())).toMatchObject({
        errors: [{ extensions: { code: 'service_unavailable' } }],
      })
      for (const respond of pending.splice(0)) respond()
      expect((await first).status).toBe(200)
      const third = fetch(url)
      await until('the third is in progress', () => pending.length === 1)
      for (const respond of pending) respond()
      expect((await third).status).toBe(200)
    },
  )
})

test('a client that does not read its response holds no slot', async () => {
  const large = Buffer.alloc(64_000_000)
  await serveSlots(
    1,
    response => void response.end(large),
    async (url, { slots }) => {
      const socket = connect(Number(new URL(url).port), '127.0.0.1')
      socket.write('GET /graphql HTTP/1.1\r\nhost: x\r\n\r\n')
      await once(socket, 'data')
      socket.pause()
      expect(slots.inUse()).toBe(0)
      socket.destroy()
    },
  )
})

test('a request whose client has disconnected keeps its slot until its work is done', async () => {
  const answers: (() => void)[] = []
  await serveSlots(
    1,
    response => void answers.push(() => response.end('too late')),
    async (url, { slots }) => {
      const leaving = new AbortController()
      const gone = fetch(url, { signal: leaving.signal })
      await until('it is in progress', () => answers.length === 1)
      leaving.abort()
      await expect(gone).rejects.toThrow()
      const next = fetch(url)
      await until('the next one is queued', () => slots.queued() === 1)
      expect(slots.inUse()).toBe(1)
      for (const answer of answers.splice(0)) answer()
      await until('the next one is in progress', () => answers.length === 1)
      expect(slots.queued()).toBe(0)
      for (const answer of answers) answer()
      expect((await next).status).toBe(200)
    },
  )
})

test('pipelined requests of a client that has disconnected free their slots when their responses are ready', async () => {
  const pending: (() => void)[] = []
  await serveSlots(
    10,
    response => void pending.push(() => response.end('served')),
    async (url, { slots }) => {
      const { hostname, port } = new URL(url)
      const socket = connect(Number(port), hostname)
      socket.write('GET /graphql HTTP/1.1\r\nHost: test\r\n\r\n'.repeat(3))
      await until('all three run', () => pending.length === 3)
      socket.destroy()
      await once(socket, 'close')
      // the server has noticed it too
      await new Promise(resolve => setImmediate(resolve))
      for (const respond of pending) respond()
      await until('no slot is in use', () => slots.inUse() === 0, 5)
    },
  )
})
