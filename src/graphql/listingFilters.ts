/** Conditions of `listings` that are no equality of a column, and the order PREMIUM_FIRST. */
import { TYPES } from '@dataplan/pg'
import type { ConnectionStep, GrafastArgumentConfig } from 'grafast'
import { sql } from 'pg-sql2'
import type { PgSelectQueryBuilder, PgSelectStep } from 'postgraphile/@dataplan/pg'
import { addPgTableCondition, addPgTableOrderBy } from 'postgraphile/utils'
import { ApiError } from '../request/errors.ts'

type Filter = {
  column: string
  operator: ReturnType<typeof sql>
  /** The scalar of GraphQL. */
  scalar: string
  codec: (typeof TYPES)['text' | 'numeric' | 'timestamptz']
  description: string
}

const LISTINGS = { schemaName: 'app_public', tableName: 'listings' }

const FILTERS: Record<string, Filter> = {
  country: {
    column: 'country',
    operator: sql`=`,
    scalar: 'String',
    codec: TYPES.text,
    description: 'The country of the seller, such as DE.',
  },
  updatedSince: {
    column: 'updated_at',
    operator: sql`>=`,
    scalar: 'Datetime',
    codec: TYPES.timestamptz,
    description: 'Changed at this moment or later.',
  },
  priceMin: {
    column: 'price',
    operator: sql`>=`,
    scalar: 'BigFloat',
    codec: TYPES.numeric,
    description: 'The lowest price. Needs `currency`.',
  },
  priceMax: {
    column: 'price',
    operator: sql`<=`,
    scalar: 'BigFloat',
    codec: TYPES.numeric,
    description: 'The highest price. Needs `currency`.',
  },
}

function filter(name: string, { column, operator, scalar, codec, description }: Filter) {
  return addPgTableCondition(
    LISTINGS,
    name,
    build => ({ description, type: build.getInputTypeByName(scalar) }),
    (value, { sqlTableAlias, sqlValueWithCodec }) =>
      // compare the bare column, so that an index can be used
      value == null
        ? null
        : sql`${sqlTableAlias}.${sql.identifier(column)} ${operator} ${sqlValueWithCodec(value, codec)}`,
  )
}

/** Prices in different currencies cannot be compared. */
const PriceFilterPlugin: GraphileConfig.Plugin = {
  name: 'PriceFilterPlugin',
  version: '1.0.0',
  after: ['PgConditionArgumentPlugin'],
  schema: {
    hooks: {
      GraphQLObjectType_fields_field_args(args, _build, { scope }) {
        const { condition } = args
        if (!condition || scope.pgFieldResource?.name !== LISTINGS.tableName) return args
        return { ...args, condition: { ...condition, applyPlan: applyCondition } }
      },
    },
  },
}

/** As PostGraphile applies a condition, with a look at its values first. */
const applyCondition: NonNullable<GrafastArgumentConfig['applyPlan']> = (
  _$parent,
  $connection,
  condition,
) => {
  const $listings = ($connection as ConnectionStep<unknown>).getSubplan() as unknown as PgSelectStep
  condition.apply($listings, (query: PgSelectQueryBuilder, values: unknown) => {
    checkPrices((values ?? {}) as Record<string, unknown>)
    return query.whereBuilder()
  })
}

function checkPrices({ priceMin, priceMax, currency }: Record<string, unknown>): void {
  if ((priceMin ?? priceMax) == null || currency != null) return
  throw new ApiError('invalid_input', 'Please send the `currency` of `priceMin` and `priceMax` too.', {
    detail: { field: 'currency' },
  })
}

const premiumFirst = addPgTableOrderBy(LISTINGS, () => ({
  PREMIUM_FIRST: {
    description:
      'Premium listings first, then the newest. Fast with the condition `status: ACTIVE`, which the public always has.',
    extensions: { grafast: { apply: orderPremiumFirst } },
  },
}))

/** As in `ix_listings_active_is_premium_expression_id`. All in one direction and never null: a cursor is one comparison of rows. */
function orderPremiumFirst(query: PgSelectQueryBuilder): void {
  const { alias } = query
  const since = sql`(case when ${alias}.published_at is null then ${alias}.created_at else ${alias}.published_at end)`
  query.orderBy({ attribute: 'is_premium', direction: 'DESC' })
  query.orderBy({ fragment: since, codec: TYPES.timestamptz, nullable: false, direction: 'DESC' })
  query.orderBy({ attribute: 'id', direction: 'DESC' })
  query.setOrderIsUnique()
}

export const listingFiltersPlugins: GraphileConfig.Plugin[] = [
  ...Object.entries(FILTERS).map(([name, spec]) => filter(name, spec)),
  PriceFilterPlugin,
  premiumFirst,
]
