/**
 * The middleware: classify, charge, refuse. express-rate-limit only writes the response to a refused request, from the verdict of
 * the counters. A request that passes does not go through it: its promises, its `Date` header and reading the address again took
 * half of the limiter's CPU outside of the database (measured without a database, requests one after another).
 */
import type { Express, Request, RequestHandler, Response } from 'express'
import { rateLimit, type Store } from 'express-rate-limit'
import type { Logger } from '../log.ts'
import { addressOf } from '../request/address.ts'
import { type FieldCounts, operationOf, parseDocument } from '../request/document.ts'
import { tooManyRequests } from '../request/errors.ts'
import { sendFault } from '../request/faultResponse.ts'
import { loggedSender } from '../request/identity.ts'
import { isGet, parametersOf } from '../request/parameters.ts'
import type { ApiRequest } from '../request/request.ts'
import { type Charge, makeChargesOf, rowCost, type Subject, type Work } from './charges.ts'
import type { Counters, Verdict } from './counters.ts'
import type { LimitMetrics } from './limitMetrics.ts'
import type { Policy, PolicySource } from './policies.ts'

export type LimiterOptions = {
  policies: PolicySource
  counters: Counters
  metrics: LimitMetrics
  /** The key of the HMACs that identify counters. */
  secret: Uint8Array
  log: Logger
}

type State = { charges: readonly Charge[]; fields: FieldCounts; verdict?: Verdict | undefined }

const states = new WeakMap<object, State>()
/** For a request that executes nothing. */
const NO_WORK: Work = { fields: new Map(), isMutation: false, rowCost: 1 }

/** How often a field was charged to this request, for the check inside GraphQL: `tripwire.ts`. */
export function chargedTimes(request: object, field: string): number {
  return fieldsOf(request).get(field) ?? 0
}

/** Root field, as `Mutation.login` → how often the request selects it, as far as its document was read. */
export function fieldsOf(request: object): FieldCounts {
  return states.get(request)?.fields ?? NO_WORK.fields
}

export function installLimits(app: Express, options: LimiterOptions): void {
  app.use('/graphql', makeLimiter(options))
}

function makeLimiter(options: LimiterOptions): RequestHandler {
  const { policies, counters, metrics, secret, log } = options
  const chargesOf = makeChargesOf(secret)
  const refuse = makeRefusal(log)

  function begin(request: Request): State {
    const work = workOf(request, metrics)
    const subject: Subject = { identity: request.identity, address: addressOf(request) }
    const state: State = { charges: chargesOf(policies.current(), subject, work), fields: work.fields }
    states.set(request, state)
    return state
  }

  return (request, response, next) => {
    const state = begin(request)
    if (state.charges.length === 0) {
      next()
      return
    }
    const decide = (verdict: Verdict | undefined) => {
      if (verdict === undefined) throw new Error('a request without charges must be skipped')
      state.verdict = verdict
      count(state, metrics)
      for (const { name } of verdict.shadowed) logShadow(log, name)
      if (verdict.allowed) {
        setHeaders(response, verdict)
        next()
      } else void refuse(request, response, next)
    }
    counters.take(state.charges).then(decide).catch(next)
  }
}

/** Sets the headers that express-rate-limit sets for a refusal, except `Retry-After`. */
function setHeaders(response: Response, { charge, used, resetAt }: Verdict): void {
  if (response.headersSent) return
  const { maxCount } = charge.policy
  response.setHeader('X-RateLimit-Limit', String(maxCount))
  response.setHeader('X-RateLimit-Remaining', String(maxCount - Math.max(1, Math.min(used, maxCount))))
  response.setHeader('X-RateLimit-Reset', String(resetAt))
}

/** Answers a request whose verdict is a refusal. */
function makeRefusal(log: Logger): RequestHandler {
  // a store gets nothing but a key, so the key is what the store has to return
  const store: Store = {
    increment: resetAt => ({
      totalHits: Number.POSITIVE_INFINITY,
      resetTime: new Date(Number(resetAt) * 1000),
    }),
    decrement: () => {},
    resetKey: () => {},
  }
  return rateLimit({
    store,
    keyGenerator: request => String(verdictOf(request).resetAt),
    limit: request => verdictOf(request).charge.policy.maxCount,
    retryAfter: request => verdictOf(request).retryAfterSeconds,
    legacyHeaders: true,
    standardHeaders: false,
    handler: (request, response) => sendRefusal(request, response, log),
    // its checks of keys and stores do not apply, because the key here identifies no client
    validate: false,
  })
}

function verdictOf(request: Request): Verdict {
  const verdict = states.get(request)?.verdict
  if (verdict === undefined) throw new Error('a refusal needs a verdict')
  return verdict
}

/** NO_WORK if the document cannot be read. GraphQL refuses such a document, so nothing is executed. */
function workOf(request: Request, { unclassified }: LimitMetrics): Work {
  const { query, operationName, variables } = parametersOf(request)
  const { document, errors } = query === undefined ? {} : parseDocument(query)
  const operation = document && operationOf(document, operationName)
  if (operation === undefined) {
    const reason = query === undefined ? 'no_document' : document === undefined ? 'syntax' : 'operation'
    unclassified.inc({ reason })
    return NO_WORK
  }
  const isMutation = operation.type === 'mutation'
  // GraphQL refuses a mutation by GET
  if (isMutation && isGet(request)) return NO_WORK
  const refused = errors !== undefined && errors.length > 0
  return {
    fields: operation.counts,
    isMutation,
    rowCost: refused ? 1 : rowCost(operation.rows(variables)),
  }
}

function count({ charges, verdict }: State, metrics: LimitMetrics): void {
  for (const { policy } of charges) {
    metrics.checks.inc({ policy: policy.scope, outcome: outcomeOfPolicy(policy, verdict) })
  }
}

function outcomeOfPolicy(policy: Policy, verdict: Verdict | undefined): string {
  if (verdict?.shadowed.some(charge => charge.policy === policy)) return 'shadow_refused'
  return verdict?.allowed === false && verdict.charge.policy === policy ? 'refused' : 'allowed'
}

/** For an operator who tries a limit before it is enforced. */
export function logShadow(log: Logger, limit: string): void {
  log.warn({ limit }, 'a rate limit in shadow mode is exceeded')
}

/** For an operator who looks for clients that reach a limit. An IPv6 address is logged as its prefix. */
export function logRefusal(log: Logger, request: ApiRequest | undefined, scope: string): void {
  const { requestId, identity } = request ?? {}
  const record = { requestId, scope, ...loggedSender(identity), address: addressOf(request) }
  log.warn(record, 'refused by a rate limit')
}

function sendRefusal(request: Request, response: Response, log: Logger): void {
  const { charge, retryAfterSeconds } = verdictOf(request)
  const { scope } = charge.policy
  logRefusal(log, request, scope)
  const { message, detail, meta } = tooManyRequests(scope, charge.name, retryAfterSeconds)
  sendFault(request, response, 'rate_limit_exceeded', { message, detail, meta })
}
