/** The one form of an e-mail address, in the API and in the database. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { normalEmail } from '../../src/identity/emails.ts'
import { cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

/** Undefined for text that is no address. */
function formOf(text: string): string | undefined {
  try {
    return normalEmail(text)
  } catch (error) {
    expect(error).toMatchObject({ code: 'invalid_input', detail: { field: 'email' } })
    return undefined
  }
}

test.each([
  ['jane@example.com', 'jane@example.com'],
  ['  Jane.Doe+cars@EXAMPLE.Com ', 'jane.doe+cars@example.com'],
  ["o'neil!#$%&*/=?^_`{|}~-@example.com", "o'neil!#$%&*/=?^_`{|}~-@example.com"],
  ['Rene\u0301@example.com', 'ren\u00e9@example.com'],
  // the capital is two characters in NFC, the small letter one
  ['J\u030c@example.com', '\u01f0@example.com'],
  ['\u0130@example.com', 'i\u0307@example.com'],
  ['ΟΔΟΣ@example.com', 'οδος@example.com'],
  ['用户@例子.广告', '用户@xn--fsqu00a.xn--4rr70v'],
  ['a@Bücher.de', 'a@xn--bcher-kva.de'],
  ['a@bu\u0308cher.DE', 'a@xn--bcher-kva.de'],
  ['a@xn--bcher-kva.de', 'a@xn--bcher-kva.de'],
  ['a@ＥＸＡＭＰＬＥ.com', 'a@example.com'],
  ['a@straße.de', 'a@xn--strae-oqa.de'],
  ['a@x.co', 'a@x.co'],
  [`a@${'x'.repeat(63)}.com`, `a@${'x'.repeat(63)}.com`],
  ['a@1.2.example3', 'a@1.2.example3'],
])('%j has the form %j, which is its own form', (text, form) => {
  expect(formOf(text)).toBe(form)
  expect(formOf(form)).toBe(form)
})

const INVISIBLE = [
  ...[
    '\0',
    '\n',
    '\t',
    '\u007f',
    '\u0085',
    '\u009f',
    '\u00a0',
    '\u00ad',
    '\u034f',
    '\u061c',
    '\u115f',
    '\u1680',
  ],
  ...[
    '\u180e',
    '\u2003',
    '\u200b',
    '\u200c',
    '\u200d',
    '\u200e',
    '\u200f',
    '\u2028',
    '\u202a',
    '\u202e',
    '\u2060',
  ],
  ...[
    '\u2066',
    '\u2069',
    '\u2800',
    '\u3000',
    '\u3164',
    '\ufe0f',
    '\ufeff',
    '\uffa0',
    '\u{e0001}',
    '\u{e0100}',
    '\ue000',
  ],
  ...['\ud800', '\udc00', '\ufffe', '\u0378'],
]

test.each(INVISIBLE)('an address with %j, which nobody sees, is refused wherever it stands', character => {
  for (const text of [
    `${character}jane@example.com`,
    `ja${character}ne@example.com`,
    `jane${character}@example.com`,
    `jane@${character}example.com`,
    `jane@exam${character}ple.com`,
    `jane@example.com${character}`,
  ]) {
    expect([text, formOf(text)]).toEqual([text, undefined])
  }
})

const MALFORMED = [
  ...[
    '',
    ' ',
    'jane',
    '@',
    'jane@',
    '@example.com',
    'jane@@example.com',
    'a@b@example.com',
    'jane doe@example.com',
  ],
  ...[
    'jane@example',
    'jane@example.com.',
    'jane@example..com',
    'jane@.example.com',
    'jane@.',
    'jane@example.com..',
  ],
  ...[
    'jane@-example.com',
    'jane@example-.com',
    'jane@exa_mple.com',
    'jane@example.com/x',
    'jane@exa%6dple.com',
  ],
  ...[
    'jane@example.com:25',
    'jane@user:x',
    'jane@example.com?x',
    'jane@example.com#x',
    'jane@[192.0.2.1]',
    'jane@192.0.2.1',
  ],
  ...['jane@0x7f.1', 'jane@1.2', 'jane@example。com', `jane@${'x'.repeat(64)}.com`, 'jane@example.123'],
  ...[
    '.jane@example.com',
    'jane.@example.com',
    'ja..ne@example.com',
    '"jane"@example.com',
    'jane(x)@example.com',
  ],
  ...[
    '<jane@example.com>',
    'a,b@example.com',
    'a;b@example.com',
    'a:b@example.com',
    'a\\b@example.com',
    'a[b@example.com',
  ],
  ...[
    'mailto:jane@example.com',
    `${'x'.repeat(243)}@example.com`,
    ' '.repeat(100_000),
    `${'a.'.repeat(50_000)}@x`,
  ],
]

