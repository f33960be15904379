/**
 * Describes the arguments and input fields that have no description, and makes the result of a mutation non-null. Most of them are
 * parameters of functions: Postgres has no comments on parameters, and PostGraphile cannot know that a function never returns null.
 */
import { GraphQLNonNull, isNonNullType } from 'grafast/graphql'

const CHANGED = 'Absent or null: unchanged.'
const CLEARED = `${CHANGED} An empty text clears it.`

/** By name, or by type and name where one type differs. */
const DESCRIPTIONS: Readonly<Record<string, string>> = {
  apiKeyId: 'The API key.',
  attributes: 'An object whose content you choose.',
  cancelUrl: 'Where the payment page leads after a cancellation.',
  checkoutId: 'The checkout.',
  companyName: '1 to 200 characters in one line.',
  country: 'ISO 3166-1, two capital letters.',
  currency: 'The currency of the price, ISO 4217.',
  dealerId: 'The dealer.',
  dealerType: 'What the dealer sells.',
  decision: 'Whether to approve or to reject the listing.',
  description: 'At most 10,000 characters.',
  email: 'The e-mail address; upper and lower case make no difference.',
  everywhere: 'Whether to end all sessions of the user, and not only this one.',
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
  kind: 'The kind of promotion.',
  listingId: 'The listing.',
  module: 'The section of the marketplace that shows it, such as auto.',
  name: '1 to 100 characters in one line.',
  packageId: 'The package.',
  password: '8 to 128 characters.',
  price: 'The price that the dealer asks for the item. It has no influence on any fee.',
  reason: 'Why the listing is rejected: 1 to 1,000 characters. The dealer reads it.',
  role: 'What the member may do.',
  subscriptionId: 'The subscription.',
  successUrl: 'Where the payment page leads after the payment.',
  title: '1 to 200 characters in one line.',
  token: 'The token from the mail.',
  updatedAt:
    'The updatedAt that you have read. If the listing has changed since then, the call is a conflict.',
  userId: 'The user.',
  'UpdateDealerInput.companyName': CHANGED,
  'UpdateListingInput.attributes': CHANGED,
  'UpdateListingInput.description': CLEARED,
  'UpdateListingInput.externalId': CLEARED,
  'UpdateListingInput.images': CHANGED,
  'UpdateListingInput.price': CHANGED,
  'UpdateListingInput.title': CHANGED,
}

/** Of mutations whose result is no row. */
const RESULTS: Readonly<Record<string, string>> = { ok: 'True. A failure is an error.' }

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
