/** The counters in the database, as the limiter and as time itself see them. Time is moved by `started_at`. */
import type pg from 'pg'
import { cloneDatabase, type TestDatabase } from './database.ts'

export type Charge = { key: string; max?: number; window?: number; cost?: number; enforced?: boolean }
export type Taken = {
  allowed: boolean
  used: number[]
  reset_at: string[]
  retry_after: (number | null)[] | null
}
type Queryable = Pick<pg.ClientBase, 'query'>

const TAKE =
  'select allowed, used, reset_at, retry_after from app_public.take_rate_limits($1, $2, $3, $4, $5)'
/** As the limiter asks for the one charge that most requests have. */
const TAKE_ONE = `
  select allowed, array[used] as used, array[reset_at] as reset_at, array[retry_after] as retry_after
  from app_public.take_rate_limit($1, $2, $3, $4, $5)`
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
      charges.map(({ max = 10 }) => max),
      charges.map(({ window = 60 }) => window),
      charges.map(({ cost = 1 }) => cost),
      charges.map(({ enforced = true }) => enforced),
    ]
    const one = charges.length === 1
    const { rows } = await db.query<Taken>(one ? TAKE_ONE : TAKE, one ? columns.flat() : columns)
    return rows[0] as Taken
  }

  async function takeTimes(times: number, charge: Charge): Promise<number> {
    let passed = 0
    for (let time = 0; time < times; time++) passed += (await take([charge])).allowed ? 1 : 0
    return passed
  }

  /** As if so many seconds had passed. */
  async function pass(key: string, seconds: number): Promise<void> {
    await database.superuser.query(
      'update app_private.rate_limit_counters set started_at = started_at - $2 where key = $1',
      [bytes(key), seconds],
    )
  }

  async function put(key: string, row: { previous: number; current: number; age: number; window?: number }) {
    await database.superuser.query(
      `insert into app_private.rate_limit_counters (key, window_seconds, started_at, previous, current)
       values ($1, $2, ${NOW} - $3::integer, $4, $5)`,
      [bytes(key), row.window ?? 60, row.age, row.previous, row.current],
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
