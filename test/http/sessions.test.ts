/** Sessions over HTTP on two processes: which access tokens they accept, what ends a session, and refreshed tokens. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { SignJWT } from 'jose'
import { makeTokens } from '../../src/identity/tokens.ts'
import type { Role } from '../../src/request/identity.ts'
import { startApiProcess } from '../support/apiProcess.ts'
import { jwtSecret, type TestServer, tokenKey } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { countResponses, login, register, type Session } from '../support/graphqlOperations.ts'
import { recordLog } from '../support/recordedLog.ts'
import { makeCountry, single } from '../support/testData.ts'
import { until } from '../support/waits.ts'

const PASSWORD = 'correct horse battery'
const ME = '{ currentUser { id } }'
const CREATE =
  'mutation { createDealer(input: {companyName: "A", country: "DE", dealerType: GENERAL}) { dealer { id } } }'
const TRAIL = '{ auditLogs { totalCount } }'
const PAY = `mutation { payInvoice(input: {invoiceId: "${randomUUID()}"}) { invoice { id } } }`

let database: TestDatabase
let servers: [TestServer, TestServer]
const log = recordLog()

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  await database.owner.query("update app_public.rate_limit_policies set mode = 'off'")
  servers = await Promise.all([startApiProcess(database, {}, log), startApiProcess(database, {}, log)])
})

afterAll(async () => {
  for (const server of servers) await server.stop()
  await database.drop()
})

async function makeAccount(isAdmin = false): Promise<Session & { email: string }> {
  const email = `${randomUUID()}@example.com`
  const { data } = await register(servers[0], { email, password: PASSWORD })
  if (!isAdmin) return { ...(data.register?.session as Session), email }
  await database.owner.query('update app_public.users set is_admin = true where email = $1', [email])
  return { ...((await login(servers[0], email, PASSWORD)).data.login?.session as Session), email }
}

const refresh = (server: TestServer, refreshToken: string, token?: string) =>
  server.call<{ refreshSession: { session: Session } | null }>(
    `mutation ($input: RefreshSessionInput!) {
      refreshSession(input: $input) { session { accessToken expiresAt refreshToken refreshExpiresAt user { id email fullName } } }
    }`,
    { variables: { input: { refreshToken } }, ...(token === undefined ? {} : { token }) },
  )
const logout = (server: TestServer, token: string, everywhere?: boolean) =>
  server.call('mutation ($input: LogoutInput!) { logout(input: $input) { ok } }', {
    token,
    variables: { input: { everywhere } },
  })

async function outcome(server: TestServer, query: string, token: string): Promise<string> {
  const { status, errors } = await server.call(query, { token })
  return errors[0] ? `${status} ${errors[0].extensions.code}` : String(status)
}

/** What a query, a mutation, and an admin's query and mutation answer at both processes. */
async function outcomes(token: string): Promise<string[]> {
  const results = await Promise.all(
    [ME, CREATE, TRAIL, PAY].map(async query => {
      const [one, two] = await Promise.all(servers.map(server => outcome(server, query, token)))
      return one === two ? one : `${one} and ${two}`
    }),
  )
  return results.map(String)
}

const REFUSED = Array.from({ length: 4 }, () => '401 unauthenticated')
const DEALER = ['200', '200', '403 forbidden', '403 forbidden']
const ADMIN = ['200', '200', '200', '404 not_found']

/** Returns once both processes refuse the token. */
async function untilRefused(token: string): Promise<void> {
  for (const server of servers)
    await until('the token is refused', async () => (await outcome(server, ME, token)).startsWith('401'), 10)
}

/** The states of a token after which it is refused. Each ends the session of a fresh account. */
const ENDS: Record<string, (session: Session & { email: string }) => Promise<unknown>> = {
  'logged out': ({ accessToken }) => logout(servers[1], accessToken),
  'logged out everywhere': ({ accessToken }) => logout(servers[1], accessToken, true),
  'reused refresh token': async ({ refreshToken }) => {
    const first = (await refresh(servers[0], refreshToken)).data.refreshSession?.session.refreshToken ?? ''
    await refresh(servers[1], first)
    expect(countResponses([await refresh(servers[1], refreshToken)])).toEqual({ '401 unauthenticated': 1 })
  },
  'deleted user': async ({ user }) => {
    for (const table of ['user_passwords', 'one_time_tokens'])
      await database.owner.query(`delete from app_private.${table} where user_id = $1`, [user.id])
    await database.owner.query('delete from app_public.users where id = $1', [user.id])
  },
  'locked user': ({ user }) => database.owner.query("select app_private.lock_user($1, 'A test.')", [user.id]),
  'demoted admin': ({ email }) => database.owner.query('select app_private.set_admin($1, false)', [email]),
  'session that a DBA deleted': ({ user }) =>
    database.owner.query('delete from app_private.sessions where user_id = $1', [user.id]),
}

