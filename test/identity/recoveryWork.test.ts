/** The work of recovery: the same for known and unknown addresses, so its time tells neither from the other. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { workInDatabase } from '../support/databaseWork.ts'
import { register } from '../support/graphqlOperations.ts'
import { listenToStatements, type Statements } from '../support/statements.ts'

const PASSWORD = 'correct horse battery'
const KNOWN = 'known@example.com'

let database: TestDatabase
let statements: Statements

beforeAll(async () => {
  database = await cloneDatabase()
  await database.owner.query(
    "update app_public.rate_limit_policies set mode = 'enforce' where scope = 'auth_mail'",
  )
  await database.superuser.query(`alter database ${database.name} set track_functions = 'all'`)
  statements = await listenToStatements(database.ownerUrl)
  const server = await startServer(database)
  for (const email of [KNOWN, 'caller@example.com']) await register(server, { email, password: PASSWORD })
  await server.stop()
})

afterAll(async () => {
  await statements.relay.cut()
  await database.drop()
})

const flush = (pool: pg.Pool) => pool.query('select pg_stat_force_next_flush()')

/** Sends a mutation until the limit of mails refuses it, on a server that has just started. */
async function workOf(send: (server: TestServer) => ReturnType<TestServer['call']>, lastFunction: string) {
  const server = await startServer({ ...database, ownerUrl: statements.relay.url })
  const attempts: unknown[] = []
  for (const pool of [database.owner, database.superuser]) await flush(pool)
  await database.superuser.query('select pg_stat_reset()')
  try {
    for (let attempt = 1; attempt <= 4; attempt += 1) {
      statements.take('forecourt api')
      const { status, data, errors } = await send(server)
      const [error] = errors
      attempts.push({
        outcome: [status, data, error?.extensions.code, error?.extensions.detail],
        statements: statements.take('forecourt api'),
      })
    }
  } finally {
    await server.stop()
  }
  return { attempts, inside: await workInDatabase(database, lastFunction, 4) }
}

const RESET = 'mutation ($input: RequestPasswordResetInput!) { requestPasswordReset(input: $input) { ok } }'
const CHANGE = 'mutation ($input: ChangeEmailInput!) { changeEmail(input: $input) { ok } }'

test('a reset of a known and of an unknown address takes the same statements, calls and writes', async () => {
  const reset = (email: string) =>
    workOf(server => server.call(RESET, { variables: { input: { email } } }), 'request_password_reset')
  const known = await reset(KNOWN)
  const unknown = await reset('unknown@example.com')
  expect(unknown).toEqual(known)
  const sent = {
    outcome: [200, { requestPasswordReset: { ok: true } }, undefined, undefined],
    statements: ['select * from app_public.request_password_reset($1, $2, $3)'],
  }
  expect(known.attempts).toEqual([
    ...Array(3).fill(sent),
    { ...sent, outcome: [429, expect.anything(), 'rate_limit_exceeded', { scope: 'auth_mail' }] },
  ])
  expect(JSON.stringify(known.inside)).toContain('one_time_tokens')
})

test('a change to a free and to a taken address takes the same statements, calls and writes', async () => {
  const { rows } = await database.owner.query<{ id: string }>(
    "select id from app_public.users where email = 'caller@example.com'",
  )
  const change = (newEmail: string) =>
    workOf(async server => {
      const token = await server.tokenFor(rows[0]?.id ?? '')
      return server.call(CHANGE, { token, variables: { input: { password: PASSWORD, newEmail } } })
    }, 'change_email')
  await database.superuser.query('truncate app_private.rate_limit_counters')
  // the first login from an address writes a row more
  await change('first@example.com')
  const taken = await change(KNOWN)
  const free = await change('free@example.com')
  expect(taken).toEqual(free)
  expect(free.attempts).toHaveLength(4)
})
