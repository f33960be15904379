/** The file that holds a generated secret. */
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

test('a secret is created once, and only its owner can read the file', () => {
  const directory = join(parent, 'new')
  const secret = readOrCreateSecret(directory, 'jwt-secret')
  expect(secret).toMatch(/^[0-9a-f]{64}$/)
  expect(readOrCreateSecret(directory, 'jwt-secret')).toBe(secret)
  expect(statSync(join(directory, 'jwt-secret')).mode & 0o777).toBe(0o600)
  expect(readdirSync(directory)).toEqual(['jwt-secret'])
})

test('an incomplete secret is refused', () => {
  writeFileSync(join(parent, 'jwt-secret'), '')
  expect(() => readOrCreateSecret(parent, 'jwt-secret')).toThrow(
    expect.objectContaining({ code: 'BROKEN_SECRET' }),
  )
})
