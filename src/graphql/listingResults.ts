/**
 * The input and the results of `createListings`, where PostGraphile would make them vaguer: no listing of the input is null, and a
 * refused one has its error in the form of `extensions`. SQL returns a refusal with its SQLSTATE. It becomes a code here, in the
 * table of all faults, so that a row of a batch and a request of its own are refused with the same code and message.
 */
import { lambda } from 'grafast'
import { type GraphQLInputType, GraphQLList, GraphQLNonNull, getNamedType } from 'grafast/graphql'
import type { PgSelectSingleStep } from 'postgraphile/@dataplan/pg'
import { extendSchema, gql } from 'postgraphile/utils'
import { type ConstraintMessages, type Fault, refusalFault } from '../request/errors.ts'

export interface ListingResultsOptions {
  readonly constraintMessages: ConstraintMessages
  /** Called for each refused row whose error a client reads. It must neither wait nor throw. */
  readonly onFault: (fault: Fault) => void
}

const typeDefs = gql`
  "Why a listing of a batch was refused, as \`extensions\` of an error says it."
  type ListingError {
    "Stable: a client decides by it."
    code: String!
    "A sentence for a person. It may change in any release."
    message: String!
    "The facts: \`index\` is that of the result, \`field\` names the field."
    detail: JSON!
  }
  extend type ListingResult {
    "Why the listing was refused; null if it was not."
    error: ListingError
  }
`

export function makeListingResultsPlugins(options: ListingResultsOptions): GraphileConfig.Plugin[] {
  const error = ($result: PgSelectSingleStep) =>
    lambda(
      [
        $result.get('index'),
        $result.get('sqlstate'),
        $result.get('message'),
        $result.get('detail'),
        $result.get('rule'),
      ] as const,
      ([index, sqlstate, message, detail, rule]) => {
        if (sqlstate === null) return null
        const fault = refusalFault({ sqlstate, message, detail, rule }, options.constraintMessages)
        options.onFault(fault)
        return { code: fault.code, message: fault.message, detail: { ...fault.detail, index } }
      },
    )
  return [
    RequiredListingsPlugin,
    extendSchema({ typeDefs, objects: { ListingResult: { plans: { error } } } }, 'ListingErrorsPlugin'),
  ]
}

/** An array of Postgres may have nulls, so PostGraphile lets a list of the input have them. */
const RequiredListingsPlugin: GraphileConfig.Plugin = {
  name: 'RequiredListingsPlugin',
  version: '1.0.0',
  schema: {
    hooks: {
      GraphQLInputObjectType_fields(fields, _build, { Self }) {
        const { listings } = fields
        if (Self.name !== 'CreateListingsInput' || listings === undefined) return fields
        const item = getNamedType(listings.type) as GraphQLInputType
        const type = new GraphQLNonNull(new GraphQLList(new GraphQLNonNull(item)))
        const description = '1 to 100 listings, each with an idempotency key of its own.'
        return { ...fields, listings: { ...listings, type, description } }
      },
    },
  },
}
