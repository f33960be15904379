/** set_admin(): a DBA makes an account an admin, or takes the right away. */
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

const SET = 'select app_private.set_admin($1, $2) as changed'
const EMAIL = 'boss@example.com'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

async function setAdmin(client: pg.ClientBase, email: string, isAdmin: boolean): Promise<boolean> {
  const { rows } = await client.query<{ changed: boolean }>(SET, [email, isAdmin])
  return rows[0]?.changed ?? false
}

test('an account becomes an admin once, and loses the right once', () =>
  rolledBack(database, async client => {
    const userId = await makeUser(client, EMAIL)
    await makeUser(client)
    const changes = [true, true, false, false].map(isAdmin => () => setAdmin(client, EMAIL, isAdmin))
    const changed: boolean[] = []
    for (const change of changes) changed.push(await change())
    expect(changed).toEqual([true, false, true, false])
    await setAdmin(client, EMAIL, true)
    const { rows } = await client.query('select id from app_public.users where is_admin')
    expect(rows).toEqual([{ id: userId }])
  }))

test('the e-mail address is found in whatever way it is written', () =>
  rolledBack(database, async client => {
    await makeUser(client, EMAIL)
    expect(await setAdmin(client, ' Boss@Example.com ', true)).toBe(true)
  }))

test('each change is in the audit trail, and a call that changes nothing is not', () =>
  rolledBack(database, async client => {
    const userId = await makeUser(client, EMAIL)
    for (const isAdmin of [true, true, false]) await setAdmin(client, EMAIL, isAdmin)
    const { rows } = await client.query(
      `select old_values -> 'is_admin' as before, new_values -> 'is_admin' as after from app_public.audit_logs
       where resource_id = $1 order by id`,
      [userId],
    )
    expect(rows).toEqual([
      { before: false, after: true },
      { before: true, after: false },
    ])
  }))

test('an e-mail address without an account is refused', () =>
  rolledBack(database, async client => {
    await makeUser(client, EMAIL)
    expect(await refusal(client, SET, ['other@example.com', true])).toBe('FC004')
    expect(await refusal(client, SET, ['other@example.com', false])).toBe('FC004')
  }))

const someone = '00000000-0000-7000-8000-000000000001'
const API_ROLES: As[] = ['authenticator', 'visitor', { dealer: someone }, { admin: someone }]

test('no role of the API may call it', () =>
  rolledBack(database, async client => {
    await makeUser(client, EMAIL)
    for (const as of API_ROLES) {
      await become(client, as)
      expect(await refusal(client, SET, [EMAIL, true])).toBe('42501')
      await become(client, 'owner')
    }
  }))
