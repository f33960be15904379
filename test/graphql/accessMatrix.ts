/** Who may call each root field and read each field, for `fieldAccess.test.ts`. Add each new field of the schema. */

export const ROLES = ['visitor', 'staff', 'owner', 'stranger', 'admin'] as const
/** Staff and owners of the dealer; the stranger owns another dealer of the country; the admin owns a third one. */
export type Role = (typeof ROLES)[number]

const WHO = {
  everybody: ROLES,
  users: ['staff', 'owner', 'stranger', 'admin'],
  members: ['staff', 'owner'],
  membersAndAdmins: ['staff', 'owner', 'admin'],
  owners: ['owner'],
  ownersAndAdmins: ['owner', 'admin'],
  admins: ['admin'],
  /** Such as the person who was invited. */
  oneUser: [],
} satisfies Record<string, readonly Role[]>
type Who = keyof typeof WHO
/** Names by who may use them, in one string. */
type Access = Partial<Record<Who, string>>

export const ROOTS: Access = {
  everybody:
    'dealerPackages listings login refreshSession register requestPasswordReset resetPassword verifyEmail',
  users:
    'createDealer currentUser dealerSubscriptions dealers exportMyData invoices logout requestEmailVerification updateProfile',
  membersAndAdmins: 'checkout dealer listing',
  members: `createListing createListings markListingSold promoteListing quoteListing quotePackage quotePromotion renewListing
    resubmitListing updateListing withdrawListing`,
  owners: `buyPackage cancelCheckout cancelSubscription createApiKey inviteMember removeMember revokeApiKey revokeInvitation setMemberRole
    updateDealer`,
  admins: `auditLogs closeCountry grantSubscription lockUser moderateListing moderationQueue openCountry payInvoice pricingGaps
    rateLimitPolicies retirePackage savePackage setDealerStatus setFreeQuota setPrice setRateLimitPolicy setVatRate unlockUser users`,
  oneUser: 'acceptInvitation changeEmail changePassword deleteMyAccount',
}

