/** Dealers with CONCURRENT subscriptions, their listings, and what the API says about their slots. */
import { randomUUID } from 'node:crypto'
import { expect } from '@jest/globals'
import { createListing, type TestServer } from './apiServer.ts'
import type { TestDatabase } from './database.ts'
import { makeListing, type Status, step } from './listings.ts'
import { makeSeller, type Seller } from './seller.ts'
import { type Country, makeSubscription, type Subscription, single } from './testData.ts'

export type ListingSlots = ReturnType<typeof useSlots>

export const useSlots = (database: TestDatabase, server: TestServer) => ({
  ...makers(database, server),
  ...readers(database, server),
})

function makers(database: TestDatabase, server: TestServer) {
  const { owner } = database

  /** Makes a subscription of a dealer. Default: a running one of 10 slots. */
  const subscribe = ({ dealerId, country }: Seller, options: Subscription = {}) =>
    makeSubscription(owner, dealerId, { country, quotaKind: 'concurrent', ...options })

  /** Makes a dealer with a running subscription of this many slots. */
  async function makeSlots(
    listings: number,
    options: Subscription = {},
    country: Country = {},
  ): Promise<Seller> {
    const seller = await makeSeller(database, server, country)
    await subscribe(seller, { listings, ...options })
    return seller
  }

  async function makeListings(seller: Seller, count: number, status: Status = 'ACTIVE'): Promise<string[]> {
    const ids: string[] = []
    while (ids.length < count) ids.push(await makeListing(owner, seller, status))
    return ids
  }

  /** Moves the end of a listing to this interval from now. */
  const moveEnd = (id: string, interval: string) =>
    owner.query(
      `update app_public.listings set expires_at = now() + $2::interval, published_at = now() + $2::interval - interval '90 days'
       where id = $1`,
      [id, interval],
    )

  /** Ends the active subscription, and records that. */
  const endSubscription = ({ dealerId }: Seller) =>
    owner.query(
      `update app_public.dealer_subscriptions
       set status = 'expired', start_at = now() - interval '31 days', end_at = now() - interval '1 second'
       where dealer_id = $1 and status = 'active'`,
      [dealerId],
    )

  return { subscribe, makeSlots, makeListings, moveEnd, endSubscription }
}

function readers({ owner }: TestDatabase, server: TestServer) {
  const statusOf = async (id: string) =>
    (await single(owner, 'select status from app_public.listings where id = $1', [id])).toUpperCase()

  /** The slots in use, the capacity, and what a quote says is left: `9 of 10, 1 left`. */
  async function usage({ dealerId, token }: Seller): Promise<string> {
    const { data } = await server.call<{
      dealer: { slots: { used: number; capacity: number } }
      quoteListing: { subscriptionRemaining: number } | null
    }>(
      `{ dealer(id: "${dealerId}") { slots { used capacity } }
         quoteListing(dealerId: "${dealerId}") { subscriptionRemaining } }`,
      { token },
    )
    const { used, capacity } = data.dealer.slots
    return `${used} of ${capacity}, ${data.quoteListing?.subscriptionRemaining ?? 'none'} left`
  }

  /** Publishes, and returns the source that paid, or the status and code of the refusal. The quote must say the same. */
  async function publish({ dealerId, token }: Seller): Promise<string> {
    const quote = await server.call<{ quoteListing: { source: string } | null }>(
      `{ quoteListing(dealerId: "${dealerId}") { source } }`,
      { token },
    )
    const charge = await createListing(server, token, dealerId)
    const refusal = ({ status, errors }: typeof quote | typeof charge) =>
      `${status} ${errors[0]?.extensions.code}`
    const published = charge.data?.createListing?.listing.consumption.source ?? refusal(charge)
    expect(quote.data?.quoteListing?.source ?? refusal(quote)).toBe(published)
    return published
  }

  const renew = (seller: Seller, listingId: string, idempotencyKey: string = randomUUID()) =>
    step(server, seller.token, 'renewListing', { listingId, idempotencyKey })

  /** The rows of a listing in the ledger, oldest first: kind, source and gross amount. */
  async function ledger(listingId: string): Promise<string[]> {
    const { rows } = await owner.query(
      `select concat_ws(' ', kind, source, gross_amount) as line from app_public.listing_consumptions
       where listing_id = $1 order by created_at, id`,
      [listingId],
    )
    return rows.map(({ line }) => line)
  }

  return { statusOf, usage, publish, renew, ledger }
}
