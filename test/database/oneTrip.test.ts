/** A statement under its settings: one transaction, one trip, and nothing left on the connection. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { runInOneTrip, type Settings } from '../../src/database/oneTrip.ts'
import { makePool } from '../../src/database/pool.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'

let database: TestDatabase
let pool: pg.Pool

beforeAll(async () => {
  database = await cloneDatabase()
  const config = { connectionString: database.ownerUrl }
  // one connection, so that what is left on it is seen
  pool = makePool({ config, name: 'one trip', size: 1, onError: () => {} })
  await pool.query('create table public.notes (id integer primary key, note text)')
  await pool.query(
    'create table public.deferred (id integer references public.notes deferrable initially deferred)',
  )
})

afterAll(async () => {
  await pool.end()
  await database.drop()
})

const run = (text: string, values: unknown[] = [], settings: Settings = { 'forecourt.user_id': 'me' }) =>
  runInOneTrip(pool, settings, { text, values }, true)

const notes = async () =>
  (await pool.query('select id from public.notes order by id')).rows.map(({ id }) => id)

test('a statement sees its settings, and the next one on the connection does not', async () => {
  const own = "select current_setting('forecourt.user_id', true) as mine"
  expect((await run(own)).rows).toEqual([{ mine: 'me' }])
  expect((await run(own, [], { 'forecourt.user_id': 'you' })).rows).toEqual([{ mine: 'you' }])
  expect((await pool.query(own)).rows).toEqual([{ mine: '' }])
})

test('a setting that is undefined is left as it is', async () => {
  const { rows } = await run("select current_setting('timezone') as zone", [], {
    'forecourt.user_id': 'me',
    timezone: undefined,
  })
  expect(rows).toEqual((await pool.query("select current_setting('timezone') as zone")).rows)
})

test('what a statement has written stays, and what a failed one has written does not', async () => {
  await run('insert into public.notes values ($1, $2)', [1, 'stays'])
  const failing =
    'insert into public.notes select n, null from generate_series($1::integer, $2::integer) as n'
  await expect(run(failing, [0, 1])).rejects.toMatchObject({ code: '23505' })
  expect(await notes()).toEqual([1])
})

test('what fails only at the end of the transaction is an error of the statement', async () => {
  const orphan = run('insert into public.deferred values ($1)', [99])
  await expect(orphan).rejects.toMatchObject({ code: '23503' })
  expect((await pool.query('select from public.deferred')).rowCount).toBe(0)
})

test('settings that are refused keep the statement from running', async () => {
  const write = run('insert into public.notes values ($1, null)', [2], { role: 'nobody_of_this_name' })
  await expect(write).rejects.toMatchObject({ code: '22023' })
  const readOnly = run('insert into public.notes values ($1, null)', [2], { transaction_read_only: 'on' })
  await expect(readOnly).rejects.toMatchObject({ code: '25006' })
  expect(await notes()).toEqual([1])
})

test('a statement that failed the first time is run the next time, and one that never parses fails each time', async () => {
  const divide = 'select 6 / $1::integer as result'
  await expect(run(divide, [0])).rejects.toMatchObject({ code: '22012' })
  expect((await run(divide, [2])).rows).toEqual([{ result: 3 }])
  expect((await run(divide, [3])).rows).toEqual([{ result: 2 }])
  await expect(run('select nothing')).rejects.toMatchObject({ code: '42703' })
  await expect(run('select nothing')).rejects.toMatchObject({ code: '42703' })
})

test('a connection keeps the plans of the statements used last, and no more than 200', async () => {
  for (let number = 0; number < 260; number++) await run(`select ${number} as number`)
  const count = 'select count(*)::integer as count from pg_prepared_statements where name <> $1'
  // and the one that asks
  expect((await run(count, [''])).rows).toEqual([{ count: 201 }])
  expect((await run('select 7 as number')).rows).toEqual([{ number: 7 }])
})

test('without plans to keep, nothing is prepared', async () => {
  const bare = makePool({
    config: { connectionString: database.ownerUrl },
    name: 'bare',
    size: 1,
    onError: () => {},
  })
  try {
    const text = 'select count(*)::integer as count from pg_prepared_statements where name <> $1'
    const settings = { 'forecourt.user_id': 'me' }
    for (const _ of [1, 2]) {
      expect((await runInOneTrip(bare, settings, { text, values: [''] }, false)).rows).toEqual([{ count: 0 }])
    }
  } finally {
    await bare.end()
  }
})

test('rows come as arrays where that is asked for', async () => {
  const statement = { text: 'select 1 as one, 2 as two', arrayMode: true }
  expect((await runInOneTrip(pool, { timezone: 'UTC' }, statement, true)).rows).toEqual([[1, 2]])
})

test('a connection that is lost is not given out again', async () => {
  const suicide = run('select pg_terminate_backend(pg_backend_pid())')
  await expect(suicide).rejects.toBeInstanceOf(Error)
  expect((await run('select 1 as one')).rows).toEqual([{ one: 1 }])
  expect(pool.totalCount).toBe(1)
})
