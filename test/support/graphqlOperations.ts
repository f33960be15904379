/** The GraphQL operations that tests send, with the types of their results. */
import { randomUUID } from 'node:crypto'
import type { ApiResponse, TestServer } from './apiServer.ts'

export type Quote = {
  source: string
  netAmount: string
  vatRate: string
  grossAmount: string
  currency: string
  freeRemaining: number
  subscriptionRemaining: number
}

export function quoteListing(server: TestServer, token: string, dealerId: string) {
  return server.call<{ quoteListing: Quote | null }>(
    `query ($dealerId: UUID!) {
      quoteListing(dealerId: $dealerId) {
        source netAmount vatRate grossAmount currency freeRemaining subscriptionRemaining
      }
    }`,
    { token, variables: { dealerId } },
  )
}

export type Invoice = { id: string; status: string; grossTotal: string }

export function buyPackage(
  server: TestServer,
  token: string,
  input: { dealerId: string; packageId: string; idempotencyKey?: string; successUrl?: string },
) {
  return server.call<{ buyPackage: { checkout: { invoice: Invoice; url: string | null } } | null }>(
    `mutation ($input: BuyPackageInput!) {
      buyPackage(input: $input) { checkout { invoice { id status grossTotal } url } }
    }`,
    { token, variables: { input: { idempotencyKey: randomUUID(), ...input } } },
  )
}

export function payInvoice(server: TestServer, token: string, invoiceId: string) {
  return server.call<{ payInvoice: { invoice: { id: string; status: string } } | null }>(
    'mutation ($input: PayInvoiceInput!) { payInvoice(input: $input) { invoice { id status } } }',
    { token, variables: { input: { invoiceId } } },
  )
}

export type Subscription = {
  id: string
  status: string
  startAt: string | null
  endAt: string | null
  includedListingQuota: number
}

export function cancelSubscription(server: TestServer, token: string, subscriptionId: string) {
  return server.call<{ cancelSubscription: { subscription: Subscription } | null }>(
    `mutation ($input: CancelSubscriptionInput!) {
      cancelSubscription(input: $input) {
        subscription { id status startAt endAt includedListingQuota }
      }
    }`,
    { token, variables: { input: { subscriptionId } } },
  )
}

/** Reads the subscriptions that the user of the token may see, oldest first. */
export async function readSubscriptions(server: TestServer, token: string): Promise<Subscription[]> {
  const { data } = await server.call<{ dealerSubscriptions: { nodes: Subscription[] } }>(
    '{ dealerSubscriptions(first: 100) { nodes { id status startAt endAt includedListingQuota } } }',
    { token },
  )
  return data.dealerSubscriptions.nodes
}

export type Session = {
  accessToken: string
  expiresAt: string
  refreshToken: string
  refreshExpiresAt: string
  user: { id: string; email: string; fullName: string }
}
const SESSION = 'session { accessToken expiresAt refreshToken refreshExpiresAt user { id email fullName } }'

export function register(server: TestServer, input: { email: string; password: string; fullName?: string }) {
  return server.call<{ register: { session: Session } | null }>(
    `mutation ($input: RegisterInput!) { register(input: $input) { ${SESSION} } }`,
    { variables: { input: { fullName: 'Test User', ...input } } },
  )
}

export function login(server: TestServer, email: string, password: string) {
  return server.call<{ login: { session: Session } | null }>(
    `mutation ($input: LoginInput!) { login(input: $input) { ${SESSION} } }`,
    { variables: { input: { email, password } } },
  )
}

export function createDealer(server: TestServer, token: string, input: Record<string, unknown> = {}) {
  return server.call<{
    createDealer: { dealer: { id: string; companyName: string; country: string } } | null
  }>(
    `mutation ($input: CreateDealerInput!) {
      createDealer(input: $input) { dealer { id companyName country } }
    }`,
    {
      token,
      variables: {
        input: { companyName: 'Test Cars', country: 'DE', dealerType: 'AUTO_DEALER', ...input },
      },
    },
  )
}

/** How often each outcome occurred: the HTTP status, with the code of the first error if there is one. */
export function countResponses(responses: ApiResponse<unknown>[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { status, errors } of responses) {
    const key = errors[0] ? `${status} ${errors[0].extensions.code}` : String(status)
    counts[key] = (counts[key] ?? 0) + 1
  }
  return counts
}
