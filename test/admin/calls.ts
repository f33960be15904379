/** Calls of the mutations of admins, and the audit trail that they leave. */
import { randomUUID } from 'node:crypto'
import type { TestServer } from '../support/apiServer.ts'
import type { TestDatabase } from '../support/database.ts'

/** The row that each mutation returns, and the fields of it that tests read. */
const RESULTS = {
  openCountry: 'country { country currency closedAt moderation listingDays }',
  closeCountry: 'country { country closedAt }',
  setPrice:
    'price { id priceVersion unitPriceNet durationDays currency valid { start { value } end { value } } }',
  setVatRate: 'vatRate { id rate valid { start { value } end { value } } }',
  setFreeQuota: 'freeQuota { id quotaAmount periodDays valid { start { value } end { value } } }',
  savePackage:
    'package { id key name priceNet currency isActive listingLimit premiumQuota quotaKind overage durationDays }',
  retirePackage: 'package { id isActive }',
  setRateLimitPolicy: 'rateLimitPolicy { scope maxCount windowSeconds cost mode fallback }',
  setDealerStatus: 'dealer { id isActive canPublish isTrusted }',
  lockUser: 'user { id email lockedAt }',
  unlockUser: 'user { id lockedAt }',
  grantSubscription:
    'subscription { id status startAt includedListingQuota quotaKind grantReason invoiceId }',
} as const

export type Mutation = keyof typeof RESULTS
export const MUTATIONS = Object.keys(RESULTS) as Mutation[]

export const PACKAGE_NAME = { en: 'Basic', de: 'Basis' }
export const PACKAGE = { name: PACKAGE_NAME, priceNet: '49.00', durationDays: 30, listingLimit: 10 }

/** Inputs that are complete, for rows that do not matter. */
export const completeInputs = (code: string): Record<Mutation, Record<string, unknown>> => ({
  openCountry: { country: code, currency: 'EUR', vatRate: '20', unitPriceNet: '5' },
  closeCountry: { country: code },
  setPrice: { country: code, segment: 'DEALER', pricingType: 'PAY_PER_LISTING', unitPriceNet: '6' },
  setVatRate: { country: code, vatRate: '20' },
  setFreeQuota: { country: code, segment: 'DEALER', quotaAmount: 2, periodDays: 30 },
  savePackage: { ...PACKAGE, country: code, key: 'basic' },
  retirePackage: { packageId: randomUUID() },
  setRateLimitPolicy: { scope: 'listing_batch', maxCount: 5 },
  setDealerStatus: { dealerId: randomUUID(), isActive: true, canPublish: true, reason: 'A test' },
  lockUser: { userId: randomUUID(), reason: 'A test' },
  unlockUser: { userId: randomUUID(), reason: 'A test' },
  grantSubscription: { dealerId: randomUUID(), packageId: randomUUID(), reason: 'A test' },
})

/** The tables that only admins write. */
export const CONFIGURATION = [
  'app_public.country_currencies',
  'app_public.currencies',
  'app_public.dealer_packages',
  'app_public.free_quota_configs',
  'app_public.price_configs',
  'app_public.rate_limit_policies',
  'app_public.vat_rates',
]

export type Row = Record<string, unknown>

export type Outcome = { status: number; row: Row | undefined; code?: string | undefined; field?: unknown }

/** Sends the mutation. The outcome has the row, or the code of the first error and its field. */
export async function admin(
  server: TestServer,
  token: string | undefined,
  name: Mutation,
  input: Record<string, unknown>,
): Promise<Outcome> {
  const type = `${name[0]?.toUpperCase()}${name.slice(1)}Input`
  const document = `mutation ($input: ${type}!) { ${name}(input: $input) { ${RESULTS[name]} } }`
  const { status, data, errors } = await server.call<Record<string, Record<string, Row> | null>>(document, {
    variables: { input },
    ...(token === undefined ? {} : { token }),
  })
  const [error] = errors
  if (error !== undefined)
    return { status, row: undefined, code: error.extensions.code, field: error.extensions.detail?.field }
  return { status, row: Object.values(data[name] ?? {})[0] }
}

/** Runs `work`, and returns the entries that it adds to the audit trail. */
export async function trailOf(database: TestDatabase, work: () => Promise<unknown>) {
  const { rows } = await database.owner.query<{ id: string }>('select id from app_public.audit_logs')
  await work()
  const added = await database.owner.query<{
    action: string
    actor: string | null
    old_values: Row | null
    new_values: Row | null
  }>(
    `select action || ' ' || resource_type as action, actor, old_values, new_values from app_public.audit_logs
     where id <> all ($1) order by created_at, id`,
    [rows.map(({ id }) => id)],
  )
  return added.rows
}
