/** The rules of the database for text: names and titles, descriptions, images. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { makeCountry, makeDealer, makeUser, single } from '../support/testData.ts'

let database: TestDatabase
let userId: string
let dealerId: string

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  userId = await makeUser(database.owner)
  dealerId = await makeDealer(database.owner, userId)
})

afterAll(() => database.drop())

test('the database knows every assigned character that Unicode shows as nothing', async () => {
  const { rows } = await database.superuser.query<{ invisible: number[] }>(
    `select array_agg(n) as invisible from generate_series(1, 1114111) as n
     where n not between 55296 and 57343
       and case when n not between 55296 and 57343 then chr(n) ~ ('[' || app_private.invisible_characters() || ']') end`,
  )
  const invisible = new Set(rows[0]?.invisible)
  const wrong: string[] = []
  for (let code = 1; code <= 0x10ffff; code += 1) {
    const character = String.fromCodePoint(code)
    // the standard may show the unassigned ones one day
    if (/\p{Cs}/u.test(character) || (/\p{Cn}/u.test(character) && !/\p{DI}/u.test(character))) continue
    if (/[\p{C}\p{Z}\p{DI}\u2800]/u.test(character) !== invisible.has(code)) wrong.push(code.toString(16))
  }
  expect(wrong).toEqual([])
})

/** Stores a text in a column, through the function that clients call. Returns what is stored. */
type Store = (client: pg.ClientBase, text: string | null) => Promise<string | null>

async function stored(
  client: pg.ClientBase,
  column: string,
  values: Record<string, unknown>,
): Promise<string> {
  const { title = 'A car', description = null, images = null } = values
  await become(client, { dealer: userId })
  return single(
    client,
    `select ${column} from app_public.create_listing($1, $2, $3, 'auto', 1, 'EUR', $4, null, $5)`,
    [dealerId, randomUUID(), title, description, images],
  )
}

const newNames: Record<string, Store> = {
  'the name of a user': (client, name) =>
    single(client, 'select trimmed_full_name from app_public.register_user($1, $2, $3)', [
      `${randomUUID()}@example.com`,
      name,
      '$argon2id$none',
    ]),
  async 'the name of a company'(client, name) {
    await become(client, { dealer: await makeUser(database.owner) })
    return single(client, "select company_name from app_public.create_dealer($1, 'DE', 'general')", [name])
  },
}
const lines: Record<string, Store> = {
  'a title': (client, title) => stored(client, 'title', { title }),
  ...newNames,
}
/** Every function that stores a name. */
const names: Record<string, Store> = {
  ...newNames,
  async 'the new name of a user'(client, name) {
    await become(client, { dealer: userId })
    return single(client, 'select full_name from app_public.update_profile($1)', [name])
  },
  async 'the new name of a company'(client, name) {
    await become(client, { dealer: userId })
    return single(client, 'select company_name from app_public.update_dealer($1, $2)', [dealerId, name])
  },
  async 'the name of an API key'(client, name) {
    await become(client, { dealer: userId })
    const create = "select name from app_public.create_api_key($1, $2, null, 'bbbbbbbbbbbb', sha256('b'))"
    return single(client, create, [dealerId, name])
  },
}

const description: Store = (client, text) => stored(client, 'description', { description: text })

async function isRefused(client: pg.ClientBase, store: Store, text: string): Promise<boolean> {
  await client.query('savepoint before')
  try {
    await store(client, text)
    return false
  } catch (error) {
    expect(['23514', 'FC010']).toContain((error as pg.DatabaseError).code)
    return true
  } finally {
    await client.query('rollback to savepoint before')
  }
}

const NOTHING_VISIBLE = [
  ...[
    '',
    '   ',
    '\u200d',
    '\u200d\u200d',
    '\u00a0',
    '\u00ad',
    '\u2003 \u2003',
    '\u200b\ufeff',
    '\u202e',
    '\u2060',
  ],
  ...['\u2800', '\u3164', '\ufe0f', '\uffa0', '\u{e0020}', '\ue000', '\ufffe'],
]
const CONTROLS = [
  '\u0001',
  '\t',
  '\n',
  '\r',
  '\u000b',
  '\u001b',
  '\u001f',
  '\u007f',
  '\u0085',
  '\u009f',
  '\u2028',
  '\u2029',
]

test.each(Object.entries(lines))(
  '%s needs a visible character and may have no control character',
  (_, store) =>
    rolledBack(database, async client => {
      for (const text of NOTHING_VISIBLE)
        expect([text, await isRefused(client, store, text)]).toEqual([text, true])
      for (const control of CONTROLS) {
        const text = `A${control}B`
        expect([text, await isRefused(client, store, text)]).toEqual([text, true])
      }
    }),
)

