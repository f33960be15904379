/**
 * Describes the arguments and input fields that have no description, and makes the result of a mutation non-null. Most of them are
 * parameters of functions: Postgres has no comments on parameters, and PostGraphile cannot know that a function never returns null.
 */
import { GraphQLNonNull, isNonNullType } from 'grafast/graphql'

const CHANGED = 'Absent or null: unchanged.'
const KEPT = 'Absent or null: unchanged'
const CLEARED = `${CHANGED} An empty text clears it.`

/** By name, or by type and name where one type differs. */
const DESCRIPTIONS: Readonly<Record<string, string>> = {
  apiKeyId: 'The API key.',
  attributes: 'An object whose content you choose.',
  canPublish: 'False: the dealer may not publish. Its listings stay.',
  cancelUrl: 'Where the payment page leads after a cancellation.',
  checkoutId: 'The checkout.',
  companyName: '1 to 200 characters in one line.',
  country: 'ISO 3166-1, two capital letters.',
  currency: 'The currency of the price, ISO 4217.',
  dealerId: 'The dealer.',
  currentPassword: 'The password that the user has now.',
  dealerType: 'What the dealer sells.',
  decision: 'Whether to approve or to reject the listing.',
  description: 'At most 10,000 characters.',
  durationDays: 'Days of 24 hours, 1 to 3,660.',
  email: 'The e-mail address; upper and lower case make no difference.',
  expiresAt: 'From this moment on it is no longer valid. Absent or null: until it is revoked.',
  externalId:
    'Your own reference: one line of at most 100 characters, unique among the pending and active listings of a dealer.',
  fullName: '1 to 200 characters in one line.',
  id: 'The id.',
  idempotencyKey:
    'A UUID of your choice. The same key with the same input returns the same result; a new action needs a new key.',
  images: 'URLs of http or https, at most 50.',
  invitationId: 'The invitation.',
  invoiceId: 'The invoice.',
  isActive: 'False: the dealer is closed.',
  isTrusted: 'True: its new listings are active at once. Absent or null: unchanged.',
  kind: 'The kind of promotion.',
  listingDays: 'How long a listing is shown. Absent or null: unchanged, and 90 for a new country.',
  listingId: 'The listing.',
  listingLimit: 'Included listings.',
  locale: 'The language of mails: `en` or `de`.',
  moderation:
    'Whether listings are reviewed before or after they are shown. Absent or null: unchanged, and BEFORE for a new country.',
  module: 'The section of the marketplace that shows it, such as auto.',
  name: '1 to 100 characters in one line.',
  newEmail: 'The address that the account shall have.',
  newPassword: '8 to 128 characters.',
  packageId: 'The package.',
  password: '8 to 128 characters.',
  periodDays: 'Length of the rolling period, in days of 24 hours.',
  price: 'The price that the dealer asks for the item. It has no influence on any fee.',
  priceNet: 'Without VAT, in the currency of the country.',
  pricingType: 'The service that the price is for.',
  quotaAmount: 'Free listings in a period.',
  reason: 'Why: 1 to 1,000 characters. It stays in the audit trail.',
  role: 'What the member may do.',
  scope: 'The name of the limit.',
  segment: 'The kind of publisher.',
  subscriptionId: 'The subscription.',
  successUrl: 'Where the payment page leads after the payment.',
  title: '1 to 200 characters in one line.',
  token: 'The token from the mail.',
  unitPriceNet: 'Without VAT, in the currency of the country.',
  updatedAt:
    'The updatedAt that you have read. If the listing has changed since then, the call is a conflict.',
  userId: 'The user.',
  validFrom: 'From this moment on, which must not have passed. Absent or null: from now on.',
  vatRate: 'In percent, with at most 4 decimal places: 19 is 19 %.',
  'GrantSubscriptionInput.reason':
    'Why: 1 to 1,000 characters. It stays in the audit trail, and the dealer reads it.',
  'ModerateListingInput.reason': 'Why the listing is rejected: 1 to 1,000 characters. The dealer reads it.',
  'OpenCountryInput.currency':
    'The currency of its prices and invoices, ISO 4217. It never changes, not even when the country is opened again.',
  'OpenCountryInput.unitPriceNet':
    'The price of a listing without VAT, for every segment. Required unless the country is open.',
  'OpenCountryInput.vatRate':
    'In percent, with at most 4 decimal places: 19 is 19 %. Required unless the country is open.',
  'SavePackageInput.highlightQuota': `Included highlights. ${KEPT}, and 0 for a new package.`,
  'SavePackageInput.id': 'The package to change. Absent or null: a new one.',
  'SavePackageInput.key':
    'Small letters, digits and underscores, the same for a package in all countries, such as basic.',
  'SavePackageInput.name':
    'An object with the name by language, such as `{"en": "Basic", "de": "Basis"}`. `en` and `de` are required.',
  'SavePackageInput.overage': `What happens with listings beyond the included ones. ${KEPT}, and CHARGE for a new package.`,
  'SavePackageInput.premiumQuota': `Included premium placements. ${KEPT}, and 0 for a new package.`,
  'SavePackageInput.quotaKind': `How the included listings are counted. ${KEPT}, and PER_PERIOD for a new package.`,
  'SetPriceInput.durationDays':
    'How long a promotion at this price lasts, in days of 24 hours. Absent or null: as before, and 30 for a first price.',
  'SetRateLimitPolicyInput.cost': `How much one request uses. ${CHANGED}`,
  'SetRateLimitPolicyInput.fallback': `What happens while the counters cannot be reached. ${CHANGED}`,
  'SetRateLimitPolicyInput.maxCount': `What may be used in a window. ${CHANGED}`,
  'SetRateLimitPolicyInput.mode': `Whether the limit refuses, only counts, or does neither. ${CHANGED}`,
  'SetRateLimitPolicyInput.windowSeconds': `Length of the sliding window in seconds. ${CHANGED}`,
  'UpdateDealerInput.companyName': CHANGED,
  'UpdateListingInput.attributes': CHANGED,
  'UpdateListingInput.description': CLEARED,
  'UpdateListingInput.externalId': CLEARED,
  'UpdateListingInput.images': CHANGED,
  'UpdateListingInput.price': CHANGED,
  'UpdateListingInput.title': CHANGED,
}

/** Of mutations whose result is no row. */
const RESULTS: Readonly<Record<string, string>> = {
  data: 'All that is stored about the caller, by kind.',
}

function described<Field extends { description?: string | null | undefined }>(
  type: string,
  fields: Record<string, Field>,
): Record<string, Field> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, field]) => {
      const description = field.description ?? DESCRIPTIONS[`${type}.${name}`] ?? DESCRIPTIONS[name]
      return [name, description === undefined ? field : { ...field, description }]
    }),
  )
}

export const DescriptionsPlugin: GraphileConfig.Plugin = {
  name: 'DescriptionsPlugin',
  version: '1.0.0',
  schema: {
    hooks: {
      GraphQLInputObjectType_fields: (fields, _build, { Self }) => described(Self.name, fields),
      GraphQLObjectType_fields_field_args: (args, _build, { Self }) => described(Self.name, args),
      GraphQLObjectType_fields_field(field, _build, { scope: { isMutationPayload, fieldName } }) {
        if (!isMutationPayload || fieldName === 'clientMutationId') return field
        const type = isNonNullType(field.type) ? field.type : new GraphQLNonNull(field.type)
        return {
          ...field,
          type,
          description: field.description ?? RESULTS[fieldName] ?? 'What the mutation created or changed.',
        }
      },
    },
  },
}
