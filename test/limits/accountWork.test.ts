/** The work of a failed login: the same for an existing and an unknown account, so its time tells neither from the other. */
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { workInDatabase } from '../support/databaseWork.ts'
import { listenToStatements, type Statements } from '../support/statements.ts'
import { makeUser } from '../support/testData.ts'

const ALLOWED = 5
const GUESS = 'wrong password'

type Hashing = { password: unknown; salt: number | undefined; more: unknown[] }

const hashings: Hashing[] = []

const argon2 = jest.requireActual<typeof import('@node-rs/argon2')>('@node-rs/argon2')
jest.unstable_mockModule('@node-rs/argon2', () => ({
  ...argon2,
  hash: (...given: Parameters<typeof argon2.hash>) => {
    const [password, options, ...more] = given
    const { salt, ...cost } = options ?? {}
    hashings.push({ password, salt: salt?.length, more: [cost, ...more] })
    return argon2.hash(...given)
  },
}))
// loaded after the mock, which they use
const { hashPassword } = await import('../../src/identity/passwords.ts')
const { startServer } = await import('../support/apiServer.ts')
const { login } = await import('../support/graphqlOperations.ts')

let database: TestDatabase
let statements: Statements

beforeAll(async () => {
  database = await cloneDatabase()
  await database.superuser.query(`alter database ${database.name} set track_functions = 'all'`)
  const userId = await makeUser(database.owner, 'existing@example.com')
  await database.superuser.query(
    'update app_private.user_passwords set password_hash = $2 where user_id = $1',
    [userId, await hashPassword('correct horse battery staple')],
  )
  statements = await listenToStatements(database.ownerUrl)
})

afterAll(async () => {
  await statements.relay.cut()
  await database.drop()
})

/** One failed login after another, up to the first that the limit refuses, on a server that has just started. */
async function workOf(email: string) {
  const server = await startServer({ ...database, ownerUrl: statements.relay.url })
  // the test's own writes are reported before the reset
  for (const pool of [database.owner, database.superuser])
    await pool.query('select pg_stat_force_next_flush()')
  await database.superuser.query('select pg_stat_reset()')
  const attempts: unknown[] = []
  try {
    for (let attempt = 0; attempt <= ALLOWED; attempt += 1) {
      statements.take('forecourt api')
      hashings.length = 0
      const { status, errors } = await login(server, email, GUESS)
      attempts.push({
        outcome: [status, errors[0]?.extensions.code],
        statements: statements.take('forecourt api'),
        hashings: [...hashings],
      })
    }
  } finally {
    await server.stop()
  }
  return { attempts, inside: await workInDatabase(database, 'begin_login', ALLOWED + 1) }
}

const BEGIN = 'select * from app_public.begin_login($1, $2)'
const COMPLETE = 'select * from app_public.log_in($1, $2, $3, $4, $5, $6)'

test('an existing and an unknown account take the same statements, hashes and writes', async () => {
  const existing = await workOf('existing@example.com')
  const unknown = await workOf('unknown@example.com')
  expect(unknown.attempts).toEqual(existing.attempts)
  expect(unknown.inside).toEqual(existing.inside)
  const failed = {
    outcome: [401, 'invalid_credentials'],
    statements: [BEGIN, COMPLETE],
    hashings: [{ password: GUESS, salt: 16, more: [{ memoryCost: 19_456, timeCost: 2, parallelism: 1 }] }],
  }
  const refused = { outcome: [429, 'rate_limit_exceeded'], statements: [BEGIN], hashings: [] }
  expect(existing.attempts).toEqual([...Array(ALLOWED).fill(failed), refused])
  expect(existing.inside).not.toEqual([[], []])
})