test.each(Object.entries(lines))(
  '%s is stored in NFC and trimmed, and its length is counted after that',
  (_, store) =>
    rolledBack(database, async client => {
      expect(await store(client, '  Cafe\u0301 \u1112\u1161\u11ab ')).toBe('Caf\u00e9 \ud55c')
      expect(await store(client, '👩‍👩‍👧 می\u200cخواهم')).toBe('👩‍👩‍👧 می\u200cخواهم')
      expect(await store(client, ` ${'e\u0301'.repeat(200)} `)).toBe('\u00e9'.repeat(200))
      expect(await isRefused(client, store, 'e\u0301'.repeat(201))).toBe(true)
    }),
)

test.each(Object.entries(names))(
  '%s may have joiners and direction marks, but no bidirectional controls',
  (_, store) =>
    rolledBack(database, async client => {
      for (const control of '\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069') {
        const text = `A${control}B`
        expect([text, await isRefused(client, store, text)]).toEqual([text, true])
      }
      for (const text of ['شركة السيارات', 'רכב\u200f (1990)', '\u061cمی\u200cخواهم\u200e'])
        expect(await store(client, text)).toBe(text)
    }),
)

test('a row that already has such a control in its name can still be changed', () =>
  rolledBack(database, async client => {
    for (const sql of ["set company_name = 'A\u202eB'", 'set can_publish = false'])
      await client.query(`update app_public.dealers ${sql}`)
  }))

test('a description keeps line breaks and tabs, is stored in NFC, and has no other control character', () =>
  rolledBack(database, async client => {
    expect(await description(client, 'one\ttab\r\ntwo\n\n  Cafe\u0301 ')).toBe(
      'one\ttab\ntwo\n\n  Caf\u00e9 ',
    )
    expect(await description(client, '')).toBe('')
    expect(await description(client, null)).toBe(null)
    expect(await description(client, 'e\u0301'.repeat(10_000))).toBe('\u00e9'.repeat(10_000))
    for (const control of [
      '\u0001',
      '\u0008',
      '\u000b',
      '\u000c',
      '\r',
      '\u001b',
      '\u001f',
      '\u007f',
      '\u0085',
      '\u009f',
    ]) {
      expect([control, await isRefused(client, description, `A${control}B`)]).toEqual([control, true])
    }
  }))

const url = (length: number) => `https://example.com/${'x'.repeat(length - 20)}`

test.each([
  'http://a',
  'https://example.com/1.jpg?size=5#x',
  'https://192.0.2.1:8080/',
  'https://bücher.de/ö.jpg',
  url(2_000),
])('%s is accepted as an image', image =>
  rolledBack(database, async client => {
    expect(await stored(client, 'images', { images: ['https://example.com/0.jpg', image] })).toEqual([
      'https://example.com/0.jpg',
      image,
    ])
  }),
)

test.each([
  ...[
    '',
    ' ',
    'x',
    'example.com/1.jpg',
    '//example.com',
    'ftp://example.com',
    'javascript:alert(1)',
    'data:,x',
  ],
  ...[
    'HTTP://example.com',
    'https:/example.com',
    'https://',
    'https:///x',
    'https://?x',
    'https://#x',
    ' https://a',
  ],
  ...[
    'https://a b',
    'https://a\nb',
    'https://a\u200b',
    'https://a\u202e',
    'https://a\u00a0',
    'x https://a',
    url(2_001),
  ],
])('%j is refused as an image, alone and as the last of many', image =>
  rolledBack(database, async client => {
    for (const images of [[image], [...Array(49).fill('https://a'), image]]) {
      const store: Store = () => stored(client, 'images', { images })
      expect(await isRefused(client, store, image)).toBe(true)
    }
  }),
)

test('no row of these tables can have such text, whoever writes it', () =>
  rolledBack(database, async client => {
    const listing = await stored(client, 'id', {})
    await become(client, 'owner')
    for (const [table, column, id] of [
      ['listings', 'title', listing],
      ['users', 'full_name', userId],
      ['dealers', 'company_name', dealerId],
    ]) {
      for (const text of ['\u200d', 'A\nB', 'e\u0301', 'x'.repeat(201)]) {
        const update = `update app_public.${table} set ${column} = $1 where id = $2`
        expect([table, text, await refusal(client, update, [text, id])]).toEqual([table, text, '23514'])
      }
    }
    for (const [column, value] of [
      ['description', 'e\u0301'],
      ['description', 'A\rB'],
      ['images', ['x']],
      ['images', [null]],
    ] as const) {
      const update = `update app_public.listings set ${column} = $1 where id = $2`
      expect([column, await refusal(client, update, [value, listing])]).toEqual([column, '23514'])
    }
  }))
