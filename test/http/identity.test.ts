/** Accounts: registering, logging in, and what happens to whoever guesses. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type Answer, startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { countResponses, createDealer, login, register } from '../support/graphqlOperations.ts'
import { makeCountry } from '../support/testData.ts'

let database: TestDatabase
let server: TestServer
/** A second instance on the same database. */
let other: TestServer

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  other = await startServer(database)
  await makeCountry(database.owner)
})

afterAll(async () => {
  await server.stop()
  await other.stop()
  await database.drop()
})

const password = 'correct horse battery staple'
const newEmail = () => `${randomUUID()}@example.com`

async function makeAccount(email = newEmail()): Promise<string> {
  expect((await register(server, { email, password })).status).toBe(200)
  return email
}

/** An account that exists, and an address that is unknown. */
const targets = { existing: () => makeAccount(), unknown: async () => newEmail() }

/** Failures of an address, as of anyone and as of the client address that these tests have. */
async function failures(email: string): Promise<number | undefined> {
  const { rows } = await database.superuser.query<{ failures: number | null }>(
    `select sum(failures)::integer as failures from app_private.login_failures
     where email_hash in (app_private.account_key($1), app_private.account_key($1, '127.0.0.1'))`,
    [email],
  )
  return rows[0]?.failures ?? undefined
}

/** The account as a refusal names it. */
async function accountKey(email: string): Promise<string> {
  const { rows } = await database.superuser.query<{ key: string }>(
    "select encode(app_private.account_key($1), 'hex') as key",
    [email],
  )
  return rows[0]?.key.slice(0, 16) ?? ''
}

/** The headers of an answer, without those that differ from one request to the next. */
function stableHeaders({ headers }: Answer<unknown>): Record<string, string> {
  const { date: _, 'x-request-id': __, ...stable } = Object.fromEntries(headers)
  return stable
}

test('who registers is logged in, has a token that is accepted, and can log in again', async () => {
  const email = newEmail()
  const registered = await register(server, { email, password, fullName: '  Ada Lovelace ' })
  const session = registered.data.register?.session
  expect([registered.status, session]).toEqual([
    200,
    {
      accessToken: expect.any(String),
      expiresAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      user: { id: expect.stringMatching(/^[0-9a-f-]{36}$/), email, fullName: 'Ada Lovelace' },
    },
  ])
  expect(Date.parse(session?.expiresAt ?? '')).toBeGreaterThan(Date.now())
  const again = (await login(server, email, password)).data.login?.session
  expect(again?.user).toEqual(session?.user)
  for (const token of [session?.accessToken, again?.accessToken]) {
    const { data } = await server.call('{ currentUser { id email fullName } }', { token: token ?? '' })
    expect(data).toEqual({ currentUser: session?.user })
  }
})

test('an e-mail address is one whatever its case and the spaces around it', async () => {
  const email = newEmail()
  const { data } = await register(server, { email: ` ${email.toUpperCase()} `, password })
  expect(data.register?.session.user.email).toBe(email)
  expect((await login(server, `  ${email.toUpperCase()}`, password)).status).toBe(200)
  expect(countResponses([await register(server, { email, password })])).toEqual({ '409 conflict': 1 })
})

test('an e-mail address that is taken is a conflict that names the field', async () => {
  const email = await makeAccount()
  const { status, errors } = await register(server, { email, password: 'another password' })
  expect([status, errors[0]?.extensions]).toEqual([409, { code: 'conflict', detail: { field: 'email' } }])
  expect((await login(server, email, password)).status).toBe(200)
})

test('of 20 registrations of one address at once one succeeds', async () => {
  const email = newEmail()
  const answers = await Promise.all(Array.from({ length: 20 }, () => register(server, { email, password })))
  expect(countResponses(answers)).toEqual({ 200: 1, '409 conflict': 19 })
})

test('a password has 8 to 128 characters, each counted once however many bytes it takes', async () => {
  for (const [length, status] of [
    [7, 422],
    [8, 200],
    [128, 200],
    [129, 422],
  ] as const) {
    const { errors, ...answer } = await register(server, { email: newEmail(), password: '🚗'.repeat(length) })
    expect([length, answer.status]).toEqual([length, status])
    const refused = { code: 'invalid_input', detail: { field: 'password' } }
    expect(errors.map(({ extensions }) => extensions)).toEqual(status === 200 ? [] : [refused])
  }
})

test('the admin flag of a user makes the token an admin one from the next login on', async () => {
  const email = await makeAccount()
  await database.owner.query('update app_public.users set is_admin = true where email = $1', [email])
  const token = (await login(server, email, password)).data.login?.session.accessToken ?? ''
  expect((await server.call('{ auditLogs { totalCount } }', { token })).status).toBe(200)
})

