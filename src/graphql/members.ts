/**
 * Members of dealers: the dealers of a user, the caller's role, and the user behind a member.
 *
 * - `User.dealers` leads over two tables, for which PostGraphile makes no field of its own.
 * - `dealers` without a token is `unauthenticated`. The database would show a visitor no rows: a visitor may read the table,
 *   because the dealer of a listing is null for strangers and not an error.
 * - `Dealer.myRole` and `Member.user` call a function with the ids of the row, as the fields of lookups.ts do.
 */
import { connection, context, lambda } from 'grafast'
import type { GraphQLObjectType } from 'grafast/graphql'
import { type PgSelectSingleStep, type PgSelectStep, TYPES } from 'postgraphile/@dataplan/pg'
import { sql } from 'postgraphile/pg-sql2'
import { extendSchema, gql, wrapPlans } from 'postgraphile/utils'
import { loginNeeded } from './lookups.ts'

const typeDefs = gql`
  extend type Dealer {
    "Your role at the dealer; null if you are no member of it."
    myRole: DealerRole
  }
  extend type Member {
    "The person."
    user: MemberUser!
  }
`

const FieldsPlugin: GraphileConfig.Plugin = extendSchema(({ pgResources }) => {
  const role = pgResources.role_at_dealer
  const userOfMember = pgResources.user_of_member
  if (!role || !userOfMember) throw new Error('No role of the API may execute the functions of members')
  return {
    typeDefs,
    objects: {
      Dealer: {
        plans: {
          // an expression of the statement that reads or writes the dealer
          myRole: ($dealer: PgSelectSingleStep) =>
            $dealer.select(sql`app_public.role_at_dealer(${$dealer.getClassStep().alias}.id)`, role.codec),
        },
      },
      Member: {
        plans: {
          user: ($member: PgSelectSingleStep) =>
            userOfMember.execute([{ step: $member.get('dealer_id') }, { step: $member.get('user_id') }]),
        },
      },
    },
  }
}, 'MemberFieldsPlugin')

/** With the scope of a connection, other plugins add its arguments. */
const DealersOfUserPlugin: GraphileConfig.Plugin = {
  name: 'DealersOfUserPlugin',
  version: '1.0.0',
  schema: {
    hooks: {
      GraphQLObjectType_fields(fields, build, { Self, fieldWithHooks }) {
        const dealers = build.pgResources.dealers
        if (Self.name !== 'User' || !dealers) return fields
        const scope = {
          fieldName: 'dealers',
          fieldBehaviorScope: 'query:resource:connection',
          isPgFieldConnection: true,
          pgFieldResource: dealers,
        } as const
        const field = fieldWithHooks(scope, () => ({
          type: build.getTypeByName('DealerConnection') as GraphQLObjectType,
          description: 'The dealers of which the user is a member.',
          plan($user) {
            const $dealers = dealers.find() as PgSelectStep
            const userId = $dealers.placeholder(($user as PgSelectSingleStep).get('id'))
            $dealers.where(sql`exists (
              select from app_public.dealer_users as member
              where member.dealer_id = ${$dealers.alias}.id and member.user_id = ${userId})`)
            return connection($dealers)
          },
        }))
        return build.extend(fields, { dealers: field }, 'Adding User.dealers')
      },
    },
  },
}

const DealersNeedLoginPlugin: GraphileConfig.Plugin = wrapPlans(
  {
    Query: {
      dealers(plan) {
        const $connection = plan()
        const $dealers = $connection.getSubplan() as PgSelectStep
        const $mayRead = lambda(context().get('request'), request => {
          if (request?.identity === undefined) throw loginNeeded()
          return true
        })
        $dealers.where($dealers.placeholder($mayRead, TYPES.boolean))
        return $connection
      },
    },
  },
  { name: 'DealersNeedLoginPlugin' },
)

export const membersPlugins: GraphileConfig.Plugin[] = [
  FieldsPlugin,
  DealersOfUserPlugin,
  DealersNeedLoginPlugin,
]
