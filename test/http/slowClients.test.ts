/** Clients that send or read slowly, and more connections than are allowed, against a server with short timeouts. */
import { once } from 'node:events'
import type { Server, ServerResponse } from 'node:http'
import { connect, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, jest, test } from '@jest/globals'
import { drain, listen, makeServer } from '../../src/http/server.ts'
import { until } from '../support/waits.ts'

const HEAD = 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n'
/** More than the buffers between the two sides hold. */
const LARGE = Buffer.alloc(64_000_000)
/** Node measures these timeouts, and a test cannot move the clock of Node. */
const SHORT = { headMs: 300, requestMs: 600 }
/** Never reached, however busy the machine is. */
const LONG = { headMs: 60_000, requestMs: 60_000 }
/** Measured on the clock that the test moves. */
const RESPONSE_MS = 300

let server: Server
let port: number
let sockets: Socket[]
let responses: ServerResponse[]

beforeEach(() => {
  sockets = []
  responses = []
  // only the timeouts of our own code: Node's are real
  jest.useFakeTimers({
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
  })
})

afterEach(async () => {
  jest.useRealTimers()
  for (const socket of sockets) socket.destroy()
  await drain(server)
})

async function serve(timeouts: { headMs: number; requestMs: number }): Promise<void> {
  server = makeServer(3, { ...timeouts, responseMs: RESPONSE_MS })
  server.on('request', (request, response) => {
    responses.push(response)
    if (request.method === 'GET') response.end(request.url === '/large' ? LARGE : 'small')
    else request.resume().once('end', () => response.end('read'))
  })
  port = Number(new URL(await listen(server, '127.0.0.1', 0)).port)
}

type Client = { socket: Socket; received: () => string; closed: () => boolean }

function open(): Client {
  const socket = connect(port, '127.0.0.1')
  sockets.push(socket)
  let received = ''
  let closed = false
  socket.on('data', data => {
    if (received.length < 1_000) received += data
  })
  socket.on('error', () => {})
  socket.on('close', () => {
    closed = true
  })
  return { socket, received: () => received, closed: () => closed }
}

/** Asks for the large response, and returns once its first bytes have arrived and the client has stopped reading. */
async function openUnread(): Promise<Client> {
  const client = open()
  client.socket.write('GET /large HTTP/1.1\r\nhost: x\r\n\r\n')
  await once(client.socket, 'data')
  client.socket.pause()
  return client
}

/** Sends a byte every 50 ms until the server closes the connection. */
function trickle({ socket, closed }: Client, byte: string): void {
  const timer = setInterval(() => (closed() ? clearInterval(timer) : socket.write(byte)), 50)
}

test('a client that sends nothing is disconnected', async () => {
  await serve(SHORT)
  const client = open()
  await until('it is disconnected', client.closed)
  expect(client.received()).not.toMatch(/^HTTP\/1\.1 2/)
})

test('a client that sends the head of a request byte by byte is disconnected with 408', async () => {
  await serve(SHORT)
  const client = open()
  client.socket.write(HEAD)
  trickle(client, 'x')
  await until('it is disconnected', client.closed)
  expect(client.received()).toMatch(/^HTTP\/1\.1 408 /)
})

test('a client that sends the body byte by byte is disconnected with 408', async () => {
  await serve(SHORT)
  const client = open()
  client.socket.write(`${HEAD}\r\n`)
  trickle(client, 'x')
  await until('it is disconnected', client.closed)
  expect(client.received()).toMatch(/^HTTP\/1\.1 408 /)
})

test('a client that does not read its response is disconnected at the timeout, and not before', async () => {
  await serve(LONG)
  await openUnread()
  jest.advanceTimersByTime(RESPONSE_MS - 1)
  expect([responses[0]?.destroyed, await connections()]).toEqual([false, 1])
  jest.advanceTimersByTime(1)
  expect(responses[0]?.destroyed).toBe(true)
  await until('the server has closed the connection', async () => (await connections()) === 0)
})

test('a client that reads a large response within the timeout stays connected, and may ask again', async () => {
  await serve(LONG)
  const client = await openUnread()
  jest.advanceTimersByTime(RESPONSE_MS - 1)
  client.socket.resume()
  await until('the response is read', () => client.socket.bytesRead > LARGE.length)
  await until('the server has seen that', () => responses[0]?.closed)
  // no timer of the response is left
  expect(jest.getTimerCount()).toBe(0)
  client.socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
  const before = client.socket.bytesRead
  await until('the next response is read', () => client.socket.bytesRead > before)
  expect(client.closed()).toBe(false)
})

test('a connection beyond the maximum is closed at once, and the others are served', async () => {
  await serve(LONG)
  const dropped = once(server, 'drop')
  const clients = [open(), open(), open()]
  for (const { socket } of clients) await once(socket, 'connect')
  await until('three are connected', async () => (await connections()) === 3)
  const fourth = open()
  await dropped
  await until('the fourth is closed', fourth.closed)
  expect(fourth.received()).toBe('')
  for (const { socket, received } of clients) {
    socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    await until('it has a response', () => received().startsWith('HTTP/1.1 200'))
  }
})

function connections(): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => (error ? reject(error) : resolve(count)))
  })
}
