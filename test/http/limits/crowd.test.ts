/** Many at once on several processes: exactly as many pass as the limit says. */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import {
  type Change,
  type Limited,
  metric,
  onlyLimits,
  patient,
  quotes,
  refusedBy,
  startLimited,
} from '../../support/limits.ts'
import { register, tallyAnswers } from '../../support/operations.ts'
import { type Answer, jwtSecret, type TestServer } from '../../support/server.ts'
import { until } from '../../support/waits.ts'

const main = new URL('../../../src/main.ts', import.meta.url).pathname

let limited: Limited
let one: TestServer
let two: TestServer
const children: ChildProcess[] = []

beforeAll(async () => {
  limited = await startLimited()
  ;[one, two] = limited.servers
})

afterAll(async () => {
  for (const child of children) child.kill('SIGKILL')
  await limited.stop()
})

const turn = (number: number) => (number % 2 ? one : two)
const only = (limits: Record<string, Change>) => onlyLimits(limited, limits)
const read = (server: TestServer) => server.call('{ __typename }')

/** Sends `count` requests, 64 of them at any time. */
async function crowd<Value>(count: number, send: (number: number) => Promise<Value>): Promise<Value[]> {
  const found: Value[] = []
  let next = 0
  const client = async () => {
    while (next < count) found.push(await send(next++))
  }
  await Promise.all(Array.from({ length: 64 }, client))
  return found
}

/** The URL of another process of the API on the database of these tests. */
async function startProcess(): Promise<string> {
  const { PATH = '', HOME = '' } = process.env
  const env = {
    PATH,
    HOME,
    PORT: '0',
    DATABASE_URL: limited.database.ownerUrl,
    JWT_SECRET: jwtSecret,
    LOG_LEVEL: 'silent',
    ...patient,
  }
  const child = spawn(process.execPath, [main, 'api'], { env })
  children.push(child)
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', text => (output += text))
  await until('the process is ready', () => output.includes('Stop  ') || child.exitCode !== null, 30)
  const [, url] = /GraphQL API +(http\S+)\/graphql/.exec(output) ?? []
  if (url === undefined) throw new Error(`it has not started:\n${output}`)
  return url
}

test('of 160 requests of 64 parallel clients to two processes exactly 100 pass', async () => {
  await only({ pricing_quote: { max: 100, window: 60 } })
  const urls = [await startProcess(), await startProcess()]
  const token = await one.tokenFor(randomUUID())
  const send = async (number: number) => {
    const response = await fetch(`${urls[number % 2]}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
      body: JSON.stringify({ query: `{ ${quotes(1)} }` }),
    })
    await response.text()
    return response.status === 429
  }
  const refused = await crowd(160, number => send(number))
  expect(refused.filter(one => !one)).toHaveLength(100)
  for (const child of children) child.kill('SIGKILL')
})

test('of 160 requests of 64 parallel anonymous clients to two servers exactly 100 pass', async () => {
  await only({ public_read: { max: 100, window: 60 } })
  const answers = await crowd(160, number => read(turn(number)))
  expect(tallyAnswers(answers)).toEqual({ 200: 100, '429 rate_limit_exceeded': 60 })
})

test('requests with several scopes at once, in any order, end without a deadlock and with the exact count', async () => {
  await only({ pricing_quote: { max: 1000 }, auth_register: { max: 1000 }, public_read: { max: 90 } })
  const kinds: ((server: TestServer) => Promise<Answer<unknown>>)[] = [
    server => server.call(`{ ${quotes(1)} }`),
    server => register(server, { email: 'nobody@example.com', password: 'short' }),
    read,
  ]
  const pick = () => kinds[Math.floor(Math.random() * kinds.length)] ?? read
  const answers: Answer<unknown>[] = await crowd(150, number => pick()(turn(number)))
  const refused = answers.filter(answer => refusedBy(answer) !== undefined)
  expect([refused.length, new Set(refused.map(refusedBy))]).toEqual([60, new Set(['public_read'])])
  expect(answers.filter(({ status }) => status >= 500)).toEqual([])
  const { rows } = await limited.database.superuser.query(
    'select deadlocks::integer from pg_stat_database where datname = current_database()',
  )
  expect(rows).toEqual([{ deadlocks: 0 }])
  for (const server of [one, two])
    expect(await metric(server, 'rate_limit_backend_errors_total{reason="database"}')).toBe(0)
})
