/** One canonical form of the client's address, whatever a proxy writes. */
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { addressOf, canonicalAddress, clientAddress } from '../../src/request/address.ts'

test('an address has one form, with or without a port, brackets or a zone', () => {
  const v4 = fc.ipV4()
  const v6 = fc.ipV6()
  const port = fc.integer({ min: 0, max: 65_535 })
  fc.assert(
    fc.property(v4, v6, port, (v4, v6, port) => {
      expect(canonicalAddress(`${v4}:${port}`)).toBe(canonicalAddress(v4))
      expect(canonicalAddress(`::ffff:${v4}`)).toBe(canonicalAddress(v4))
      expect(canonicalAddress(`[::ffff:${v4}]:${port}`)).toBe(canonicalAddress(v4))
      const canonical = canonicalAddress(v6)
      expect(canonical).toBeDefined()
      expect(canonicalAddress(`[${v6}]:${port}`)).toBe(canonical)
      expect(canonicalAddress(`${v6.toUpperCase()}%eth0`)).toBe(canonical)
      // the name of a bridge, which Node takes for no zone
      expect(canonicalAddress(`${v6}%br_lan`)).toBe(canonical)
      expect(canonicalAddress(canonical ?? '')).toBe(canonical)
    }),
  )
})

test('text that is no address has no canonical form', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), text => {
      const found = canonicalAddress(text)
      expect(found === undefined || canonicalAddress(found) === found).toBe(true)
    }),
  )
  for (const text of [
    '',
    'localhost',
    '1.2.3',
    '01.2.3.4',
    '1.2.3.4.5',
    ':::',
    '[1.2.3.4]',
    '[::1',
    '::1]',
  ]) {
    expect([text, canonicalAddress(text)]).toEqual([text, undefined])
  }
})

const trusts = (address: string) => address === '127.0.0.1' || address.startsWith('10.')
const behind = (forwardedFor: string | undefined, socket = '::ffff:127.0.0.1') =>
  clientAddress({ socket, forwardedFor, trusts })

test.each([
  [undefined, '127.0.0.1'],
  ['198.51.100.1', '198.51.100.1'],
  ['203.0.113.9, 198.51.100.1', '198.51.100.1'],
  ['198.51.100.1:80, 10.1.2.3:443', '198.51.100.1'],
  ['203.0.113.9, 198.51.100.1, ::ffff:10.1.2.3, [::ffff:10.9.9.9]:1', '198.51.100.1'],
  ['10.1.2.3', '10.1.2.3'],
  ['198.51.100.1, unknown', '127.0.0.1'],
  ['unknown, 10.1.2.3', '127.0.0.1'],
])('X-Forwarded-For %s from a trusted socket gives %s', (forwardedFor, address) => {
  expect(behind(forwardedFor)).toBe(address)
})

test('an untrusted socket is the client, whatever it forwards, and without a socket there is no address', () => {
  expect(behind('198.51.100.1', '203.0.113.7')).toBe('203.0.113.7')
  expect(clientAddress({ socket: undefined, forwardedFor: '198.51.100.1', trusts })).toBeUndefined()
  expect(addressOf({ clientAddress: undefined })).toBe('unknown')
})
