/** A migration that changes the result of a statement: the statement is sent once more. */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type pg from 'pg'
import { runInTransaction } from '../../src/database/pipeline.ts'
import { makePool } from '../../src/database/pool.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { untilWaitingForLock } from '../support/waits.ts'

let database: TestDatabase
let pool: pg.Pool
let columns = 0

beforeAll(async () => {
  database = await cloneDatabase()
  // one connection, so that a statement meets the plans of an earlier one
  pool = makePool({
    config: { connectionString: database.ownerUrl },
    name: 'plans',
    size: 1,
    onError: () => {},
  })
  await database.owner.query(`
    create sequence public.attempts;
    create table public.cars (id integer primary key, name text);
    create function public.add_car(id integer) returns public.cars language plpgsql as $$
    declare v_car public.cars;
    begin
      insert into public.cars (id) values (add_car.id) returning * into v_car;
      return v_car;
    end $$;
    create function public.add_car_inside(id integer) returns integer language plpgsql as $$
    declare v_id integer;
    begin
      select c.id into v_id from public.add_car(add_car_inside.id) as c;
      return v_id;
    end $$;
    create function public.fail(code text) returns void language plpgsql as $$
    begin
      perform nextval('public.attempts');
      raise exception using errcode = code, message = 'failed';
    end $$`)
})

beforeEach(async () => {
  await database.owner.query('truncate public.cars')
})

afterAll(async () => {
  await pool.end()
  await database.drop()
})

const run = (text: string, values: unknown[]) =>
  runInTransaction(pool, { 'forecourt.user_id': 'me' }, { text, values }, true)

const addColumn = () => database.owner.query(`alter table public.cars add column added_${++columns} text`)

async function cars(): Promise<number[]> {
  const { rows } = await database.owner.query<{ id: number }>('select id from public.cars order by id')
  return rows.map(({ id }) => id)
}

test.each([
  ['a function that returns a row', 'select c.id from public.add_car($1) as c'],
  ['such a function inside another', 'select public.add_car_inside($1) as id'],
])('%s runs although its table got a column while it waited, and writes once', async (_what, text) => {
  await run(text, [1])
  const migration = await database.owner.connect()
  await migration.query(`begin; alter table public.cars add column added_${++columns} text`)
  const waiting = run(text, [2])
  await untilWaitingForLock(database, 'plans')
  await migration.query('commit')
  migration.release()
  expect((await waiting).rows).toEqual([{ id: 2 }])
  expect((await run(text, [3])).rows).toEqual([{ id: 3 }])
  expect(await cars()).toEqual([1, 2, 3])
})

test('a prepared statement runs after its result got a column, and its connection is not used again', async () => {
  const text = 'select * from public.cars where id = $1'
  await database.owner.query('insert into public.cars values (7)')
  const before = (await run(text, [7])).fields.length
  const backend = async () => (await pool.query('select pg_backend_pid() as pid')).rows[0]?.pid
  const pid = await backend()
  await addColumn()
  const { rows, fields } = await run(text, [7])
  expect([rows.length, fields.length]).toEqual([1, before + 1])
  expect(await backend()).not.toBe(pid)
})

test.each([
  ['42804', 2],
  ['0A000', 2],
  ['22012', 1],
  ['40001', 1],
  ['XX000', 1],
])('a statement that always fails with %s is sent %i times', async (code, times) => {
  const attempts = async () =>
    Number((await database.owner.query("select nextval('public.attempts') as value")).rows[0].value)
  const before = await attempts()
  await expect(run('select public.fail($1)', [code])).rejects.toMatchObject({ code })
  expect((await attempts()) - before - 1).toBe(times)
})
