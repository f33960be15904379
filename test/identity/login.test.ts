/** The login functions of the database: how they count failed logins, and when they refuse an attempt. */
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

type LoginAttempt = {
  user_id: string | null
  normalized_email: string
  full_name: string | null
  is_admin: boolean | null
  password_parameters: string | null
  account_key: Buffer
  max_count: number
  retry_after_seconds: number | null
}

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
  for (const name of [
    'parallel',
    'known',
    'window',
    'success',
    'mixed',
    'apart',
    'zero',
    'never-seen',
    'exact',
  ]) {
    await makeUser(database.owner, `${name}@example.com`)
  }
})

afterAll(() => database.drop())

/** The client address of every attempt in these tests. */
const address = '192.0.2.1'

/** The keys that count failures of an e-mail address: one for all clients, one for a known client address. */
const KEYS = '(app_private.account_key($1), app_private.account_key($1, $2))'

async function beginLogin(client: Pick<pg.ClientBase, 'query'>, email: string): Promise<LoginAttempt> {
  const { rows } = await client.query<LoginAttempt>('select * from app_public.begin_login($1, $2)', [
    email,
    address,
  ])
  return rows[0] as LoginAttempt
}

function attemptLogin(email: string): Promise<LoginAttempt> {
  return committed(database, 'authenticator', client => beginLogin(client, email))
}

/** The stored hash of `makeUser`. */
const HASH = '$argon2id$none'
const COMPLETE = 'select app_public.complete_login($1, $2, $3, $4, $5) as matches'

/** Completes an attempt. The default is the right password. */
async function completeLogin(
  email: string,
  { account_key, max_count }: LoginAttempt,
  hash = HASH,
): Promise<unknown> {
  const { rows } = await committed(database, 'authenticator', client =>
    client.query(COMPLETE, [email, address, account_key, max_count, hash]),
  )
  return rows[0].matches
}

