/** Passwords: one form whatever the keyboard, and the rules for new ones. */
import { expect, test } from '@jest/globals'
import { hashAsStored, hashPassword, passwordFault } from '../../src/identity/passwords.ts'

const EMAIL = 'jane.doe@example.com'
const isRefused = async (password: string, email = EMAIL) =>
  (await passwordFault(password, email)) !== undefined

/** As a login does, with what the database stores. */
async function matches(registered: string, given: string): Promise<boolean> {
  const stored = await hashPassword(registered)
  return (await hashAsStored(given, stored.slice(0, stored.lastIndexOf('$')))) === stored
}

test.each([
  ['composed and decomposed letters', 'Gr\u00fc\u00dfe aus K\u00f6ln', 'Gru\u0308\u00dfe aus Ko\u0308ln'],
  ['a no-break space and a space', 'long\u00a0enough words', 'long enough words'],
  ['an ideographic space and a space', 'long\u3000enough words', 'long enough words'],
  [
    'Hangul syllables and their letters',
    '\ud55c\uad6d\uc5b4 password',
    '\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165 password',
  ],
  ['the sign and the letter of Angstrom', 'ten \u212bngstrom', 'ten \u00c5ngstrom'],
])('%s are the same password', async (_, one, other) => {
  expect(await matches(one, other)).toBe(true)
  expect(await matches(other, one)).toBe(true)
})

test.each([
  ['upper and lower case', 'Long enough words', 'long enough words'],
  ['a space more', 'long enough  words', 'long enough words'],
  ['a space at the end', 'long enough words ', 'long enough words'],
  ['full-width letters', 'ｌong enough words', 'long enough words'],
  ['a ligature', 'ﬁne enough words', 'fine enough words'],
  ['other bytes', 'l\u00f6ng enough words', 'long enough words'],
])('%s make another password', async (_, one, other) => {
  expect(await matches(one, other)).toBe(false)
})

test('the length is counted in characters, after the change of form', async () => {
  const pair = 'u\u0308'
  for (const [text, refused] of [
    [pair.repeat(7), true],
    [pair.repeat(8), false],
    [pair.repeat(128), false],
    [pair.repeat(129), true],
    ['🚗'.repeat(7), true],
    ['🚗'.repeat(8), false],
    ['🚗'.repeat(128), false],
    ['🚗'.repeat(129), true],
  ] as const) {
    expect([text.length, await isRefused(text)]).toEqual([text.length, refused])
  }
})

test.each([
  '\0',
  '\t',
  '\n',
  '\r',
  '\u001b',
  '\u007f',
  '\u0085',
  '\u009f',
  '\u00ad',
  '\u200b',
  '\u202e',
  '\u2060',
  '\ufeff',
  '\ud800',
  '\ufffe',
  '\u0378',
])('a new password with %j is refused', async character => {
  expect(await isRefused(`long enough${character}words`)).toBe(true)
})

test.each([
  'long enough words',
  '👩‍👩‍👧 family car',
  '❤\ufe0f my old car',
  'می\u200cخواهم ماشین',
  'пароль для машины',
  '        x',
])('the password %j is accepted', async password => {
  expect(await isRefused(password)).toBe(false)
})

test.each([
  'password',
  'PassWord',
  '12345678',
  'qwertyui',
  'iloveyou',
  'trustno1',
  'sunshine',
  'football',
  'password1',
  'princess',
])('the common password %s is refused', async password => {
  expect(await isRefused(password)).toBe(true)
})

test('the name of the service is no password, even with digits and signs, but may be a part of one', async () => {
  for (const password of [
    'forecourt',
    'Forecourt',
    'forecourt2026',
    '!FORECOURT 123!',
    'Fore-Court.1',
    'ｆｏｒｅｃｏｕｒｔ',
    '𝐅𝐎𝐑𝐄𝐂𝐎𝐔𝐑𝐓',
  ])
    expect([password, await isRefused(password)]).toEqual([password, true])
  for (const password of ['forecourt-demo', 'forecourts', 'my forecourt'])
    expect([password, await isRefused(password)]).toEqual([password, false])
})

test('the e-mail address and its first part are no passwords, in whatever case', async () => {
  for (const password of [EMAIL, 'Jane.Doe@Example.com', 'jane.doe', 'JANE.DOE']) {
    expect([password, await isRefused(password)]).toEqual([password, true])
    expect([password, await isRefused(password, 'else@example.org')]).toEqual([password, false])
  }
  expect(await isRefused('ren\u00e9.martin', 'ren\u00e9.martin@example.com')).toBe(true)
  expect(await isRefused('rene\u0301.MARTIN', 'ren\u00e9.martin@example.com')).toBe(true)
})
