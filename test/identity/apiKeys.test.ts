/** The look-up of API keys: how many statements it sends, how long it keeps an answer, and how it compares. */
import * as crypto from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, jest, test } from '@jest/globals'
import type pg from 'pg'
import { makeLog } from '../../src/log.ts'
import { until } from '../support/waits.ts'

const compare = jest.fn(crypto.timingSafeEqual)
jest.unstable_mockModule('node:crypto', () => ({ ...crypto, timingSafeEqual: compare }))
const { makeApiKeys, newApiKey } = await import('../../src/identity/apiKeys.ts')

type Made = ReturnType<typeof newApiKey>
const IDENTITY = { apiKeyId: 'key', dealerId: 'dealer', role: 'dealer' } as const

/** A pool that knows these keys, and records the parameters of each statement. It answers once `release` resolves. */
function start(known: Made[], release: () => Promise<unknown> = async () => {}) {
  const lookUps: string[][] = []
  const uses: string[] = []
  let open = 0
  let most = 0
  const query = async (sql: string, values: unknown[]) => {
    open += 1
    most = Math.max(most, open)
    try {
      await release()
      if (sql.includes('record_api_key_use')) {
        uses.push(String(values[1]))
        return { rows: [] }
      }
      const prefixes = values[0] as string[]
      lookUps.push(prefixes)
      return {
        rows: known
          .filter(({ prefix }) => prefixes.includes(prefix))
          .map(({ prefix, secretHash }) => ({
            prefix,
            secret_hash: secretHash,
            api_key_id: IDENTITY.apiKeyId,
            dealer_id: IDENTITY.dealerId,
          })),
      }
    } finally {
      open -= 1
    }
  }
  const apiKeys = makeApiKeys({ pool: { query } as unknown as pg.Pool, log: makeLog('silent') })
  return { apiKeys, lookUps, uses, most: () => most }
}

test('a key is valid with its own secret only, whatever characters its parts have', async () => {
  const keys = Array.from({ length: 200 }, newApiKey)
  expect(keys.some(({ key }) => /_.*_.*[_-]/.test(key))).toBe(true)
  const { apiKeys } = start(keys)
  for (const [index, { key, prefix }] of keys.entries()) {
    expect(await apiKeys.verify(key)).toEqual(IDENTITY)
    const other = keys[(index + 1) % keys.length]?.key.slice(16)
    expect(await apiKeys.verify(`fc_${prefix}_${other}`)).toBeUndefined()
  }
})

test('secrets are compared in constant time', async () => {
  const made = newApiKey()
  const { apiKeys } = start([made])
  compare.mockClear()
  await apiKeys.verify(made.key)
  expect(compare.mock.calls).toEqual([[made.secretHash, made.secretHash]])
  compare.mockReturnValueOnce(false)
  expect(await apiKeys.verify(made.key)).toBeUndefined()
})

test('look-ups of one prefix at once share a statement, and an answer is kept', async () => {
  const made = newApiKey()
  const { apiKeys, lookUps } = start([made])
  const found = await Promise.all(Array.from({ length: 100 }, () => apiKeys.verify(made.key)))
  expect(found.every(identity => identity?.apiKeyId === 'key')).toBe(true)
  await apiKeys.verify(made.key)
  expect(lookUps).toEqual([[made.prefix]])
})

test('a thousand unknown keys at once take two statements, one after the other, and again none', async () => {
  const { apiKeys, lookUps, most } = start([], () => sleep(5))
  const keys = Array.from({ length: 1_000 }, () => newApiKey().key)
  for (let round = 0; round < 2; round += 1) {
    expect(await Promise.all(keys.map(apiKeys.verify))).toEqual(Array(1_000).fill(undefined))
  }
  expect([lookUps.length, most()]).toEqual([2, 1])
})

test('an answer is kept for less than a second, counted from the start of its look-up', async () => {
  const made = newApiKey()
  const known = [made]
  const { apiKeys } = start(known, () => sleep(300))
  const startedAt = performance.now()
  expect(await apiKeys.verify(made.key)).toEqual(IDENTITY)
  known.pop()
  await until('the key is unknown', async () => (await apiKeys.verify(made.key)) === undefined)
  // the answer, and the look-up that found the end
  expect(performance.now() - startedAt).toBeLessThan(1_000 + 300)
})

test('a failed look-up rejects, and the next one asks again', async () => {
  const made = newApiKey()
  let isDown = true
  const { apiKeys } = start([made], async () => {
    if (isDown) throw new Error('down')
  })
  await expect(apiKeys.verify(made.key)).rejects.toThrow('down')
  isDown = false
  expect(await apiKeys.verify(made.key)).toEqual(IDENTITY)
})

test('text that is not a key asks nobody', async () => {
  const { apiKeys, lookUps } = start([])
  for (const text of ['fc_', 'fc_a_b', `${newApiKey().key}a`])
    expect(await apiKeys.verify(text)).toBeUndefined()
  expect(lookUps).toEqual([])
})

test('a process records the use of a key once a minute, and a stop waits for it', async () => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const { apiKeys, uses } = start([], () => promise)
  for (let use = 0; use < 3; use += 1) apiKeys.recordUse(IDENTITY)
  apiKeys.recordUse({ ...IDENTITY, apiKeyId: 'another' })
  const stopped = apiKeys.stop()
  expect(uses).toEqual([])
  resolve()
  await stopped
  expect(uses).toEqual(['key', 'another'])
})

test('a use that cannot be recorded fails nothing', async () => {
  const { apiKeys } = start([], () => Promise.reject(new Error('down')))
  apiKeys.recordUse(IDENTITY)
  await apiKeys.stop()
})