test.each(MALFORMED.map(text => [text.slice(0, 40), text]))('%j is no address', (_shown, text) => {
  const startedAt = performance.now()
  expect(formOf(text)).toBeUndefined()
  expect(performance.now() - startedAt).toBeLessThan(500)
})

/** Ordinary characters, and those whose case or composition differs between languages or libraries. */
const USUAL = [...'aZ9-+İıſßẞΣσςǅǆéÉe\u0301\u030c\u0307JHTWY\u0331\u0308\u030aKÅΩﬁ🚗ꭰᏠ𐐀']
const character = fc.oneof(
  { weight: 20, arbitrary: fc.constantFrom(...USUAL) },
  // a letter with a capital since Unicode 11, which the ICU of a server may not know
  { weight: 1, arbitrary: fc.constantFrom('Ქ', 'ქ') },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }) },
)
const local = fc.array(character, { minLength: 1, maxLength: 8 }).map(list => list.join(''))
const domain = fc.oneof(
  fc.constantFrom('example.com', 'EXAMPLE.com', 'Bücher.DE', 'example.com.'),
  local.map(label => `${label}.com`),
)

test('the database gives an address the same form, and accepts what the API accepts', async () => {
  const texts = fc.sample(
    fc.tuple(local, domain).map(parts => parts.join('@')),
    { numRuns: 5_000, seed: 11 },
  )
  const forms = texts.map(formOf)
  const valid = forms.flatMap((form, index) =>
    form === undefined ? [] : [[texts[index] ?? '', form] as const],
  )
  expect(valid.length).toBeGreaterThan(1_000)
  const { rows } = await database.superuser.query<{ form: string; accepted: boolean }>(
    `select app_private.normalize_email(t.local_part) || '@' || t.domain as form,
       app_private.is_email(t.form) and t.form = app_private.normalize_email(t.form) as accepted
     from unnest($1::text[], $2::text[], $3::text[]) with ordinality as t (local_part, domain, form, n) order by t.n`,
    [
      valid.map(([text]) => text.slice(0, text.lastIndexOf('@'))),
      valid.map(([, form]) => form.slice(form.lastIndexOf('@') + 1)),
      valid.map(([, form]) => form),
    ],
  )
  for (const [index, [text, form]] of valid.entries()) {
    const isUsual = [...text.slice(0, text.lastIndexOf('@'))].every(one => USUAL.includes(one))
    expect([text, rows[index]]).toEqual([text, { form: isUsual ? form : expect.any(String), accepted: true }])
  }
})

test.each(
  [...INVISIBLE.filter(one => !/\p{C}/u.test(one) || /[\p{Cc}\p{Cf}\p{Co}]/u.test(one))].filter(
    one => one !== '\0',
  ),
)('the database refuses %j in an address by itself', invisible =>
  rolledBack(database, async client => {
    for (const email of [
      `ja${invisible}ne@example.com`,
      `jane@exam${invisible}ple.com`,
      `jane@example.com${invisible}`,
    ]) {
      const insert = "insert into app_public.users (email, full_name) values ($1, 'Jane')"
      expect([email, await refusal(client, insert, [email])]).toEqual([email, '23514'])
    }
  }),
)

test('the database refuses every malformed address by itself, and every domain that is not in ASCII', () =>
  rolledBack(database, async client => {
    const insert = "insert into app_public.users (email, full_name) values ($1, 'Jane')"
    for (const email of [
      ...MALFORMED,
      'a@bücher.de',
      'A@example.com',
      'e\u0301@example.com',
      'J\u030c@example.com',
      'j\u030c@example.com',
    ]) {
      expect([email.slice(0, 40), await refusal(client, insert, [email])]).toEqual([
        email.slice(0, 40),
        '23514',
      ])
    }
    await client.query(insert, ['ren\u00e9@xn--bcher-kva.de'])
  }))
