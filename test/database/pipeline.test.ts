/** One statement under its settings: one transaction, one round trip, and nothing left on the connection. */
import { Socket } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type pg from 'pg'
import { runInTransaction, type Settings } from '../../src/database/pipeline.ts'
import { makePool } from '../../src/database/pool.ts'
import { toFault } from '../../src/request/errors.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { startRelay } from '../support/relay.ts'
import { holding, until, untilWaitingForLock } from '../support/waits.ts'

const NAME = 'pipeline'
const ME: Settings = { 'forecourt.user_id': 'me' }

let database: TestDatabase
let pool: pg.Pool

beforeAll(async () => {
  database = await cloneDatabase()
  // one connection, so that a test sees what the statement before it left there
  pool = poolOf({ connectionString: database.ownerUrl })
  await pool.query('create table public.notes (id integer primary key, note text)')
  await pool.query('create sequence public.attempts')
  await pool.query(
    'create table public.deferred (id integer references public.notes deferrable initially deferred)',
  )
})

beforeEach(async () => {
  await database.owner.query('truncate public.notes, public.deferred')
})

afterAll(async () => {
  await pool.end()
  await database.drop()
})

function poolOf(config: pg.PoolConfig, statementTimeoutMs = 10_000): pg.Pool {
  return makePool({ config, name: NAME, size: 1, statementTimeoutMs, onError: () => {} })
}

const run = (text: string, values: unknown[] = [], settings = ME, on = pool) =>
  runInTransaction(on, settings, { text, values }, true)

const INSERT = 'insert into public.notes values ($1, $2)'
/** Inserts two rows. The sequence counts the attempts, and a rollback does not take them back. */
const INSERT_TWO =
  "insert into public.notes select n, nextval('public.attempts') from generate_series(1, 2) as n"

const notes = async () =>
  (await database.owner.query('select id from public.notes order by id')).rows.map(({ id }) => id)

const attempts = async () =>
  Number((await database.owner.query("select nextval('public.attempts') as value")).rows[0].value)

const backend = async () => {
  const [row] = (await run('select pg_backend_pid() as pid')).rows as object[]
  return (row as { pid: number }).pid
}

/** What a client of the API gets for an error of the database. */
async function faultOf(work: Promise<unknown>) {
  const error = await work.then(
    () => new Error('the statement succeeded'),
    (reason: unknown) => reason,
  )
  return toFault(error, { authenticated: false, constraintMessages: new Map() })
}

const UNAVAILABLE = { code: 'service_unavailable', status: 503 }

test('a statement sees its settings, and the next one on the connection does not', async () => {
  const own = "select current_setting('forecourt.user_id', true) as mine"
  expect((await run(own)).rows).toEqual([{ mine: 'me' }])
  expect((await run(own, [], { 'forecourt.user_id': 'you' })).rows).toEqual([{ mine: 'you' }])
  expect((await pool.query(own)).rows).toEqual([{ mine: '' }])
})

test('an undefined setting keeps its value', async () => {
  const zone = "select current_setting('timezone') as zone"
  const { rows } = await run(zone, [], { ...ME, timezone: undefined })
  expect(rows).toEqual((await pool.query(zone)).rows)
})

test('a statement returns its rows as objects or arrays, and its number of rows', async () => {
  const text = 'select 1 as one, null as none'
  expect((await run(text)).rows).toEqual([{ one: 1, none: null }])
  expect((await runInTransaction(pool, ME, { text, arrayMode: true }, true)).rows).toEqual([[1, null]])
  expect(await run(INSERT, [1, 'note'])).toMatchObject({ command: 'INSERT', rowCount: 1, rows: [] })
})

test('a statement that fails writes nothing, and the connection stays usable', async () => {
  await run(INSERT, [1, 'first'])
  const pid = await backend()
  const failing =
    'insert into public.notes select n, null from generate_series($1::integer, $2::integer) as n'
  await expect(run(failing, [0, 1])).rejects.toMatchObject({ code: '23505' })
  expect(await notes()).toEqual([1])
  expect(await backend()).toBe(pid)
})

test('an error at the commit is an error of the statement', async () => {
  const orphan = run('insert into public.deferred values ($1)', [99])
  await expect(orphan).rejects.toMatchObject({ code: '23503' })
  expect((await pool.query('select from public.deferred')).rowCount).toBe(0)
})

test('a refused setting keeps the statement from running', async () => {
  const before = await attempts()
  const write = run(INSERT_TWO, [], { role: 'nobody_of_this_name' })
  await expect(write).rejects.toMatchObject({ code: '22023' })
  expect(await attempts()).toBe(before + 1)
  const readOnly = run(INSERT, [2, null], { transaction_read_only: 'on' })
  await expect(readOnly).rejects.toMatchObject({ code: '25006' })
  expect(await notes()).toEqual([])
})

test('a statement that failed at first runs the next time, and one that never parses fails each time', async () => {
  const divide = 'select 6 / $1::integer as result'
  await expect(run(divide, [0])).rejects.toMatchObject({ code: '22012' })
  expect((await run(divide, [2])).rows).toEqual([{ result: 3 }])
  expect((await run(divide, [3])).rows).toEqual([{ result: 2 }])
  await expect(run('select nothing')).rejects.toMatchObject({ code: '42703' })
  await expect(run('select nothing')).rejects.toMatchObject({ code: '42703' })
})

test('a connection keeps at most 200 prepared statements, the last used, also when statements fail', async () => {
  const first = 'select 0 / $1::integer as number'
  for (let number = 0; number < 260; number++) {
    await run(`select ${number} / $1::integer as number`, [number % 2]).catch(() => {})
  }
  const count = "select count(*)::integer as count from pg_prepared_statements where statement like '%'"
  expect((await run(count)).rows).toEqual([{ count: 200 }])
  expect((await run(first, [1])).rows).toEqual([{ number: 0 }])
  expect((await run(count)).rows).toEqual([{ count: 200 }])
})