test.each(Object.keys(ENDS))('the tokens of a session are refused everywhere: %s', async state => {
  const isAdmin = state === 'demoted admin'
  const session = await makeAccount(isAdmin)
  expect(await outcome(servers[1], ME, session.accessToken)).toBe('200')
  await ENDS[state]?.(session)
  await untilRefused(session.accessToken)
  expect(await outcomes(session.accessToken)).toEqual(REFUSED)
  expect(countResponses([await refresh(servers[0], session.refreshToken)])).toEqual({
    '401 unauthenticated': 1,
  })
})

test('a fresh token and a refreshed one are accepted, and so is the old one until it expires', async () => {
  for (const isAdmin of [false, true]) {
    const session = await makeAccount(isAdmin)
    const next = (await refresh(servers[1], session.refreshToken)).data.refreshSession?.session as Session
    expect(next.user).toEqual(session.user)
    expect(next.refreshToken).not.toBe(session.refreshToken)
    for (const { accessToken } of [session, next])
      expect(await outcomes(accessToken)).toEqual(isAdmin ? ADMIN : DEALER)
  }
})

test('an access token lasts 15 minutes, a refresh token 30 days, and both are in no table and no log', async () => {
  const { accessToken, expiresAt, refreshToken, refreshExpiresAt } = await makeAccount()
  const minutes = (Date.parse(expiresAt) - Date.now()) / 60_000
  expect(minutes).toBeGreaterThan(14)
  expect(minutes).toBeLessThanOrEqual(15)
  const days = (Date.parse(refreshExpiresAt) - Date.now()) / 86_400_000
  expect(days).toBeGreaterThan(29.9)
  expect(days).toBeLessThanOrEqual(30.01)
  const next = (await refresh(servers[0], refreshToken)).data.refreshSession?.session.refreshToken ?? ''
  const { rows } = await database.owner.query(
    'select to_jsonb(t)::text as text from app_private.refresh_tokens as t union all select to_jsonb(a)::text from app_public.audit_logs as a',
  )
  const stored = rows.map(({ text }) => text).join('\n')
  for (const token of [accessToken, refreshToken, next]) {
    expect(stored).not.toContain(token)
    expect(stored).not.toContain(Buffer.from(token, 'base64url').toString('hex'))
    expect(log.text()).not.toContain(token)
  }
})

/** Tokens that no process accepts, with the claims of a living session. */
const INVALID: Record<string, (claims: { sub: string; sid: string; role: Role }) => Promise<string>> = {
  'an expired token': claims => sign(claims, -1),
  'a token of a rotated secret': async ({ sub, sid, role }) =>
    (await makeTokens(`${jwtSecret} of last year`).issue({ userId: sub, sessionId: sid, role })).accessToken,
  'a token without a session, as release 0.3 made them': ({ sub, role }) => sign({ sub, role }, 600),
}

function sign(claims: Record<string, string>, seconds: number): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuer('forecourt')
    .setAudience('forecourt')
    .setIssuedAt()
    .setExpirationTime(Math.floor(Date.now() / 1000) + seconds)
    .sign(tokenKey)
}

test.each(Object.keys(INVALID))('%s is refused everywhere, and the session refreshes', async name => {
  const { user, refreshToken } = await makeAccount()
  const sid = await single(database.owner, 'select id from app_private.sessions where user_id = $1', [
    user.id,
  ])
  const token = (await INVALID[name]?.({ sub: user.id, sid, role: 'dealer' })) ?? ''
  expect(await outcomes(token)).toEqual(REFUSED)
  expect(countResponses([await refresh(servers[1], refreshToken, token)])).toEqual({
    '401 unauthenticated': 1,
  })
  expect(countResponses([await refresh(servers[1], refreshToken)])).toEqual({ 200: 1 })
})

