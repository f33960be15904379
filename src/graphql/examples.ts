/** The operations with which GraphiQL opens. A test runs each of them on the demo data. */
export const examples = `# Choose one with the arrow of the Run button.

# Everybody may read these.
query Packages {
  dealerPackages(condition: { country: "DE" }) {
    nodes { id key name priceNet vatRate priceGross currency durationDays listingLimit }
    totalCount
  }
}

query Listings {
  listings(first: 5, orderBy: [CREATED_AT_DESC]) {
    nodes { id title price currency status seller { companyName country } }
    pageInfo { hasNextPage endCursor }
  }
}

# Put the access token into the tab Headers: {"authorization": "Bearer <accessToken>"}
mutation Login {
  login(input: { email: "dealer@example.com", password: "forecourt-demo" }) {
    session { accessToken expiresAt user { id fullName } }
  }
}

# These need the token. Copy the dealer's id for the operations below.
query Subscriptions {
  currentUser { email }
  dealerSubscriptions {
    nodes { id status endAt includedListingQuota usedListingQuota dealer { id companyName country } }
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
`
