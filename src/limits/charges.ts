/** The charges of a request, from its root fields and its sender. */
import { createHmac } from 'node:crypto'
import type { FieldCounts } from '../request/document.ts'
import type { Identity } from '../request/identity.ts'
import type { Policies, Policy } from './policies.ts'

export type Charge = Readonly<{
  policy: Policy
  /** As a refused client sees it: `user:<id>:listing_create`. */
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

/** Sorted by key, so that concurrent requests lock the counters in the same order and cannot deadlock. */
export function chargesOf(
  policies: Policies,
  subject: Subject,
  fields: FieldCounts,
  secret: string,
): Charge[] {
  return policies.all
    .map(policy => ({ policy, times: timesOf(policy, subject, fields) }))
    .filter(({ policy, times }) => times > 0 && policy.mode !== 'off')
    .map(({ policy, times }) => {
      const subjectKey = subjectOf(policy, subject)
      const key = createHmac('sha256', secret).update(`${policy.scope}\n${subjectKey}`).digest()
      return { policy, name: `${subjectKey}:${policy.scope}`, key, cost: policy.cost * times }
    })
    .sort((a, b) => Buffer.compare(a.key, b.key))
}

function timesOf(policy: Policy, { identity }: Subject, fields: FieldCounts): number {
  // failed logins are counted where the password is checked
  if (policy.subject === 'account') return 0
  if (policy.fields.length === 0) return identity === undefined ? 1 : 0
  return policy.fields.reduce((sum, field) => sum + (fields.get(field) ?? 0), 0)
}

function subjectOf({ subject }: Policy, { identity, address }: Subject): string {
  return identity !== undefined && subject !== 'ip' ? `user:${identity.userId}` : `ip:${address}`
}
