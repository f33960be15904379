/** The measured operations of the API, and the requests to the reference servers. */

import type { Dealer } from './dataset.ts'
import type { HttpRequest } from './jobs.ts'

export const CREATE_LISTING = `mutation ($input: CreateListingInput!) {
  createListing(input: $input) {
    listing { id status title consumption { source netAmount vatRate grossAmount currency } }
  }
}`

export const READS = {
  listing: 'query ($id: UUID!) { listing(id: $id) { id title status price currency } }',
  page: `query ($dealerId: UUID!) {
    listings(condition: { dealerId: $dealerId }, first: 20, orderBy: [CREATED_AT_DESC]) {
      nodes {
        id title status price currency
        dealer { id companyName country }
        consumption { source netAmount vatRate grossAmount currency }
      }
      pageInfo { hasNextPage }
    }
  }`,
  quote: `query ($dealerId: UUID!) {
    quoteListing(dealerId: $dealerId) {
      source netAmount vatRate grossAmount currency freeRemaining subscriptionRemaining
    }
  }`,
} as const

export const PUBLIC_PAGE = `query ($first: Int, $after: Cursor, $country: String) {
  listings(first: $first, after: $after, condition: { country: $country }, orderBy: [PREMIUM_FIRST]) {
    nodes { id title price currency isPremium isHighlighted seller { companyName country } }
    pageInfo { hasNextPage endCursor }
  }
}`

const LOGIN = `mutation ($input: LoginInput!) {
  login(input: $input) { session { accessToken expiresAt user { id email fullName } } }
}`

export function operation(query: string, variables: object, token?: string): HttpRequest {
  return {
    path: '/graphql',
    body: JSON.stringify({ query, variables }),
    ...(token === undefined ? {} : { token }),
  }
}

/** The generator replaces `$key` with a new key each time. */
export function publication({ dealerId }: Pick<Dealer, 'dealerId'>) {
  const car = { title: 'Golf VIII 1.5 TSI', module: 'auto', price: '21900', currency: 'EUR' }
  return { dealerId, idempotencyKey: '$key', ...car }
}

export function publishing(dealers: Dealer[]): HttpRequest[] {
  return dealers.map(dealer => operation(CREATE_LISTING, { input: publication(dealer) }, dealer.token))
}

const CREATE_LISTINGS = `mutation ($input: CreateListingsInput!) {
  createListings(input: $input) {
    results {
      listing { id status title consumption { source netAmount vatRate grossAmount currency } }
      error { code message detail }
    }
  }
}`

/** As many publications of one dealer in one request. */
export function publishingBatches(dealers: Dealer[], listings: number): HttpRequest[] {
  return dealers.map(dealer => {
    const { dealerId, ...listing } = publication(dealer)
    return operation(
      CREATE_LISTINGS,
      { input: { dealerId, listings: Array(listings).fill(listing) } },
      dealer.token,
    )
  })
}

/** The same for a reference server, which takes the input without GraphQL. */
export function publishingPlain(dealers: Dealer[]): HttpRequest[] {
  return dealers.map(dealer => ({
    path: '/publish',
    token: dealer.token,
    body: JSON.stringify(publication(dealer)),
  }))
}

export function quoting(dealers: Dealer[]): HttpRequest[] {
  return dealers.map(({ dealerId, token }) => operation(READS.quote, { dealerId }, token))
}

export function loggingIn(dealers: Dealer[], password: string): HttpRequest[] {
  return dealers.map(({ email }) => operation(LOGIN, { input: { email, password } }))
}
