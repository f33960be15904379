/**
 * Fields that find a row by one id.
 *
 * - `listing(id:)`, `dealer(id:)` and `checkout(id:)`. PostGraphile only offers look-ups by unique keys, and the key of a
 *   dealer's table has the dealer in it. A row that does not exist or that the caller may not see is `not_found`. Without a
 *   token, `dealer` and `checkout` are `unauthenticated` instead, because no visitor may see them.
 * - `Listing.seller` and `Dealer.slots`. They call a function with the dealer's id. A function of the row would need the right to
 *   read all columns of the row.
 * - `Checkout.id` and `Checkout.status`. A checkout has the id of its invoice. Its status follows from several rows, so it is
 *   another such function.
 */
import { context, type FieldArgs, first, lambda, type Step } from 'grafast'
import type { PgSelectSingleStep } from 'postgraphile/@dataplan/pg'
import { sql } from 'postgraphile/pg-sql2'
import { extendSchema, gql } from 'postgraphile/utils'
import { ApiError } from '../request/errors.ts'

const typeDefs = gql`
  extend type Query {
    "One listing. The error is \`not_found\` if it does not exist or you may not see it."
    listing(id: UUID!): Listing
    "One dealer. The error is \`not_found\` if it does not exist or you may not see it."
    dealer(id: UUID!): Dealer
    "One checkout of a dealer of yours. The error is \`not_found\` if it does not exist or you may not see it."
    checkout(id: UUID!): Checkout
  }
  extend type Listing {
    "The dealer that offers it, as everybody may see it."
    seller: Seller!
  }
  extend type Dealer {
    "How many listings of CONCURRENT packages it has at once, and may have. An ended listing does not count."
    slots: SlotUsage!
  }
  extend type Checkout {
    "The id of its invoice."
    id: UUID!
    "Whether it waits for its payment, and how it ended."
    status: CheckoutStatus!
  }
`

/** Adds the look-ups to the schema. */
export const LookupsPlugin: GraphileConfig.Plugin = extendSchema(build => {
  const listing = lookUp(build, 'listings', () => {
    return new ApiError('not_found', 'The listing does not exist, or you may not see it.')
  })
  const dealer = lookUp(build, 'dealers', isVisitor => {
    if (isVisitor) return loginNeeded()
    return new ApiError('not_found', 'The dealer does not exist, or you may not see it.')
  })
  const checkout = lookUp(
    build,
    'checkouts',
    isVisitor => {
      if (isVisitor) return loginNeeded()
      return new ApiError('not_found', 'The checkout does not exist, or you may not see it.')
    },
    'invoice_id',
  )
  const seller = ofDealer(build, 'seller_of_listing', 'dealer_id')
  const slots = ofDealer(build, 'slots_of_dealer', 'id')
  return {
    typeDefs,
    objects: {
      Query: { plans: { listing, dealer, checkout } },
      Listing: { plans: { seller } },
      Dealer: { plans: { slots } },
      Checkout: { plans: { id: $checkout => $checkout.get('invoice_id'), status: statusOfCheckout(build) } },
    },
  }
}, 'LookupsPlugin')

export function loginNeeded(): ApiError {
  return new ApiError('unauthenticated', 'Please log in and send the access token.')
}

/** Calls a function with the id of a dealer, which is in this column of the row. */
function ofDealer({ pgResources }: GraphileBuild.Build, name: string, column: string) {
  const resource = pgResources[name]
  if (!resource) throw new Error(`No role of the API may execute ${name}`)
  return ($row: PgSelectSingleStep) => resource.execute([{ step: $row.get(column) }])
}

/** An expression of the statement that reads or writes the checkout, so that it is no statement of its own. */
function statusOfCheckout({ pgResources }: GraphileBuild.Build) {
  const status = pgResources.status_of_checkout
  if (!status) throw new Error('No role of the API may execute status_of_checkout')
  return ($checkout: PgSelectSingleStep) => {
    const { alias } = $checkout.getClassStep()
    return $checkout.select(
      sql`app_public.status_of_checkout(${alias}.dealer_id, ${alias}.invoice_id)`,
      status.codec,
    )
  }
}

function lookUp(
  { pgResources }: GraphileBuild.Build,
  table: string,
  refusal: (isVisitor: boolean) => ApiError,
  column = 'id',
) {
  const resource = pgResources[table]
  if (!resource) throw new Error(`No role of the API may read the table ${table}`)
  return (_$root: Step, args: FieldArgs) => {
    const $rows = resource.find({ [column]: args.getRaw('id') })
    $rows.setUnique(true)
    const $found = lambda([first($rows), context().get('request')] as const, ([row, request]) => {
      if (row == null) throw refusal(request?.identity === undefined)
      return row
    })
    return $rows.row($found)
  }
}
