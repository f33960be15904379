/**
 * Fields that find a row by one id.
 *
 * - `listing(id:)` and `dealer(id:)`. PostGraphile only offers look-ups by unique keys, and the key of a dealer's table starts
 *   with the dealer. A row that does not exist or that the caller may not see is `not_found`. Without a token, `dealer` is
 *   `unauthenticated` instead, because no visitor may see a dealer.
 * - `Listing.seller`. It calls a function with the dealer's id. A function of the listing's row would need the right to read all
 *   columns of the listing.
 */
import { context, type FieldArgs, first, lambda, type Step } from 'grafast'
import type { PgSelectSingleStep } from 'postgraphile/@dataplan/pg'
import { extendSchema, gql } from 'postgraphile/utils'
import { ApiError } from '../request/errors.ts'

const typeDefs = gql`
  extend type Query {
    "One listing. The error is \`not_found\` if it does not exist or you may not see it."
    listing(id: UUID!): Listing
    "One dealer. The error is \`not_found\` if it does not exist or you may not see it."
    dealer(id: UUID!): Dealer
  }
  extend type Listing {
    "The dealer that offers it, as everybody may see it."
    seller: Seller!
  }
`

/** Adds the look-ups to the schema. */
export const LookupsPlugin: GraphileConfig.Plugin = extendSchema(build => {
  const listing = lookUp(build, 'listings', () => {
    return new ApiError('not_found', 'The listing does not exist, or you may not see it.')
  })
  const dealer = lookUp(build, 'dealers', isVisitor => {
    if (isVisitor) return new ApiError('unauthenticated', 'Please log in and send the access token.')
    return new ApiError('not_found', 'The dealer does not exist, or you may not see it.')
  })
  const sellers = build.pgResources.seller_of_listing
  if (!sellers) throw new Error('No role of the API may execute seller_of_listing')
  const seller = ($listing: PgSelectSingleStep) => sellers.execute([{ step: $listing.get('dealer_id') }])
  return { typeDefs, objects: { Query: { plans: { listing, dealer } }, Listing: { plans: { seller } } } }
}, 'LookupsPlugin')

function lookUp(
  { pgResources }: GraphileBuild.Build,
  table: string,
  refusal: (isVisitor: boolean) => ApiError,
) {
  const resource = pgResources[table]
  if (!resource) throw new Error(`No role of the API may read the table ${table}`)
  return (_$root: Step, args: FieldArgs) => {
    const $rows = resource.find({ id: args.getRaw('id') })
    $rows.setUnique(true)
    const $found = lambda([first($rows), context().get('request')] as const, ([row, request]) => {
      if (row == null) throw refusal(request?.identity === undefined)
      return row
    })
    return $rows.row($found)
  }
}
