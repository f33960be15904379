/** Promotions: their prices, the mutation and the quote. */
import { randomUUID } from 'node:crypto'
import type pg from 'pg'
import type { ApiResponse, TestServer } from './apiServer.ts'

export type Kind = 'PREMIUM' | 'HIGHLIGHT'

export type Promotion = {
  id: string
  kind: Kind
  startsAt: string
  endsAt: string
  consumption: { kind: string; source: string; netAmount: string; grossAmount: string; currency: string }
}

export type PromotionQuote = {
  source: string
  netAmount: string
  grossAmount: string
  currency: string
  subscriptionRemaining: number
  startsAt: string
  endsAt: string
}

/** Sets the price of both kinds in a country: 9.00 for 7 days by default. */
export async function sellPromotions(
  db: Pick<pg.ClientBase, 'query'>,
  country: string,
  { kinds = ['premium', 'highlight'], price = '9.00', days = 7 } = {},
): Promise<void> {
  for (const kind of kinds) {
    await db.query(
      "select app_private.set_price($1, 'dealer', ($2 || '_fee')::app_public.pricing_type, $3, duration_days => $4)",
      [country, kind, price, days],
    )
  }
}

const withToken = (token: string | undefined) => (token === undefined ? {} : { token })

/** Sends promoteListing with a new key. */
export async function promote(
  server: TestServer,
  token: string | undefined,
  input: { listingId: string; kind?: Kind; idempotencyKey?: string },
): Promise<{ response: ApiResponse<unknown>; promotion: Promotion | undefined }> {
  const response = await server.call<{ promoteListing: { promotion: Promotion } | null } | null>(
    `mutation ($input: PromoteListingInput!) {
      promoteListing(input: $input) {
        promotion { id kind startsAt endsAt consumption { kind source netAmount grossAmount currency } }
      }
    }`,
    {
      variables: { input: { kind: 'PREMIUM', idempotencyKey: randomUUID(), ...input } },
      ...withToken(token),
    },
  )
  return { response, promotion: response.data?.promoteListing?.promotion }
}

export async function quotePromotion(
  server: TestServer,
  token: string | undefined,
  listingId: string,
  kind: Kind = 'PREMIUM',
): Promise<{ response: ApiResponse<unknown>; quote: PromotionQuote | undefined }> {
  const response = await server.call<{ quotePromotion: PromotionQuote | null } | null>(
    `query ($listingId: UUID!, $kind: PromotionKind!) {
      quotePromotion(listingId: $listingId, kind: $kind) {
        source netAmount grossAmount currency subscriptionRemaining startsAt endsAt
      }
    }`,
    { variables: { listingId, kind }, ...withToken(token) },
  )
  return { response, quote: response.data?.quotePromotion ?? undefined }
}

/** What a client reads of a response: `done`, or the code and the facts of an error. */
export function result({ response }: { response: ApiResponse<unknown> }): string {
  const error = response.errors[0]
  if (error === undefined) return 'done'
  const { code, detail } = error.extensions as { code: string; detail?: Record<string, unknown> }
  return [response.status, code, detail?.status ?? detail?.missing].filter(Boolean).join(' ')
}
