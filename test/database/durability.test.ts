/** Mutations commit in memory, and one flush serves all that have committed before it. */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import type pg from 'pg'
import { type Flush, makeFlush, runDurably } from '../../src/database/durability.ts'
import { makePool } from '../../src/database/pool.ts'
import { toFault } from '../../src/request/errors.ts'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { type Relay, startRelay } from '../support/relay.ts'

let database: TestDatabase
let relay: Relay
let pool: pg.Pool
/** The connection of the flush, through the relay. */
let flushPool: pg.Pool

beforeAll(async () => {
  database = await cloneDatabase()
  await database.owner.query('create table public.notes (id integer primary key, setting text)')
  relay = await startRelay(database.ownerUrl)
  pool = poolOf('transactions', database.ownerUrl)
  flushPool = poolOf('flush', relay.url)
})

beforeEach(() => database.owner.query('truncate public.notes'))

afterAll(async () => {
  await pool.end()
  await flushPool.end()
  await relay.cut()
  await database.drop()
})

function poolOf(name: string, connectionString: string): pg.Pool {
  return makePool({
    // the servers of the tests have synchronous_commit off
    config: { connectionString, options: '-c synchronous_commit=on' },
    name,
    size: 1,
    statementTimeoutMs: 10_000,
    onError: () => {},
  })
}

const INSERT = "insert into public.notes values ($1, current_setting('synchronous_commit')) returning *"

const run = (text: string, values: unknown[], flush: Flush) =>
  runDurably({ pool, flush, keepPlan: true }, { timezone: 'Asia/Tokyo' }, { text, values })

/** A flush that the test ends by hand. Counts the statements that are sent, and the connections that are closed. */
function controlled() {
  const closed: unknown[] = []
  const connect = async () => ({ release: (isClosed: unknown) => closed.push(isClosed) })
  const sent: PromiseWithResolvers<{ rows: { server_run: string }[] }>[] = []
  const query = () => {
    const one = Promise.withResolvers<{ rows: { server_run: string }[] }>()
    sent.push(one)
    return one.promise
  }
  return { sent, closed, flush: makeFlush({ query, connect } as unknown as pg.Pool, true) }
}

const settled = async (work: Promise<unknown>) => {
  const pending = {}
  const tick = new Promise(resolve => setImmediate(resolve, pending))
  return (await Promise.race([work.catch(() => {}), tick])) !== pending
}

async function faultOf(work: Promise<unknown>) {
  const error = await work.then(
    () => new Error('the statement succeeded'),
    (reason: unknown) => reason,
  )
  return toFault(error, { authenticated: true, constraintMessages: new Map() })
}

const UNAVAILABLE = { code: 'service_unavailable', status: 503 }

const count = async () => (await database.owner.query('select from public.notes')).rowCount

test('a statement commits without waiting for the disk, and its settings do not stay on the connection', async () => {
  const { rows } = await run(INSERT, [1], makeFlush(flushPool, true))
  expect(rows).toEqual([{ id: 1, setting: 'off' }])
  const { rows: after } = await pool.query('show synchronous_commit')
  expect(after).toEqual([{ synchronous_commit: 'on' }])
})

test.each([true, false])(
  'a flush moves the end of the log that is on the disk (prepared: %s)',
  async keepPlan => {
    const position = async () =>
      (await database.superuser.query('select pg_current_wal_flush_lsn() as lsn')).rows[0].lsn
    const flush = makeFlush(flushPool, keepPlan)
    await run(INSERT, [1], async run => {
      const { rows } = await database.superuser.query('select pg_current_wal_insert_lsn() as lsn')
      await flush(run)
      const { rows: compared } = await database.superuser.query(
        'select $1::pg_lsn >= $2::pg_lsn as durable',
        [await position(), rows[0].lsn],
      )
      expect(compared).toEqual([{ durable: true }])
    })
  },
)

