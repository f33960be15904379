/** The ledger and the audit trail are append-only: no role can change or remove a row. */
import { randomUUID } from 'node:crypto'
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
import { makeAdminUser, makeCountry, makeDealer, makeUser, publish } from '../support/testData.ts'

let database: TestDatabase
let userId: string

beforeAll(async () => {
  database = await cloneDatabase()
  await makeCountry(database.owner)
  userId = await makeUser(database.owner)
})

afterAll(() => database.drop())

const TABLES = ['app_public.audit_logs', 'app_public.listing_consumptions']

/** Runs `work` with a row in the ledger and one in the audit trail. */
function withRows(work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  return rolledBack(database, async client => {
    const dealerId = await makeDealer(client, userId)
    await become(client, { dealer: userId })
    await publish(client, dealerId)
    await become(client, 'owner')
    await work(client)
  })
}

/** The SQLSTATE of each attempt to change or remove rows of the table. */
async function refusedChanges(client: pg.PoolClient, table: string): Promise<string[]> {
  return [
    await refusal(client, `update ${table} set created_at = created_at`),
    await refusal(client, `update ${table} set created_at = created_at where false`),
    await refusal(client, `delete from ${table}`),
    await refusal(client, `truncate ${table} cascade`),
  ]
}

const API_ROLES: [string, As][] = [
  ['a visitor', 'visitor'],
  ['the authenticator', 'authenticator'],
  ['a dealer', { dealer: randomUUID() }],
  ['an admin', { admin: randomUUID() }],
]

test.each(API_ROLES)('%s cannot change or remove a row of the ledger or the audit trail', (_role, as) =>
  withRows(async client => {
    await become(client, as)
    for (const table of TABLES) {
      expect(await refusedChanges(client, table)).toEqual(['42501', '42501', '42501', '42501'])
      expect(await refusal(client, `insert into ${table} (created_at) values (now())`)).toBe('42501')
    }
    const write = "select app_private.write_audit_log('FORGED', 'users', null, null, null)"
    expect(await refusal(client, write)).toBe('42501')
  }),
)

test.each(['forecourt_test_owner', 'none'])(
  'even the owner and a superuser cannot change or remove a row of these tables: %s',
  role =>
    withRows(async client => {
      await client.query(`set local role ${role}`)
      for (const table of TABLES) {
        expect(await refusedChanges(client, table)).toEqual(['55000', '55000', '55000', '55000'])
      }
    }),
)

test('a dealer sees its own ledger rows; an admin sees all ledger rows and the audit trail', () =>
  withRows(async client => {
    const seen = async (table: string) => (await client.query(`select from ${table}`)).rowCount
    const [trail, ledger] = TABLES as [string, string]
    await become(client, { dealer: userId })
    expect(await seen(ledger)).toBe(1)
    expect(await refusal(client, `select from ${trail}`)).toBe('42501')
    await become(client, { dealer: randomUUID() })
    expect(await seen(ledger)).toBe(0)
    await become(client, 'owner')
    await become(client, { admin: await makeAdminUser(client) })
    expect(await seen(ledger)).toBe(1)
    expect(await seen(trail)).toBeGreaterThan(0)
    await become(client, 'visitor')
    expect(await seen(ledger)).toBe(0)
    expect(await refusal(client, `select from ${trail}`)).toBe('42501')
  }))

test('an audit entry has the user and the client address of the transaction', () =>
  rolledBack(database, async client => {
    await client.query("select set_config('forecourt.user_id', $1, true)", [userId])
    await client.query("select set_config('forecourt.client_ip', '2001:db8::1', true)")
    await client.query(
      `select app_private.write_audit_log('TEST_ENTRY', 'users', $1, '{"a": 1}', '{"a": 2}')`,
      [userId],
    )
    const { rows } = await client.query("select * from app_public.audit_logs where action = 'TEST_ENTRY'")
    expect(rows).toEqual([
      {
        id: expect.any(String),
        action: 'TEST_ENTRY',
        resource_type: 'users',
        resource_id: userId,
        actor: userId,
        old_values: { a: 1 },
        new_values: { a: 2 },
        ip: '2001:db8::1',
        created_at: expect.any(Date),
        login: 'postgres',
        api_key_id: null,
      },
    ])
    for (const action of ['test_entry', 'T', '']) {
      const write = "select app_private.write_audit_log($1, 'users', null, null, null)"
      expect(await refusal(client, write, [action])).toBe('23514')
    }
  }))
