/** The connections of the load generator: they read whole responses and report every failure as a fault. */
import type { AddressInfo } from 'node:net'
import { createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals'
import {
  type Connection,
  httpMessage,
  openHttp,
  openSql,
  sqlMessage,
} from '../../bench/support/connections.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'

let database: TestDatabase
let server: Server
let url: string
/** The pieces that the server sends after any request. */
let pieces: string[] = []
const lines: Connection[] = []

beforeAll(async () => {
  database = await cloneDatabase()
  server = createServer((socket: Socket) => {
    socket.on('data', async () => {
      for (const piece of pieces) {
        socket.write(piece)
        await sleep(5)
      }
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})

afterEach(() => {
  for (const line of lines.splice(0)) line.close()
})

afterAll(async () => {
  await new Promise(resolve => server.close(resolve))
  await database.drop()
})

async function exchange(...sent: string[]): Promise<string | undefined> {
  pieces = sent
  const line = await openHttp(url)
  lines.push(line)
  return line.exchange('POST / HTTP/1.1\r\n\r\n')
}

const response = (status: string, body: string) =>
  `HTTP/1.1 ${status}\r\nContent-Length: ${body.length}\r\n\r\n${body}`

test('a response that arrives in pieces counts as one response', async () => {
  const whole = response('200 OK', '{"data":{}}')
  expect(await exchange(whole.slice(0, 10), whole.slice(10, 45), whole.slice(45))).toBeUndefined()
})

test('a status other than 200 is a fault, and so are GraphQL errors', async () => {
  expect(await exchange(response('429 Too Many Requests', '{}'))).toContain('429')
  expect(await exchange(response('200 OK', '{"errors":[{}]}'))).toContain('"errors"')
})

test('the content length of a request includes the key that is inserted later', async () => {
  const [before = '', after] = httpMessage(url, {
    path: '/graphql',
    token: 't',
    body: '{"key":"$key","ü":1}',
  })
  const body = `${before.slice(before.indexOf('\r\n\r\n') + 4)}${'k'.repeat(36)}${after}`
  expect(before).toContain(`Content-Length: ${body.length}\r\n`)
  expect(Buffer.from(body, 'latin1').toString()).toBe(`{"key":"${'k'.repeat(36)}","ü":1}`)
})

test('a prepared statement runs each time it is sent, and a refused statement is a fault', async () => {
  await database.superuser.query('create table bench_lines (key uuid primary key, word text)')
  const text = 'insert into bench_lines values ($1, $2)'
  const values = ['$key', 'grün']
  const line = await openSql(database.superuser.options.connectionString ?? '', { setup: [], text, values })
  lines.push(line)
  const [before, after = ''] = sqlMessage(values)
  const key = (digit: number) => `00000000-0000-4000-8000-00000000000${digit}`
  expect(await line.exchange(before + key(1) + after)).toBeUndefined()
  expect(await line.exchange(before + key(2) + after)).toBeUndefined()
  expect(await line.exchange(before + key(2) + after)).toContain('duplicate key')
  const { rows } = await database.superuser.query('select word, count(*)::int from bench_lines group by word')
  // the third row is from the preparation of the statement
  expect(rows).toEqual([{ word: 'grün', count: 3 }])
})
