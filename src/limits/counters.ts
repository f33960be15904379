/**
 * Takes charges: from the counters in Postgres, which all processes share; while those cannot be reached, from counters of
 * this process at its share of each limit. Never waits longer than the deadline.
 */
import { LRUCache } from 'lru-cache'
import CircuitBreaker from 'opossum'
import pg from 'pg'
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible'
import { compositeKey } from '../request/compositeKey.ts'
import type { Charge } from './charges.ts'
import { type Attempt, makeDeadline, type WithDeadline } from './deadline.ts'
import type { LimitMetrics } from './limitMetrics.ts'
import type { Policy } from './policies.ts'

export type Verdict = Readonly<{
  allowed: boolean
  /** The charge that the client is told about: the one that refuses, else the one with the least left. */
  charge: Charge
  used: number
  /** Unix seconds. */
  resetAt: number
  retryAfter: number
  /** Charges beyond their limit under a policy that only watches. */
  shadowed: readonly Charge[]
}>

export type Counters = {
  take(charges: readonly Charge[]): Promise<Verdict | undefined>
  /** Forgets what was decided under other limits. */
  forget(): void
  stop(): void
}

/** What is known to be over its limit. */
type Refusal = Readonly<{ policy: Policy; cost: number; until: number; resetAt: number }>

/** What became of a charge, as Postgres says it: `used` is null if it was not taken, `retry_after` unless it is over its limit. */
export type Outcome = Readonly<{ used: number | null; reset_at: number | null; retry_after: number | null }>

/** After a failure, time until one request tries the database again, in milliseconds. */
const RETRY_MS = 1_000
const NOT_TAKEN: Outcome = { used: null, reset_at: null, retry_after: null }
/** Nearly every request has one charge. Called in FROM, the function would have its one row stored before it is read. */
export const TAKE_ONE = `select (taken).used, (taken).reset_at, (taken).retry_after
  from (select app_public.take_rate_limit($1, $2, $3, $4) as taken) as charge`
export const TAKE_ALL = 'select used, reset_at, retry_after from app_public.take_rate_limits($1, $2, $3, $4)'

export function makeCounters({
  pool,
  instances,
  deadline,
  prepareStatements,
  metrics,
}: {
  pool: pg.Pool
  instances: number
  deadline: number
  prepareStatements: boolean
  metrics: LimitMetrics
}): Counters {
  const refusals = new LRUCache<string, Refusal>({ max: 50_000 })
  const local = makeLocalCounters(instances)
  const withDeadline = makeDeadline(deadline)
  const breaker = new CircuitBreaker(
    (charges: readonly Charge[]) => takeFromDatabase(pool, withDeadline, prepareStatements, charges),
    {
      // withDeadline does this: a queue of charges is no fault of the database
      timeout: false,
      resetTimeout: RETRY_MS,
      volumeThreshold: 3,
      errorThresholdPercentage: 50,
      rollingCountTimeout: 2_000,
      rollingCountBuckets: 4,
    },
  )
  breaker.on('open', () => metrics.breakerOpen.set(1))
  breaker.on('close', () => metrics.breakerOpen.set(0))

  function remembered(charges: readonly Charge[]): Verdict | undefined {
    const now = Date.now() / 1000
    for (const charge of charges) {
      const over = refusals.get(charge.key.toString('latin1'))
      // ignore the cached refusal for a smaller cost or a changed policy
      if (over === undefined || charge.cost < over.cost || charge.policy !== over.policy) continue
      if (over.until <= now) continue
      const retryAfter = Math.max(1, Math.ceil(over.until - now))
      return {
        allowed: false,
        charge,
        used: charge.policy.maxCount,
        resetAt: over.resetAt,
        retryAfter,
        shadowed: [],
      }
    }
    return undefined
  }

  return {
    async take(charges) {
      if (charges.length === 0) return undefined
      const known = remembered(charges)
      if (known !== undefined) return known
      const stop = metrics.duration.startTimer()
      try {
        // calling fire() while open would count rejections as calls and skew the error rate
        const verdict = await (breaker.opened ? refuseWhileOpen() : breaker.fire(charges))
        stop({ backend: 'postgres' })
        if (!verdict.allowed) {
          const { charge, resetAt, retryAfter } = verdict
          const { key, policy, cost } = charge
          const until = Date.now() / 1000 + retryAfter
          refusals.set(key.toString('latin1'), { policy, cost, until, resetAt })
        }
        return verdict
      } catch (error) {
        metrics.backendErrors.inc({ reason: reasonOf(error) })
        const verdict = await local(charges)
        stop({ backend: 'local' })
        return verdict
      }
    },
    forget: () => refusals.clear(),
    stop: () => breaker.shutdown(),
  }
}

function refuseWhileOpen(): Promise<never> {
  return Promise.reject(Object.assign(new Error('the breaker is open'), { code: 'EOPENBREAKER' }))
}

