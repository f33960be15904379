/**
 * `listing(id:)` and `dealer(id:)`: one row by its id alone. PostGraphile offers look-ups by unique keys only, and here the
 * key of a dealer-owned table starts with the dealer. What is missing, and what the caller may not see, is `not_found`.
 */
import { type FieldArgs, first, lambda, type Step } from 'grafast'
import { extendSchema, gql } from 'postgraphile/utils'
import { ApiError } from '../request/errors.ts'

const typeDefs = gql`
  extend type Query {
    "One listing. An error \`not_found\` where there is none, or none that you may see."
    listing(id: UUID!): Listing
    "One dealer. An error \`not_found\` where there is none, or none that you may see."
    dealer(id: UUID!): Dealer
  }
`

/** Adds the look-ups to the schema. */
export const LookupsPlugin: GraphileConfig.Plugin = extendSchema(build => {
  const plans = {
    listing: lookUp(build, 'listings', 'There is no such listing, or you may not see it.'),
    dealer: lookUp(build, 'dealers', 'There is no such dealer, or you may not see it.'),
  }
  return { typeDefs, objects: { Query: { plans } } }
}, 'LookupsPlugin')

function lookUp({ pgResources }: GraphileBuild.Build, table: string, missing: string) {
  const resource = pgResources[table]
  if (!resource) throw new Error(`No role of the API may read the table ${table}`)
  return (_$root: Step, args: FieldArgs) => {
    const $rows = resource.find({ id: args.getRaw('id') })
    $rows.setUnique(true)
    const $found = lambda(first($rows), row => {
      if (row == null) throw new ApiError('not_found', missing)
      return row
    })
    return $rows.row($found)
  }
}