test('the row is there and its connection is free while the answer waits for the flush', async () => {
  const { sent, flush } = controlled()
  const answer = faultOf(run(INSERT, [1], flush))
  await expect(pool.query('select 1 as one')).resolves.toMatchObject({ rows: [{ one: 1 }] })
  expect([await count(), await settled(answer)]).toEqual([1, false])
  sent[0]?.resolve({ rows: [{ server_run: 'another' }] })
  expect(await answer).toMatchObject(UNAVAILABLE)
})

test('requests that come while a flush is under way share the next one, and none joins the running one', async () => {
  const { sent, flush } = controlled()
  const first = flush('first')
  const others = [flush('second'), flush('second'), flush('second')]
  expect(sent).toHaveLength(1)
  sent[0]?.resolve({ rows: [{ server_run: 'first' }] })
  await first
  expect(await Promise.all(others.map(settled))).toEqual([false, false, false])
  expect(sent).toHaveLength(2)
  const late = flush('third')
  sent[1]?.resolve({ rows: [{ server_run: 'second' }] })
  await Promise.all(others)
  expect([await settled(late), sent.length]).toEqual([false, 3])
  sent[2]?.resolve({ rows: [{ server_run: 'third' }] })
  await late
})

test('a failed flush fails the requests that wait for the next one too, and the one after it works', async () => {
  const { sent, flush } = controlled()
  const waiting = [flush('again'), flush('again'), flush('again')]
  sent[0]?.reject(new Error('lost'))
  await expect(Promise.allSettled(waiting)).resolves.toMatchObject(
    waiting.map(() => ({ status: 'rejected' })),
  )
  expect(sent).toHaveLength(1)
  const next = flush('again')
  sent[1]?.resolve({ rows: [{ server_run: 'again' }] })
  await next
})

test('a connection that leads to another server is closed before the next flush', async () => {
  const { sent, closed, flush } = controlled()
  const refused = flush('now')
  sent[0]?.resolve({ rows: [{ server_run: 'former primary' }] })
  await expect(refused).rejects.toThrow()
  const next = flush('now')
  await settled(next)
  sent[1]?.resolve({ rows: [{ server_run: 'now' }] })
  await next
  expect(closed).toEqual([true])
})

test('a statement that only reads waits for a flush too, so a retry does not answer from a row that a crash removes', async () => {
  const { sent, flush } = controlled()
  const answer = faultOf(run('select 1 as one', [], flush))
  await pool.query('select')
  expect([sent.length, await settled(answer)]).toEqual([1, false])
  sent[0]?.reject(new Error('lost'))
  await answer
})

test('a statement that fails keeps its error and needs no flush', async () => {
  const { sent, flush } = controlled()
  await expect(run('select 1 / $1::integer', [0], flush)).rejects.toMatchObject({ code: '22012' })
  expect(sent).toEqual([])
})

test('a flush whose connection is lost is 503 although the row is there, and the next one works', async () => {
  const flush = makeFlush(flushPool, true)
  await run(INSERT, [1], flush)
  await relay.cut()
  expect(await faultOf(run(INSERT, [2], flush))).toMatchObject(UNAVAILABLE)
  await relay.restore()
  expect((await run(INSERT, [3], flush)).rowCount).toBe(1)
  expect(await count()).toBe(3)
})

test.each(['42501', '55P03', '22012', 'FC010'])(
  'a flush that fails with %s is 503, because the request has done nothing wrong',
  async code => {
    const failing = async () => {
      await database.superuser.query(`do $$ begin raise sqlstate '${code}'; end $$`)
    }
    expect(await faultOf(run(INSERT, [1], failing))).toMatchObject(UNAVAILABLE)
  },
)

test('a flush on a pool that is closed is 503', async () => {
  const closed = poolOf('closed', database.ownerUrl)
  const flush = makeFlush(closed, true)
  await closed.end()
  expect(await faultOf(run(INSERT, [1], flush))).toMatchObject(UNAVAILABLE)
})
