/** Test helpers for the counters in the database: take charges as the limiter does, and move time by `ends_at`. */
import type pg from 'pg'
import { type ChargeResult, TAKE_ALL, TAKE_BATCH, TAKE_ONE } from '../../src/limits/statements.ts'
import { cloneDatabase, type TestDatabase } from './database.ts'

export type Charge = { key: string; max?: number; window?: number; cost?: number; enforced?: boolean }
export type Taken = {
  allowed: boolean
  used: (number | null)[]
  reset_at: (number | null)[]
  retry_after: (number | null)[]
}
/** `now` is SQL. */
type Counter = { previous: number; current: number; age: number; window?: number; now?: string }
type Queryable = Pick<pg.ClientBase, 'query'>

/**
 * The time of a single charge, in Unix seconds. It stands still, so a slow machine changes no result. Several charges are taken
 * at the time of the database: tests of those use windows that are too long to end meanwhile.
 */
export const NOW = Math.floor(Date.now() / 1000)
export const LONG_WINDOW = 36_000
const TAKE_ONE_AT = TAKE_ONE.replace('$4)', '$4, $5)')

let keys = 0

/** A key that no other test uses; it sorts after all earlier keys. */
export const newKey = () => String(++keys).padStart(6, '0')
export const bytes = (key: string) => Buffer.from(key)

export type CounterDatabase = Awaited<ReturnType<typeof cloneCounters>>

/** Clones a database for the test file, with helpers for its counters. */
export async function cloneCounters() {
  const database: TestDatabase = await cloneDatabase()
  async function take(charges: Charge[], db: Queryable = database.superuser): Promise<Taken> {
    const columns = columnsOf(charges)
    const one = charges.length === 1
    const { rows } = await (one
      ? db.query<ChargeResult>(TAKE_ONE_AT, [...columns.flat(), NOW])
      : db.query<ChargeResult>(TAKE_ALL, columns))
    return takenFrom(rows)
  }

  /** One charge of each of several requests, in ascending order of their keys. */
  async function takeBatch(charges: Charge[], db: Queryable = database.superuser): Promise<Taken> {
    return takenFrom((await db.query<ChargeResult>(TAKE_BATCH, columnsOf(charges))).rows)
  }

  function columnsOf(charges: Charge[]) {
    return [
      charges.map(({ key }) => bytes(key)),
      charges.map(({ max = 10, enforced = true }) => (enforced ? max : Number.POSITIVE_INFINITY)),
      charges.map(({ window = 60 }) => window),
      charges.map(({ cost = 1 }) => cost),
    ]
  }

  function takenFrom(rows: ChargeResult[]): Taken {
    return {
      allowed: rows.every(({ used }) => used !== null),
      used: rows.map(({ used }) => (used === null ? null : Math.ceil(used))),
      reset_at: rows.map(({ reset_at }) => reset_at),
      retry_after: rows.map(({ retry_after }) => retry_after),
    }
  }

  async function takeTimes(times: number, charge: Charge): Promise<number> {
    let passed = 0
    for (let time = 0; time < times; time++) passed += (await take([charge])).allowed ? 1 : 0
    return passed
  }

  /** Moves a counter as if so many seconds had passed. */
  async function pass(key: string, seconds: number): Promise<void> {
    await database.superuser.query(
      'update app_private.rate_limit_counters set ends_at = ends_at - $2 where key = $1',
      [bytes(key), seconds],
    )
  }

  /** Stores a counter whose window began `age` seconds ago. */
  async function put(key: string, row: Counter) {
    const { previous, current, age, window = 60, now = `${NOW}` } = row
    await database.superuser.query(
      `insert into app_private.rate_limit_counters (key, window_seconds, ends_at, decay, current)
       values ($1, $5::integer, ${now} - $2::integer + $5::integer, $3::double precision / $5::integer, $4)`,
      [bytes(key), age, previous, current, window],
    )
  }

  async function rowOf(key: string) {
    const { rows } = await database.superuser.query(
      'select *, xmin, ctid::text from app_private.rate_limit_counters where key = $1',
      [bytes(key)],
    )
    return rows[0]
  }

  return { database, take, takeBatch, takeTimes, pass, put, rowOf }
}
