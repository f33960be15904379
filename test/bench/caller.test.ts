/** The statements of the bare server: role, claims and statement are one transaction, as in the API. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { asCaller } from '../../bench/bare/caller.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'

const identity = { userId: randomUUID(), sessionId: randomUUID(), role: 'dealer' } as const
const WHO = "select current_user::text as role, current_setting('forecourt.user_id', true) as user_id"

let database: TestDatabase
let pool: pg.Pool

beforeAll(async () => {
  database = await cloneDatabase()
  await database.superuser.query(`
    create table bench_written (number integer primary key);
    grant select, insert on bench_written to forecourt_dealer`)
  pool = new pg.Pool({ connectionString: database.superuser.options.connectionString, max: 1 })
})

afterAll(async () => {
  await pool.end()
  await database.drop()
})

test('in one round trip and in four, role and claims hold for the statement, and not after it', async () => {
  const { rows: before } = await pool.query(WHO)
  for (const how of ['one round trip', 'four round trips', 'one round trip', 'four round trips'] as const) {
    const rows = await asCaller(pool, identity, { name: 'who', text: WHO, values: [] }, how)
    expect(rows).toEqual([{ role: 'forecourt_dealer', user_id: identity.userId }])
  }
  const { rows: after } = await pool.query(WHO)
  expect(after).toEqual([{ ...before[0], user_id: '' }])
})

test('a statement that succeeds is committed, and one that fails writes nothing', async () => {
  const text = 'insert into bench_written select 10 / n from unnest($1::integer[]) as n'
  await asCaller(pool, identity, { name: 'write', text, values: [[1, 2]] })
  const failing = asCaller(pool, identity, { name: 'write', text, values: [[5, 0]] })
  await expect(failing).rejects.toMatchObject({ code: '22012' })
  await asCaller(pool, identity, { name: 'write', text, values: [[10]] })
  const { rows } = await database.superuser.query('select number from bench_written order by number')
  expect(rows.map(({ number }) => number)).toEqual([1, 5, 10])
})