test('until its session is known to have ended, the token of a former admin has no right of an admin', async () => {
  const { accessToken, user } = await makeAccount(true)
  // the right is taken away without the trigger that ends the sessions
  const client = await database.superuser.connect()
  await client.query("set session_replication_role to 'replica'")
  await client.query('update app_public.users set is_admin = false where id = $1', [user.id])
  client.release(true)
  const { status, data } = await servers[0].call<{ auditLogs: unknown }>(TRAIL, { token: accessToken })
  expect([status, data.auditLogs]).toEqual([200, { totalCount: 0 }])
  expect(await outcome(servers[0], PAY, accessToken)).toBe('403 forbidden')
})

test('a logout ends one session or all of the user, and no others', async () => {
  const account = await makeAccount()
  const other = await makeAccount()
  const sessions: Session[] = [account]
  for (let number = 0; number < 2; number += 1)
    sessions.push((await login(servers[1], account.email, PASSWORD)).data.login?.session as Session)
  const [one, two, three] = sessions as [Session, Session, Session]
  expect((await logout(servers[0], one.accessToken)).data).toEqual({ logout: { ok: true } })
  await untilRefused(one.accessToken)
  expect(await outcome(servers[0], ME, two.accessToken)).toBe('200')
  expect((await logout(servers[0], two.accessToken, true)).data).toEqual({ logout: { ok: true } })
  await untilRefused(three.accessToken)
  for (const server of servers) expect(await outcome(server, ME, other.accessToken)).toBe('200')
  expect(countResponses([await servers[0].call('mutation { logout(input: {}) { ok } }')])).toEqual({
    '401 unauthenticated': 1,
  })
})

test('twenty refreshes of one token at once leave one living session with one unused token', async () => {
  const { user, refreshToken, accessToken } = await makeAccount()
  const responses = await Promise.all(
    Array.from({ length: 20 }, (_, number) => refresh(servers[number % 2 ? 0 : 1], refreshToken)),
  )
  expect(countResponses(responses)).toEqual({ 200: 20 })
  const successors = new Set(responses.map(({ data }) => data.refreshSession?.session.refreshToken))
  expect(successors.size).toBe(1)
  const { rows } = await database.owner.query(
    `select count(distinct s.id)::int as sessions, count(t.token_hash) filter (where t.used_at is null)::int as unused
     from app_private.sessions as s join app_private.refresh_tokens as t on t.session_id = s.id where s.user_id = $1`,
    [user.id],
  )
  expect(rows).toEqual([{ sessions: 1, unused: 1 }])
  expect(await outcome(servers[1], ME, accessToken)).toBe('200')
})

test('a client that lost the answer gets the same refresh token again, and goes on with it', async () => {
  const { refreshToken } = await makeAccount()
  const lost = await refresh(servers[0], refreshToken)
  const again = await refresh(servers[1], refreshToken)
  const session = again.data.refreshSession?.session as Session
  expect(session.refreshToken).toBe(lost.data.refreshSession?.session.refreshToken)
  expect(countResponses([await refresh(servers[0], session.refreshToken)])).toEqual({ 200: 1 })
})

test('a refresh token that is none is refused', async () => {
  for (const token of ['', 'x', 'x'.repeat(10_000), (await makeAccount()).accessToken])
    expect(countResponses([await refresh(servers[0], token)])).toEqual({ '401 unauthenticated': 1 })
})

test('refreshes are limited for each address', async () => {
  const set = (mode: string) =>
    database.owner.query(
      'update app_public.rate_limit_policies set mode = $1, max_count = 1 where scope = $2',
      [mode, 'auth_refresh'],
    )
  await set('enforce')
  for (const server of servers) {
    await until('a refresh is refused', async () => (await refresh(server, 'x')).status === 429)
    const { errors } = await refresh(server, 'x')
    expect(errors[0]?.extensions.detail).toEqual({ scope: 'auth_refresh' })
  }
  await set('off')
  for (const server of servers)
    await until('none is refused', async () => (await refresh(server, 'x')).status === 401)
})

test('a locked user that knows its password gets forbidden, and with a wrong one what everybody gets', async () => {
  const { user, email } = await makeAccount()
  await database.owner.query("select app_private.lock_user($1, 'A test.')", [user.id])
  expect(countResponses([await login(servers[0], email, PASSWORD)])).toEqual({ '403 forbidden': 1 })
  expect(countResponses([await login(servers[0], email, 'wrong password')])).toEqual({
    '401 invalid_credentials': 1,
  })
})
