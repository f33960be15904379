/**
 * `listing(id:)` and `dealer(id:)`: one row by its id alone. PostGraphile only offers look-ups by unique keys, and the key of a
 * dealer's table starts with the dealer. A row that does not exist or that the caller may not see is `not_found`.
 */
import { type FieldArgs, first, lambda, type Step } from 'grafast'
import { extendSchema, gql } from 'postgraphile/utils'
import { ApiError } from '../request/errors.ts'

const typeDefs = gql`
  extend type Query {
    "One listing. The error is \`not_found\` if it does not exist or you may not see it."
    listing(id: UUID!): Listing
    "One dealer. The error is \`not_found\` if it does not exist or you may not see it."
    dealer(id: UUID!): Dealer
  }
`

/** Adds the look-ups to the schema. */
export const LookupsPlugin: GraphileConfig.Plugin = extendSchema(build => {
  const plans = {
    listing: lookUp(build, 'listings', 'The listing does not exist, or you may not see it.'),
    dealer: lookUp(build, 'dealers', 'The dealer does not exist, or you may not see it.'),
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
