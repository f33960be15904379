import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import {
  type As,
  become,
  cloneDatabase,
  refusal,
  rolledBack,
  type TestDatabase,
} from '../support/database.ts'
import { makeUser } from '../support/testData.ts'
import { committed, concurrently, countOutcomes, interleave } from '../support/transactions.ts'

type Attempt = {
  user_id: string | null
  normalized_email: string
  full_name: string | null
  is_admin: boolean | null
  password_hash: string | null
  account_key: Buffer
  max_count: number
  retry_after_seconds: number | null
}

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
  for (const name of ['parallel', 'known', 'window', 'success', 'mixed']) {
    await makeUser(database.owner, `${name}@example.com`)
  }
})

afterAll(() => database.drop())

/** Where everyone of these tests comes from. */
const address = '192.0.2.1'

/** What failures of an e-mail address are counted under: as of anyone, and as of a known client address. */
const KEYS = '(app_private.account_key($1), app_private.account_key($1, $2))'

async function begin(client: Pick<pg.ClientBase, 'query'>, email: string): Promise<Attempt> {
  const { rows } = await client.query<Attempt>('select * from app_public.begin_login($1, $2)', [
    email,
    address,
  ])
  return rows[0] as Attempt
}

function attempt(email: string): Promise<Attempt> {
  return committed(database, 'authenticator', client => begin(client, email))
}

/** The end of an attempt with the right password. */
function complete(email: string, { account_key }: Attempt): Promise<unknown> {
  return committed(database, 'authenticator', client =>
    client.query('select app_public.complete_login($1, $2, $3)', [email, address, account_key]),
  )
}

async function failures(email: string): Promise<number | undefined> {
  const { rows } = await database.superuser.query<{ failures: number | null }>(
    `select sum(failures)::integer as failures from app_private.login_failures where email_hash in ${KEYS}`,
    [email, address],
  )
  return rows[0]?.failures ?? undefined
}

async function moveWindowBack(email: string, interval: string): Promise<void> {
  await database.superuser.query(
    `update app_private.login_failures set window_started_at = window_started_at - $3::interval
     where email_hash in ${KEYS}`,
    [email, address, interval],
  )
}

test('20 wrong passwords at once are 20 failures, and exactly 5 of them get to see the hash', async () => {
  const outcomes = await concurrently(database, 'authenticator', 20, client =>
    begin(client, 'parallel@example.com'),
  )
  expect(countOutcomes(outcomes)).toEqual({ ok: 20 })
  const attempts = outcomes.flatMap(outcome => (outcome.status === 'fulfilled' ? [outcome.value] : []))
  expect(attempts.filter(({ password_hash }) => password_hash !== null)).toHaveLength(5)
  expect(attempts.filter(({ retry_after_seconds }) => retry_after_seconds !== null)).toHaveLength(15)
  expect(await failures('parallel@example.com')).toBe(20)
})

test('20 attempts at once on an unknown address are counted alike', async () => {
  const outcomes = await concurrently(database, 'authenticator', 20, client =>
    begin(client, 'nobody-at-once@example.com'),
  )
  const attempts = outcomes.flatMap(outcome => (outcome.status === 'fulfilled' ? [outcome.value] : []))
  expect(attempts.filter(({ retry_after_seconds }) => retry_after_seconds === null)).toHaveLength(5)
  expect(await failures('nobody-at-once@example.com')).toBe(20)
})

test('an attempt waits for the one before it to be counted', () =>
  interleave(database, { first: 'authenticator', second: 'authenticator' }, async ({ first, second }) => {
    await first.query("select app_public.begin_login('queue@example.com', '192.0.2.1')")
    const waiting = await second.startBlocked(
      "select app_public.begin_login('queue@example.com', '192.0.2.1')",
    )
    await first.commit()
    await waiting.result
    await second.commit()
    expect(await failures('queue@example.com')).toBe(2)
  }))

test('the sixth attempt within 15 minutes is refused for an existing and an unknown address alike', async () => {
  for (const email of ['known@example.com', 'nobody@example.com']) {
    for (let number = 1; number <= 5; number += 1) {
      const { retry_after_seconds, password_hash } = await attempt(email)
      expect({ retry_after_seconds, hasHash: password_hash !== null }).toEqual({
        retry_after_seconds: null,
        hasHash: email === 'known@example.com',
      })
    }
    const sixth = await attempt(email)
    expect(sixth).toEqual({
      user_id: null,
      normalized_email: email,
      full_name: null,
      is_admin: null,
      password_hash: null,
      account_key: expect.any(Buffer),
      max_count: 5,
      over_limit: true,
      retry_after_seconds: expect.any(Number),
    })
    expect(sixth.retry_after_seconds).toBeGreaterThan(890)
    expect(sixth.retry_after_seconds).toBeLessThanOrEqual(900)
  }
})