/** The way from Query to rows of the seller, and who may read their fields. Mutations alone return a type without a way. */
export const TYPES: Record<string, Access & { way?: string }> = {
  Account: {
    way: 'users > nodes',
    admins:
      'createdAt dealerLimit deletedAt email emailVerifiedAt fullName id isAdmin isLocked locale lockedAt',
  },
  ApiKey: {
    way: 'dealer(id: $dealer) > apiKeys > nodes',
    ownersAndAdmins: 'createdAt createdBy dealerId expiresAt id lastUsedAt name prefix revokedAt',
  },
  AuditLog: {
    way: 'auditLogs > nodes',
    admins: 'action actor apiKeyId createdAt id ip login newValues oldValues resourceId resourceType',
  },
  Checkout: {
    way: 'checkout(id: $checkout)',
    membersAndAdmins:
      'closedAt createdAt dealerId expiresAt id invoice invoiceId package packageId provider status url',
  },
  CountryCurrency: { admins: 'closedAt country currency listingDays moderation' },
  DatetimeRange: { admins: 'end start' },
  DatetimeRangeBound: { admins: 'inclusive value' },
  Dealer: {
    way: 'dealer(id: $dealer)',
    membersAndAdmins: `canPublish companyName country createdAt dealerType id isActive isTrusted members myRole slots updatedAt`,
    ownersAndAdmins: 'apiKeys invitations',
  },
  DealerPackage: {
    way: 'dealerPackages(condition: {country: $country}) > nodes',
    everybody: `country currency durationDays highlightQuota id isActive key listingLimit name overage premiumQuota priceGross
      priceNet quotaKind vatRate`,
  },
  DealerSubscription: {
    way: 'dealerSubscriptions(condition: {dealerId: $dealer}) > nodes',
    membersAndAdmins: `createdAt dealer dealerId durationDays endAt grantReason id includedHighlightQuota includedListingQuota
      includedPremiumQuota invoiceId overage package packageId quotaKind startAt status updatedAt usedHighlightQuota
      usedListingQuota usedPremiumQuota`,
  },
  FreeQuotaConfig: { admins: 'country id periodDays quotaAmount segment valid' },
  Invitation: {
    way: 'dealer(id: $dealer) > invitations > nodes',
    ownersAndAdmins: 'createdAt createdBy dealerId email expiresAt id role',
  },
  Invoice: {
    way: 'invoices(condition: {dealerId: $dealer}) > nodes',
    membersAndAdmins: `country createdAt currency dealer dealerId grossTotal id items kind netTotal paidAt periodStart status
      updatedAt vatTotal`,
  },
  InvoiceItem: {
    way: 'invoices(condition: {dealerId: $dealer}) > nodes > items > nodes',
    membersAndAdmins: `country createdAt currency dealerId description discount grossAmount id invoiceId netAmount packageId
      priceConfigId priceVersion quantity unitPriceNet vatAmount vatRate`,
  },
  Listing: {
    way: 'listing(id: $listing)',
    everybody: `attributes createdAt currency dealerId description expiresAt externalId id images isHighlighted isPremium module
      price publishedAt rejectionReason seller status title updatedAt`,
    membersAndAdmins: 'consumption consumptions dealer promotions',
  },
  ListingConsumption: {
    way: 'listing(id: $listing) > consumption',
    membersAndAdmins: `apiKeyId createdAt createdBy currency dealerId grossAmount id invoiceItemId kind listingId netAmount priceConfigId
      reverses source subscriptionId vatAmount vatRate`,
  },
  ListingError: { members: 'code detail message' },
  ListingPromotion: {
    way: 'listing(id: $listing) > promotions > nodes',
    membersAndAdmins: 'consumption dealerId endsAt id kind listingId startsAt',
  },
  ListingQuote: {
    way: 'quoteListing(dealerId: $dealer)',
    members: 'currency freeRemaining grossAmount netAmount source subscriptionRemaining vatRate',
  },
  ListingResult: { members: 'error index listing' },
  Member: {
    way: 'dealer(id: $dealer) > members > nodes',
    membersAndAdmins: 'createdAt dealerId role user userId',
  },
  MemberUser: {
    way: 'dealer(id: $dealer) > members > nodes > user',
    membersAndAdmins: 'email fullName id',
  },
  ModerationQueue: { way: 'moderationQueue > nodes', admins: 'dealerId listing listingId reason since' },
  PackageQuote: {
    way: 'quotePackage(dealerId: $dealer, packageId: $package)',
    members: 'currency grossAmount netAmount vatAmount vatRate',
  },
  PriceConfig: {
    admins: 'country currency durationDays id priceVersion pricingType segment unitPriceNet valid',
  },
  PricingGap: { way: 'pricingGaps > nodes', admins: 'country endsAt key missing since startsAt' },
  PromotionQuote: {
    way: 'quotePromotion(listingId: $listing, kind: HIGHLIGHT)',
    members: 'currency endsAt grossAmount netAmount source startsAt subscriptionRemaining vatRate',
  },
  RateLimitPolicy: {
    way: 'rateLimitPolicies > nodes',
    admins: 'cost fallback fields maxCount mode scope subject updatedAt updatedBy windowSeconds',
  },
  Seller: { way: 'listing(id: $listing) > seller', everybody: 'companyName country dealerType id' },
  Session: { everybody: 'accessToken expiresAt refreshExpiresAt refreshToken user' },
  SessionUser: { everybody: 'email fullName id' },
  SlotUsage: { way: 'dealer(id: $dealer) > slots', membersAndAdmins: 'capacity used' },
  User: { way: 'currentUser', users: 'createdAt dealers email emailVerifiedAt fullName id locale' },
  VatRate: { admins: 'country id rate valid' },
  VerifiedUser: { everybody: 'email emailVerifiedAt fullName id' },
}

/** Each name with the roles that may use it. */
export const named = (access: Access): [string, readonly Role[]][] =>
  Object.entries(WHO).flatMap(([who, roles]) =>
    (access[who as Who]?.split(/\s+/) ?? []).map((name): [string, readonly Role[]] => [name, roles]),
  )
export const namesFor = (access: Access, role: Role) =>
  named(access).flatMap(([name, roles]) => (roles.includes(role) ? [name] : []))
