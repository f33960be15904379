/** The shared counters locked or silent: responses at the deadline, the limits of each process, and recovery without help. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { countResponses } from '../support/graphqlOperations.ts'
import { startSilentServer } from '../support/relay.ts'
import { holding, until } from '../support/waits.ts'
import { type Outage, RESPONSE_MS, startOutage } from './outage.ts'

const LOCK = 'lock table app_private.rate_limit_counters in access exclusive mode'
const DEADLINE_MS = '100'

let outage: Outage

beforeAll(async () => {
  outage = await startOutage(DEADLINE_MS)
})

beforeEach(() => outage.nextClient())

afterEach(async () => void (await outage.recovered()))

afterAll(() => outage.stop())

test('a lock on the counters delays no request, leaves no statement waiting, and charges nothing after its release', async () => {
  const before = (await outage.errors('lock_timeout')) + (await outage.errors('deadline'))
  await holding(outage.database, LOCK, [], async release => {
    const responses = await Promise.all(Array.from({ length: 40 }, () => outage.read()))
    expect(countResponses(responses)).toEqual({ 200: 3, '429 rate_limit_exceeded': 37 })
    expect(await outage.attack(5)).toEqual({ '429 rate_limit_exceeded': 5 })
    expect((await outage.errors('lock_timeout')) + (await outage.errors('deadline'))).toBeGreaterThan(before)
    await outage.breakerOpens()
    expect(await outage.limiterConnections()).toBeLessThanOrEqual(8)
    await until(
      'no statement waits for the lock',
      async () => (await outage.limiterConnections('Lock')) === 0,
    )
    await release()
  })
  const attacker = outage.current()
  const charged = await outage.recovered()
  // the shared counter has none of the charges that missed their deadline
  expect(await outage.counted(attacker)).toBe(0)
  expect(await outage.counted(charged)).toBe(4)
})

test('while a lock is held, one request a second tries the shared counters', async () => {
  await holding(outage.database, LOCK, [], async () => {
    await outage.breakerOpens()
    const tries = async () => (await outage.errors('lock_timeout')) + (await outage.errors('deadline'))
    const before = await tries()
    const startedAt = performance.now()
    while (performance.now() - startedAt < 2_500) {
      expect((await outage.read()).took).toBeLessThan(RESPONSE_MS)
      await sleep(10)
    }
    const after = await tries()
    expect(after).toBeLessThanOrEqual(before + 1 + Math.floor((performance.now() - startedAt) / 1_000))
    expect(after).toBeGreaterThan(before)
    expect(await outage.breakerOpen()).toBe(1)
  })
})

test('connections that go silent delay no request, and new connections replace them', async () => {
  const before = await outage.errors('deadline')
  outage.relay.stall()
  const outcomes = await outage.attack(12)
  expect(Object.keys(outcomes).sort()).toEqual(['200', '429 rate_limit_exceeded'])
  // first the share of the process, then the limit of the shared counters
  expect(outcomes[200]).toBeLessThanOrEqual(3 + 6)
  expect(await outage.errors('deadline')).toBeGreaterThan(before)
})

test('a database that accepts connections and never responds delays no request', async () => {
  await outage.relay.cut()
  const speak = await startSilentServer(outage.relay)
  try {
    expect(await outage.attack(10)).toEqual({ 200: 3, '429 rate_limit_exceeded': 7 })
    const burst = await Promise.all(Array.from({ length: 40 }, () => outage.read()))
    expect(countResponses(burst)).toEqual({ '429 rate_limit_exceeded': 40 })
    await outage.breakerOpens()
  } finally {
    await speak()
    await outage.relay.restore()
  }
})
