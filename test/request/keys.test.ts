/** Composite keys and derived keys: different inputs have different keys. */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { compositeKey } from '../../src/request/compositeKey.ts'
import { derivedKey } from '../../src/request/derivedKey.ts'

const parts = fc.array(
  fc.string({ unit: fc.constantFrom('1', '2', ':', '\n', 'a', '\u0000'), maxLength: 3 }),
  {
    maxLength: 3,
  },
)

test('different lists of parts have different keys', () => {
  fc.assert(
    fc.property(parts, parts, (one, other) => {
      expect(compositeKey(...one) === compositeKey(...other)).toBe(
        JSON.stringify(one) === JSON.stringify(other),
      )
    }),
    { numRuns: 2_000 },
  )
  const key = compositeKey('victim@example.com', '198.51.100.7')
  expect(compositeKey('victim@example.com\n198.51.100.7')).not.toBe(key)
  expect(compositeKey('victim@example.com12:198.51.100.7')).not.toBe(key)
})

test('each purpose and each secret has its own key of 32 bytes', () => {
  const keys = ['a secret', 'another secret'].flatMap(secret => [
    derivedKey(secret, 'access token'),
    derivedKey(secret, 'rate limit'),
  ])
  const texts = new Set(keys.map(key => Buffer.from(key).toString('hex')))
  expect([texts.size, [...texts].every(text => text.length === 64)]).toEqual([4, true])
  expect(derivedKey('a secret', 'rate limit')).toEqual(derivedKey('a secret', 'rate limit'))
})
