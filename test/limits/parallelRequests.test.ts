/** Parallel requests to two processes: exactly as many pass as the limit allows. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type { ApiResponse, TestServer } from '../support/apiServer.ts'
import { countResponses, register } from '../support/graphqlOperations.ts'
import {
  type Change,
  type Limited,
  metric,
  onlyLimits,
  quotes,
  refusedBy,
  startLimited,
} from '../support/limits.ts'

/** Enough slots for all clients, so that only a limit refuses. */
const manySlots = { MAX_IN_PROGRESS: '64' }

let limited: Limited
let one: TestServer
let two: TestServer

beforeAll(async () => {
  limited = await startLimited(manySlots)
  ;[one, two] = limited.servers
})

afterAll(() => limited.stop())

const turn = (number: number) => (number % 2 ? one : two)
const only = (limits: Record<string, Change>) => onlyLimits(limited, limits)
const read = (server: TestServer) => server.call('{ __typename }')

/** Sends `count` requests from 64 parallel clients. */
async function inParallel<Value>(count: number, send: (number: number) => Promise<Value>): Promise<Value[]> {
  const found: Value[] = []
  let next = 0
  const client = async () => {
    while (next < count) found.push(await send(next++))
  }
  await Promise.all(Array.from({ length: 64 }, client))
  return found
}

test('of 160 requests from 64 parallel clients to two processes exactly 100 pass', async () => {
  await only({ pricing_quote: { max: 100, window: 60 } })
  const token = await one.tokenFor(randomUUID())
  const responses = await inParallel(160, number => turn(number).call(`{ ${quotes(1)} }`, { token }))
  expect(responses.filter(response => refusedBy(response) === undefined)).toHaveLength(100)
})

test('of 160 requests from 64 parallel anonymous clients to two processes exactly 100 pass', async () => {
  await only({ public_read: { max: 100, window: 60 } })
  const responses = await inParallel(160, number => read(turn(number)))
  expect(countResponses(responses)).toEqual({ 200: 100, '429 rate_limit_exceeded': 60 })
})

test('parallel requests with several limits each, in any order, cause no deadlock and are counted exactly', async () => {
  await only({ pricing_quote: { max: 1000 }, auth_register: { max: 1000 }, public_read: { max: 90 } })
  const kinds: ((server: TestServer) => Promise<ApiResponse<unknown>>)[] = [
    server => server.call(`{ ${quotes(1)} }`),
    server => register(server, { email: 'nobody@example.com', password: 'short' }),
    read,
  ]
  const pick = () => kinds[Math.floor(Math.random() * kinds.length)] ?? read
  const responses: ApiResponse<unknown>[] = await inParallel(150, number => pick()(turn(number)))
  const refused = responses.filter(response => refusedBy(response) !== undefined)
  expect([refused.length, new Set(refused.map(refusedBy))]).toEqual([60, new Set(['public_read'])])
  expect(responses.filter(({ status }) => status >= 500)).toEqual([])
  const { rows } = await limited.database.superuser.query(
    'select deadlocks::integer from pg_stat_database where datname = current_database()',
  )
  expect(rows).toEqual([{ deadlocks: 0 }])
  for (const server of [one, two])
    expect(await metric(server, 'rate_limit_backend_errors_total{reason="database"}')).toBe(0)
})
