/** Random tokens: their hashes, and their encryption for the outbox. */
import { expect, test } from '@jest/globals'
import { hashToken, newToken, openToken, sealToken } from '../../src/identity/secretTokens.ts'
import { derivedKey } from '../../src/request/derivedKey.ts'

const key = derivedKey('a secret', 'mail token')

test('tokens are 32 random bytes as text for URLs', () => {
  const tokens = Array.from({ length: 100 }, newToken)
  expect(new Set(tokens).size).toBe(100)
  for (const token of tokens) expect(token).toMatch(/^[A-Za-z0-9_-]{43}$/)
})

test('the hash of a token is its SHA-256', () => {
  expect(hashToken('abc').toString('hex')).toBe(
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  )
})

test('a sealed token opens with its key, and does not contain the token', () => {
  const token = newToken()
  const sealed = sealToken(token, key)
  expect(openToken(sealed, key)).toBe(token)
  expect(sealed.toString('latin1')).not.toContain(token)
  expect(sealToken(token, key)).not.toEqual(sealed)
})

test('a sealed token opens with no other key, and not when it was changed', () => {
  const sealed = sealToken(newToken(), key)
  expect(() => openToken(sealed, derivedKey('another secret', 'mail token'))).toThrow()
  sealed[20] = (sealed[20] ?? 0) ^ 1
  expect(() => openToken(sealed, key)).toThrow()
})