async function takeFromDatabase(
  pool: pg.Pool,
  withDeadline: WithDeadline,
  prepareStatements: boolean,
  charges: readonly Charge[],
): Promise<Verdict> {
  const columns = [
    charges.map(({ key }) => key),
    charges.map(({ policy }) => (policy.mode === 'enforce' ? policy.maxCount : Number.POSITIVE_INFINITY)),
    charges.map(({ policy }) => policy.windowSeconds),
    charges.map(({ cost }) => cost),
  ]
  const one = charges.length === 1
  const statement = {
    text: one ? TAKE_ONE : TAKE_ALL,
    values: one ? columns.flat() : columns,
    ...(prepareStatements ? { name: one ? 'take_rate_limit' : 'take_rate_limits' } : {}),
  }
  const rows = await withDeadline(attempt => query(pool, statement, attempt))
  const outcomes = charges.map((charge, index) => ({ charge, ...(rows[index] ?? NOT_TAKEN) }))
  const allowed = outcomes.every(({ used }) => used !== null)
  const shadowed = outcomes
    .filter(
      ({ charge: { policy }, used }) => allowed && policy.mode === 'shadow' && Number(used) > policy.maxCount,
    )
    .map(({ charge }) => charge)
  const verdicts = outcomes.map(({ charge, used, reset_at, retry_after }) => ({
    shadowed,
    allowed,
    charge,
    used: allowed ? Math.ceil(Number(used)) : charge.policy.maxCount,
    resetAt: Math.ceil(Number(reset_at)),
    retryAfter: Number(retry_after),
  }))
  return allowed ? least(verdicts) : longest(verdicts)
}

/** Release the client unused if the caller timed out while waiting for it: otherwise the request is counted twice. */
async function query(pool: pg.Pool, statement: pg.QueryConfig, attempt: Attempt): Promise<Outcome[]> {
  const client = await pool.connect()
  if (attempt.expired) {
    client.release()
    throw new Error('the caller has timed out')
  }
  let failure: Error | undefined
  try {
    const { rows } = await client.query<Outcome>(statement)
    return rows
  } catch (error) {
    failure = error as Error
    throw error
  } finally {
    client.release(failure)
  }
}

/** Of what passed, the one with the least left; a policy that only watches tells nobody, unless there is no other. */
function least(verdicts: Verdict[]): Verdict {
  const left = ({ charge: { policy }, used }: Verdict) =>
    policy.mode === 'enforce' ? (policy.maxCount - used) / policy.maxCount : 2
  return verdicts.reduce((one, other) => (left(other) < left(one) ? other : one))
}

function longest(verdicts: Verdict[]): Verdict {
  return verdicts.reduce((one, other) => (other.retryAfter > one.retryAfter ? other : one))
}

/** Fixed windows in this process. Each of `instances` processes gives out its share, so that together they keep the limit. */
function makeLocalCounters(instances: number) {
  const limiters = new Map<string, RateLimiterMemory>()
  const shareOf = ({ maxCount }: Policy) => Math.max(1, Math.floor(maxCount / instances))
  const limiterOf = (policy: Policy) => {
    const { scope, windowSeconds } = policy
    const points = shareOf(policy)
    const key = compositeKey(scope, String(points), String(windowSeconds))
    const limiter =
      limiters.get(key) ?? new RateLimiterMemory({ keyPrefix: key, points, duration: windowSeconds })
    limiters.set(key, limiter)
    return limiter
  }
  return async (charges: readonly Charge[]): Promise<Verdict> => {
    const verdicts: Verdict[] = []
    for (const charge of charges) {
      const { policy, cost } = charge
      const answer = await limiterOf(policy)
        .consume(charge.key.toString('latin1'), cost)
        .catch((refused: unknown) => refused)
      if (!(answer instanceof RateLimiterRes)) throw answer
      const within = answer.consumedPoints <= shareOf(policy)
      const allowed = policy.mode !== 'enforce' || (within && policy.fallback === 'local')
      // what is refused only because the counters are out of reach may pass as soon as they are back
      const wait = within ? RETRY_MS : answer.msBeforeNext
      const retryAfter = Math.max(1, Math.ceil((allowed ? answer.msBeforeNext : wait) / 1000))
      const used = Math.min(policy.maxCount, answer.consumedPoints * instances)
      const resetAt = Math.ceil(Date.now() / 1000) + retryAfter
      const shadowed = policy.mode === 'shadow' && !within ? [charge] : []
      verdicts.push({ allowed, charge, used, resetAt, retryAfter, shadowed })
    }
    const refused = verdicts.filter(({ allowed }) => !allowed)
    if (refused.length === 0) return least(verdicts)
    for (const { policy, key, cost } of charges) await limiterOf(policy).reward(key.toString('latin1'), cost)
    return longest(refused)
  }
}

/** Few words, for a label of a metric. */
function reasonOf(error: unknown): string {
  const code = (error as { code?: unknown }).code
  if (code === 'ETIMEDOUT') return 'deadline'
  if (code === 'EOPENBREAKER') return 'breaker_open'
  if (code === '55P03') return 'lock_timeout'
  if (code === '25006') return 'read_only'
  return error instanceof pg.DatabaseError ? 'database' : 'connection'
}
