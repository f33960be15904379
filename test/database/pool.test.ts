/** A pool does not reuse a connection that leads to a read-only server. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { makePool } from '../../src/database/pool.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

afterAll(() => database.drop())

test('a connection on which a write failed with 25006 is closed on release, and after another error it is kept', async () => {
  const pool = makePool({
    config: { connectionString: database.ownerUrl },
    name: 'forecourt test',
    size: 1,
    onError: () => {},
  })
  const pidAfter = async (sql: string) => {
    const client = await pool.connect()
    const { rows } = await client.query('select pg_backend_pid() as pid')
    await client.query(sql).catch(() => {})
    await client.query('rollback')
    client.release()
    return rows[0]?.pid
  }
  try {
    const first = await pidAfter('select 1 / 0')
    expect(await pidAfter('begin read only; create table written ()')).toBe(first)
    expect(await pidAfter('select')).not.toBe(first)
  } finally {
    await pool.end()
  }
})
