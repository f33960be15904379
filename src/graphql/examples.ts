/** The operations with which GraphiQL opens. A test runs each of them on the demo data. */
export const examples = `# Choose one with the arrow of the Run button.

# Everybody may read these.
query Packages {
  dealerPackages(condition: { country: "DE" }) {
    nodes { id key name priceNet vatRate priceGross currency durationDays listingLimit quotaKind }
    totalCount
  }
}

query Listings {
  listings(first: 5, condition: { country: "DE" }, orderBy: [PREMIUM_FIRST]) {
    nodes { id title price currency isPremium isHighlighted seller { companyName country } }
    pageInfo { hasNextPage endCursor }
  }
}

# It lasts 15 minutes. Put it into the tab Headers: {"authorization": "Bearer <accessToken>"}
mutation Login {
  login(input: { email: "dealer@example.com", password: "forecourt-demo" }) {
    session { accessToken expiresAt refreshToken user { id fullName } }
  }
}

# These need the token. Copy the id of a dealer for the operations below.
query Subscriptions {
  currentUser { email dealers { nodes { id companyName myRole members { nodes { role user { fullName } } } } } }
  dealerSubscriptions {
    nodes { id status endAt quotaKind includedListingQuota usedListingQuota
      dealer { id companyName country slots { used capacity } }
    }
  }
}

query Quote($dealerId: UUID!) {
  quoteListing(dealerId: $dealerId) {
    source netAmount vatRate grossAmount currency freeRemaining subscriptionRemaining
  }
}

# A new key makes a new listing. The same key returns the same listing again.
mutation Publish($dealerId: UUID!, $idempotencyKey: UUID!) {
  createListing(
    input: {
      dealerId: $dealerId
      idempotencyKey: $idempotencyKey
      title: "Golf VIII 1.5 TSI"
      module: "auto"
      price: "21900"
      currency: "EUR"
    }
  ) {
    listing { id status consumption { source grossAmount currency } }
  }
}

# Up to 100 listings at once, each with a key and a result of its own. The second one has no title: it is refused, the first is not.
mutation PublishBatch($dealerId: UUID!, $firstKey: UUID!, $secondKey: UUID!) {
  createListings(
    input: {
      dealerId: $dealerId
      listings: [
        { idempotencyKey: $firstKey, title: "Polo 1.0 TSI", module: "auto", price: "15900", currency: "EUR", externalId: "P-1" }
        { idempotencyKey: $secondKey, title: "", module: "auto", price: "17900", currency: "EUR", externalId: "P-2" }
      ]
    }
  ) {
    results { index listing { id status consumption { source grossAmount currency } } error { code message detail } }
  }
}

# Copy the id of one of these listings for the operations below.
query Stock($dealerId: UUID!) {
  listings(condition: { dealerId: $dealerId }) {
    nodes { id title price status publishedAt expiresAt rejectionReason isPremium consumptions { nodes { kind source } } }
  }
}

# A pending, active or rejected listing can be edited. An active one is reviewed again if more than its price or reference changes,
# unless the dealer is trusted.
mutation Edit($listingId: UUID!) {
  updateListing(input: { listingId: $listingId, description: "Full service history", price: "20900" }) {
    listing { id status description price updatedAt }
  }
}

# A listing that ends within 30 days, or has ended within 180 days, can be renewed. It is charged like a new one, unless it keeps its slot.
mutation Renew($listingId: UUID!, $idempotencyKey: UUID!) {
  renewListing(input: { listingId: $listingId, idempotencyKey: $idempotencyKey }) {
    listing { id status publishedAt expiresAt }
  }
}

# Quota of your package pays for a promotion, otherwise a price.
query QuotePromotion($listingId: UUID!) {
  quotePromotion(listingId: $listingId, kind: PREMIUM) {
    source grossAmount currency subscriptionRemaining startsAt endsAt
  }
}

# An active listing comes first in the order PREMIUM_FIRST from now on. A second promotion begins when the first one ends.
mutation Promote($listingId: UUID!, $idempotencyKey: UUID!) {
  promoteListing(input: { listingId: $listingId, kind: PREMIUM, idempotencyKey: $idempotencyKey }) {
    promotion { id kind startsAt endsAt consumption { source grossAmount currency } }
  }
}

# Put the token of the admin into the tab Headers for the operations below.
mutation LoginAsAdmin {
  login(input: { email: "admin@example.com", password: "forecourt-demo" }) {
    session { accessToken }
  }
}

query ModerationQueue {
  moderationQueue {
    nodes { reason since listing { id title description status updatedAt seller { companyName } } }
  }
}

# Send the updatedAt that you have read: a listing that was edited since then is not approved.
mutation Approve($listingId: UUID!, $updatedAt: Datetime) {
  moderateListing(input: { listingId: $listingId, decision: APPROVE, updatedAt: $updatedAt }) {
    listing { id status publishedAt expiresAt }
  }
}

mutation Reject($listingId: UUID!) {
  moderateListing(
    input: { listingId: $listingId, decision: REJECT, reason: "The pictures show another car." }
  ) {
    listing { id status rejectionReason }
  }
}
`