test('without keepPlan, the connection prepares no statement', async () => {
  const fresh = poolOf({ connectionString: database.ownerUrl })
  try {
    const text = 'select count(*)::integer as count from pg_prepared_statements where name <> $1'
    for (const _ of [1, 2]) {
      expect((await runInTransaction(fresh, ME, { text, values: [''] }, false)).rows).toEqual([{ count: 0 }])
    }
  } finally {
    await fresh.end()
  }
})

test('a cancel at any moment rolls the whole transaction back, or comes too late', async () => {
  const pid = await backend()
  const committed: number[] = []
  let isOver = false
  const cancels = (async () => {
    while (!isOver) await database.superuser.query('select pg_cancel_backend($1)', [pid])
  })()
  const write = 'insert into public.notes select $1, current_setting($2)'
  for (let id = 1; id <= 300; id++) {
    await run(write, [id, 'forecourt.user_id']).then(
      () => committed.push(id),
      error => expect(error).toMatchObject({ code: '57014' }),
    )
  }
  isOver = true
  await cancels
  const { rows } = await database.owner.query("select id from public.notes where note = 'me' order by id")
  expect(rows.map(({ id }) => id)).toEqual(committed)
  expect(await notes()).toEqual(committed)
})

test('a statement over its time limit rolls back, and the connection stays usable', async () => {
  const short = poolOf({ connectionString: database.ownerUrl }, 100)
  try {
    await holding(database, 'lock table public.notes', [], async () => {
      await expect(run(INSERT_TWO, [], ME, short)).rejects.toMatchObject({ code: '57014' })
      expect((await run('select 1 as one', [], ME, short)).rows).toEqual([{ one: 1 }])
    })
    expect(await notes()).toEqual([])
  } finally {
    await short.end()
  }
})

test('a backend that is terminated between two statements is replaced', async () => {
  const pid = await backend()
  await database.superuser.query('select pg_terminate_backend($1, 5000)', [pid])
  await until('the pool has dropped the connection', () => pool.totalCount === 0)
  expect(await backend()).not.toBe(pid)
})

test('a backend that is terminated while a statement waits rolls back, and the next in the queue runs', async () => {
  const pid = await backend()
  await holding(database, 'lock table public.notes', [], async () => {
    const waiting = faultOf(run(INSERT_TWO))
    await untilWaitingForLock(database, NAME)
    const next = run('select pg_backend_pid() as pid')
    await database.superuser.query('select pg_terminate_backend($1, 5000)', [pid])
    expect(await waiting).toMatchObject(UNAVAILABLE)
    expect((await next).rows).not.toEqual([{ pid }])
  })
  expect(await notes()).toEqual([])
  expect(pool.totalCount).toBe(1)
})

test('a connection that breaks before the Sync writes nothing', async () => {
  let isBroken = false
  const stream = () => {
    const socket = new Socket()
    const write = socket.write.bind(socket) as (chunk: Buffer) => boolean
    // The line breaks after the statement, so that the Sync is lost. Only once connected: connect() resets the method.
    socket.once('connect', () => {
      socket.write = (chunk: Buffer) => {
        if (!isBroken || chunk[0] !== 'S'.charCodeAt(0)) return write(chunk)
        socket.end()
        return false
      }
    })
    return socket
  }
  const breaking = poolOf({ connectionString: database.ownerUrl, stream })
  try {
    await run('select 1', [], ME, breaking)
    const before = await attempts()
    isBroken = true
    expect(await faultOf(run(INSERT_TWO, [], ME, breaking))).toMatchObject(UNAVAILABLE)
    isBroken = false
    expect((await run('select 1 as one', [], ME, breaking)).rows).toEqual([{ one: 1 }])
    // the statement ran, and was rolled back
    expect(await attempts()).toBe(before + 3)
    expect(await notes()).toEqual([])
  } finally {
    await breaking.end()
  }
})

test('a connection that breaks after the Sync leaves all of the statement or nothing', async () => {
  const relay = await startRelay(database.ownerUrl)
  const remote = poolOf({ connectionString: relay.url })
  try {
    await holding(database, 'lock table public.notes', [], async release => {
      const waiting = faultOf(run(INSERT_TWO, [], ME, remote))
      await untilWaitingForLock(database, NAME)
      const next = faultOf(run('select 1 as one', [], ME, remote))
      await relay.cut()
      expect(await waiting).toMatchObject(UNAVAILABLE)
      expect(await next).toMatchObject(UNAVAILABLE)
      await release()
    })
    await relay.restore()
    expect((await run('select 1 as one', [], ME, remote)).rows).toEqual([{ one: 1 }])
    // the backend had the Sync, so it commits although nobody hears of it
    await until('the backend has committed', async () => (await notes()).length > 0)
    expect(await notes()).toEqual([1, 2])
  } finally {
    await remote.end()
    await relay.cut()
  }
})

test('a connection that falls silent is given up after the time limit', async () => {
  const relay = await startRelay(database.ownerUrl)
  const remote = poolOf({ connectionString: relay.url }, 100)
  try {
    await run('select 1', [], ME, remote)
    relay.stall()
    expect(await faultOf(run(INSERT_TWO, [], ME, remote))).toMatchObject(UNAVAILABLE)
    expect((await run('select 1 as one', [], ME, remote)).rows).toEqual([{ one: 1 }])
    expect(await notes()).toEqual([])
  } finally {
    await remote.end()
    await relay.cut()
  }
})
