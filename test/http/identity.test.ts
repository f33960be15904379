/** Accounts: registration, login, and the limit on failed logins. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { type ApiResponse, startServer, type TestServer } from '../support/apiServer.ts'
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

/** Makes the e-mail address of an existing account, or an unknown address. */
const targets = { existing: () => makeAccount(), unknown: async () => newEmail() }

/** Counts the failed logins of an e-mail address, under both keys: any client, and the client of these tests. */
async function countFailures(email: string): Promise<number | undefined> {
  const { rows } = await database.superuser.query<{ failures: number | null }>(
    `select sum(failures)::integer as failures from app_private.login_failures
     where email_hash in (app_private.account_key($1), app_private.account_key($1, '127.0.0.1'))`,
    [email],
  )
  return rows[0]?.failures ?? undefined
}

/** The name of the account in the limit key of a refusal. */
async function accountKey(email: string): Promise<string> {
  const { rows } = await database.superuser.query<{ key: string }>(
    "select encode(app_private.account_key($1), 'hex') as key",
    [email],
  )
  return rows[0]?.key.slice(0, 16) ?? ''
}

/** The headers of a response, without those that differ with each request. */
function stableHeaders({ headers }: ApiResponse<unknown>): Record<string, string> {
  const { date: _, 'x-request-id': __, ...stable } = Object.fromEntries(headers)
  return stable
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

test('registration returns a valid session, and the user can log in again', async () => {
  const email = newEmail()
  const registered = await register(server, { email, password, fullName: '  Ada Lovelace ' })
  const session = registered.data.register?.session
  expect([registered.status, session]).toEqual([
    200,
    {
      accessToken: expect.any(String),
      expiresAt: expect.stringMatching(TIME),
      refreshToken: expect.stringMatching(/^[\w-]{43}$/),
      refreshExpiresAt: expect.stringMatching(TIME),
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

test('an e-mail address is the same account whatever its case and surrounding spaces', async () => {
  const email = newEmail()
  const { data } = await register(server, { email: ` ${email.toUpperCase()} `, password })
  expect(data.register?.session.user.email).toBe(email)
  expect((await login(server, `  ${email.toUpperCase()}`, password)).status).toBe(200)
  expect(countResponses([await register(server, { email, password })])).toEqual({ '409 conflict': 1 })
})

test('registering a taken e-mail address gets conflict with the field', async () => {
  const email = await makeAccount()
  const { status, errors } = await register(server, { email, password: 'another password' })
  expect([status, errors[0]?.extensions]).toEqual([409, { code: 'conflict', detail: { field: 'email' } }])
  expect((await login(server, email, password)).status).toBe(200)
})

test('one of 20 concurrent registrations for one address succeeds', async () => {
  const email = newEmail()
  const responses = await Promise.all(Array.from({ length: 20 }, () => register(server, { email, password })))
  expect(countResponses(responses)).toEqual({ 200: 1, '409 conflict': 19 })
})

test('a password has 8 to 128 characters, counted as characters and not as bytes', async () => {
  for (const [length, status] of [
    [7, 422],
    [8, 200],
    [128, 200],
    [129, 422],
  ] as const) {
    const { errors, ...response } = await register(server, {
      email: newEmail(),
      password: '🚗'.repeat(length),
    })
    expect([length, response.status]).toEqual([length, status])
    const refused = { code: 'invalid_input', detail: { field: 'password' } }
    expect(errors.map(({ extensions }) => extensions)).toEqual(status === 200 ? [] : [refused])
  }
})

test('a password and an e-mail address are the same in every spelling of Unicode', async () => {
  const id = randomUUID()
  const given = { email: `Ren\u00e9.${id}@B\u00fccher.example`, password: 'Gr\u00fc\u00dfe aus K\u00f6ln' }
  const registered = await register(server, { ...given, fullName: 'Rene\u0301' })
  expect(registered.data.register?.session.user).toMatchObject({
    email: `ren\u00e9.${id}@xn--bcher-kva.example`,
    fullName: 'Ren\u00e9',
  })
  const other = `rene\u0301.${id}@xn--bcher-kva.EXAMPLE`
  expect((await login(server, other, 'Gru\u0308\u00dfe\u00a0aus\u3000Ko\u0308ln')).status).toBe(200)
  expect(countResponses([await register(server, { ...given, email: other })])).toEqual({ '409 conflict': 1 })
  expect(countResponses([await login(server, other, 'Grusse aus Koln')])).toEqual({
    '401 invalid_credentials': 1,
  })
})

test('a common password, the e-mail address and its first part are refused with the field', async () => {
  const email = `${randomUUID()}@example.com`
  const [localPart = ''] = email.split('@')
  for (const refused of [
    'password1',
    'QWERTYUIOP',
    email,
    email.toUpperCase(),
    localPart,
    'long\u200benough',
  ]) {
    const { status, errors } = await register(server, { email: ` ${email.toUpperCase()}`, password: refused })
    expect([refused, status, errors.map(({ extensions }) => extensions)]).toEqual([
      refused,
      422,
      [{ code: 'invalid_input', detail: { field: 'password' } }],
    ])
  }
  expect((await register(server, { email, password })).status).toBe(200)
})

test('an address that is none is refused at the login as well, and counts nowhere', async () => {
  for (const email of ['', 'jane', 'jane@example.com.', 'jane@example..com', 'ja\u200bne@example.com']) {
    const { status, errors } = await login(server, email, password)
    expect([email, status, errors.map(({ extensions }) => extensions)]).toEqual([
      email,
      422,
      [{ code: 'invalid_input', detail: { field: 'email' } }],
    ])
    expect(await countFailures(email)).toBeUndefined()
  }
})

test('a user with the admin flag gets an admin token at the next login', async () => {
  const email = await makeAccount()
  await database.owner.query('update app_public.users set is_admin = true where email = $1', [email])
  const token = (await login(server, email, password)).data.login?.session.accessToken ?? ''
  expect((await server.call('{ auditLogs { totalCount } }', { token })).status).toBe(200)
})

test('the user who creates a dealer becomes its owner, and other users cannot see the dealer', async () => {
  const { data } = await register(server, { email: newEmail(), password })
  const { accessToken: token = '', user } = data.register?.session ?? {}
  const created = await createDealer(server, token, { companyName: ' Ada Cars ', country: 'DE' })
  const dealer = created.data.createDealer?.dealer
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

test('a visitor cannot create a dealer', async () => {
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

test('the sixth failed login gets rate_limit_exceeded, with equal responses for existing and unknown accounts', async () => {
  const comparable: unknown[] = []
  for (const target of Object.values(targets)) {
    const email = await target()
    const responses: ApiResponse<unknown>[] = []
    for (let attempt = 0; attempt < 6; attempt += 1)
      responses.push(await login(server, email, 'wrong password'))
    const last = responses.pop() as ApiResponse<unknown>
    expect(countResponses(responses)).toEqual({ '401 invalid_credentials': 5 })
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
    comparable.push([last.text.replace(account, '').replaceAll(String(seconds), ''), headers])
  }
  expect(comparable[1]).toEqual(comparable[0])
})

test.each(Object.entries(targets))(
  'of 20 concurrent wrong passwords on two instances 5 get invalid_credentials and 15 are refused: %s account',
  async (_, target) => {
    const email = await target()
    const responses = await Promise.all(
      Array.from({ length: 20 }, (_, number) => login(number % 2 ? server : other, email, `wrong ${number}`)),
    )
    expect(countResponses(responses)).toEqual({ '401 invalid_credentials': 5, '429 rate_limit_exceeded': 15 })
    expect(await countFailures(email)).toBe(20)
  },
)

test('a locked account refuses the right password, and accepts it after the window', async () => {
  const email = await makeAccount()
  for (let attempt = 0; attempt < 5; attempt += 1) await login(server, email, 'wrong password')
  expect(countResponses([await login(server, email, password)])).toEqual({ '429 rate_limit_exceeded': 1 })
  await database.owner.query(
    "update app_private.login_failures set window_started_at = window_started_at - interval '900 seconds'",
  )
  expect((await login(server, email, password)).status).toBe(200)
})

test('20 concurrent logins with the right password count no failure', async () => {
  const email = await makeAccount()
  const responses = await Promise.all(Array.from({ length: 20 }, () => login(server, email, password)))
  expect(countResponses(responses)).toEqual({ 200: 20 })
  expect(await countFailures(email)).toBe(0)
})

test('a successful login does not remove earlier failures', async () => {
  const email = await makeAccount()
  for (let attempt = 0; attempt < 4; attempt += 1) await login(server, email, 'wrong password')
  expect((await login(server, email, password)).status).toBe(200)
  expect(await countFailures(email)).toBe(4)
})

test('a failed login is counted under the normalized address', async () => {
  const email = newEmail()
  await login(server, ` ${email.toUpperCase()}`, 'wrong password')
  expect(await countFailures(email)).toBe(1)
})
