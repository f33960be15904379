/** Clients that send or read slowly, or connect in crowds, against the server with less patience than it has. */
import { once } from 'node:events'
import type { Server } from 'node:http'
import { connect, type Socket } from 'node:net'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { drain, listen, makeServer } from '../../src/http/server.ts'
import { until } from '../support/waits.ts'

const HEAD = 'POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n'
/** More than the buffers between the two sides hold. */
const LARGE = Buffer.alloc(64_000_000)

let server: Server
let port: number
let sockets: Socket[]

beforeEach(async () => {
  sockets = []
  server = makeServer(3, { headMs: 300, requestMs: 600, responseMs: 300 })
  server.on('request', (request, response) => {
    if (request.method === 'GET') response.end(request.url === '/large' ? LARGE : 'small')
    else request.resume().once('end', () => response.end('read'))
  })
  port = Number(new URL(await listen(server, '127.0.0.1', 0)).port)
})

afterEach(async () => {
  for (const socket of sockets) socket.destroy()
  await drain(server)
})

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

/** Sends a byte now and then for as long as the server listens. */
function trickle({ socket, closed }: Client, byte: string): void {
  const timer = setInterval(() => (closed() ? clearInterval(timer) : socket.write(byte)), 50)
}

test('who sends nothing is cut off', async () => {
  const client = open()
  await until('it is cut off', client.closed)
})

test('who sends the head of a request byte by byte is cut off with 408', async () => {
  const client = open()
  client.socket.write(HEAD)
  trickle(client, 'x')
  await until('it is cut off', client.closed)
  expect(client.received()).toMatch(/^HTTP\/1\.1 408 /)
})

test('who sends the body byte by byte is cut off with 408', async () => {
  const client = open()
  client.socket.write(`${HEAD}\r\n`)
  trickle(client, 'x')
  await until('it is cut off', client.closed)
  expect(client.received()).toMatch(/^HTTP\/1\.1 408 /)
})

test('who does not read its answer is cut off', async () => {
  const client = open()
  client.socket.write('GET /large HTTP/1.1\r\nhost: x\r\n\r\n')
  await once(client.socket, 'data')
  client.socket.pause()
  await until('the server has closed the connection', async () => (await connections()) === 0)
})

test('who reads its answer is not cut off, however large it is, and may ask again', async () => {
  const client = open()
  client.socket.write('GET /large HTTP/1.1\r\nhost: x\r\n\r\n')
  await until('the answer is read', () => client.socket.bytesRead > LARGE.length)
  client.socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
  const before = client.socket.bytesRead
  await until('the next answer is read', () => client.socket.bytesRead > before)
  expect(client.closed()).toBe(false)
})

test('a connection beyond the most that are allowed is closed at once, and the others are served', async () => {
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
    await until('it is answered', () => received().startsWith('HTTP/1.1 200'))
  }
})

function connections(): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => (error ? reject(error) : resolve(count)))
  })
}
