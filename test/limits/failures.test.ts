/** The shared counters out of reach: quick responses, the limits of each process, and recovery without help. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { countResponses, login, quoteListing, register } from '../support/graphqlOperations.ts'
import { EXACT_COUNTING } from '../support/limits.ts'
import { until } from '../support/waits.ts'
import { type Outage, PROBE, RESPONSE_MS, startOutage } from './outage.ts'

let outage: Outage

beforeAll(async () => {
  outage = await startOutage(EXACT_COUNTING.LIMITER_DEADLINE_MS)
})

beforeEach(() => outage.nextClient())

afterEach(async () => void (await outage.recovered()))

afterAll(() => outage.stop())

test('without the database each of two processes gives out half of a limit, and both share it again afterwards', async () => {
  expect(await outage.attack(1)).toEqual({ 200: 1 })
  const before = await outage.errors('connection')
  await outage.relay.cut()
  try {
    expect(await outage.attack(10)).toEqual({ 200: 3, '429 rate_limit_exceeded': 7 })
    expect(await outage.attack(10, outage.client(1))).toEqual({ 200: 3, '429 rate_limit_exceeded': 7 })
    await outage.breakerOpens()
    expect(await outage.errors('connection')).toBeGreaterThan(before)
    expect(await outage.errors('breaker_open')).toBeGreaterThan(0)
  } finally {
    await outage.relay.restore()
  }
  await outage.recovered()
  outage.nextClient()
  const together = [await outage.attack(4), await outage.attack(4, outage.client(1))]
  expect(together).toEqual([{ 200: 4 }, { 200: 2, '429 rate_limit_exceeded': 2 }])
})

test('a database that turns read-only delays no request, and no connection stays read-only', async () => {
  const before = await outage.errors('read_only')
  await outage.fromOutside(
    `alter database ${outage.database.name} set default_transaction_read_only = on`,
    outage.endConnections('forecourt limits'),
  )
  try {
    await until('a charge fails', async () => {
      await outage.read(outage.client(0, PROBE))
      return (await outage.errors('read_only')) > before
    })
    expect(await outage.attack(10)).toEqual({ 200: 3, '429 rate_limit_exceeded': 7 })
    await outage.breakerOpens()
  } finally {
    await outage.fromOutside(`alter database ${outage.database.name} reset default_transaction_read_only`)
  }
})

test('a restart of the database during an attack lets no request through beyond the limits', async () => {
  await outage.attack(2)
  const responses: Awaited<ReturnType<Outage['read']>>[] = []
  let isOver = false
  const attacking = (async () => {
    while (!isOver) responses.push(await outage.read())
  })()
  await outage.fromOutside(
    `alter database ${outage.database.name} allow_connections false`,
    outage.endConnections('%'),
  )
  await sleep(1_500)
  await outage.fromOutside(`alter database ${outage.database.name} allow_connections true`)
  await sleep(1_500)
  isOver = true
  await attacking
  expect(Math.max(...responses.map(({ took }) => took))).toBeLessThan(RESPONSE_MS)
  // the rest of the shared counter, and the share of the process
  expect(countResponses(responses)[200]).toBeLessThanOrEqual(4 + 3)
  expect(Object.keys(countResponses(responses)).sort()).toEqual(['200', '429 rate_limit_exceeded'])
})

test('without the database, login and registration are still limited', async () => {
  await outage.change("max_count = 4, mode = 'enforce'", 'auth_login')
  await outage.change("max_count = 4, mode = 'enforce', fallback = 'refuse'", 'auth_register')
  await outage.change("mode = 'off'", 'public_read')
  await outage.relay.cut()
  try {
    const logins = []
    for (let time = 0; time < 8; time++)
      logins.push(await login(outage.client(), 'a@example.com', 'wrong password'))
    expect(countResponses(logins)).toEqual({ '503 service_unavailable': 2, '429 rate_limit_exceeded': 6 })
    const input = { email: 'b@example.com', password: 'a long password' }
    const response = await register(outage.client(), input)
    expect(countResponses([response])).toEqual({ '429 rate_limit_exceeded': 1 })
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0)
  } finally {
    await outage.relay.restore()
    await outage.change("mode = 'off', fallback = 'local'", 'auth_register')
    await outage.change("mode = 'off'", 'auth_login')
    await outage.change("mode = 'enforce'", 'public_read')
  }
})

test('a cached refusal needs no database, until its policy changes', async () => {
  expect(await outage.attack(7)).toEqual({ 200: 6, '429 rate_limit_exceeded': 1 })
  const failures = async () =>
    (await outage.errors('connection')) +
    (await outage.errors('deadline')) +
    (await outage.errors('breaker_open'))
  const before = await failures()
  await outage.relay.cut()
  expect(await outage.attack(20)).toEqual({ '429 rate_limit_exceeded': 20 })
  expect(await failures()).toBe(before)
  await outage.relay.restore()
  await outage.change('max_count = 8', 'public_read')
  await until(
    'the shared counters are back',
    async () => (await outage.read(outage.client(0, PROBE))).status === 200,
  )
  try {
    expect(await outage.attack(3)).toEqual({ 200: 2, '429 rate_limit_exceeded': 1 })
  } finally {
    await outage.change('max_count = 6', 'public_read')
  }
})

test('the refusal of four quotes does not refuse a single one', async () => {
  await outage.change("max_count = 3, mode = 'enforce'", 'pricing_quote')
  try {
    const id = '00000000-0000-7000-8000-000000000001'
    const quotes = ['a', 'b', 'c', 'd'].map(alias => `${alias}: quoteListing(dealerId: "${id}") { source }`)
    const many = () => outage.client().call(`{ ${quotes.join(' ')} }`)
    expect([(await many()).status, (await many()).status]).toEqual([429, 429])
    for (let time = 0; time < 3; time++)
      expect((await quoteListing(outage.client(), '', id)).status).not.toBe(429)
  } finally {
    await outage.change("mode = 'off'", 'pricing_quote')
  }
})
