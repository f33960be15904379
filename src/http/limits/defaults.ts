/** The limits of the contract, section 5: in force for each scope that the table does not have. A test holds both alike. */
import type { Policy } from './policies.ts'

type Who = Policy['subject']

function policy(
  scope: string,
  subject: Who,
  field: string | undefined,
  maxCount: number,
  windowSeconds: number,
): Policy {
  const fields = field === undefined ? [] : [field]
  const fallback = subject === 'account' ? 'refuse' : 'local'
  return { scope, subject, fields, maxCount, windowSeconds, cost: 1, mode: 'enforce', fallback }
}

export const defaultPolicies: readonly Policy[] = [
  policy('auth_account', 'account', undefined, 5, 900),
  policy('auth_login', 'ip', 'Mutation.login', 20, 60),
  policy('auth_register', 'ip', 'Mutation.register', 10, 60),
  policy('checkout_init', 'user', 'Mutation.buyPackage', 10, 600),
  policy('listing_create', 'user', 'Mutation.createListing', 60, 60),
  policy('pricing_quote', 'user_or_ip', 'Query.quoteListing', 100, 60),
  policy('public_read', 'ip', undefined, 100, 60),
]
