import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { readOrCreateSecret } from '../../src/embedded/secret.ts'

let parent: string

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'forecourt-secret-'))
})

afterEach(() => rmSync(parent, { recursive: true }))

test('a secret is made once and only its owner may read it', () => {
  const directory = join(parent, 'new')
  const secret = readOrCreateSecret(directory, 'jwt-secret')
  expect(secret).toMatch(/^[0-9a-f]{64}$/)
  expect(readOrCreateSecret(directory, 'jwt-secret')).toBe(secret)
  expect(statSync(join(directory, 'jwt-secret')).mode & 0o777).toBe(0o600)
  expect(readdirSync(directory)).toEqual(['jwt-secret'])
})

test('a secret that was cut short is refused, not used', () => {
  writeFileSync(join(parent, 'jwt-secret'), '')
  expect(() => readOrCreateSecret(parent, 'jwt-secret')).toThrow(
    expect.objectContaining({ code: 'BROKEN_SECRET' }),
  )
})
