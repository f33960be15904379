/** What the load generator takes for an answer: all of it, and nothing that went wrong. */

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
/** What the server sends, piece by piece, whatever it is sent. */
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

const answer = (status: string, body: string) =>
  `HTTP/1.1 ${status}\r\nContent-Length: ${body.length}\r\n\r\n${body}`

test('an answer that comes in pieces is one answer', async () => {
  const whole = answer('200 OK', '{"data":{}}')
  expect(await exchange(whole.slice(0, 10), whole.slice(10, 45), whole.slice(45))).toBeUndefined()
})

test('any other status is a fault, and so are the errors of GraphQL', async () => {
  expect(await exchange(answer('429 Too Many Requests', '{}'))).toContain('429')
  expect(await exchange(answer('200 OK', '{"errors":[{}]}'))).toContain('"errors"')
})

test('a request says how long it is, the key that comes into it included', async () => {
  const [before, after] = httpMessage(url, { path: '/graphql', token: 't', body: '{"key":"$key","ü":1}' })
  const body = `${before.slice(before.indexOf('\r\n\r\n') + 4)}${'k'.repeat(36)}${after}`
  expect(before).toContain(`Content-Length: ${body.length}\r\n`)
  expect(Buffer.from(body, 'latin1').toString()).toBe(`{"key":"${'k'.repeat(36)}","ü":1}`)
})

test('a prepared statement is run as often as it is sent, and what the server refuses is a fault', async () => {
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
  // one was sent when the statement was prepared
  expect(rows).toEqual([{ word: 'grün', count: 3 }])
})
