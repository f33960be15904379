/** Connections of a pool: the ones that are not used again. */
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

test('a statement that outlives its timeout is cancelled on the server, and its connection is closed; others on one connection are not', async () => {
  const pool = makePool({
    config: { connectionString: database.ownerUrl },
    name: 'forecourt test',
    size: 1,
    statementTimeoutMs: 500,
    onError: () => {},
  })
  try {
    const client = await pool.connect()
    const { rows } = await client.query('select pg_backend_pid() as pid')
    // together longer than the deadline of one statement, which is 1.5 s
    for (let count = 0; count < 5; count += 1) await client.query('select pg_sleep(0.4)')
    await client.query('set statement_timeout = 0')
    await expect(client.query('select pg_sleep(60)')).rejects.toMatchObject({ code: '57014' })
    client.release()
    const next = await pool.query('select pg_backend_pid() as pid')
    expect(next.rows[0]?.pid).not.toBe(rows[0]?.pid)
  } finally {
    await pool.end()
  }
})

test('a statement with a longer timeout of its own is not cancelled before that', async () => {
  const pool = makePool({
    config: { connectionString: database.ownerUrl },
    name: 'forecourt test',
    size: 1,
    statementTimeoutMs: 100,
    onError: () => {},
  })
  const statement = (timeoutMs: number) => ({ text: 'select pg_sleep(2)', query_timeout: timeoutMs })
  const client = await pool.connect()
  try {
    await client.query('set statement_timeout = 0')
    await client.query(statement(60_000))
    await expect(client.query(statement(2_500))).rejects.toMatchObject({ code: '57014' })
  } finally {
    client.release()
    await pool.end()
  }
})
