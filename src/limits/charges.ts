/** The charges of a request, from its root fields and its sender. */
import { createHmac, createSecretKey } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { compositeKey } from '../request/compositeKey.ts'
import type { FieldCounts } from '../request/document.ts'
import { documentLimits } from '../request/documentLimits.ts'
import { type Identity, senderOf } from '../request/identity.ts'
import type { Policies, Policy } from './policies.ts'

export type Charge = Readonly<{
  policy: Policy
  /** As a refused client sees it: `user:<id>:listing_create` or `api_key:<id>:listing_create`. */
  name: string
  /** HMAC of scope and subject, so that the counters contain no user id and no address. */
  key: Buffer
  cost: number
}>

export type Subject = {
  identity: Identity | undefined
  /** The address, or the prefix of an IPv6 address. */
  address: string
}

/** The parts of a request that decide about its charges. */
export type Work = Readonly<{
  fields: FieldCounts
  isMutation: boolean
  rowCost: number
}>

const ROWS_PER_COST = 100

/** GraphQL refuses an operation with more rows than allowed, so it costs 1. */
export function rowCost(rows: number): number {
  return rows > documentLimits.rows ? 1 : Math.max(1, Math.ceil(rows / ROWS_PER_COST))
}

/** At about 200 bytes each. */
const MAX_KEYS = 20_000

/**
 * `secret` is the key of the HMACs. Node would import raw bytes again for each HMAC, which then takes 4 times as long. Keys are
 * cached by name, because clients send many requests: a look-up takes a seventh of an HMAC.
 */
export function makeChargesOf(secret: Uint8Array) {
  const secretKey = createSecretKey(secret)
  const keys = new LRUCache<string, Buffer>({ max: MAX_KEYS })

  function chargeOf(policy: Policy, subjectKey: string, times: number): Charge {
    const name = `${subjectKey}:${policy.scope}`
    let key = keys.get(name)
    if (key === undefined) {
      key = createHmac('sha256', secretKey).update(compositeKey(policy.scope, subjectKey)).digest()
      keys.set(name, key)
    }
    return { policy, name, key, cost: policy.cost * times }
  }

  /** Sorted by key, so that concurrent requests lock the counters in the same order and cannot deadlock. */
  return (policies: Policies, subject: Subject, work: Work): Charge[] => {
    const charges: Charge[] = []
    for (const policy of policies.all) {
      const times = policy.mode === 'off' ? 0 : timesOf(policy, subject, work)
      if (times > 0) charges.push(chargeOf(policy, subjectOf(policy, subject), times))
    }
    return charges.sort((a, b) => Buffer.compare(a.key, b.key))
  }
}

function timesOf(policy: Policy, { identity }: Subject, { fields, isMutation, rowCost }: Work): number {
  // failed logins are counted where the password is checked
  if (policy.subject === 'account') return 0
  if (policy.fields.length > 0) {
    return policy.fields.reduce((sum, field) => sum + (fields.get(field) ?? 0), 0)
  }
  // a policy without fields charges rows: of the queries of users, or of anonymous requests
  if (policy.subject === 'user') return identity === undefined || isMutation ? 0 : rowCost
  return identity === undefined ? rowCost : 0
}

function subjectOf({ subject }: Policy, { identity, address }: Subject): string {
  return identity !== undefined && subject !== 'ip' ? senderOf(identity) : `ip:${address}`
}
