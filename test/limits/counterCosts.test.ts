/** The cost of the counters for the database, their removal, and the roles that may use them. */
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import type pg from 'pg'
import { bytes, type CounterDatabase, cloneCounters, LONG_WINDOW, newKey } from '../support/counters.ts'
import { type As, become } from '../support/database.ts'
import { holding } from '../support/waits.ts'

let counters: CounterDatabase

beforeAll(async () => {
  counters = await cloneCounters()
})

afterAll(() => counters.database.drop())

/** Runs `work` twice on one connection, and returns its statistics before and after the second run. */
async function statistics<Value extends pg.QueryResultRow>(
  sql: string,
  work: (client: pg.PoolClient) => Promise<void>,
): Promise<[Value, Value]> {
  const client = await counters.database.superuser.connect()
  const read = async () => {
    await client.query('select pg_stat_force_next_flush()')
    return (await client.query<Value>(sql)).rows[0] as Value
  }
  try {
    await work(client)
    // the first read of the statistics has a cost that the later ones do not have
    await read()
    const before = await read()
    await work(client)
    return [before, await read()]
  } finally {
    client.release()
  }
}

test('a refusal writes no WAL, takes no transaction id and leaves no dead row', async () => {
  const [one, two] = [newKey(), newKey()]
  const full = { key: one, window: LONG_WINDOW }
  await counters.takeTimes(10, full)
  const before = await counters.rowOf(one)
  const wal = 'select wal_bytes::bigint as wal from pg_stat_get_backend_wal(pg_backend_pid())'
  const [start, end] = await statistics<{ wal: string }>(wal, async client => {
    for (let time = 0; time < 200; time++) {
      expect((await counters.take([full], client)).allowed).toBe(false)
      expect((await counters.take([full, { key: two }], client)).allowed).toBe(false)
    }
  })
  expect(end.wal).toBe(start.wal)
  const client = await counters.database.superuser.connect()
  try {
    await client.query('begin')
    await counters.take([full], client)
    await counters.take([full, { key: two }], client)
    const { rows } = await client.query(
      `select pg_current_xact_id_if_assigned() as id, n_tup_ins + n_tup_upd + n_tup_del as writes
       from pg_stat_xact_all_tables where relid = 'app_private.rate_limit_counters'::regclass`,
    )
    expect(rows).toEqual([{ id: null, writes: '0' }])
  } finally {
    await client.query('rollback')
    client.release()
  }
  expect(await counters.rowOf(one)).toEqual(before)
})

test('a refusal does not wait for the lock on its counter', async () => {
  const key = newKey()
  await counters.takeTimes(10, { key })
  const lock = 'select from app_private.rate_limit_counters where key = $1 for update'
  await holding(counters.database, lock, [bytes(key)], async () => {
    expect((await counters.take([{ key }])).allowed).toBe(false)
  })
})

test('updates of a counter are HOT: they stay on their page and touch no index', async () => {
  const [one, two, three] = [newKey(), newKey(), newKey()]
  const charges = [one, two, three].map(key => ({ key, max: 1_000_000 }))
  await counters.take(charges)
  const sql = `select n_tup_upd::integer as updates, n_tup_hot_upd::integer as hot from pg_stat_all_tables
    where relid = 'app_private.rate_limit_counters'::regclass`
  const [before, after] = await statistics<{ updates: number; hot: number }>(sql, async client => {
    for (let time = 0; time < 400; time++) await counters.take(charges, client)
  })
  expect(after.updates - before.updates).toBe(1200)
  expect(after.hot - before.hot).toBeGreaterThan(1140)
})

test('the removal deletes, in batches, exactly the counters that no window covers', async () => {
  await counters.database.superuser.query('truncate app_private.rate_limit_counters')
  const [covered, almost] = [newKey(), newKey()]
  // the removal reads the clock of the database
  const now = 'extract(epoch from clock_timestamp())'
  await counters.put(covered, { previous: 0, current: 1, age: 0, now })
  await counters.put(almost, { previous: 0, current: 1, age: 60, now })
  for (let index = 0; index < 5; index++)
    await counters.put(newKey(), { previous: 1, current: 1, age: 121, now })
  const removed: number[] = []
  for (let call = 0; call < 4; call++) {
    const { rows } = await counters.database.owner.query(
      'select app_private.remove_idle_rate_limit_counters(2) as removed',
    )
    removed.push(rows[0].removed)
  }
  expect(removed).toEqual([2, 2, 1, 0])
  const { rows } = await counters.database.superuser.query(
    'select key from app_private.rate_limit_counters order by key',
  )
  expect(rows.map(({ key }) => String(key))).toEqual([covered, almost])
})

const roles: [string, As, string | undefined][] = [
  ['the authenticator', 'authenticator', undefined],
  ['a visitor', 'visitor', '42501'],
  ['a dealer', { dealer: '00000000-0000-7000-8000-000000000001' }, '42501'],
  ['an admin', { admin: '00000000-0000-7000-8000-000000000001' }, '42501'],
]

test.each(roles)('only the authenticator may take charges: %s', async (_who, as, refused) => {
  const client = await counters.database.superuser.connect()
  const codeOf = (attempt: Promise<unknown>) =>
    attempt.then(
      () => undefined,
      error => error.code,
    )
  try {
    await client.query('begin')
    await become(client, as)
    expect(await codeOf(counters.take([{ key: newKey() }], client))).toBe(refused)
    await client.query('rollback')
    for (const sql of [
      'select from app_private.rate_limit_counters',
      'select app_private.remove_idle_rate_limit_counters()',
    ]) {
      await client.query('begin')
      await become(client, as)
      expect(await codeOf(client.query(sql))).toBe('42501')
      await client.query('rollback')
    }
  } finally {
    await client.query('rollback')
    client.release()
  }
})
