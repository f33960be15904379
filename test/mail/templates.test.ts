/** The templates of mails: each kind has one in each language, and each placeholder has a value. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { fill, formatTime } from '../../src/mail/template.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

/** The values that the mails of a kind have. A new kind needs a row. */
const VALUES: Record<string, string[]> = {
  email_change: ['token', 'expiresAt'],
  email_change_notice: ['newEmail'],
  email_taken: [],
  email_verification: ['token', 'expiresAt'],
  invitation: ['dealer', 'inviter', 'token', 'expiresAt'],
  password_changed: [],
  password_reset: ['token', 'expiresAt'],
}

test('each kind has a template in each language, which uses each of its values and no other', async () => {
  const { rows } = await database.owner.query<{ label: string; text: string }>(
    "select kind || ' ' || locale as label, subject || body as text from app_private.mail_templates",
  )
  const used = rows.map(({ label, text }) => [
    label,
    [...new Set(Array.from(text.matchAll(/\{(.*?)\}/g), ([, name]) => name))].sort(),
  ])
  const expected = Object.entries(VALUES).flatMap(([kind, names]) =>
    ['de', 'en'].map(locale => [`${kind} ${locale}`, [...names].sort()]),
  )
  expect(Object.fromEntries(used)).toEqual(Object.fromEntries(expected))
})

test('a placeholder without a value is an error, also one that every object has', () => {
  expect(fill('{a}: {b}', { a: 1, b: '{a}' })).toBe('1: {a}')
  for (const template of ['{c}', '{toString}']) expect(() => fill(template, { a: 1 })).toThrow()
})

test('times are written in the language of the reader, in UTC', () => {
  const time = new Date('2026-11-26T21:05:00Z')
  expect(formatTime(time, 'en')).toBe('November 26, 2026 at 9:05 PM UTC')
  expect(formatTime(time, 'de')).toBe('26. November 2026 um 21:05 UTC')
})