test('however the address is written, it has one counter', async () => {
  for (const email of ['mixed@example.com', 'MIXED@example.com', ' Mixed@Example.com ']) await attempt(email)
  expect(await failures('mixed@example.com')).toBe(3)
})

test('the end of the window lets attempts through again and counts from one', async () => {
  for (const email of ['window@example.com', 'nobody-window@example.com']) {
    for (let number = 1; number <= 6; number += 1) await attempt(email)
    await moveWindowBack(email, '890 seconds')
    const late = await attempt(email)
    expect(late.retry_after_seconds).toBeGreaterThan(0)
    expect(late.retry_after_seconds).toBeLessThanOrEqual(10)
    await moveWindowBack(email, '10 seconds')
    expect((await attempt(email)).retry_after_seconds).toBeNull()
    expect(await failures(email)).toBe(1)
    for (let number = 2; number <= 5; number += 1) await attempt(email)
    expect((await attempt(email)).retry_after_seconds).not.toBeNull()
  }
})

test('a success takes back the failure that was counted ahead of it, and no other', async () => {
  for (let number = 1; number <= 3; number += 1) await attempt('success@example.com')
  for (let number = 1; number <= 10; number += 1) {
    const right = await attempt('success@example.com')
    expect(right.password_hash).not.toBeNull()
    await complete('success@example.com', right)
  }
  expect(await failures('success@example.com')).toBe(3)
})

test('after a success the client address has a count of its own, and any other the old one', async () => {
  const email = 'apart@example.com'
  for (let number = 1; number <= 4; number += 1) await attempt(email)
  const right = await attempt(email)
  await complete(email, right)
  const { account_key } = await attempt(email)
  expect(account_key).not.toEqual(right.account_key)
  const elsewhere = await committed(database, 'authenticator', async client => {
    const { rows } = await client.query("select * from app_public.begin_login($1, '192.0.2.2')", [email])
    return rows[0] as Attempt
  })
  expect(elsewhere.account_key).toEqual(right.account_key)
})

test('a success without an attempt counts nothing below zero', async () => {
  const zero = await attempt('zero@example.com')
  await complete('zero@example.com', zero)
  await complete('zero@example.com', zero)
  expect(await failures('zero@example.com')).toBe(0)
  await complete('never-seen@example.com', { ...zero, account_key: Buffer.alloc(32) })
  expect(await failures('never-seen@example.com')).toBeUndefined()
})

test('the account comes with its name and whether it is an admin', () =>
  rolledBack(database, async client => {
    const userId = await makeUser(client, 'boss@example.com')
    await client.query('update app_public.users set is_admin = true where id = $1', [userId])
    await become(client, 'authenticator')
    expect(await begin(client, 'Boss@example.com')).toEqual({
      user_id: userId,
      normalized_email: 'boss@example.com',
      full_name: 'Test User',
      is_admin: true,
      password_hash: '$argon2id$none',
      account_key: expect.any(Buffer),
      max_count: 5,
      over_limit: false,
      retry_after_seconds: null,
    })
  }))

const someone = '00000000-0000-7000-8000-000000000001'
const API_ROLES: [string, As][] = [
  ['a visitor', 'visitor'],
  ['a dealer', { dealer: someone }],
  ['an admin', { admin: someone }],
]
const IDENTITY_CALLS = [
  "select * from app_public.register_user('a@example.com', 'A', '$argon2id$none')",
  "select * from app_public.begin_login('a@example.com', '192.0.2.1')",
  "select app_public.complete_login('a@example.com', '192.0.2.1', '\\x00')",
  "select app_public.fail_login('a@example.com', '192.0.2.1', '\\x00', 5)",
]

test.each(API_ROLES)('%s may call none of the functions of the identity code', (_who, as) =>
  rolledBack(database, async client => {
    await become(client, as)
    for (const call of IDENTITY_CALLS) expect(await refusal(client, call)).toBe('42501')
  }),
)

test('the authenticator may call them, and read nothing by itself', () =>
  rolledBack(database, async client => {
    await become(client, 'authenticator')
    for (const call of IDENTITY_CALLS) await client.query(call)
    for (const table of ['app_public.users', 'app_private.user_passwords', 'app_private.login_failures']) {
      expect(await refusal(client, `select from ${table}`)).toBe('42501')
    }
  }))