async function countFailures(email: string): Promise<number | undefined> {
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

test('20 concurrent attempts count as 20 failures, and exactly 5 of them get the parameters of the password hash', async () => {
  const outcomes = await concurrently(database, 'authenticator', 20, client =>
    beginLogin(client, 'parallel@example.com'),
  )
  expect(countOutcomes(outcomes)).toEqual({ ok: 20 })
  const attempts = outcomes.flatMap(outcome => (outcome.status === 'fulfilled' ? [outcome.value] : []))
  expect(attempts.filter(({ password_parameters }) => password_parameters !== null)).toHaveLength(5)
  expect(attempts.filter(({ retry_after_seconds }) => retry_after_seconds !== null)).toHaveLength(15)
  expect(await countFailures('parallel@example.com')).toBe(20)
})

test('20 concurrent attempts for an unknown address are counted in the same way', async () => {
  const outcomes = await concurrently(database, 'authenticator', 20, client =>
    beginLogin(client, 'nobody-at-once@example.com'),
  )
  const attempts = outcomes.flatMap(outcome => (outcome.status === 'fulfilled' ? [outcome.value] : []))
  expect(attempts.filter(({ retry_after_seconds }) => retry_after_seconds === null)).toHaveLength(5)
  expect(await countFailures('nobody-at-once@example.com')).toBe(20)
})

test('an attempt waits until the attempt before it is counted', () =>
  interleave(database, { first: 'authenticator', second: 'authenticator' }, async ({ first, second }) => {
    await first.query("select app_public.begin_login('queue@example.com', '192.0.2.1')")
    const waiting = await second.startBlocked(
      "select app_public.begin_login('queue@example.com', '192.0.2.1')",
    )
    await first.commit()
    await waiting.result
    await second.commit()
    expect(await countFailures('queue@example.com')).toBe(2)
  }))

test('the sixth attempt within 15 minutes is refused, for an existing and for an unknown address', async () => {
  for (const email of ['known@example.com', 'nobody@example.com']) {
    for (let number = 1; number <= 5; number += 1) {
      const { retry_after_seconds, password_parameters } = await attemptLogin(email)
      expect({ retry_after_seconds, hasParameters: password_parameters !== null }).toEqual({
        retry_after_seconds: null,
        hasParameters: email === 'known@example.com',
      })
    }
    const sixth = await attemptLogin(email)
    expect(sixth).toEqual({
      user_id: null,
      normalized_email: email,
      full_name: null,
      is_admin: null,
      password_parameters: null,
      account_key: expect.any(Buffer),
      max_count: 5,
      over_limit: true,
      retry_after_seconds: expect.any(Number),
    })
    expect(sixth.retry_after_seconds).toBeGreaterThan(890)
    expect(sixth.retry_after_seconds).toBeLessThanOrEqual(900)
  }
})

test('spaces and upper case in an address do not change its counter', async () => {
  for (const email of ['mixed@example.com', 'MIXED@example.com', ' Mixed@Example.com '])
    await attemptLogin(email)
  expect(await countFailures('mixed@example.com')).toBe(3)
})

test('after the end of the window attempts are allowed again and the count restarts at one', async () => {
  for (const email of ['window@example.com', 'nobody-window@example.com']) {
    for (let number = 1; number <= 6; number += 1) await attemptLogin(email)
    await moveWindowBack(email, '890 seconds')
    const late = await attemptLogin(email)
    expect(late.retry_after_seconds).toBeGreaterThan(0)
    expect(late.retry_after_seconds).toBeLessThanOrEqual(10)
    await moveWindowBack(email, '10 seconds')
    expect((await attemptLogin(email)).retry_after_seconds).toBeNull()
    expect(await countFailures(email)).toBe(1)
    for (let number = 2; number <= 5; number += 1) await attemptLogin(email)
    expect((await attemptLogin(email)).retry_after_seconds).not.toBeNull()
  }
})

test('a successful login removes only the failure that was counted when it began', async () => {
  for (let number = 1; number <= 3; number += 1) await attemptLogin('success@example.com')
  for (let number = 1; number <= 10; number += 1) {
    const right = await attemptLogin('success@example.com')
    expect(right.password_parameters).not.toBeNull()
    expect(await completeLogin('success@example.com', right)).toBe(true)
  }
  expect(await countFailures('success@example.com')).toBe(3)
})

test('after a success the client address gets its own count, and other addresses keep the old count', async () => {
  const email = 'apart@example.com'
  for (let number = 1; number <= 4; number += 1) await attemptLogin(email)
  const right = await attemptLogin(email)
  await completeLogin(email, right)
  const { account_key } = await attemptLogin(email)
  expect(account_key).not.toEqual(right.account_key)
  const elsewhere = await committed(database, 'authenticator', async client => {
    const { rows } = await client.query("select * from app_public.begin_login($1, '192.0.2.2')", [email])
    return rows[0] as LoginAttempt
  })
  expect(elsewhere.account_key).toEqual(right.account_key)
})

test('only the exact stored hash is right, and any other leaves the failure counted and the address unknown', async () => {
  const email = 'exact@example.com'
  const attempt = await attemptLogin(email)
  for (const wrong of ['', '$argon2id', '$argon2id$None', `${HASH}$`, '%'])
    expect(await completeLogin(email, attempt, wrong)).toBe(false)
  expect(await completeLogin('nobody@example.com', attempt)).toBe(false)
  expect(await countFailures(email)).toBe(1)
  expect((await attemptLogin(email)).account_key).toEqual(attempt.account_key)
})

test('no function that the API may call returns a stored hash', () =>
  rolledBack(database, async client => {
    await makeUser(client, 'secret@example.com')
    const set =
      "update app_private.user_passwords set password_hash = '$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA'"
    await client.query(set)
    await become(client, 'authenticator')
    const attempt = await beginLogin(client, 'secret@example.com')
    expect(attempt.password_parameters).toBe('$argon2id$v=19$m=19456,t=2,p=1$c2FsdA')
    const values = ['secret@example.com', address, attempt.account_key, attempt.max_count, HASH]
    const completed = await client.query(COMPLETE, values)
    expect(JSON.stringify([attempt, completed.rows])).not.toContain('aGFzaA')
    await become(client, 'owner')
    const { rows } = await client.query(
      "select string_agg(a::text, ' ') as text from app_public.audit_logs as a where created_at >= now()",
    )
    expect(rows[0].text).toContain('LOGIN_FAILED')
    expect(rows[0].text).not.toMatch(/argon2|aGFzaA/)
  }))

test('a success without an attempt does not make the count negative', async () => {
  const zero = await attemptLogin('zero@example.com')
  await completeLogin('zero@example.com', zero)
  await completeLogin('zero@example.com', zero)
  expect(await countFailures('zero@example.com')).toBe(0)
  await completeLogin('never-seen@example.com', { ...zero, account_key: Buffer.alloc(32) })
  expect(await countFailures('never-seen@example.com')).toBeUndefined()
})

test('an attempt returns the name of the account and whether it is an admin', () =>
  rolledBack(database, async client => {
    const userId = await makeUser(client, 'boss@example.com')
    await client.query('update app_public.users set is_admin = true where id = $1', [userId])
    await become(client, 'authenticator')
    expect(await beginLogin(client, 'Boss@example.com')).toEqual({
      user_id: userId,
      normalized_email: 'boss@example.com',
      full_name: 'Test User',
      is_admin: true,
      password_parameters: '$argon2id',
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
  "select app_public.complete_login('a@example.com', '192.0.2.1', '\\x00', 5, '$argon2id$none')",
]

test.each(API_ROLES)('%s cannot call the login and registration functions', (_who, as) =>
  rolledBack(database, async client => {
    await become(client, as)
    for (const call of IDENTITY_CALLS) expect(await refusal(client, call)).toBe('42501')
  }),
)

test('the authenticator can call these functions, but cannot read their tables', () =>
  rolledBack(database, async client => {
    await become(client, 'authenticator')
    for (const call of IDENTITY_CALLS) await client.query(call)
    for (const table of ['app_public.users', 'app_private.user_passwords', 'app_private.login_failures']) {
      expect(await refusal(client, `select from ${table}`)).toBe('42501')
    }
  }))