test('who makes a dealer is its owner and sees it, and nobody else does', async () => {
  const { data } = await register(server, { email: newEmail(), password })
  const { accessToken: token = '', user } = data.register?.session ?? {}
  const answer = await createDealer(server, token, { companyName: ' Ada Cars ', country: 'DE' })
  const dealer = answer.data.createDealer?.dealer
  expect(dealer).toEqual({ id: expect.any(String), companyName: 'Ada Cars', country: 'DE' })
  const { rows } = await database.superuser.query(
    'select user_id, role from app_public.dealer_users where dealer_id = $1',
    [dealer?.id],
  )
  expect(rows).toEqual([{ user_id: user?.id, role: 'owner' }])
  const query = 'query ($id: UUID!) { dealer(id: $id) { companyName } }'
  const variables = { id: dealer?.id }
  expect((await server.call(query, { token, variables })).data).toEqual({
    dealer: { companyName: 'Ada Cars' },
  })
  const stranger = (await register(server, { email: newEmail(), password })).data.register?.session
    .accessToken
  const refusal = await server.call(query, { token: stranger ?? '', variables })
  expect(countResponses([refusal])).toEqual({ '404 not_found': 1 })
})

test('a visitor makes no dealer', async () => {
  const query = `mutation { createDealer(input: {companyName: "X", country: "DE", dealerType: GENERAL}) { dealer { id } } }`
  expect(countResponses([await server.call(query)])).toEqual({ '401 unauthenticated': 1 })
})

test('a wrong password and an unknown address get the same status, body and headers', async () => {
  const wrong = await login(server, await makeAccount(), 'wrong password')
  const unknown = await login(server, newEmail(), 'wrong password')
  expect(countResponses([wrong])).toEqual({ '401 invalid_credentials': 1 })
  expect(wrong.errors[0]?.extensions).toEqual({ code: 'invalid_credentials' })
  expect([unknown.status, unknown.text]).toEqual([wrong.status, wrong.text])
  expect(stableHeaders(unknown)).toEqual(stableHeaders(wrong))
})

test('the sixth failure in a row is rate_limit_exceeded, and looks the same for existing and unknown accounts', async () => {
  const looks: unknown[] = []
  for (const target of Object.values(targets)) {
    const email = await target()
    const answers: Answer<unknown>[] = []
    for (let attempt = 0; attempt < 6; attempt += 1)
      answers.push(await login(server, email, 'wrong password'))
    const last = answers.pop() as Answer<unknown>
    expect(countResponses(answers)).toEqual({ '401 invalid_credentials': 5 })
    const seconds = Number(last.headers.get('retry-after'))
    expect(seconds).toBeGreaterThan(890)
    expect(seconds).toBeLessThanOrEqual(900)
    const account = await accountKey(email)
    expect([last.status, last.errors]).toMatchObject([
      429,
      [
        {
          message: `Too many requests. Please try again in ${seconds} seconds.`,
          extensions: {
            code: 'rate_limit_exceeded',
            detail: { scope: 'auth_account' },
            meta: { limit_key: `account:${account}:auth_account`, retry_after_seconds: seconds },
          },
        },
      ],
    ])
    expect(last.text).not.toContain(email)
    const reset = Number(last.headers.get('x-ratelimit-reset'))
    expect(Math.abs(reset - Date.now() / 1000 - seconds)).toBeLessThan(3)
    const {
      'retry-after': _,
      'content-length': __,
      'x-ratelimit-reset': ___,
      ...headers
    } = stableHeaders(last)
    looks.push([last.text.replace(account, '').replaceAll(String(seconds), ''), headers])
  }
  expect(looks[1]).toEqual(looks[0])
})

test.each(Object.entries(targets))(
  'of 20 wrong passwords at once on two instances 5 are told wrong and 15 refused, for an %s account',
  async (_, target) => {
    const email = await target()
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, number) => login(number % 2 ? server : other, email, `wrong ${number}`)),
    )
    expect(countResponses(answers)).toEqual({ '401 invalid_credentials': 5, '429 rate_limit_exceeded': 15 })
    expect(await failures(email)).toBe(20)
  },
)

test('while an account is locked the right password is refused as well, and after the window it is taken', async () => {
  const email = await makeAccount()
  for (let attempt = 0; attempt < 5; attempt += 1) await login(server, email, 'wrong password')
  expect(countResponses([await login(server, email, password)])).toEqual({ '429 rate_limit_exceeded': 1 })
  await database.owner.query(
    "update app_private.login_failures set window_started_at = window_started_at - interval '900 seconds'",
  )
  expect((await login(server, email, password)).status).toBe(200)
})

test('logging in with the right password, 20 times at once too, is no failure', async () => {
  const email = await makeAccount()
  const answers = await Promise.all(Array.from({ length: 20 }, () => login(server, email, password)))
  expect(countResponses(answers)).toEqual({ 200: 20 })
  expect(await failures(email)).toBe(0)
})

test('no right password wipes out the failures before it', async () => {
  const email = await makeAccount()
  for (let attempt = 0; attempt < 4; attempt += 1) await login(server, email, 'wrong password')
  expect((await login(server, email, password)).status).toBe(200)
  expect(await failures(email)).toBe(4)
})

test('a failure is counted under the one form of its address', async () => {
  const email = newEmail()
  await login(server, ` ${email.toUpperCase()}`, 'wrong password')
  expect(await failures(email)).toBe(1)
})
