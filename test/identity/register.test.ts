/** The registration function of the database: what it stores and what it refuses. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { committed, interleave, sqlstate } from '../support/transactions.ts'

const REGISTER = 'select * from app_public.register_user($1, $2, $3)'
const HASH = '$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

function asAuthenticator<Value>(work: (client: pg.PoolClient) => Promise<Value>): Promise<Value> {
  return rolledBack(database, async client => {
    await become(client, 'authenticator')
    return work(client)
  })
}

test('registration normalizes the e-mail address and trims the name', () =>
  asAuthenticator(async client => {
    // "e" with a combining accent becomes one letter
    const { rows } = await client.query(REGISTER, [
      '  Rene\u0301.MARTIN@Example.COM ',
      '  René Martin ',
      HASH,
    ])
    expect(rows).toEqual([
      {
        user_id: expect.any(String),
        normalized_email: 'ren\u00e9.martin@example.com',
        trimmed_full_name: 'René Martin',
      },
    ])
    await become(client, 'owner')
    const stored = await client.query('select * from app_public.users where id = $1', [rows[0].user_id])
    expect(stored.rows).toEqual([
      expect.objectContaining({
        email: 'ren\u00e9.martin@example.com',
        full_name: 'René Martin',
        is_admin: false,
      }),
    ])
    const passwords = await client.query('select user_id, password_hash from app_private.user_passwords')
    expect(passwords.rows).toEqual([{ user_id: rows[0].user_id, password_hash: HASH }])
  }))

test('a taken address is refused, whatever its case and surrounding spaces', () =>
  asAuthenticator(async client => {
    await client.query(REGISTER, ['jane@example.com', 'Jane', HASH])
    for (const email of ['jane@example.com', 'JANE@example.com', ' Jane@Example.Com  ']) {
      expect(await refusal(client, REGISTER, [email, 'Somebody', HASH])).toBe('FC008')
    }
    await become(client, 'owner')
    const { rows } = await client.query("select full_name from app_public.users where email like '%jane%'")
    expect(rows).toEqual([{ full_name: 'Jane' }])
  }))

test('the second of two concurrent registrations for one address waits and is refused', () =>
  interleave(database, { first: 'authenticator', second: 'authenticator' }, async ({ first, second }) => {
    await first.query(REGISTER, ['race@example.com', 'First', HASH])
    const waiting = await second.startBlocked(REGISTER, ['Race@example.com', 'Second', HASH])
    await first.commit()
    expect(await sqlstate(waiting.result)).toBe('FC008')
  }))

test('a registration succeeds when the registration that it waits for rolls back', () =>
  interleave(database, { first: 'authenticator', second: 'authenticator' }, async ({ first, second }) => {
    await first.query(REGISTER, ['again@example.com', 'First', HASH])
    const waiting = await second.startBlocked(REGISTER, ['again@example.com', 'Second', HASH])
    await first.rollback()
    const { rows } = await waiting.result
    expect(rows).toEqual([expect.objectContaining({ trimmed_full_name: 'Second' })])
  }))

const INVALID_ADDRESSES = [
  'jane',
  'jane@',
  '@example.com',
  'jane@example',
  'jane doe@example.com',
  'jane@exa mple.com',
  'jane@@example.com',
  'jane\u0007@example.com',
  '\tjane@example.com',
  'jane@example.com\nbcc: all@example.com',
  '',
]

test.each(INVALID_ADDRESSES)('%j is refused as an e-mail address', email =>
  asAuthenticator(async client => {
    expect(await refusal(client, REGISTER, [email, 'Jane', HASH])).toBe('23514')
  }),
)

test('an address has at most 254 characters', () =>
  asAuthenticator(async client => {
    expect(await refusal(client, REGISTER, [`${'a'.repeat(243)}@example.com`, 'Jane', HASH])).toBe('23514')
    const { rowCount } = await client.query(REGISTER, [`${'a'.repeat(242)}@example.com`, 'Jane', HASH])
    expect(rowCount).toBe(1)
  }))

test('a name has 1 to 200 characters, without its surrounding spaces', () =>
  asAuthenticator(async client => {
    expect(await refusal(client, REGISTER, ['a@example.com', '   ', HASH])).toBe('23514')
    expect(await refusal(client, REGISTER, ['a@example.com', 'n'.repeat(201), HASH])).toBe('23514')
    expect(await refusal(client, REGISTER, ['a@example.com', null, HASH])).toBe('23502')
    await client.query(REGISTER, ['a@example.com', ` ${'n'.repeat(200)} `, HASH])
  }))

test('a password hash that is not Argon2id is refused, and no account is stored', async () => {
  for (const hash of ['secret', '$2b$12$abc', '$argon2i$v=19$', null]) {
    const attempt = committed(database, 'authenticator', client =>
      client.query(REGISTER, ['nohash@example.com', 'Jane', hash]),
    )
    expect(await sqlstate(attempt)).toBe(hash === null ? '23502' : '23514')
  }
  const { rows } = await database.owner.query(
    "select from app_public.users where email = 'nohash@example.com'",
  )
  expect(rows).toEqual([])
})

test('a direct insert cannot store an address with upper case letters', () =>
  rolledBack(database, async client => {
    const insert = "insert into app_public.users (email, full_name) values ($1, 'Jane')"
    expect(await refusal(client, insert, ['Jane@example.com'])).toBe('23514')
    await client.query(insert, ['jane@example.com'])
    expect(await refusal(client, insert, ['jane@example.com'])).toBe('23505')
  }))
