/** The middleware: classify, charge, refuse. express-rate-limit sets the headers; its store takes all charges in one call. */
import type { Express, Request, RequestHandler, Response } from 'express'
import { rateLimit, type Store } from 'express-rate-limit'
import type { Logger } from '../log.ts'
import { addressOf } from '../request/address.ts'
import { type FieldCounts, operationOf, parseDocument } from '../request/document.ts'
import { tooManyRequests } from '../request/errors.ts'
import { sendFault } from '../request/faultResponse.ts'
import { isGet, parametersOf } from '../request/parameters.ts'
import type { ApiRequest } from '../request/request.ts'
import { type Charge, chargesOf, rowCost, type Subject, type Work } from './charges.ts'
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
  const { policies, counters, metrics, secret } = options
  /** Requests in progress by a number, because a store gets nothing but a key. */
  const pending = new Map<string, State>()
  let lastKey = 0

  const store: Store = {
    async increment(key) {
      const state = pending.get(key)
      pending.delete(key)
      if (state === undefined) throw new Error('a request must be charged only once')
      state.verdict = await counters.take(state.charges)
      const { verdict } = state
      if (verdict === undefined) throw new Error('a request without charges must be skipped')
      count(state, metrics)
      for (const { name } of verdict.shadowed) logShadow(options.log, name)
      const { maxCount } = verdict.charge.policy
      const totalHits = verdict.allowed ? Math.max(1, Math.min(verdict.used, maxCount)) : maxCount + 1
      return { totalHits, resetTime: new Date(verdict.resetAt * 1000) }
    },
    decrement: () => {},
    resetKey: () => {},
  }

  return rateLimit({
    store,
    skip(request) {
      const state = begin(request, policies, secret, metrics)
      return state.charges.length === 0
    },
    keyGenerator(request) {
      const key = String(++lastKey)
      pending.set(key, states.get(request) as State)
      return key
    },
    limit: request => states.get(request)?.verdict?.charge.policy.maxCount ?? 1,
    retryAfter: request => states.get(request)?.verdict?.retryAfterSeconds ?? 1,
    legacyHeaders: true,
    standardHeaders: false,
    handler: (request, response) => refuse(request, response, options.log),
    // its checks of keys and stores do not apply, because a key here is the number of a request
    validate: false,
  })
}

function begin(request: Request, policies: PolicySource, secret: Uint8Array, metrics: LimitMetrics): State {
  const work = workOf(request, metrics)
  const subject: Subject = { identity: request.identity, address: addressOf(request) }
  const charges = chargesOf(policies.current(), subject, work, secret)
  const state: State = { charges, fields: work.fields }
  states.set(request, state)
  return state
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
  const record = { requestId, scope, user: identity?.userId, address: addressOf(request) }
  log.warn(record, 'refused by a rate limit')
}

function refuse(request: Request, response: Response, log: Logger): void {
  const verdict = states.get(request)?.verdict
  if (verdict === undefined) throw new Error('a refusal needs a verdict')
  const { charge, retryAfterSeconds } = verdict
  const { scope } = charge.policy
  logRefusal(log, request, scope)
  const { message, detail, meta } = tooManyRequests(scope, charge.name, retryAfterSeconds)
  sendFault(request, response, 'rate_limit_exceeded', { message, detail, meta })
}
