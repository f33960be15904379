/** From what a request does and who sent it to what it is charged. */
import { createHmac } from 'node:crypto'
import { compositeKey } from '../request/compositeKey.ts'
import type { FieldCounts } from '../request/document.ts'
import { documentLimits } from '../request/documentLimits.ts'
import type { Identity } from '../request/identity.ts'
import type { Policies, Policy } from './policies.ts'

export type Charge = Readonly<{
  policy: Policy
  /** As a refused client is told, `user:<id>:listing_create`. */
  name: string
  /** HMAC of scope and subject: the counters name nobody. */
  key: Buffer
  cost: number
}>

export type Subject = {
  identity: Identity | undefined /** The address, or the prefix of an IPv6 one. */
  address: string
}

/** What a request asks for, as far as it is charged. */
export type Work = Readonly<{
  fields: FieldCounts
  isMutation: boolean
  rowCost: number
}>

const ROWS_PER_COST = 100

/** Contract, section 5. More rows than a document may return are refused, so nothing of them is charged. */
export function rowCost(rows: number): number {
  return rows > documentLimits.rows ? 1 : Math.max(1, Math.ceil(rows / ROWS_PER_COST))
}

/** The charges of a request, by ascending key, so that no two requests wait for each other. */
export function chargesOf(policies: Policies, subject: Subject, work: Work, secret: Uint8Array): Charge[] {
  return policies.all
    .map(policy => ({ policy, times: timesOf(policy, subject, work) }))
    .filter(({ policy, times }) => times > 0 && policy.mode !== 'off')
    .map(({ policy, times }) => {
      const who = subjectOf(policy, subject)
      const key = createHmac('sha256', secret).update(compositeKey(policy.scope, who)).digest()
      return { policy, name: `${who}:${policy.scope}`, key, cost: policy.cost * times }
    })
    .sort((one, other) => Buffer.compare(one.key, other.key))
}

function timesOf(policy: Policy, { identity }: Subject, { fields, isMutation, rowCost }: Work): number {
  // failed logins are counted where the password is checked
  if (policy.subject === 'account') return 0
  if (policy.fields.length > 0) {
    return policy.fields.reduce((sum, field) => sum + (fields.get(field) ?? 0), 0)
  }
  // without fields: each query of a user, or each anonymous request
  if (policy.subject === 'user') return identity === undefined || isMutation ? 0 : rowCost
  return identity === undefined ? rowCost : 0
}

function subjectOf({ subject }: Policy, { identity, address }: Subject): string {
  return identity !== undefined && subject !== 'ip' ? `user:${identity.userId}` : `ip:${address}`
}
