/** The counters in the database, as the limiter and as time itself see them. Time is moved by `ends_at`. */
import type pg from 'pg'
import { type Outcome, TAKE_ALL, TAKE_ONE } from '../../src/limits/counters.ts'
import { cloneDatabase, type TestDatabase } from './database.ts'

export type Charge = { key: string; max?: number; window?: number; cost?: number; enforced?: boolean }
export type Taken = {
  allowed: boolean
  used: (number | null)[]
  reset_at: (number | null)[]
  retry_after: (number | null)[]
}
type Queryable = Pick<pg.ClientBase, 'query'>

const NOW = 'extract(epoch from clock_timestamp())::double precision'

let keys = 0

/** A key that no other test uses, above all that were made before. */
export const newKey = () => String(++keys).padStart(6, '0')
export const bytes = (key: string) => Buffer.from(key)

export type CounterDatabase = Awaited<ReturnType<typeof cloneCounters>>

/** A database of one's own, with what the tests of its counters do. */
export async function cloneCounters() {
  const database: TestDatabase = await cloneDatabase()
  async function take(charges: Charge[], db: Queryable = database.superuser): Promise<Taken> {
    const columns = [
      charges.map(({ key }) => bytes(key)),
      charges.map(({ max = 10, enforced = true }) => (enforced ? max : Number.POSITIVE_INFINITY)),
      charges.map(({ window = 60 }) => window),
      charges.map(({ cost = 1 }) => cost),
    ]
    const one = charges.length === 1
    const { rows } = await db.query<Outcome>(one ? TAKE_ONE : TAKE_ALL, one ? columns.flat() : columns)
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

  /** As if so many seconds had passed. */
  async function pass(key: string, seconds: number): Promise<void> {
    await database.superuser.query(
      'update app_private.rate_limit_counters set ends_at = ends_at - $2 where key = $1',
      [bytes(key), seconds],
    )
  }

  async function put(key: string, row: { previous: number; current: number; age: number }) {
    await database.superuser.query(
      `insert into app_private.rate_limit_counters (key, window_seconds, ends_at, decay, current)
       values ($1, 60, ${NOW} - $2::integer + 60, $3::double precision / 60, $4)`,
      [bytes(key), row.age, row.previous, row.current],
    )
  }

  async function rowOf(key: string) {
    const { rows } = await database.superuser.query(
      'select *, xmin, ctid::text from app_private.rate_limit_counters where key = $1',
      [bytes(key)],
    )
    return rows[0]
  }

  return { database, take, takeTimes, pass, put, rowOf }
}
