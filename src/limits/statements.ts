/** The statements that take charges from the counters in Postgres. */
import type pg from 'pg'
import type { Charge } from './charges.ts'

/** A charge's result in Postgres. `used` is null if it was not taken, `retry_after` unless it is over its limit. */
export type ChargeResult = Readonly<{
  used: number | null
  reset_at: number | null
  retry_after: number | null
}>

/** SQLSTATE of a statement that has waited for a lock too long. */
export const LOCK_TIMEOUT = '55P03'

export const NOT_TAKEN: ChargeResult = { used: null, reset_at: null, retry_after: null }

/** For one charge. Postgres would store the row first if the function were called in FROM. */
export const TAKE_ONE = `select (taken).used, (taken).reset_at, (taken).retry_after
  from (select app_public.take_rate_limit($1, $2, $3, $4) as taken) as charge`
/** For one charge of each of several requests. */
export const TAKE_BATCH =
  'select used, reset_at, retry_after from app_public.take_rate_limit_batch($1, $2, $3, $4)'
/** For all charges of one request. */
export const TAKE_ALL = 'select used, reset_at, retry_after from app_public.take_rate_limits($1, $2, $3, $4)'

const NAMES = {
  [TAKE_ONE]: 'take_rate_limit',
  [TAKE_BATCH]: 'take_rate_limit_batch',
  [TAKE_ALL]: 'take_rate_limits',
}

/** The charges are sorted by key, so that concurrent statements lock the counters in the same order and cannot deadlock. */
export function statementFor(
  several: typeof TAKE_BATCH | typeof TAKE_ALL,
  charges: readonly Charge[],
  isPrepared: boolean,
): pg.QueryConfig {
  const columns = [
    charges.map(({ key }) => key),
    charges.map(({ policy }) => (policy.mode === 'enforce' ? policy.maxCount : Number.POSITIVE_INFINITY)),
    charges.map(({ policy }) => policy.windowSeconds),
    charges.map(({ cost }) => cost),
  ]
  const text = charges.length === 1 ? TAKE_ONE : several
  const values = charges.length === 1 ? columns.flat() : columns
  return isPrepared ? { name: NAMES[text] as string, text, values } : { text, values }
}

/**
 * Makes the statement once there is a connection. If it makes none, because its callers have timed out meanwhile, the
 * connection is released unused: otherwise a request would be counted twice.
 */
export async function takeFrom(
  pool: pg.Pool,
  makeStatement: () => pg.QueryConfig | undefined,
): Promise<ChargeResult[]> {
  const client = await pool.connect()
  const statement = makeStatement()
  if (statement === undefined) {
    client.release()
    throw new Error('the callers have timed out')
  }
  let failure: (Error & { code?: string }) | undefined
  try {
    const { rows } = await client.query<ChargeResult>(statement)
    return rows
  } catch (error) {
    failure = error as Error
    throw error
  } finally {
    // after a lock timeout the connection is sound, and the charges are sent again at once
    client.release(failure?.code === LOCK_TIMEOUT ? undefined : failure)
  }
}
