/** Sessions at the same moment: none outlives the lock of its account, a change of its password, or the end of all sessions. */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { makeUser } from '../support/testData.ts'
import { committed, interleave } from '../support/transactions.ts'

const OPEN = 'select app_private.open_session($1, $2) as id'
const REFRESH = "select session_id from app_public.refresh_session($1, $2, '192.0.2.7')"
const LOGIN = `select session_id from app_public.log_in($1, '192.0.2.1', '\\x00', 5, $2, $3)`
const LOCK = "select app_private.lock_user($1, 'A test.')"
const PASSWORD = '$argon2id$none'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

const newHash = () => randomBytes(32)
const sessionsOf = async (userId: string) =>
  (await database.owner.query('select id from app_private.sessions where user_id = $1', [userId])).rows

test('a login while an admin locks the account: no session outlives the lock', async () => {
  for (const first of ['login', 'lock'] as const) {
    const email = `${first}@example.com`
    const userId = await makeUser(database.owner, email)
    const roles = { client: 'authenticator', admin: 'owner' } as const
    await interleave(database, roles, async ({ client, admin }) => {
      const login = [email, PASSWORD, newHash()]
      if (first === 'login') {
        await client.query(LOGIN, login)
        const { result } = await admin.startBlocked(LOCK, [userId])
        await client.commit()
        await result
        await admin.commit()
      } else {
        await admin.query(LOCK, [userId])
        const { result } = await client.startBlocked(LOGIN, login)
        await admin.commit()
        await expect(result).rejects.toMatchObject({ code: 'FC003' })
      }
    })
    expect([first, await sessionsOf(userId)]).toEqual([first, []])
  }
})

test('a login while the password changes: the old password opens no session that outlives the change', async () => {
  const change = "update app_private.user_passwords set password_hash = '$argon2id$other' where user_id = $1"
  for (const first of ['login', 'change'] as const) {
    const email = `password-${first}@example.com`
    const userId = await makeUser(database.owner, email)
    const roles = { client: 'authenticator', owner: 'owner' } as const
    await interleave(database, roles, async ({ client, owner }) => {
      const login = [email, PASSWORD, newHash()]
      if (first === 'login') {
        await client.query(LOGIN, login)
        const { result } = await owner.startBlocked(change, [userId])
        await client.commit()
        await result
        await owner.query('select app_private.end_sessions($1)', [userId])
        await owner.commit()
      } else {
        await owner.query(change, [userId])
        const { result } = await client.startBlocked(LOGIN, login)
        await owner.commit()
        expect((await result).rows).toEqual([{ session_id: null }])
        await client.commit()
      }
    })
    expect([first, await sessionsOf(userId)]).toEqual([first, []])
  }
})

test('a refresh while an admin locks the account: the session ends', async () => {
  for (const first of ['refresh', 'lock'] as const) {
    const userId = await makeUser(database.owner)
    const [token, successor] = [newHash(), newHash()]
    await database.owner.query(OPEN, [userId, token])
    const roles = { client: 'authenticator', admin: 'owner' } as const
    await interleave(database, roles, async ({ client, admin }) => {
      if (first === 'refresh') {
        await client.query(REFRESH, [token, successor])
        const { result } = await admin.startBlocked(LOCK, [userId])
        await client.commit()
        await result
        await admin.commit()
      } else {
        await admin.query(LOCK, [userId])
        const { result } = await client.startBlocked(REFRESH, [token, successor])
        await admin.commit()
        expect((await result).rows).toEqual([{ session_id: null }])
      }
    })
    expect([first, await sessionsOf(userId)]).toEqual([first, []])
  }
})

test('two ends of all sessions and a refresh at once do not deadlock', async () => {
  const userId = await makeUser(database.owner)
  const tokens = Array.from({ length: 8 }, newHash)
  for (const token of tokens) await database.owner.query(OPEN, [userId, token])
  const end = () =>
    committed(database, 'owner', client => client.query('select app_private.end_sessions($1)', [userId]))
  const refresh = (token: Buffer) =>
    committed(database, 'authenticator', client => client.query(REFRESH, [token, newHash()]))
  const all = await Promise.allSettled([end(), ...tokens.map(refresh), end()])
  expect(all.filter(({ status }) => status === 'rejected')).toEqual([])
  expect(await sessionsOf(userId)).toEqual([])
})
