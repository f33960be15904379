/** Dealers and their members: creating a dealer, and the checks that protect a dealer from other users. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { become, cloneDatabase, refusal, rolledBack, type TestDatabase } from '../support/database.ts'
import { makeAdminUser, makeCountry, makeDealer, makeUser, single } from '../support/testData.ts'

const CREATE = 'select * from app_public.create_dealer($1, $2, $3)'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
})

afterAll(() => database.drop())

/** The SQLSTATE with which `require_member` refuses this user. */
function requireMember(client: pg.PoolClient, userId: string, dealerId: string): Promise<string> {
  return client
    .query("select set_config('forecourt.user_id', $1, true)", [userId])
    .then(() => refusal(client, 'select app_private.require_member($1)', [dealerId]))
}

test('the user who creates a dealer becomes its owner and only member', () =>
  rolledBack(database, async client => {
    const userId = await makeUser(client)
    await become(client, { dealer: userId })
    const { rows } = await client.query(CREATE, ['  Autohaus Berlin ', 'DE', 'auto_dealer'])
    expect(rows).toEqual([
      expect.objectContaining({
        company_name: 'Autohaus Berlin',
        country: 'DE',
        is_active: true,
        can_publish: true,
      }),
    ])
    await become(client, 'owner')
    const members = await client.query('select dealer_id, user_id, role from app_public.dealer_users')
    expect(members.rows).toEqual([{ dealer_id: rows[0].id, user_id: userId, role: 'owner' }])
  }))

test('creating a dealer requires a name, a known type and an existing user', () =>
  rolledBack(database, async client => {
    await become(client, { dealer: await makeUser(client) })
    expect(await refusal(client, CREATE, ['   ', 'DE', 'general'])).toBe('23514')
    expect(await refusal(client, CREATE, ['n'.repeat(201), 'DE', 'general'])).toBe('23514')
    expect(await refusal(client, CREATE, ['Autohaus', 'DE', 'circus'])).toBe('22P02')
    await become(client, { dealer: randomUUID() })
    expect(await refusal(client, CREATE, ['Autohaus', 'DE', 'general'])).toBe('FC001')
  }))

test('a visitor cannot create a dealer', () =>
  rolledBack(database, async client => {
    await become(client, 'visitor')
    expect(await refusal(client, CREATE, ['Autohaus', 'DE', 'general'])).toBe('42501')
  }))

test('the member check accepts owners and staff', () =>
  rolledBack(database, async client => {
    const [ownerId, staffId] = [await makeUser(client), await makeUser(client)]
    const dealerId = await makeDealer(client, ownerId)
    await client.query("insert into app_public.dealer_users values ($1, $2, 'staff')", [dealerId, staffId])
    for (const userId of [ownerId, staffId]) {
      await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
      expect(await single(client, 'select app_private.require_member($1)', [dealerId])).toBe(userId)
    }
  }))

test('the member check raises FC001 without a user, FC003 for a non-member and FC004 for an unknown dealer', () =>
  rolledBack(database, async client => {
    const [userId, strangerId] = [await makeUser(client), await makeUser(client)]
    const dealerId = await makeDealer(client, userId)
    await makeDealer(client, strangerId)
    expect(await requireMember(client, '', dealerId)).toBe('FC001')
    expect(await requireMember(client, '', randomUUID())).toBe('FC001')
    expect(await requireMember(client, strangerId, dealerId)).toBe('FC003')
    expect(await requireMember(client, randomUUID(), dealerId)).toBe('FC003')
    expect(await requireMember(client, userId, randomUUID())).toBe('FC004')
  }))

test('an admin is not a member of every dealer', () =>
  rolledBack(database, async client => {
    const dealerId = await makeDealer(client, await makeUser(client))
    await become(client, { admin: await makeAdminUser(client) })
    expect(await refusal(client, 'select app_public.quote_listing($1)', [dealerId])).toBe('FC003')
  }))

test('a user sees only itself, its dealers and their members, and a visitor none of them', () =>
  rolledBack(database, async client => {
    const [userId, strangerId] = [await makeUser(client), await makeUser(client)]
    const dealerId = await makeDealer(client, userId)
    await makeDealer(client, strangerId)
    await become(client, { dealer: userId })
    expect(await single(client, 'select id from app_public.users')).toBe(userId)
    expect(await single(client, 'select id from app_public.get_current_user()')).toBe(userId)
    expect(await single(client, 'select id from app_public.dealers')).toBe(dealerId)
    expect(await single(client, 'select user_id from app_public.dealer_users')).toBe(userId)
    expect(await refusal(client, 'select is_admin from app_public.users')).toBe('42501')
    await become(client, 'owner')
    await become(client, { admin: await makeAdminUser(client) })
    const { rows } = await client.query('select from app_public.dealers')
    expect(rows.length).toBeGreaterThan(1)
    await become(client, 'visitor')
    for (const table of ['users', 'dealer_users']) {
      expect(await refusal(client, `select from app_public.${table}`)).toBe('42501')
    }
    // may be selected, so that the dealer of a listing is null instead of an error, but no policy shows a row
    expect((await client.query('select from app_public.dealers')).rows).toEqual([])
  }))

test('a membership is unique, and refers to an existing dealer and an existing user', () =>
  rolledBack(database, async client => {
    const userId = await makeUser(client)
    const dealerId = await makeDealer(client, userId)
    const insert = "insert into app_public.dealer_users values ($1, $2, 'staff')"
    expect(await refusal(client, insert, [dealerId, userId])).toBe('23505')
    expect(await refusal(client, insert, [randomUUID(), userId])).toBe('23503')
    expect(await refusal(client, insert, [dealerId, randomUUID()])).toBe('23503')
  }))
