/** Composite keys and derived keys: different inputs have different keys. */
import { expect, test } from '@jest/globals'
import { compositeKey } from '../../src/request/compositeKey.ts'
import { derivedKey } from '../../src/request/derivedKey.ts'

/** Every string of at most two of these characters, and every list of at most three such strings. */
const characters = ['1', ':', 'a']
const strings = ['', ...characters, ...characters.flatMap(one => characters.map(other => one + other))]
const twos = strings.flatMap(one => strings.map(other => [one, other]))
const lists = [
  [],
  ...strings.map(one => [one]),
  ...twos,
  ...twos.flatMap(two => strings.map(one => [...two, one])),
]

test('different lists of parts have different keys', () => {
  expect(lists).toHaveLength(1 + 13 + 13 ** 2 + 13 ** 3)
  expect(new Set(lists.map(list => compositeKey(...list))).size).toBe(lists.length)
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
