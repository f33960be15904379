/**
 * Connections that send one message and wait for its response, over bare sockets. The generator shares the cores with the
 * servers that it measures, and a client library would use several times as much CPU. Messages are strings of bytes (latin1).
 */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import pg from 'pg'
import type { HttpRequest } from './jobs.ts'

/** The parts of a message between its keys. Without a key there is one part. */
export type Message = readonly string[]

export type Connection = {
  /** Resolves when the response is complete: with its fault, or undefined if there is none. */
  exchange(message: string): Promise<string | undefined>
  close(): void
}

/** Reads the received bytes. Returns undefined until the response is complete, then its fault, or null if there is none. */
type Reader = (received: Buffer) => string | null | undefined

const KEY = '$key'
const KEY_LENGTH = 36

function makeConnection(socket: Socket, read: Reader, closeMessage = ''): Connection {
  let received: Buffer | undefined
  let resolve: ((fault: string | undefined) => void) | undefined
  const settle = (fault: string | undefined) => {
    received = undefined
    resolve?.(fault)
    resolve = undefined
  }
  socket.setNoDelay(true)
  socket.on('data', (chunk: Buffer) => {
    received = received === undefined ? chunk : Buffer.concat([received, chunk])
    const fault = read(received)
    if (fault !== undefined) settle(fault ?? undefined)
  })
  socket.on('error', error => settle(error.message))
  socket.on('close', () => settle('the connection was closed'))
  return {
    exchange(message) {
      return new Promise(done => {
        resolve = done
        socket.write(message, 'latin1')
      })
    },
    close() {
      socket.removeAllListeners('close')
      socket.end(closeMessage, 'latin1')
    },
  }
}

export async function openHttp(url: string): Promise<Connection> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  return makeConnection(socket, readHttp)
}

export function httpMessage(url: string, { path, token, body }: HttpRequest): Message {
  const bytes = Buffer.from(body).toString('latin1')
  const [before = '', ...parts] = bytes.split(KEY)
  const length = bytes.length + parts.length * (KEY_LENGTH - KEY.length)
  const head = [
    `POST ${path} HTTP/1.1`,
    `Host: ${new URL(url).host}`,
    'Content-Type: application/json',
    'Accept: application/json',
    ...(token === undefined ? [] : [`Authorization: Bearer ${token}`]),
    `Content-Length: ${length}`,
  ]
  return [`${head.join('\r\n')}\r\n\r\n${before}`, ...parts]
}

/** A status other than 200 and errors of GraphQL are faults. */
function readHttp(received: Buffer): string | null | undefined {
  const end = received.indexOf('\r\n\r\n')
  if (end < 0) return undefined
  const head = received.toString('latin1', 0, end)
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1]
  if (length === undefined) return `a response without content-length: ${head}`
  if (received.length < end + 4 + Number(length)) return undefined
  if (head.startsWith('HTTP/1.1 200') && !received.includes('"errors"', end)) return null
  return received.toString('utf8', 0, 2_000)
}

/** Opens a connection that has prepared the statement `work`. */
export async function openSql(url: string, { setup, text, values }: SqlParts): Promise<Connection> {
  const client = new pg.Client({ connectionString: url, application_name: 'forecourt bench' })
  await client.connect()
  for (const statement of setup) await client.query(statement)
  await client.query({
    name: 'work',
    text,
    values: values.map(value => value.replace(KEY, crypto.randomUUID())),
  })
  // from here on this code uses the socket, not the driver
  const { stream } = (client as unknown as { connection: { stream: Socket } }).connection
  stream.removeAllListeners()
  return makeConnection(stream, readSql, `X${int32(4)}`)
}

type SqlParts = { setup: string[]; text: string; values: string[] }

/** Bind, Execute and Sync of the prepared statement. */
export function sqlMessage(values: readonly string[]): Message {
  const texts = values.map(value => Buffer.from(value).toString('latin1'))
  const parameters = texts.map(text => {
    const length = text.includes(KEY) ? text.length - KEY.length + KEY_LENGTH : text.length
    return { text, length }
  })
  const body = parameters.map(({ text, length }) => int32(length) + text).join('')
  const size = parameters.reduce((sum, { length }) => sum + 4 + length, 0)
  const head = `\0work\0${int16(0)}${int16(values.length)}`
  const bind = `B${int32(4 + head.length + size + 2)}${head}${body}${int16(0)}`
  return `${bind}E${int32(9)}\0${int32(0)}S${int32(4)}`.split(KEY)
}

const READY = 0x5a
const ERROR = 0x45

function readSql(received: Buffer): string | null | undefined {
  let fault: string | null = null
  for (let at = 0; at + 5 <= received.length; ) {
    const end = at + 1 + received.readInt32BE(at + 1)
    if (end > received.length) return undefined
    if (received[at] === ERROR) fault = received.toString('utf8', at + 5, end).replaceAll('\0', ' ')
    if (received[at] === READY) return fault
    at = end
  }
  return undefined
}

function int32(value: number): string {
  return String.fromCharCode(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255)
}

function int16(value: number): string {
  return String.fromCharCode(value >>> 8, value & 255)
}
