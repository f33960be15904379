/**
 * Takes charges from the counters in Postgres, which all processes share. While those cannot be reached, takes them from
 * counters of this process, with its share of each limit. A charge waits until the deadline while the database is silent, and
 * up to a second while the database responds to other charges.
 */
import { LRUCache } from 'lru-cache'
import CircuitBreaker from 'opossum'
import pg from 'pg'
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible'
import { compositeKey } from '../request/compositeKey.ts'
import { makeBatches } from './batches.ts'
import type { Charge } from './charges.ts'
import { makeDeadline } from './deadline.ts'
import type { LimitMetrics } from './limitMetrics.ts'
import type { Policy } from './policies.ts'
import { type ChargeResult, LOCK_TIMEOUT, NOT_TAKEN, statementFor, TAKE_ALL, takeFrom } from './statements.ts'

export type Verdict = Readonly<{
  allowed: boolean
  /** The charge that the headers report: the one that refuses, else the one with the least left. */
  charge: Charge
  used: number
  /** Unix seconds. */
  resetAt: number
  retryAfterSeconds: number
  /** Charges beyond their limit under a policy in shadow mode. */
  shadowed: readonly Charge[]
}>

export type Counters = {
  take(charges: readonly Charge[]): Promise<Verdict | undefined>
  /** Forgets the cached refusals, after a change of the limits. */
  forget(): void
  stop(): void
}

/** A cached refusal. `until` and `resetAt` are Unix seconds. */
type Refusal = Readonly<{ policy: Policy; cost: number; until: number; resetAt: number }>

/** After a failure, time until one request tries the database again. */
const RETRY_MS = 1_000

export function makeCounters({
  pool,
  instances,
  deadlineMs,
  prepareStatements,
  metrics,
}: {
  pool: pg.Pool
  instances: number
  deadlineMs: number
  prepareStatements: boolean
  metrics: LimitMetrics
}): Counters {
  const refusals = new LRUCache<string, Refusal>({ max: 50_000 })
  const local = makeLocalCounters(instances)
  const breaker = new CircuitBreaker(makeTake(pool, deadlineMs, prepareStatements), {
    // the deadline does this, because a queue of charges is not a failure of the database
    timeout: false,
    resetTimeout: RETRY_MS,
    volumeThreshold: 3,
    errorThresholdPercentage: 50,
    rollingCountTimeout: 2_000,
    rollingCountBuckets: 4,
  })
  breaker.on('open', () => metrics.breakerOpen.set(1))
  breaker.on('close', () => metrics.breakerOpen.set(0))

  function cachedRefusal(charges: readonly Charge[]): Verdict | undefined {
    const now = Date.now() / 1000
    for (const charge of charges) {
      const cached = refusals.get(charge.key.toString('latin1'))
      // ignore the cached refusal for a smaller cost or a changed policy
      if (cached === undefined || charge.cost < cached.cost || charge.policy !== cached.policy) continue
      if (cached.until <= now) continue
      const retryAfterSeconds = Math.max(1, Math.ceil(cached.until - now))
      return {
        allowed: false,
        charge,
        used: charge.policy.maxCount,
        resetAt: cached.resetAt,
        retryAfterSeconds,
        shadowed: [],
      }
    }
    return undefined
  }

  return {
    async take(charges) {
      if (charges.length === 0) return undefined
      const refusal = cachedRefusal(charges)
      if (refusal !== undefined) return refusal
      const stop = metrics.duration.startTimer()
      try {
        // calling fire() while open would count rejections as calls and skew the error rate
        const verdict = await (breaker.opened ? refuseWhileOpen() : breaker.fire(charges))
        stop({ backend: 'postgres' })
        if (!verdict.allowed) {
          const { charge, resetAt, retryAfterSeconds } = verdict
          const { key, policy, cost } = charge
          const until = Date.now() / 1000 + retryAfterSeconds
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

/** A request with one charge, as nearly every request has, shares its statement with others. */
function makeTake(pool: pg.Pool, deadlineMs: number, prepareStatements: boolean) {
  const withDeadline = makeDeadline(deadlineMs)
  const takeInBatch = makeBatches(pool, prepareStatements)
  return async (charges: readonly Charge[]): Promise<Verdict> => {
    const [first] = charges
    if (charges.length === 1 && first !== undefined) {
      return verdictOf(charges, [await withDeadline(attempt => takeInBatch(first, attempt))])
    }
    const statement = statementFor(TAKE_ALL, charges, prepareStatements)
    return verdictOf(
      charges,
      await withDeadline(attempt => takeFrom(pool, () => (attempt.expired ? undefined : statement))),
    )
  }
}

function verdictOf(charges: readonly Charge[], rows: readonly ChargeResult[]): Verdict {
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
    retryAfterSeconds: Number(retry_after),
  }))
  return allowed ? leastLeft(verdicts) : longestWait(verdicts)
}

/** The verdict with the least left. Policies in shadow mode come last, because clients should not notice them. */
function leastLeft(verdicts: Verdict[]): Verdict {
  const left = ({ charge: { policy }, used }: Verdict) =>
    policy.mode === 'enforce' ? (policy.maxCount - used) / policy.maxCount : 2
  return verdicts.reduce((least, verdict) => (left(verdict) < left(least) ? verdict : least))
}

function longestWait(verdicts: Verdict[]): Verdict {
  return verdicts.reduce((longest, verdict) =>
    verdict.retryAfterSeconds > longest.retryAfterSeconds ? verdict : longest,
  )
}

/** Fixed windows in this process. Each of `instances` processes allows its share, so that together they keep the limit. */
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
      const result = await limiterOf(policy)
        .consume(charge.key.toString('latin1'), cost)
        .catch((refused: unknown) => refused)
      if (!(result instanceof RateLimiterRes)) throw result
      const within = result.consumedPoints <= shareOf(policy)
      const allowed = policy.mode !== 'enforce' || (within && policy.fallback === 'local')
      // a charge that is refused only because the database cannot be reached may pass once it is back
      const waitMs = within ? RETRY_MS : result.msBeforeNext
      const retryAfterSeconds = Math.max(1, Math.ceil((allowed ? result.msBeforeNext : waitMs) / 1000))
      const used = Math.min(policy.maxCount, result.consumedPoints * instances)
      const resetAt = Math.ceil(Date.now() / 1000) + retryAfterSeconds
      const shadowed = policy.mode === 'shadow' && !within ? [charge] : []
      verdicts.push({ allowed, charge, used, resetAt, retryAfterSeconds, shadowed })
    }
    const refused = verdicts.filter(({ allowed }) => !allowed)
    if (refused.length === 0) return leastLeft(verdicts)
    for (const { policy, key, cost } of charges) await limiterOf(policy).reward(key.toString('latin1'), cost)
    return longestWait(refused)
  }
}

/** The label `reason` of `rate_limit_backend_errors_total`. */
function reasonOf(error: unknown): string {
  const code = (error as { code?: unknown }).code
  if (code === 'ETIMEDOUT') return 'deadline'
  if (code === 'EOPENBREAKER') return 'breaker_open'
  if (code === LOCK_TIMEOUT) return 'lock_timeout'
  if (code === '25006') return 'read_only'
  return error instanceof pg.DatabaseError ? 'database' : 'connection'
}
