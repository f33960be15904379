/** A charge at the end of a window writes only the counter that it has read: of many sessions one starts the next window. */
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals'
import { cloneDatabase, type TestDatabase } from '../support/database.ts'
import { interleave, type OpenTransaction } from '../support/transactions.ts'

const KEY = Buffer.from('race')
/** The window of the counter ends at second 1000, and the charge comes 10 seconds later. */
const NOW = 1010
const AT_EDGE = 'select * from app_private.take_rate_limit_at_edge($1, 10, 60, 1, $2)'
const TAKE = 'select * from app_public.take_rate_limit($1, 10, 60, 1, $2)'
const WROTE = { used: 1 + (6 / 60) * 50, reset_at: 1060, retry_after: null }
const NOTHING = { used: null, reset_at: null, retry_after: null }

let database: TestDatabase

beforeAll(async () => {
  database = await cloneDatabase()
})

beforeEach(async () => {
  await database.owner.query('delete from app_private.rate_limit_counters')
})

afterAll(() => database.drop())

const putCounter = () =>
  database.owner.query('insert into app_private.rate_limit_counters values ($1, 60, 1000, 0, 6)', [KEY])
const counters = async () =>
  (
    await database.owner.query(
      'select window_seconds, ends_at, decay, current from app_private.rate_limit_counters',
    )
  ).rows

/** Another session changes the counter and ends in this way, while the charge waits for it. Returns the outcome of the charge. */
async function chargeDuring(change: string, charge: string, end: 'commit' | 'rollback'): Promise<unknown> {
  let outcome: unknown
  const work = async ({ other, charging }: Record<'other' | 'charging', OpenTransaction>) => {
    await other.query(change)
    const { result } = await charging.startBlocked(charge, [KEY, NOW])
    await other[end]()
    outcome = (await result).rows[0]
    await charging.commit()
  }
  await interleave(database, { other: 'owner', charging: 'owner' }, work)
  return outcome
}

const CHANGES = [
  ['window_seconds', { window_seconds: 61, ends_at: 1000, decay: 0, current: 6 }],
  ['ends_at', { window_seconds: 60, ends_at: 1001, decay: 0, current: 6 }],
  ['current', { window_seconds: 60, ends_at: 1000, decay: 0, current: 7 }],
] as const

test.each(CHANGES)(
  'a charge does not overwrite a counter of which only this has changed: %s',
  async (column, row) => {
    await putCounter()
    const change = `update app_private.rate_limit_counters set ${column} = ${column} + 1`
    expect(await chargeDuring(change, AT_EDGE, 'commit')).toEqual(NOTHING)
    expect(await counters()).toEqual([row])
  },
)

test.each(CHANGES)(
  'a charge writes the counter when the other change is rolled back: %s',
  async (column, _row) => {
    await putCounter()
    const change = `update app_private.rate_limit_counters set ${column} = ${column} + 1`
    expect(await chargeDuring(change, AT_EDGE, 'rollback')).toEqual(WROTE)
    expect(await counters()).toEqual([{ window_seconds: 60, ends_at: 1060, decay: 6 / 60, current: 1 }])
  },
)

const INSERT = `insert into app_private.rate_limit_counters values ('race', 60, 1060, 0, 4)`

test('of two first charges of a key one makes the counter, and the other makes none', async () => {
  expect(await chargeDuring(INSERT, AT_EDGE, 'commit')).toEqual(NOTHING)
  expect(await counters()).toEqual([{ window_seconds: 60, ends_at: 1060, decay: 0, current: 4 }])
})

test('a first charge makes the counter when the other one is rolled back', async () => {
  expect(await chargeDuring(INSERT, AT_EDGE, 'rollback')).toEqual({
    used: 1,
    reset_at: NOW + 60,
    retry_after: null,
  })
  expect(await counters()).toHaveLength(1)
})

test('a charge whose counter is removed while it waits makes a new one', async () => {
  await putCounter()
  const remove = 'delete from app_private.rate_limit_counters'
  expect(await chargeDuring(remove, AT_EDGE, 'commit')).toEqual(NOTHING)
  await putCounter()
  expect(await chargeDuring(remove, TAKE, 'commit')).toEqual({
    used: 1,
    reset_at: NOW + 60,
    retry_after: null,
  })
})

test.each([
  ['has room left', 'current = 9', { used: 10, retry_after: null }],
  ['is full', 'current = 10', { used: null, retry_after: 56 }],
  ['has another window', 'window_seconds = 30, ends_at = 1030, current = 0', { used: 1, retry_after: null }],
  ['has ended', 'ends_at = 1010, current = 0', { used: 1, retry_after: null }],
])('a charge that waited is decided by the counter as it is then: it %s', async (_state, change, outcome) => {
  await database.owner.query('insert into app_private.rate_limit_counters values ($1, 60, 1060, 0, 0)', [KEY])
  const update = `update app_private.rate_limit_counters set ${change}`
  expect(await chargeDuring(update, TAKE, 'commit')).toMatchObject(outcome)
})

test('the clean-up neither waits for a counter that a charge has locked, nor removes it', async () => {
  await putCounter()
  await interleave(database, { charging: 'owner', cleaning: 'owner' }, async ({ charging, cleaning }) => {
    await charging.query('update app_private.rate_limit_counters set current = current + 1')
    const { rows } = await cleaning.query('select app_private.remove_idle_rate_limit_counters() as removed')
    expect(rows).toEqual([{ removed: 0 }])
  })
  expect(await counters()).toHaveLength(1)
})
