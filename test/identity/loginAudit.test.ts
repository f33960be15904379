/** Failed logins in the audit trail: the same entries for known and unknown accounts, and no more than the limit allows. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { startServer, type TestServer } from '../support/apiServer.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { login, register } from '../support/graphqlOperations.ts'
import { committed } from '../support/transactions.ts'

const KNOWN = 'known@example.com'
const PASSWORD = 'correct horse battery'

let database: TestDatabase
let server: TestServer

beforeAll(async () => {
  database = await cloneDatabase()
  server = await startServer(database)
  await register(server, { email: KNOWN, password: PASSWORD })
})

afterAll(async () => {
  await server.stop()
  await database.drop()
})

type AuditEntry = { action: string; ip: string | null; account: string }

/** Reads the login entries of an e-mail address. */
async function readEntries(email: string): Promise<AuditEntry[]> {
  const { rows } = await database.superuser.query<AuditEntry>(
    `select action, ip, new_values ->> 'account' as account from app_public.audit_logs
     where action like 'LOGIN%' and actor is null and resource_id is null and old_values is null
       and new_values ->> 'account' = left(encode(app_private.account_key($1), 'hex'), 16)
     order by created_at, id`,
    [email],
  )
  return rows
}

const readActions = async (email: string) => (await readEntries(email)).map(({ action }) => action)

test('a successful login writes no entry', async () => {
  expect((await login(server, KNOWN, PASSWORD)).status).toBe(200)
  expect(await readEntries(KNOWN)).toEqual([])
})

test.each([KNOWN, 'unknown@example.com'])(
  'failed logins are recorded up to the limit, and then one entry reports the blocked account: %s',
  async email => {
    for (let number = 1; number <= 8; number += 1) await login(server, email, 'wrong password')
    expect(await readActions(email)).toEqual([...Array(5).fill('LOGIN_FAILED'), 'LOGIN_BLOCKED'])
    expect(new Set((await readEntries(email)).map(({ ip }) => ip))).toEqual(new Set(['127.0.0.1']))
  },
)

test('no entry contains the e-mail address or the name of the user', async () => {
  const { rows } = await database.superuser.query(
    "select string_agg(a::text, ' ') as text from app_public.audit_logs as a where action like 'LOGIN%'",
  )
  expect(rows[0].text).not.toMatch(/known|example/)
})

test('an entry accepts an IPv6 network as client address, and stores null for an unknown one', async () => {
  const fail = (email: string, address: string) =>
    committed(database, 'authenticator', async client => {
      const { rows } = await client.query('select * from app_public.begin_login($1, $2)', [email, address])
      const { account_key, max_count } = rows[0]
      await client.query("select app_public.complete_login($1, $2, $3, $4, 'wrong')", [
        email,
        address,
        account_key,
        max_count,
      ])
    })
  await fail('six@example.com', '2001:db8:1:2::/56')
  await fail('none@example.com', 'unknown')
  expect(await readEntries('six@example.com')).toEqual([expect.objectContaining({ ip: '2001:db8:1:2::/56' })])
  expect(await readEntries('none@example.com')).toEqual([expect.objectContaining({ ip: null })])
})

test('with the limit off, the trail still records no more failures than the limit would allow', async () => {
  await database.owner.query(
    "update app_public.rate_limit_policies set mode = 'off' where scope = 'auth_account'",
  )
  for (let number = 1; number <= 8; number += 1) await login(server, 'off@example.com', 'wrong password')
  expect(await readActions('off@example.com')).toEqual(Array(5).fill('LOGIN_FAILED'))
})
